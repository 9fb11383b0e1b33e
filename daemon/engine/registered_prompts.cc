#include "daemon/engine/registered_prompts.h"

#include "daemon/base/log.h"
#include "daemon/engine/chat_prompt.h"
#include "daemon/engine/prefix_cache.h"

namespace facet::engine {
namespace {

// The tokens of the whole pages that chats with it begin with.
Result<protocol::TokenIds> tokens_of(const link::RegisterPrompt& prompt, const model::Model& model,
                                     const Result<text::ChatFormat>& format, uint32_t context) {
  if (!format.ok()) return format.error();
  FACET_TRY(auto tokens, chat_beginning(prompt.system, prompt.thinking, *format, model.tokenizer()));
  const std::string count = std::to_string(tokens.size());
  if (tokens.size() >= context) {
    return Error{FACET_TOO_LARGE, count + " tokens leave no room in a context of " + std::to_string(context)};
  }
  tokens.resize(tokens.size() / model::kPagePositions * model::kPagePositions);
  if (tokens.empty()) {
    return Error{FACET_INVALID_ARGUMENT,
                 "its " + count + " tokens are less than a page of " + std::to_string(model::kPagePositions)};
  }
  return protocol::TokenIds(tokens.begin(), tokens.end());
}

}  // namespace

Result<PromptPlan> plan_prompts(std::span<const link::RegisterPrompt> registered, const model::Model& model,
                                const Result<text::ChatFormat>& format, facet_type type, CacheNeeds needs) {
  const std::vector<uint32_t>& windows = model.windows();
  PromptPlan plan;
  plan.set_aside.resize(windows.size());
  FACET_TRY(plan.pages, plan_pages(model.program(), windows, type, needs));

  const auto add = [&](const link::RegisterPrompt& prompt) -> Result<void> {
    FACET_TRY(auto tokens, tokens_of(prompt, model, format, needs.positions));
    const auto blocks = static_cast<uint32_t>(tokens.size() / model::kPagePositions);
    needs.set_aside = plan.set_aside;
    for (uint32_t group = 0; group < windows.size(); ++group) {
      needs.set_aside[group] += shared_pages(windows[group], blocks);
    }
    FACET_TRY(plan.pages, plan_pages(model.program(), windows, type, needs));
    plan.set_aside = needs.set_aside;
    plan.prompts.push_back({prompt.name, std::move(tokens)});
    return {};
  };
  for (const link::RegisterPrompt& prompt : registered) {
    if (const auto added = add(prompt); !added.ok()) {
      log::warning("prompt " + prompt.name + ": left out of model " + prompt.model + ": " +
                   added.error().message);
    }
  }
  return plan;
}

}  // namespace facet::engine
