#include "daemon/engine/sequence.h"

#include <algorithm>

namespace facet::engine {
namespace {

sampling::SamplingParams params_of(const protocol::Sampling& s) {
  return {.temperature = s.temperature,
          .top_k = s.top_k,
          .top_p = s.top_p,
          .min_p = s.min_p,
          .repeat_penalty = s.repeat_penalty,
          .repeat_last_n = s.repeat_last_n,
          .presence_penalty = s.presence_penalty,
          .frequency_penalty = s.frequency_penalty,
          .logit_bias = s.logit_bias,
          .seed = s.seed,
          .logprobs = s.logprobs,
          .report_logprobs = s.report_logprobs};
}

Error no_room(const std::string& tokens, uint32_t context) {
  return {FACET_TOO_LARGE,
          "prompt: " + tokens + " tokens leave no room in a context of " + std::to_string(context)};
}

Result<std::vector<text::Token>> encode(std::string_view text, bool special, const text::Tokenizer& tokenizer,
                                        uint32_t context) {
  // What cannot fit is not encoded: that may take a second.
  const size_t fewest = tokenizer.fewest_tokens(text.size());
  if (fewest >= context) return no_room(std::to_string(fewest) + " or more", context);
  return tokenizer.encode(text, {.special = special, .bos = tokenizer.vocabulary().add_bos()});
}

Result<std::vector<text::Token>> prompt_tokens_of(const protocol::Generate& request,
                                                  const text::Tokenizer& tokenizer, uint32_t context) {
  const text::Vocabulary& vocabulary = tokenizer.vocabulary();
  if (const auto* text = std::get_if<std::string>(&request.prompt)) {
    return encode(*text, request.parse_special, tokenizer, context);
  }
  if (std::holds_alternative<protocol::Chat>(request.prompt)) {
    return Error{FACET_UNSUPPORTED, "prompt: the engine takes no chats"};
  }
  std::vector<text::Token> tokens;
  for (uint32_t id : std::get<protocol::TokenIds>(request.prompt)) {
    if (id >= vocabulary.size()) {
      return Error{FACET_INVALID_ARGUMENT, "prompt: token " + std::to_string(id) +
                                               " is not in the vocabulary of " +
                                               std::to_string(vocabulary.size())};
    }
    tokens.push_back(static_cast<text::Token>(id));
  }
  return tokens;
}

}  // namespace

Result<Sequence> Sequence::make(const protocol::Generate& request, const model::Model& model,
                                uint32_t context, Micros now) {
  FACET_CHECK(params_of(request.sampling).validate(model.config().vocabulary));
  FACET_TRY(text::StopMatcher stops, text::StopMatcher::create(request.stop));
  FACET_TRY(std::vector<text::Token> tokens, prompt_tokens_of(request, model.tokenizer(), context));
  if (tokens.empty()) return Error{FACET_INVALID_ARGUMENT, "prompt: has no tokens"};
  if (tokens.size() >= context) return no_room(std::to_string(tokens.size()), context);
  Sequence sequence(request, model, std::move(stops), now);
  sequence.prompt_tokens_ = static_cast<uint32_t>(tokens.size());
  const uint32_t room = context - sequence.prompt_tokens_;
  sequence.limit_ =
      sequence.prompt_tokens_ + (request.max_tokens == 0 ? room : std::min(room, request.max_tokens));
  for (text::Token token : tokens) sequence.sampler_.accept(static_cast<uint32_t>(token));
  sequence.tokens_ = std::move(tokens);
  return sequence;
}

Sequence::Sequence(const protocol::Generate& request, const model::Model& model, text::StopMatcher stops,
                   Micros now)
    : id_(request.id),
      model_(&model),
      sampler_(params_of(request.sampling)),
      stops_(std::move(stops)),
      ignore_end_(request.ignore_end),
      credit_bounded_(request.credit != 0),
      credit_(request.credit),
      arrived_(now) {}

void Sequence::start(std::unique_ptr<SequencePages> pages, Micros now) {
  pages_ = std::move(pages);
  started_ = now;
}

void Sequence::grant(uint32_t tokens) {
  credit_ += tokens;
}

void Sequence::advance(uint32_t rows) {
  cached_ += rows;
  pages_->retire(cached_);
}

Result<std::optional<protocol::Token>> Sequence::sample(std::span<const float> logits,
                                                        sampling::Workspace& workspace, Micros now) {
  const uint32_t position = static_cast<uint32_t>(tokens_.size());
  FACET_TRY(sampling::Sample sample, sampler_.sample(logits, position, workspace));
  if (first_token_ == 0) first_token_ = now;
  const text::Token token = static_cast<text::Token>(sample.token);
  if (!ignore_end_ && model_->tokenizer().vocabulary().ends_generation(token)) {
    finish_ = protocol::FinishReason::kStop;
    return std::optional<protocol::Token>();
  }
  sampler_.accept(sample.token);
  tokens_.push_back(token);
  if (credit_bounded_) --credit_;

  protocol::Token event;
  event.id = id_;
  event.sequence = position - prompt_tokens_;
  event.token = sample.token;
  event.text = show(token);
  event.logprob = sample.logprob;
  for (const sampling::Logprob& other : sample.top)
    event.alternatives.push_back({other.token, other.logprob});
  if (!finish_ && tokens_.size() == limit_) finish_ = protocol::FinishReason::kLength;
  return std::optional(std::move(event));
}

std::string Sequence::show(text::Token token) {
  std::string bytes;
  model_->tokenizer().append_bytes(token, false, bytes);
  std::string shown;
  utf8_.push(bytes, shown);
  std::string released;
  if (stops_.push(shown, released)) finish_ = protocol::FinishReason::kStop;
  return released;
}

protocol::Finish Sequence::finish(Micros now) {
  protocol::Finish finish;
  finish.id = id_;
  finish.reason = *finish_;
  if (!stops_.matched()) {
    std::string shown;
    utf8_.finish(shown);
    if (!stops_.push(shown, finish.text)) stops_.finish(finish.text);
  }
  const uint32_t generated = static_cast<uint32_t>(tokens_.size()) - prompt_tokens_;
  finish.usage = {prompt_tokens_, generated};
  auto span = [](Micros from, Micros to) { return static_cast<uint64_t>(std::max<Micros>(to - from, 0)); };
  finish.timings.queued = span(arrived_, started_ == 0 ? now : started_);
  if (started_ != 0) finish.timings.prompt = span(started_, first_token_ == 0 ? now : first_token_);
  if (first_token_ != 0) finish.timings.generate = span(first_token_, now);
  return finish;
}

}  // namespace facet::engine
