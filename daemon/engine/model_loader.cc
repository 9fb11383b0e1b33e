#include "daemon/engine/model_loader.h"

#include <new>

namespace facet::engine {

ModelLoader::ModelLoader(plugins::Device& device, const EngineOptions& options, Engine::Sink sink, Done done)
    : device_(device), options_(options), sink_(std::move(sink)), done_(std::move(done)), thread_([this] {
        work();
      }) {}

ModelLoader::~ModelLoader() {
  stopping_ = true;
  jobs_.post({});  // wakes the thread
  thread_.join();
}

void ModelLoader::load(std::string path, std::vector<link::RegisterPrompt> prompts) {
  jobs_.post(Job{std::move(path), std::move(prompts)});
}

void ModelLoader::work() {
  for (;;) {
    for (const Job& job : jobs_.wait()) {
      if (stopping_) return;
      std::packaged_task<Result<std::unique_ptr<ServedModel>>()> task(
          [&]() -> Result<std::unique_ptr<ServedModel>> {
            try {
              return ServedModel::load(device_, job.path, job.prompts, options_, sink_);
            } catch (const std::bad_alloc&) {
              return Error{FACET_EXHAUSTED, job.path + ": there is no memory to load it"};
            }
          });
      task();
      done_(task.get_future());
    }
  }
}

}  // namespace facet::engine
