@0xe2b7c4915a0d3f68;
# What broker and engine say to each other. Private: both ends are of the same release, and `hello` refuses another's.
#
# The framing is that of the public protocol. The broker speaks first; the engine answers with its own `hello`. The broker's
# ids are unique over all its clients and never used twice on one link. Every `start` is answered as a `generate` is:
# by tokens and one `finish`, or one `failed`.

using Wire = import "/sdk/protocol/facet.capnp";
using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("facet::link::wire");

struct ToEngine {
  union {
    hello @0 :BrokerHello;
    start @1 :Start;
    cancel @2 :Wire.Cancel;
    credit @3 :Wire.Credit;
    getPositions @4 :GetPositions;
    registerPrompt @5 :RegisterPrompt;
  }
}

struct FromEngine {
  union {
    hello @0 :EngineHello;
    modelChanged @1 :Wire.Model;
    started @2 :Started;
    token @3 :Wire.Token;
    finish @4 :Wire.Finish;
    failed @5 :Wire.Failed;
    load @6 :Load;
    positions @7 :Positions;
  }
}

struct BrokerHello {
  version @0 :UInt32;
  settings @1 :List(Text);  # of the engine, each "name=value"
}

struct EngineHello {
  version @0 :UInt32;
  engine @1 :Text;
  backend @2 :Text;
  numerics @3 :Text;
}

struct Start {
  path @0 :Text;
  request @1 :Wire.Generate;
  user @2 :UInt64;
  app @3 :Text;
  weight @4 :Float64 = 1;   # of the user's share
  reader @6 :UInt64;        # what was read before for the same one is not read again
  deadline @5 :Int64;       # microseconds of the machine's monotonic clock; 0: none
}

# Before the first `start` of its model; not answered.
struct RegisterPrompt {
  name @0 :Text;
  model @1 :Text;
  path @2 :Text;
  system @3 :Text;          # at most 1 MiB
  thinking @4 :Bool;
}

# Answered by one `positions`, of those among them that wait. The broker has one question open at most.
struct GetPositions {
  ids @0 :List(UInt64);     # at most 256
}

struct Positions {
  requests @0 :List(Position);
}

struct Position {
  id @0 :UInt64;
  position @1 :UInt32;      # in its class, 1: the next
  wait @2 :UInt32;          # milliseconds until its first step, an estimate
}

struct Started {
  id @0 :UInt64;
  promptTokens @1 :UInt32;
}

struct Load {
  running @0 :UInt32;
  waiting @1 :UInt32;
  cachePages @2 :UInt64;
  cachePagesFree @3 :UInt64;
  parked @4 :UInt64;        # since the engine's start
  evicted @5 :UInt64;
  cachedTokens @6 :UInt64;
  computedTokens @7 :UInt64;
  registeredPrompts @8 :UInt32;  # that are read and kept
  registeredTokens @9 :UInt64;   # of them
}
