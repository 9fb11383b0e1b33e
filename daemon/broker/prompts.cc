#include "daemon/broker/prompts.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "daemon/base/log.h"
#include "daemon/link/messages.h"
#include "sdk/protocol/utf8.h"

namespace facet::broker {
namespace {

// At most one byte more than a text may have.
Result<std::string> text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return Error{FACET_NOT_FOUND, "system_file: cannot open " + path + ": " + std::strerror(errno)};
  }
  std::string text(link::kMaxSystemBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return Error{FACET_IO, "system_file: cannot read " + path};
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

}  // namespace

Result<void> complete(Prompt& prompt) {
  if (prompt.system.empty() == prompt.system_file.empty()) {
    return Error{FACET_INVALID_ARGUMENT, "takes one of system and system_file"};
  }
  const std::string setting = prompt.system.empty() ? "system_file" : "system";
  if (prompt.system.empty()) {
    FACET_TRY(prompt.system, text_of(prompt.system_file));
  }
  if (prompt.system.size() > link::kMaxSystemBytes) {
    return Error{FACET_TOO_LARGE,
                 setting + ": has more than " + std::to_string(link::kMaxSystemBytes) + " bytes"};
  }
  const size_t last = prompt.system.find_last_not_of("\r\n");
  prompt.system.resize(last == std::string::npos ? 0 : last + 1);
  if (prompt.system.empty()) return Error{FACET_INVALID_ARGUMENT, setting + ": has no text"};
  if (!protocol::is_utf8(prompt.system)) return Error{FACET_INVALID_ARGUMENT, setting + ": is not UTF-8"};
  return {};
}

void Prompts::engine_ready() {
  waiting_.clear();
  for (const Prompt& prompt : prompts_) {
    if (const auto model = models_.find(prompt.model)) {
      send(prompt, model->name, model->path);
    } else {
      log::warning("prompt " + prompt.name + ": " + model.error().message);
      waiting_.push_back(&prompt);
    }
  }
}

void Prompts::before_start(const std::string& model, const std::string& path) {
  std::erase_if(waiting_, [&](const Prompt* prompt) {
    const auto is_default = [&] {
      const auto found = models_.find("");
      return found && found->name == model;
    };
    if (prompt->model.empty() ? !is_default() : prompt->model != model) return false;
    send(*prompt, model, path);
    return true;
  });
}

void Prompts::send(const Prompt& prompt, const std::string& model, const std::string& path) {
  if (!engine_.ready()) return;
  const link::RegisterPrompt message{prompt.name, model, path, prompt.system, prompt.thinking};
  if (const auto sent = engine_.send(message); !sent) {
    log::warning("prompt " + prompt.name + ": " + sent.error().message);
  }
}

}  // namespace facet::broker
