#include "daemon/engine/sequence.h"

#include <algorithm>
#include <limits>

#include "daemon/engine/chat_prompt.h"

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

// Bans what the vocabulary suppresses, whatever bias the client gave it.
void ban_suppressed(const text::Vocabulary& vocabulary, sampling::SamplingParams& params) {
  const auto suppressed = vocabulary.suppressed();
  std::erase_if(params.logit_bias, [&](const auto& bias) {
    return std::binary_search(suppressed.begin(), suppressed.end(), static_cast<text::Token>(bias.first));
  });
  for (text::Token token : suppressed) {
    params.logit_bias.emplace_back(static_cast<uint32_t>(token), -std::numeric_limits<float>::infinity());
  }
}

Error no_room(const std::string& tokens, uint32_t context) {
  return {FACET_TOO_LARGE,
          "prompt: " + tokens + " tokens leave no room in a context of " + std::to_string(context)};
}

// What cannot fit is not encoded: that may take a second.
Result<void> check_bytes(size_t bytes, const text::Tokenizer& tokenizer, uint32_t context) {
  const size_t fewest = tokenizer.fewest_tokens(bytes);
  if (fewest >= context) return no_room(std::to_string(fewest) + " or more", context);
  return {};
}

// Not that of thoughts and calls, which a format may leave out.
size_t visible_bytes(const protocol::Chat& chat) {
  size_t bytes = 0;
  for (const auto& message : chat.messages) {
    for (const auto& part : message.content) bytes += part.text.size();
  }
  return bytes;
}

Result<std::vector<text::Token>> prompt_tokens_of(const protocol::TokenIds& ids,
                                                  const text::Vocabulary& vocabulary) {
  std::vector<text::Token> tokens;
  for (uint32_t id : ids) {
    if (id >= vocabulary.size()) {
      return Error{FACET_INVALID_ARGUMENT, "prompt: token " + std::to_string(id) +
                                               " is not in the vocabulary of " +
                                               std::to_string(vocabulary.size())};
    }
    tokens.push_back(static_cast<text::Token>(id));
  }
  return tokens;
}

Result<std::vector<text::Token>> prompt_tokens_of(const protocol::Generate& request,
                                                  const text::Tokenizer& tokenizer,
                                                  const Result<text::ChatFormat>& format, uint32_t context) {
  if (const auto* text = std::get_if<std::string>(&request.prompt)) {
    FACET_CHECK(check_bytes(text->size(), tokenizer, context));
    return tokenizer.encode(*text,
                            {.special = request.parse_special, .bos = tokenizer.vocabulary().add_bos()});
  }
  if (const auto* ids = std::get_if<protocol::TokenIds>(&request.prompt)) {
    return prompt_tokens_of(*ids, tokenizer.vocabulary());
  }
  if (!format.ok()) return format.error();
  const auto& messages = std::get<protocol::Chat>(request.prompt);
  FACET_CHECK(check_bytes(visible_bytes(messages), tokenizer, context));  // nor written out
  FACET_TRY(const text::MarkedText chat, chat_text(messages, *format));
  FACET_CHECK(check_bytes(chat.text().size(), tokenizer, context));
  return format->encode(tokenizer, chat);
}

size_t calls_in(const protocol::Chat& chat) {
  size_t calls = 0;
  for (const auto& message : chat.messages) calls += message.tool_calls.size();
  return calls;
}

}  // namespace

Result<Sequence> Sequence::make(const protocol::Generate& request, const model::Model& model,
                                const Result<text::ChatFormat>& format, uint32_t context, Micros now) {
  sampling::SamplingParams params = params_of(request.sampling);
  FACET_CHECK(params.validate(model.config().vocabulary));
  ban_suppressed(model.tokenizer().vocabulary(), params);
  FACET_TRY(text::StopMatcher stops, text::StopMatcher::create(request.stop));
  FACET_TRY(std::vector<text::Token> tokens, prompt_tokens_of(request, model.tokenizer(), format, context));
  if (tokens.empty()) return Error{FACET_INVALID_ARGUMENT, "prompt: has no tokens"};
  if (tokens.size() >= context) return no_room(std::to_string(tokens.size()), context);
  AnswerText answer(model.tokenizer(), std::move(stops));
  if (const auto* chat = std::get_if<protocol::Chat>(&request.prompt)) {
    answer.read_chat(*format, calls_in(*chat));
  }
  Sequence sequence(request, std::move(params), std::move(answer), now);
  sequence.prompt_tokens_ = static_cast<uint32_t>(tokens.size());
  const uint32_t room = context - sequence.prompt_tokens_;
  sequence.limit_ =
      sequence.prompt_tokens_ + (request.max_tokens == 0 ? room : std::min(room, request.max_tokens));
  for (text::Token token : tokens) sequence.sampler_.accept(static_cast<uint32_t>(token));
  sequence.tokens_ = std::move(tokens);
  return sequence;
}

Sequence::Sequence(const protocol::Generate& request, sampling::SamplingParams params, AnswerText answer,
                   Micros now)
    : id_(request.id),
      sampler_(std::move(params)),
      answer_(std::move(answer)),
      ignore_end_(request.ignore_end),
      credit_bounded_(request.credit != 0),
      credit_(request.credit),
      arrived_(now) {}

void Sequence::start(std::unique_ptr<SequencePages> pages, uint32_t cached, Micros now) {
  pages_ = std::move(pages);
  cached_ = cached;
  if (read_ == 0) found_ = cached;
  if (started_ == 0) started_ = now;
}

void Sequence::reuse(const Prefix& prefix) {
  pages_->exchange(prefix);
  cached_ = prefix.blocks * model::kPagePositions;
  if (read_ == 0) found_ = cached_;
}

void Sequence::evict() {
  pages_.reset();
  cached_ = 0;
}

void Sequence::grant(uint32_t tokens) {
  credit_ += tokens;
}

void Sequence::advance(uint32_t rows) {
  cached_ += rows;
  read_ += rows;
}

Result<std::optional<protocol::Token>> Sequence::sample(std::span<const float> logits,
                                                        sampling::Workspace& workspace, Micros now) {
  const uint32_t position = static_cast<uint32_t>(tokens_.size());
  FACET_TRY(sampling::Sample sample, sampler_.sample(logits, position, workspace));
  if (first_token_ == 0) first_token_ = now;
  const text::Token token = static_cast<text::Token>(sample.token);
  if (!ignore_end_ && answer_.ends(token)) {
    finish_ = answer_.called_tools() ? protocol::FinishReason::kToolCalls : protocol::FinishReason::kStop;
    return std::optional<protocol::Token>();
  }
  sampler_.accept(sample.token);
  tokens_.push_back(token);
  if (credit_bounded_) --credit_;

  protocol::Token event;
  event.id = id_;
  event.sequence = position - prompt_tokens_;
  event.token = sample.token;
  AnswerText::Shown shown = answer_.push(token);
  event.text = std::move(shown.text);
  event.parts = std::move(shown.parts);
  event.logprob = sample.logprob;
  for (const sampling::Logprob& other : sample.top)
    event.alternatives.push_back({other.token, other.logprob});
  if (answer_.stopped()) {
    finish_ = protocol::FinishReason::kStop;
  } else if (tokens_.size() == limit_) {
    finish_ = protocol::FinishReason::kLength;
  }
  return std::optional(std::move(event));
}

protocol::Finish Sequence::finish(Micros now) {
  protocol::Finish finish;
  finish.id = id_;
  finish.reason = *finish_;
  AnswerText::Shown rest = answer_.finish();
  finish.text = std::move(rest.text);
  finish.parts = std::move(rest.parts);
  const uint32_t generated = static_cast<uint32_t>(tokens_.size()) - prompt_tokens_;
  finish.usage = {prompt_tokens_, generated, found_};
  auto span = [](Micros from, Micros to) { return static_cast<uint64_t>(std::max<Micros>(to - from, 0)); };
  finish.timings.queued = span(arrived_, started_ == 0 ? now : started_);
  if (started_ != 0) finish.timings.prompt = span(started_, first_token_ == 0 ? now : first_token_);
  if (first_token_ != 0) finish.timings.generate = span(first_token_, now);
  return finish;
}

}  // namespace facet::engine
