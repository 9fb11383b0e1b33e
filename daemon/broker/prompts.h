// The system prompts that the administrator registers: the engine keeps what chats with them begin with read,
// for all users.
#pragma once

#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/broker/engine_link.h"
#include "daemon/broker/models.h"

namespace facet::broker {

struct Prompt {
  std::string name;
  std::string model;        // empty: the default
  std::string system;       // the system message's text
  std::string system_file;  // where that stands, instead
  bool thinking = false;    // of chats in which the model may think
};

constexpr size_t kMaxPrompts = 64;

// Takes over the text of the prompt's file. Line breaks at the end of a text are no part of it.
// invalid_argument, too_large, not_found or io, naming the setting.
Result<void> complete(Prompt& prompt);

class Prompts {
 public:
  Prompts(std::vector<Prompt> prompts, Models& models, EngineLink& engine)
      : prompts_(std::move(prompts)), models_(models), engine_(engine) {}

  // Sends all to a new engine; one whose model is not on offer is logged and waits for it.
  void engine_ready();
  // A request for that model is about to be sent, by this path: its prompts go before it.
  void before_start(const std::string& model, const std::string& path);

 private:
  void send(const Prompt& prompt, const std::string& model, const std::string& path);

  std::vector<Prompt> prompts_;
  Models& models_;
  EngineLink& engine_;
  std::vector<const Prompt*> waiting_;  // for a model that was not there
};

}  // namespace facet::broker
