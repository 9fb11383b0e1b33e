@0xc1f6a3b0d5e74f21;
# Facet's public wire protocol, version 1.
#
# Transport: a Unix stream socket. Each side sends Cap'n Proto messages in the standard stream framing, unpacked: a client
# sends ClientMessage, the daemon ServerMessage. There is no RPC layer; any language with a Cap'n Proto library can speak it.
#
# Order: the client's first message is `hello`, the daemon's first is `hello` too (or `failed`, and then it closes). After
# that a client may have many requests open at once. It chooses their ids; an id may be used again once its `finish` or
# `failed` came. Everything about one request comes in order; requests among each other come in any order.
#
# Generation: `generate` is answered by tokens (sequence numbers from 0, without gaps) and one `finish`, or by one
# `failed`. The client grants credit: with none left the sequence is paused, other requests go on. `cancel` is answered by the
# request's `finish` (reason cancelled), unless that was on its way already.
#
# Chat: a prompt may be a `chat`, if the daemon's `hello` has the feature "chat". The daemon writes it in the format of the model and reads
# the answer: its visible text comes in `text`, what else the model said in `parts`.
#
# Deadline: a request may carry one, if the daemon's `hello` has the feature "deadline". It is answered by `failed` (16, deadline) at
# once if by what is known its first token would come too late, and by `finish` (reason deadline) when it passes.
#
# Choices: a `generate` with n choices, if the daemon's `hello` has the feature "choices", is n requests that differ in their seeds
# alone: choice i has the id `id + i` and the seed `seed + i`, and what holds for a request holds for each of them: its own tokens and end, its own
# credit and cancel, and it counts for the limits. The limits take or refuse them together; a message
# that is refused as it stands is answered under the id `id` alone. The prompt is read once for them all.
#
# Bounds: the daemon's `hello` names its limits. A message over the size, nesting or pointer limits, or one that does not
# decode, ends the connection with `failed` for request 0. An enum value or union member unknown to the reader is `unsupported`.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("facet::wire");

const protocolVersion :UInt32 = 1;

enum Priority {
  interactive @0;  # a person waits
  standard @1;
  background @2;   # takes what is left
}

enum FinishReason {
  stop @0;       # an end token, or a stop string
  length @1;     # maxTokens or the context is full
  cancelled @2;  # by the client
  toolCalls @3;  # an end token after tool calls: the model waits for what they give. Of a chat alone
  deadline @4;   # the request's deadline passed; the answer so far stands
}

enum ModelState {
  unloaded @0;  # known by name, loaded at first use
  loading @1;
  loaded @2;
  failed @3;    # the last try to load it failed; the next use tries again
}

struct ClientMessage {
  union {
    hello @0 :ClientHello;
    listModels @1 :ListModels;
    generate @2 :Generate;
    cancel @3 :Cancel;
    credit @4 :Credit;
    status @5 :GetStatus;
  }
}

struct ServerMessage {
  union {
    hello @0 :ServerHello;
    models @1 :Models;
    token @2 :Token;
    finish @3 :Finish;
    status @4 :Status;
    failed @5 :Failed;
  }
}

struct ClientHello {
  versionMin @0 :UInt32;
  versionMax @1 :UInt32;
  app @2 :Text;  # a name for logs and accounts, where the unit that it runs in tells none; no credential
}

struct ServerHello {
  version @0 :UInt32;         # the one in use
  server @1 :Text;            # "facetd 0.1.0"
  features @2 :List(Text);    # what this daemon can do beyond the version's minimum
  limits @3 :Limits;
}

struct Limits {
  messageBytes @0 :UInt32;    # largest message of a client
  openRequests @1 :UInt32;    # per connection
  promptTokens @2 :UInt32;    # 0: the model's context alone bounds it
  stopStrings @3 :UInt32;
  logitBiases @4 :UInt32;
  logprobs @5 :UInt32;
  # 0 without the feature "chat":
  chatMessages @6 :UInt32;
  contentParts @7 :UInt32;    # of a message
  toolCalls @8 :UInt32;       # of a message
  argumentsBytes @9 :UInt32;  # of one tool call
  tools @10 :UInt32;
  toolsBytes @11 :UInt32;     # of all declarations
  jsonNesting @12 :UInt32;    # objects and arrays inside each other, in declarations and arguments
  chatParts @13 :UInt32;      # content parts and tool calls of all messages together
  choices @14 :UInt32;        # of one `generate`; 0 without the feature "choices"
}

struct ListModels {
  id @0 :UInt64;
}

struct Models {
  id @0 :UInt64;
  models @1 :List(Model);
}

struct Model {
  name @0 :Text;
  state @1 :ModelState;
  fileBytes @2 :UInt64;
  # Known once the model was loaded, 0 or empty before:
  family @3 :Text;            # "gemma3"
  context @4 :UInt32;         # tokens per sequence
  vocabulary @5 :UInt32;      # tokens
  backend @6 :Text;           # "onednn"
  numerics @7 :Text;          # what the bits of an answer depend on beside the request
  error @8 :Text;             # of the last try to load it
}

struct Sampling {
  temperature @0 :Float32 = 1;       # 0: greedy
  topK @1 :UInt32;                   # 0: off
  topP @2 :Float32 = 1;              # 1: off
  minP @3 :Float32;                  # 0: off
  repeatPenalty @4 :Float32 = 1;     # 1: off
  repeatLastN @5 :UInt32 = 64;       # tokens that the penalties look back on
  presencePenalty @6 :Float32;
  frequencyPenalty @7 :Float32;
  seed @8 :UInt64;
  logitBias @9 :List(LogitBias);
  logprobs @10 :UInt32;              # alternatives to report per token, with reportLogprobs
  reportLogprobs @11 :Bool;          # report the log-probability of each token
}

struct LogitBias {
  token @0 :UInt32;
  bias @1 :Float32;
}

struct Generate {
  id @0 :UInt64;               # not 0
  model @1 :Text;              # empty: the daemon's default
  prompt :union {
    text @2 :Text;             # tokenised by the daemon, after <bos> if the model wants one
    ids @3 :List(UInt32);      # taken as they are
    chat @11 :Chat;
  }
  parseSpecial @4 :Bool;       # of a text prompt: control tokens written in it are control tokens
  maxTokens @5 :UInt32;        # 0: until the context is full
  stop @6 :List(Text);         # the answer ends before the first of them. Of a chat: looked for in the visible text alone
  ignoreEnd @7 :Bool;          # go on after end tokens
  sampling @8 :Sampling;
  priority @9 :Priority = standard;
  credit @10 :UInt32;          # tokens granted at once; 0: without bound
  choices @13 :UInt32 = 1;     # so many answers to the prompt; the feature "choices"
  deadline @12 :UInt32;        # milliseconds from its receipt in which the answer shall be whole, at most a day; 0: none
}

enum Role {
  system @0;
  developer @1;  # a system message under the name that some APIs give it
  user @2;
  assistant @3;
  tool @4;       # what a tool call gave
}

# A conversation, oldest message first. No text in it can become a control token of the model.
struct Chat {
  messages @0 :List(Message);
  tools @1 :List(Text);        # each a declaration as a JSON object: {"type":"function","function":{"name":...,"parameters":...}}
  thinking @2 :Bool;           # the model may think before it answers
  addGenerationPrompt @3 :Bool = true;  # open the model's turn. false: the last message ends as any other does
}

struct Message {
  role @0 :Role;
  content @1 :List(ContentPart);
  thought @2 :Text;            # of an assistant's message: what it thought. The format says which are kept
  toolCalls @3 :List(ToolCall);  # of an assistant's message
  toolCallId @4 :Text;         # of a tool's message: the call that it answers
  toolName @5 :Text;           # of a tool's message: the tool's name; may be empty if toolCallId names an earlier call
}

struct ContentPart {
  union {
    text @0 :Text;
    reserved @1 :Void;         # never sent: with it, kinds that come later are unknown members and not empty texts
  }
}

struct ToolCall {
  id @0 :Text;                 # a name for the call inside its conversation; the daemon gives one to each that the model makes
  name @1 :Text;
  arguments @2 :Text;          # a JSON object
}

struct Cancel {
  id @0 :UInt64;
}

struct Credit {
  id @0 :UInt64;
  tokens @1 :UInt32;
}

struct GetStatus {
  id @0 :UInt64;
}

struct Logprob {
  token @0 :UInt32;
  logprob @1 :Float32;         # natural logarithm, of the model's unmodified distribution
}

# Of an answer to a chat: what is no visible text. An answer's texts and parts in their order, an event's text before its parts, are
# all that the model said.
struct Part {
  union {
    thought @0 :Text;          # a piece of what the model thinks
    toolCall @1 :ToolCall;     # a whole call
    malformedCall @2 :Text;    # what stands where a call should and is none, as the model wrote it
  }
}

# One generated token. Text comes in whole characters: it may be empty, and the text of a character that spans tokens comes
# with its last one. Text that may begin a stop string is held back until that is decided, and a tool call until it is whole.
struct Token {
  id @0 :UInt64;
  sequence @1 :UInt32;
  token @2 :UInt32;
  text @3 :Text;
  logprob @4 :Float32;         # with reportLogprobs
  alternatives @5 :List(Logprob);
  parts @6 :List(Part);
}

struct Finish {
  id @0 :UInt64;
  reason @1 :FinishReason;
  text @2 :Text;               # what was still held back
  usage @3 :Usage;
  timings @4 :Timings;
  parts @5 :List(Part);
}

struct Usage {
  promptTokens @0 :UInt32;
  generatedTokens @1 :UInt32;
  cachedTokens @2 :UInt32;     # of the prompt: read before for the same user or registered by the administrator, so not again
}

struct Timings {               # microseconds
  queued @0 :UInt64;           # from the engine's receipt of the request to its first step
  prompt @1 :UInt64;           # to the first token
  generate @2 :UInt64;         # from the first token to the last
}

struct Status {
  id @0 :UInt64;
  server @1 :Text;
  uptime @2 :UInt64;           # seconds
  engine @3 :Text;             # "running", "starting", "waiting" (to start it again), "stopped"
  engineStarts @4 :UInt32;
  connections @5 :UInt32;
  running @6 :UInt32;          # requests that have a place in the engine's batch
  waiting @7 :UInt32;
  requests @8 :List(RequestStatus);  # this peer's user alone, of a peer in a sandbox from there alone; at most 256
  cachePages @9 :UInt64;
  cachePagesFree @10 :UInt64;
  backend @11 :Text;
  # Since the engine's start:
  parked @12 :UInt64;          # steps that waited for a more urgent one
  evicted @13 :UInt64;         # requests that gave their place up; they go on later
  cachedTokens @14 :UInt64;    # of prompts: read before, so not again
  computedTokens @15 :UInt64;  # that went through the model
  # System prompts of the administrator that are kept for all users, and their tokens:
  registeredPrompts @16 :UInt32;
  registeredTokens @17 :UInt64;
}

struct RequestStatus {
  app @0 :Text;
  model @1 :Text;
  priority @2 :Priority;
  running @3 :Bool;
  promptTokens @4 :UInt32;
  generatedTokens @5 :UInt32;
  # Of one that waits, estimates of the moment:
  position @6 :UInt32;         # in its class, 1: the next; 0: not known, or it does not wait
  wait @7 :UInt32;             # milliseconds until its first step, at most a day; 0: none, or nothing is known
  sandbox @8 :Text;            # that the kernel says the app is in: "flatpak:ID", "snap:NAME", "unknown"; empty: none
}

struct Failed {
  id @0 :UInt64;               # 0: the connection
  code @1 :UInt16;             # facet/status.h
  message @2 :Text;
  retryAfter @3 :UInt32;       # of exhausted: milliseconds after which a new try may succeed, at most an hour; 0: not known
}
