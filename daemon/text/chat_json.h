// A chat written as JSON, with the fields that chat templates and OpenAI's API know.
#pragma once

#include <string_view>

#include "daemon/base/result.h"
#include "daemon/text/chat.h"

namespace facet::text {

// {"messages":[{"role":"user","content":"..."}, ...], "tools":[...], "enable_thinking":false,
//  "add_generation_prompt":true}
//
// A message's content is a string, null, or an array of {"type":"text","text":"..."} and {"type":"image"} (or
// "image_url"), "audio" (or "input_audio") or "video". An assistant may have "reasoning" (or
// "reasoning_content"), "tool_calls":
// [{"id":"...","function":{"name":"...","arguments":{...}}}], whose arguments may also be a string that holds
// the object, and "tool_responses": [{"name":"...","response":...}]. A tool's message has "tool_call_id" or
// "name". Fields of other names are left alone.
//
// Errors, naming the field: those of parse_json(); invalid_argument for a field of the wrong type;
// unsupported for a part of another type.
Result<Chat> read_chat(std::string_view json);

}  // namespace facet::text
