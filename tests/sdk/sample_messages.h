// One message of each kind with every field set, for the codec's tests.
#pragma once

#include <vector>

#include "sdk/protocol/messages.h"

namespace facet::protocol {

inline Generate sample_generate() {
  Generate generate;
  generate.id = 7;
  generate.model = "gemma";
  generate.prompt = std::string("Größe: 漢字 🙂");
  generate.parse_special = true;
  generate.max_tokens = 100;
  generate.stop = {"\n\n", "stop here"};
  generate.ignore_end = true;
  generate.sampling = {.temperature = 0.5f,
                       .top_k = 40,
                       .top_p = 0.9f,
                       .min_p = 0.05f,
                       .repeat_penalty = 1.1f,
                       .repeat_last_n = 32,
                       .presence_penalty = 0.25f,
                       .frequency_penalty = -0.5f,
                       .seed = ~uint64_t{0},
                       .logit_bias = {{3, -1.5f}, {4, 2.0f}},
                       .logprobs = 5,
                       .report_logprobs = true};
  generate.priority = Priority::kBackground;
  generate.credit = 64;
  generate.deadline_ms = 2500;
  generate.choices = 3;
  return generate;
}

inline Chat sample_chat() {
  Chat chat;
  chat.messages = {{.role = Role::kSystem, .content = {{"Be terse."}}},
                   {.role = Role::kUser, .content = {{"Größe "}, {"漢字 🙂"}}},
                   {.role = Role::kAssistant,
                    .content = {},
                    .thought = "a tool",
                    .tool_calls = {{"call_0", "get", R"({"city":"Oslo"})"}, {"call_1", "now", "{}"}}},
                   {.role = Role::kTool, .content = {{"3"}}, .tool_call_id = "call_0", .tool_name = "get"}};
  chat.tools = {R"({"type":"function","function":{"name":"get"}})", "{}"};
  chat.thinking = true;
  chat.add_generation_prompt = false;
  return chat;
}

inline std::vector<ClientMessage> client_samples() {
  Generate of_ids = sample_generate();
  of_ids.prompt = TokenIds{2, 651, 262143};
  Generate of_chat = sample_generate();
  of_chat.prompt = sample_chat();
  return {ClientHello{1, 3, "tester"},
          ListModels{8},
          sample_generate(),
          of_ids,
          of_chat,
          Cancel{9},
          Credit{10, 32},
          GetStatus{11}};
}

inline Token sample_token() {
  return {.id = 7,
          .sequence = 3,
          .token = 651,
          .text = " Größe",
          .logprob = -0.5f,
          .alternatives = {{9, -1.0f}, {10, -2.0f}},
          .parts = {Thought{"Größe"}, ToolCall{"call_0", "get", "{}"}, MalformedCall{"call:get{"}}};
}

inline std::vector<ServerMessage> server_samples() {
  ServerHello hello;
  hello.server = "facetd 0.1.0";
  hello.features = {"a", "b"};
  hello.limits = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
  Model model{"m", ModelState::kLoaded, 1ull << 40, "gemma3", 8192, 262144, "onednn", "x86-64 avx2", "why"};
  Model other;
  other.name = "other";
  Status status{12, "facetd 0.1.0", 99, "running", 2, 3, 4, 5, {}, 6, 7, "onednn", 8, 9, 10, 11, 12, 13};
  status.requests = {{"app", "m", Priority::kInteractive, false, 8, 9, 3, 1200, "snap:s"}};
  return {hello,          Models{8, {model, other}},
          sample_token(), Finish{7, FinishReason::kToolCalls, "rest", {10, 20}, {1, 2, 3}, {Thought{"x"}}},
          status,         Failed{7, FACET_EXHAUSTED, "the queue is full", 1200}};
}

}  // namespace facet::protocol
