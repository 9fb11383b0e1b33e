// A chat as it came over the wire, as the prompt of a model.
#pragma once

#include <string_view>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/model/model.h"
#include "daemon/text/chat_format.h"
#include "sdk/protocol/messages.h"

namespace facet::engine {

// The format of the model's family in its vocabulary, whatever chat template its file holds. unsupported,
// saying why, if the model has none.
Result<text::ChatFormat> chat_format_of(const model::Model& model);

// What to warn of, if its file holds a template that is no official revision; else empty.
std::string_view chat_warning_of(const model::Model& model);

// The chat in that format, for ChatFormat::encode(). Errors: those of text::render_chat().
Result<text::MarkedText> chat_text(const protocol::Chat& chat, const text::ChatFormat& format);

// The tokens with which every chat begins whose first message is this system's text and whose second is the
// user's, if both think alike and there are no tools. Errors: those of text::render_chat() and
// ChatFormat::encode().
Result<std::vector<text::Token>> chat_beginning(const std::string& system, bool thinking,
                                                const text::ChatFormat& format,
                                                const text::Tokenizer& tokenizer);

}  // namespace facet::engine
