// facet-backend-reference: every op and every type in plain scalar code, on one thread, the caller's: submit
// returns when the slice is done. It is the oracle that other backends are tested against, and what runs
// where no other backend does. A run can be cut after every op. Weights are never copied.
#include <facet/backend.hpp>
#include <numeric>

#include "backends/reference/cache.h"
#include "backends/reference/memory_plan.h"
#include "backends/reference/ops.h"

namespace facet::reference {
namespace {

struct Model {
  explicit Model(plugin::Description description) : program(std::move(description)), plan(program) {}
  plugin::Description program;
  MemoryPlan plan;
};

class Context final : public plugin::Context {
 public:
  // `model` outlives the context.
  Context(const Model& model, uint32_t max_rows, uint32_t max_selected)
      : model_(model), scratch_(model.program), values_(model.program.values.size()) {
    for (const MemoryPlan::Slot& slot : model.plan.slots) {
      const uint64_t rows = slot.rows == FACET_ROWS_BATCH ? max_rows : max_selected;
      slots_.emplace_back(rows * slot.width);
    }
    for (size_t i = 0; i < values_.size(); ++i) values_[i] = slots_[model.plan.slot_of[i]].data();
  }

  void submit(uint64_t, plugin::Slice slice, plugin::Cache* cache) override {
    const Run run{model_.program, slice, static_cast<PagedCache*>(cache), values_, scratch_};
    if (slice.first_cut == 0) {
      for (const facet_input& input : slice.inputs) {
        const uint32_t value = model_.program.inputs[input.port].value;
        std::copy_n(input.data, size_t{run.rows(value)} * model_.program.values[value].width, values_[value]);
      }
    }
    for (uint32_t op = slice.first_cut; op < slice.last_cut; ++op) run_op(run, model_.program.ops[op]);
  }

  facet_status wait(uint64_t, int64_t) override { return FACET_OK; }

  void output_read(uint32_t port, uint32_t first, uint32_t rows, float* data) override {
    const uint32_t value = model_.program.outputs[port].value;
    const size_t width = model_.program.values[value].width;
    std::copy_n(values_[value] + first * width, rows * width, data);
  }

 private:
  const Model& model_;
  Scratch scratch_;
  std::vector<std::vector<float>> slots_;
  std::vector<float*> values_;  // into slots_
};

class Program final : public plugin::Program {
 public:
  explicit Program(plugin::Description description) : model_(std::move(description)) {}

  std::vector<uint32_t> cuts() const override {
    std::vector<uint32_t> cuts(model_.program.ops.size() + 1);
    std::iota(cuts.begin(), cuts.end(), 0u);
    return cuts;
  }
  uint64_t private_bytes() const override { return 0; }

  uint64_t context_bytes(uint32_t max_rows, uint32_t max_selected) const override {
    return model_.plan.bytes(max_rows, max_selected) + Scratch::bytes(model_.program);
  }
  std::unique_ptr<plugin::Context> create_context(uint32_t max_rows, uint32_t max_selected) override {
    return std::make_unique<Context>(model_, max_rows, max_selected);
  }

 private:
  Model model_;
};

class Device final : public plugin::Device {
 public:
  const char* numerics() const override { return "reference/1"; }
  bool caches(uint32_t) const override { return true; }

  std::unique_ptr<plugin::Program> create_program(plugin::Description description) override {
    return std::make_unique<Program>(std::move(description));
  }
  uint64_t cache_bytes(const plugin::Layout& layout, const std::vector<uint32_t>& pages) const override {
    return PagedCache::bytes(layout, pages);
  }
  std::unique_ptr<plugin::Cache> create_cache(const plugin::Layout& layout,
                                              const std::vector<uint32_t>& pages) override {
    return std::make_unique<PagedCache>(layout, pages);
  }
};

struct Backend {
  static constexpr const char* kName = "reference";
  static constexpr const char* kVersion = FACET_VERSION;

  static uint32_t device_count() { return 1; }
  static facet_device_info describe(uint32_t) {
    return {.size = sizeof(facet_device_info),
            .name = "cpu",
            .description = "plain scalar code, one thread",
            .memory_bytes = 0};
  }
  static std::unique_ptr<plugin::Device> open(uint32_t, const facet_device_options&, plugin::Log) {
    return std::make_unique<Device>();
  }
};

}  // namespace
}  // namespace facet::reference

FACET_BACKEND(facet::reference::Backend)
