#include "daemon/text/chat_format.h"

#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "daemon/text/chat_json.h"

namespace facet::text {
namespace {

using nlohmann::json;

std::vector<json> golden_cases() {
  std::ifstream in("tests/golden/data/chat.jsonl");
  std::vector<json> cases;
  for (std::string line; std::getline(in, line);) cases.push_back(json::parse(line));
  REQUIRE(cases.size() >= 36);
  return cases;
}

std::string rendered(ChatFamily family, const std::string& line) {
  auto chat = read_chat(line);
  if (!chat.ok()) return "error: " + chat.error().message;
  auto prompt = render_chat(family, *chat);
  if (!prompt.ok()) return "error: " + prompt.error().message;
  return prompt->text();
}

std::string gemma4(const std::string& line) {
  return rendered(ChatFamily::kGemma4, line);
}
std::string gemma3(const std::string& line) {
  return rendered(ChatFamily::kGemma3, line);
}

// A chat of one user's message with this declaration.
std::string with_tool(const std::string& tool) {
  return R"({"messages":[{"role":"user","content":"x"}],"add_generation_prompt":false,"tools":[)" + tool +
         "]}";
}
// The declaration as it is written, without what stands around it.
std::string declared(const std::string& function) {
  const std::string text = gemma4(with_tool(R"({"type":"function","function":)" + function + "}"));
  const size_t begin = text.find("<|tool>"), end = text.find("<tool|>");
  return begin == text.npos || end == text.npos ? text : text.substr(begin + 7, end - begin - 7);
}
std::string with_parameters(const std::string& schema) {
  return declared(R"({"name":"f","description":"d","parameters":)" + schema + "}");
}

}  // namespace

TEST_CASE("Gemma 4 chats are written as the official template writes them") {
  for (const json& golden : golden_cases()) {
    CAPTURE(golden["name"].get<std::string>());
    CHECK(rendered(ChatFamily::kGemma4, golden.dump()) == golden["rendered"].get<std::string>());
  }
}

TEST_CASE("the small Gemma 4 models begin without an empty thought") {
  const std::string line = R"({"messages":[{"role":"user","content":"Hi"}]})";
  CHECK(rendered(ChatFamily::kGemma4Small, line) == "<bos><|turn>user\nHi<turn|>\n<|turn>model\n");
  CHECK(chat_family("gemma4", "") == ChatFamily::kGemma4);
  CHECK(chat_family("gemma4", R"(...'<|channel>thought\n<channel|>'...)") == ChatFamily::kGemma4);
  CHECK(chat_family("gemma4", "{{- '<|turn>model' -}}") == ChatFamily::kGemma4Small);
  CHECK(chat_family("gemma3", "") == ChatFamily::kGemma3);
  CHECK(!chat_family("llama", ""));
}

TEST_CASE("answers in several messages are one model turn") {
  CHECK(gemma4(R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},
                   {"role":"assistant","content":"c"},{"role":"user","content":"d"}],"add_generation_prompt":false})") ==
        "<bos><|turn>user\na<turn|>\n<|turn>model\nbc<turn|>\n<|turn>user\nd<turn|>\n");
  CHECK(
      gemma4(
          R"({"messages":[{"role":"assistant","content":"b","tool_calls":[{"id":"1","function":{"name":"f"}}]},
                   {"role":"tool","tool_call_id":"1","content":[{"type":"text","text":"x"},{"type":"image_url"}]},
                   {"role":"assistant","content":"c"}],"add_generation_prompt":false})") ==
      "<bos><|turn>model\n<|tool_call>call:f{}<tool_call|><|tool_response>response:f{value:<|\"|>x<|\"|>}"
      "<tool_response|><|image|>bc<turn|>\n");
}

TEST_CASE("thoughts stay until the user speaks again") {
  CHECK(
      gemma4(
          R"({"messages":[{"role":"assistant","content":"a","reasoning":"old"},{"role":"user","content":"b"},
                   {"role":"assistant","content":"c","reasoning":"new"}],"add_generation_prompt":false})") ==
      "<bos><|turn>model\na<turn|>\n<|turn>user\nb<turn|>\n<|turn>model\n<|channel>thought\nnew\n<channel|>c"
      "<turn|>\n");
}

TEST_CASE("arguments of calls") {
  auto call = [](const std::string& arguments) {
    const std::string text =
        gemma4(R"({"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":)" +
               arguments + "}}]}],\"add_generation_prompt\":false}");
    const size_t begin = text.find("call:f"), end = text.find("<tool_call|>");
    return begin == text.npos || end == text.npos ? text : text.substr(begin + 6, end - begin - 6);
  };
  CHECK(call("{}") == "{}");
  CHECK(call("null") == "{}");
  CHECK(call(R"("")") == "{}");
  CHECK(call(R"("{\"b\":1,\"A\":[true,null]}")") == "{A:[true,null],b:1}");
  CHECK(call(R"({"a":1,"a":2})") == "{a:2}");
  CHECK(call(R"({"b":1,"a":{"d":"","C":0}})") == "{a:{C:0,d:<|\"|><|\"|>},b:1}");
  CHECK(call(R"({"a:b":1," c":2,"":3,"d e":4})") ==
        "{<|\"|><|\"|>:3,<|\"|> c<|\"|>:2,<|\"|>a:b<|\"|>:1,d e:4}");
  CHECK(
      call(
          R"({"n":[1.0,1e3,-0.0,1e-5,0.0001,1E+16,9007199254740993,-12345678901234567890123,1e-400,-0,0.1]})") ==
      "{n:[1.0,1000.0,-0.0,1e-05,0.0001,1e+16,9007199254740993,-12345678901234567890123,0.0,0,0.1]}");
  CHECK(call("[1]") == "error: messages[0].tool_calls[0].arguments is no JSON object");
  CHECK(call(R"("city")").starts_with("error: messages[0].tool_calls[0].arguments: not JSON"));
  CHECK(call(R"({"a":1e999})") ==
        "error: messages[0].tool_calls[0].function.arguments.a is a number that is too large");
}

TEST_CASE("what a declaration takes from a schema") {
  CHECK(declared(R"({"name":"f"})") == "declaration:f{description:<|\"|><|\"|>}");
  CHECK(with_parameters(R"({"type":"object","properties":{"type":{"type":["string","null"]},"b":{}}})") ==
        "declaration:f{description:<|\"|>d<|\"|>,parameters:{properties:{b:{type:<|\"|><|\"|>},"
        "type:{type:<|\"|>['STRING', 'NULL']<|\"|>}},type:<|\"|>OBJECT<|\"|>}}");
  CHECK(
      with_parameters(R"({"type":"object","properties":{"a":{"type":"array","items":{"type":["string","null"],
                            "anyOf":[{"const":1}],"properties":{"x":{"type":"number"}},"required":["x"],"z":null}}}})") ==
      "declaration:f{description:<|\"|>d<|\"|>,parameters:{properties:{a:{items:{anyOf:[{<|\"|>const<|\"|>:1}"
      "],"
      "properties:{x:{type:<|\"|>NUMBER<|\"|>}},required:[<|\"|>x<|\"|>],type:[<|\"|>STRING<|\"|>,<|\"|>NULL<"
      "|\"|>]},"
      "type:<|\"|>ARRAY<|\"|>}},type:<|\"|>OBJECT<|\"|>}}");
  CHECK(with_parameters(
            R"({"type":"object","properties":{"o":{"type":"object","title":"T","description":"D"}}})") ==
        "declaration:f{description:<|\"|>d<|\"|>,parameters:{properties:{o:{description:<|\"|>D<|\"|>,"
        "properties:{title:{type:<|\"|><|\"|>}},type:<|\"|>OBJECT<|\"|>}},type:<|\"|>OBJECT<|\"|>}}");
}

TEST_CASE("a declaration that is none is named") {
  auto error = [](const std::string& tool) { return gemma4(with_tool(tool)); };
  CHECK(error("{}") == "error: tools[0].function is no object");
  CHECK(error(R"({"function":{}})") == "error: tools[0].function.name is no string");
  CHECK(error(R"({"function":{"name":"a b"}})")
            .starts_with("error: tools[0].function.name has something else"));
  CHECK(error("1") == "error: tools[0] is no object");
  CHECK(declared(R"({"name":"f","description":[]})") == "error: tools[0].function.description is no text");
  CHECK(declared(R"({"name":"f","parameters":1})") == "error: tools[0].function.parameters is no object");
  CHECK(with_parameters(R"({"properties":{"a":{"type":{}}}})") ==
        "error: tools[0].function.parameters.properties.a.type is no text");
  CHECK(with_parameters(R"({"properties":[1]})") ==
        "error: tools[0].function.parameters.properties is no object");
  CHECK(with_parameters(R"({"required":"a"})") == "error: tools[0].function.parameters.required is no array");
  CHECK(with_parameters(R"({"required":[1]})") ==
        "error: tools[0].function.parameters.required has something else than strings");
  CHECK(declared(R"({"name":"f","response":[]})") == "error: tools[0].function.response is no object");
}

TEST_CASE("depth is bounded") {
  auto nested = [](int depth) {
    std::string schema = "{}";
    for (int i = 0; i < depth; ++i) schema = R"({"type":"object","properties":{"a":)" + schema + "}}";
    return schema;
  };
  CHECK(with_parameters(nested(30)).starts_with("declaration:f"));
  CHECK(with_parameters(nested(31)).starts_with("error: tools[0].function.parameters"));
  CHECK(with_parameters(nested(1000)).find(" is nested deeper than ") != std::string::npos);
  Chat chat;
  chat.messages.resize(1);
  chat.tools = {R"({"function":{"name":"f","parameters":)" + nested(1000) + "}}"};
  CHECK(render_chat(ChatFamily::kGemma4, chat).error().message ==
        "tools[0].function.parameters.properties.a.properties.a.properties.a is nested deeper than 64");
  chat.tools = {std::string(1000000, '[')};
  CHECK(render_chat(ChatFamily::kGemma4, chat).error().code == FACET_TOO_LARGE);
  chat.tools = {"[" + std::string(300000, ' ') + "0"};
  for (int i = 0; i < 300000; ++i) chat.tools[0] += ",0";
  CHECK(render_chat(ChatFamily::kGemma4, chat).error().message ==
        "tools[0][262144] has more than 262144 values");
}

TEST_CASE("a line that is no chat is refused by the field") {
  CHECK(gemma4("") == "error: the text: not JSON or not UTF-8 at byte 1");
  CHECK(gemma4("[]") == "error: the chat is no JSON object");
  CHECK(gemma4("{}") == "error: messages is empty");
  CHECK(gemma4(R"({"messages":{}})") == "error: messages is no array");
  CHECK(gemma4(R"({"messages":[1]})") == "error: messages[0] is no object");
  CHECK(gemma4(R"({"messages":[{}]})") ==
        "error: messages[0].role is none of system, developer, user, assistant and tool");
  CHECK(gemma4(R"({"messages":[{"role":1}]})") == "error: messages[0].role is no string");
  CHECK(gemma4("{\"messages\":[{\"role\":\"user\"},{\"role\":\"user\",\"content\":\"a\xFF\"}]}")
            .starts_with("error: messages[1].content: not JSON or not UTF-8 at byte"));
  CHECK(gemma4(R"({"messages":[{"role":"user","content":1}]})") == "error: messages[0].content is no array");
  CHECK(gemma4(R"({"messages":[{"role":"user","content":[{"type":"file"}]}]})") ==
        "error: messages[0].content[0].type is none of text, image, audio and video");
  CHECK(gemma4(R"({"messages":[{"role":"user","content":[{"type":"text"}]}]})") ==
        "error: messages[0].content[0].text is missing");
  CHECK(gemma4(R"({"messages":[{"role":"user","tool_calls":[{"function":{"name":"f"}}]}]})") ==
        "error: messages[0].tool_calls stands in a message that is not the assistant's");
  CHECK(gemma4(R"({"messages":[{"role":"assistant","tool_calls":[{}]}]})") ==
        "error: messages[0].tool_calls[0].function is no object");
  CHECK(gemma4(R"({"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"a{"}}]}]})")
            .starts_with("error: messages[0].tool_calls[0].name has something else"));
  CHECK(gemma4(R"({"messages":[{"role":"assistant","tool_responses":[{"name":"f"}]}]})") ==
        "error: messages[0].tool_responses[0].response is missing");
  CHECK(gemma4(R"({"messages":[{"role":"user"}],"enable_thinking":1})") ==
        "error: enable_thinking is no boolean");
}

TEST_CASE("many messages") {
  std::string line = R"({"messages":[)";
  for (int i = 0; i < 100000; ++i) line += R"({"role":"user","content":"x"},)";
  line.back() = ']';
  CHECK(gemma4(line + "}") == "error: messages has 100000 elements; at most 65536 are allowed");
  Chat chat;
  chat.messages.resize(kMaxChatMessages);
  for (size_t i = 0; i < chat.messages.size(); ++i)
    chat.messages[i].role = i % 2 == 0 ? Role::kAssistant : Role::kTool;
  auto prompt = render_chat(ChatFamily::kGemma4, chat);
  REQUIRE(prompt.ok());
  CHECK(prompt->text() == "<bos><|turn>model\n<turn|>\n<|turn>model\n<|channel>thought\n<channel|>");
}

TEST_CASE("Gemma 3: the system speaks in the user's turn") {
  CHECK(gemma3(R"({"messages":[{"role":"user","content":" Hi "}]})") ==
        "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n");
  CHECK(gemma3(R"({"messages":[{"role":"system","content":" Be brief. "},{"role":"user","content":"Hi"},
                   {"role":"assistant","content":"<|channel>thought\nno<channel|>Yes"},
                   {"role":"user","content":[{"type":"image"},{"type":"text","text":" that? "}]}]})") ==
        "<bos><start_of_turn>user\n Be brief. \n\nHi<end_of_turn>\n<start_of_turn>model\n<|channel>thought\n"
        "no<channel|>Yes<end_of_turn>\n<start_of_turn>user\n<start_of_image>that?<end_of_turn>\n"
        "<start_of_turn>model\n");
  CHECK(gemma3(R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],
                   "add_generation_prompt":false})") ==
        "<bos><start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\nb<end_of_turn>\n");
}

TEST_CASE("what Gemma 3's format does not have is unsupported") {
  auto code = [](const std::string& line) {
    auto chat = read_chat(line);
    REQUIRE(chat.ok());
    auto prompt = render_chat(ChatFamily::kGemma3, *chat);
    return prompt.ok() ? FACET_OK : prompt.error().code;
  };
  CHECK(code(R"({"messages":[{"role":"user"}],"enable_thinking":true})") == FACET_UNSUPPORTED);
  CHECK(code(with_tool(R"({"function":{"name":"f"}})")) == FACET_UNSUPPORTED);
  CHECK(code(R"({"messages":[{"role":"user"},{"role":"tool"}]})") == FACET_UNSUPPORTED);
  CHECK(
      code(
          R"({"messages":[{"role":"user"},{"role":"assistant","tool_calls":[{"function":{"name":"f"}}]}]})") ==
      FACET_UNSUPPORTED);
  CHECK(code(R"({"messages":[{"role":"user","content":[{"type":"audio"}]}]})") == FACET_UNSUPPORTED);
  CHECK(gemma3(R"({"messages":[{"role":"user"},{"role":"user"}]})") ==
        "error: messages[1].role is user where Gemma 3's chat format has assistant");
  CHECK(gemma3(R"({"messages":[{"role":"system"}]})").starts_with("error: messages has no user"));
}

}  // namespace facet::text
