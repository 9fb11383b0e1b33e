// Perplexity: how well a model predicts a text, e to the mean surprise per token.
//
// The text's tokens are cut into *windows*; what is left at the end counts not. Each window starts at
// position 0, with BOS in the place of its first token if the model wants one. Scored are the tokens of its
// second half but for their first: with 512 tokens those from 257 to 511.
#pragma once

#include <span>
#include <vector>

#include "daemon/model_tool/evaluation.h"

namespace facet::model_tool {

// Rows of a step: bounds the memory that their logits take. The size of `evaluation`: one sequence of
// `window` positions, this chunk.
inline constexpr uint32_t kPerplexityChunk = 64;

// The perplexity over the first, the first two, ... windows. Empty if there are fewer tokens than one window.
Result<std::vector<double>> perplexities(Evaluation& evaluation, std::span<const text::Token> tokens,
                                         uint32_t window);

}  // namespace facet::model_tool
