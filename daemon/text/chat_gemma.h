// The writers of the chat formats, for chat_format.cc. A chat that they are given has passed check_chat().
// Errors as render_chat().
#pragma once

#include <string>
#include <string_view>

#include "daemon/base/result.h"
#include "daemon/text/chat.h"
#include "daemon/text/marked_text.h"

namespace facet::text {

Result<MarkedText> render_gemma3(const Chat& chat);
Result<MarkedText> render_gemma4(ChatFamily family, const Chat& chat);

// One declaration, between its marks; `field` names it in errors.
Result<void> write_declaration(const std::string& json, const std::string& field, MarkedText& out);

// `text` without Unicode's white space at both ends, as Python's str.strip() does it.
std::string_view trim(std::string_view text);

}  // namespace facet::text
