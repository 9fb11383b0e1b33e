// The bounds of protocol version 1: what the codec refuses, on either side, before it stores anything.
//
// A daemon may allow less (its `hello` says so); nobody accepts more. Bounds of text are in bytes of UTF-8.
#pragma once

#include <cstddef>

namespace facet::protocol {

// A whole message with its frame. Prompts are bounded by it alone.
constexpr size_t kMaxMessageBytes = 4 << 20;
constexpr size_t kMaxSegments = 64;
// Pointers between the root and the deepest value; the schema uses eight.
constexpr int kMaxNesting = 16;

// Names of apps, models, families, backends, servers, features.
constexpr size_t kMaxNameBytes = 256;
// Sentences for people (longer ones are cut when they are written), and `numerics`.
constexpr size_t kMaxProseBytes = 4096;
// Text of one token event, of `finish` and what they held back.
constexpr size_t kMaxTokenTextBytes = 64 << 10;

constexpr size_t kMaxStopStrings = 64;
constexpr size_t kMaxStopBytes = 1024;
constexpr size_t kMaxLogitBiases = 1024;
constexpr size_t kMaxLogprobs = 64;
// Answers to one prompt that one `generate` asks for.
constexpr size_t kMaxChoices = 64;
// Times longer than an hour are said, and read, as an hour.
constexpr unsigned kMaxRetryAfterMs = 60 * 60 * 1000;
// The longest wait that is told; a longer one is read as that: a day.
constexpr unsigned kMaxWaitMs = 24 * 60 * 60 * 1000;
// Of a request: a day.
constexpr unsigned kMaxDeadlineMs = 24 * 60 * 60 * 1000;

// A chat. The texts of its messages are bounded by the message alone.
constexpr size_t kMaxChatMessages = 4096;
constexpr size_t kMaxContentParts = 256;  // of a message
constexpr size_t kMaxToolCalls = 128;     // of a message, or of an event of an answer
// Content parts and tool calls of all messages: a part may take 30 times as much memory as bytes on the wire.
constexpr size_t kMaxChatParts = 16384;
constexpr size_t kMaxArgumentsBytes = 1536 << 10;  // of one call; the text of a malformed one
constexpr size_t kMaxTools = 256;
constexpr size_t kMaxToolsBytes = 1 << 20;  // of all declarations
// Objects and arrays inside each other, in declarations and arguments. The codec does not read JSON: the
// engine refuses what is deeper.
constexpr size_t kMaxJsonNesting = 64;
// Of one event. A thought's text is bounded as kMaxTokenTextBytes.
constexpr size_t kMaxParts = 256;

constexpr size_t kMaxFeatures = 64;
constexpr size_t kMaxModels = 1024;
constexpr size_t kMaxRequestStatuses = 256;

}  // namespace facet::protocol
