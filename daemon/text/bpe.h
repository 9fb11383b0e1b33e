// The merging of Gemma 4 (`tokenizer.ggml.model` = "gemma4"): byte-pair encoding over characters, with the
// merges that the vocabulary lists, in the order in which it lists them.
#pragma once

#include "daemon/text/merges.h"
#include "daemon/text/vocabulary.h"

namespace facet::text {

// FACET_MALFORMED, naming the merge, if one is not two pieces with a space between, or if one of the two or
// both together are no normal token; errors of PieceIndex::make and Merges::make.
Result<Merges> make_bpe(const Vocabulary& vocabulary);

}  // namespace facet::text
