// A chat as it came over the wire, as the prompt of a model.
#pragma once

#include <vector>

#include "daemon/base/result.h"
#include "daemon/model/model.h"
#include "daemon/text/chat_format.h"
#include "sdk/protocol/messages.h"

namespace facet::engine {

// The format of the model's family in its vocabulary. unsupported, saying why, if the model has none.
Result<text::ChatFormat> chat_format_of(const model::Model& model);

// Errors: those of text::render_chat() and ChatFormat::encode().
Result<std::vector<text::Token>> chat_tokens(const protocol::Chat& chat, const text::ChatFormat& format,
                                             const text::Tokenizer& tokenizer);

}  // namespace facet::engine
