// System prompts that the administrator registered, as one model keeps them for everyone.
//
// What is kept of a prompt is what chats with it begin with (chat_beginning), in whole pages. The pages are
// set aside when the model is loaded: what sequences need is planned beside them.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/engine/cache_plan.h"
#include "daemon/link/messages.h"
#include "daemon/model/model.h"
#include "daemon/text/chat_format.h"

namespace facet::engine {

struct RegisteredPrompt {
  std::string name;
  protocol::TokenIds tokens;  // whole pages of them, at least one
};

struct PromptPlan {
  std::vector<uint32_t> pages;      // per group of the cache
  std::vector<uint32_t> set_aside;  // of them
  std::vector<RegisteredPrompt> prompts;
};

// Plans the model's cache (plan_pages) with those of the prompts, in their order, beside which a sequence of
// full length has room. One that cannot be kept is logged by its name. `format`: that of the model's chats,
// or why it has none. Errors: those of plan_pages() without a prompt.
Result<PromptPlan> plan_prompts(std::span<const link::RegisterPrompt> registered, const model::Model& model,
                                const Result<text::ChatFormat>& format, facet_type type, CacheNeeds needs);

}  // namespace facet::engine
