// Frames that earlier releases wrote: they decode, and what they do not hold is as if it was not said.
#include <doctest/doctest.h>

#include <string_view>

#include "sdk/protocol/codec.h"

using namespace facet;
using namespace facet::protocol;

namespace {

Bytes bytes_of(std::string_view hex) {
  Bytes bytes;
  auto digit = [](char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10); };
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(std::byte(digit(hex[i]) << 4 | digit(hex[i + 1])));
  return bytes;
}

}  // namespace

TEST_CASE("earlier release: its request is read by this daemon") {
  auto message = decode_client(bytes_of(
      "000000001500000000000000010001000200000000000000000000000300040007000000000000000000000005000000"
      "00000000400000000d000000120000000d0000001a0000000d0000000e00000010000000060001006d00000000000000"
      "486900000000000001000000120000007800000000000000000000000000000000000000000000000000000000000000"
      "0000000000000000000000000000000000000000000000000000000000000000"));
  REQUIRE(message.ok());
  const auto& request = std::get<Generate>(*message);
  CHECK(request.id == 7);
  CHECK(std::get<std::string>(request.prompt) == "Hi");
  CHECK(request.max_tokens == 5);
  CHECK(request.stop == std::vector<std::string>{"x"});
  CHECK(request.credit == 64);
  CHECK(request.deadline_ms == 0);
  CHECK(request.choices == 1);
}

TEST_CASE("earlier release: what its daemon says is read by this client") {
  auto message = decode_server(bytes_of(
      "000000000c0000000000000001000100000000000000000000000000010003000100000000000000090000006a000000"
      "0d00000006000000080000000300000066616365746420302e312e300000000001000000020000000300000004000000"
      "0500000006000000"));
  REQUIRE(message.ok());
  const auto& hello = std::get<ServerHello>(*message);
  CHECK(hello.server == "facetd 0.1.0");
  CHECK(hello.features.empty());
  CHECK(hello.limits == Limits{.message_bytes = 1,
                               .open_requests = 2,
                               .prompt_tokens = 3,
                               .stop_strings = 4,
                               .logit_biases = 5,
                               .logprobs = 6});

  message = decode_server(bytes_of(
      "000000000b0000000000000001000100020000000000000000000000030002000700000000000000030000008b020000"
      "000000bf00000000050000001a000000050000000f0000004869000000000000040000000100000009000000000080bf"));
  REQUIRE(message.ok());
  const auto& token = std::get<Token>(*message);
  CHECK(token.sequence == 3);
  CHECK(token.text == "Hi");
  CHECK(token.alternatives.size() == 1);
  CHECK(token.parts.empty());

  message = decode_server(bytes_of(
      "000000000d00000000000000010001000300000000000000000000000200030007000000000000000100000000000000"
      "090000002a0000000800000001000000080000000300000072657374000000000a000000140000000100000000000000"
      "02000000000000000300000000000000"));
  REQUIRE(message.ok());
  const auto& finish = std::get<Finish>(*message);
  CHECK(finish.reason == FinishReason::kLength);
  CHECK(finish.text == "rest");
  CHECK(finish.usage.generated_tokens == 20);
  CHECK(finish.parts.empty());
}

TEST_CASE("a release before deadlines: its request is read by this daemon") {
  auto message = decode_client(bytes_of(
      "000000002000000000000000010001000200000000000000000000000300040007000000000000000200000005000000"
      "03000000400000000d000000120000000c0000000100020000000000000000003c000000060001006d00000000000000"
      "010000000000000005000000370000000000000000000000040000000100050002000000000000001100000017000000"
      "000000000000000000000000000000000000000000000000000000000000000004000000010001000000000000000000"
      "010000001a00000048690000000000000000000000000000000000000000000000000000000000000000000000000000"
      "000000000000000000000000000000000000000000000000"));
  REQUIRE(message.ok());
  const auto& request = std::get<Generate>(*message);
  CHECK(std::get<Chat>(request.prompt).messages.at(0).content.at(0).text == "Hi");
  CHECK(request.priority == Priority::kBackground);
  CHECK(request.deadline_ms == 0);
  CHECK(request.choices == 1);
}

TEST_CASE("a release before retry times: its refusal is read by this client") {
  auto message = decode_server(bytes_of(
      "000000000700000000000000010001000500000000000000000000000200010007000000000000000500000000000000"
      "010000002a00000066756c6c00000000"));
  REQUIRE(message.ok());
  const auto& failed = std::get<Failed>(*message);
  CHECK(failed.code == FACET_EXHAUSTED);
  CHECK(failed.message == "full");
  CHECK(failed.retry_after_ms == 0);
}

TEST_CASE("a release before positions: its status is read by this client") {
  auto message = decode_server(bytes_of(
      "000000001b00000000000000010001000400000000000000000000000900040003000000000000000000000000000000"
      "000000000000000000000000010000000000000000000000000000000000000008000000000000000000000000000000"
      "0a000000000000000d0000006a00000011000000420000001100000027000000290000000a0000006661636574642030"
      "2e312e300000000072756e6e696e67000400000002000200000000000800000009000000000000000500000022000000"
      "050000001200000061707000000000006d000000000000000000000000000000"));
  REQUIRE(message.ok());
  const auto& status = std::get<Status>(*message);
  CHECK(status.cached_tokens == 10);
  CHECK(status.computed_tokens == 0);
  REQUIRE(status.requests.size() == 1);
  CHECK(status.requests[0].generated_tokens == 9);
  CHECK(status.requests[0].position == 0);
  CHECK(status.requests[0].wait_ms == 0);
}
