// The chat templates that come with models, by name only: they are never run. Each official revision is known
// by the SHA-256 of its text; docs/chat.md lists them.
#pragma once

#include <string_view>

namespace facet::text {

// Whether the text is a revision of Google's templates for Gemma 3 or Gemma 4.
bool known_template(std::string_view chat_template);

// What to warn of otherwise, after the model's name.
inline constexpr char kUnknownTemplate[] =
    "its chat template is no revision that we know: chats are written in the official format all the same";

}  // namespace facet::text
