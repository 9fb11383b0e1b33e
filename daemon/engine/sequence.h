// A sequence: one request in work, from its prompt's tokens to its last one.
//
// Pending   tokens that are known but not in the cache yet: the prompt at first, then the last generated
//           token. A step computes some or all of them; when none is left, the last one's logits give the
//           next token.
// Credit    how many more tokens the reader takes; with none left the sequence is paused.
// No thread, socket or tensor in here; time is handed in.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/base/result.h"
#include "daemon/engine/answer_text.h"
#include "daemon/engine/pages.h"
#include "daemon/model/model.h"
#include "daemon/sampling/sampler.h"
#include "sdk/protocol/messages.h"

namespace facet::engine {

class Sequence {
 public:
  // Checks and tokenises a request. `format`: that of the model's chats, or why it has none. `context`:
  // positions that a sequence may have. invalid_argument, malformed, too_large or unsupported, naming what is
  // wrong with the request. The model and the format outlive the sequence.
  static Result<Sequence> make(const protocol::Generate& request, const model::Model& model,
                               const Result<text::ChatFormat>& format, uint32_t context, Micros now);

  uint64_t id() const { return id_; }
  // The most positions it can come to hold.
  uint32_t positions() const { return limit_; }
  uint32_t prompt_tokens() const { return prompt_tokens_; }

  // Gives it its place in the cache, where its first `cached` tokens are already: it runs from here on.
  void start(std::unique_ptr<SequencePages> pages, uint32_t cached, Micros now);
  // Instead of what it has in the cache, a longer prefix of its tokens that was found just now.
  void reuse(const Prefix& prefix);
  // Keeps what it has in the cache of its first `most` tokens for other sequences of that user's key.
  void keep(uint64_t user, uint64_t key, uint32_t most = UINT32_MAX) const {
    pages_->keep(user, key, tokens_, std::min(most, cached_));
  }
  // The same for everyone, and for good.
  void keep_shared() const { pages_->keep_shared(tokens_, cached_); }
  // Takes its place away: all its tokens are pending again, and will give the same ones when it starts anew.
  void evict();
  bool started() const { return pages_ != nullptr; }
  SequencePages& pages() { return *pages_; }
  const SequencePages& pages() const { return *pages_; }

  uint32_t cached() const { return cached_; }
  uint32_t pending() const { return static_cast<uint32_t>(tokens_.size()) - cached_; }
  std::span<const text::Token> tokens() const { return tokens_; }  // of prompt and answer
  uint32_t token(uint32_t position) const { return static_cast<uint32_t>(tokens_[position]); }
  bool paused() const { return credit_bounded_ && credit_ == 0; }
  void grant(uint32_t tokens);

  // `rows` pending tokens are in the cache now.
  void advance(uint32_t rows);
  // Gives back the pages that no later row sees.
  void retire() { pages_->retire(cached_); }
  // Draws the next token from the logits of the last position. The event to send, if the token is part of the
  // answer; finished() may hold afterwards. Errors as Sampler::sample.
  Result<std::optional<protocol::Token>> sample(std::span<const float> logits, sampling::Workspace& workspace,
                                                Micros now);

  void cancel() { finish_ = protocol::FinishReason::kCancelled; }
  // Its deadline passed.
  void expire() { finish_ = protocol::FinishReason::kDeadline; }
  bool finished() const { return finish_.has_value(); }
  // The answer's end; once, when finished().
  protocol::Finish finish(Micros now);

 private:
  Sequence(const protocol::Generate& request, sampling::SamplingParams params, AnswerText answer, Micros now);

  uint64_t id_;
  sampling::Sampler sampler_;
  AnswerText answer_;
  bool ignore_end_;
  bool credit_bounded_;
  uint64_t credit_;

  std::vector<text::Token> tokens_;  // prompt and answer
  uint32_t prompt_tokens_ = 0;
  uint32_t limit_ = 0;  // tokens_ may grow to
  uint32_t cached_ = 0;
  uint32_t read_ = 0;   // tokens that were computed for it, again after it gave its place up
  uint32_t found_ = 0;  // tokens of the prompt that were in the cache when it began to read
  std::unique_ptr<SequencePages> pages_;
  std::optional<protocol::FinishReason> finish_;

  Micros arrived_;
  Micros started_ = 0;
  Micros first_token_ = 0;  // 0: none yet
};

}  // namespace facet::engine
