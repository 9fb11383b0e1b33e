#include "tests/engine/held_backend.h"

#include <dlfcn.h>
#include <facet/backend.h>

#include <cstdio>

#define FACET_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

const facet_backend* reference = nullptr;

facet_status create_program(facet_device* device, const facet_program_desc* desc, facet_program** program,
                            facet_error* error) {
  facet::test::Gate& gate = *facet_test_gate();
  gate.reached.release();
  gate.open.acquire();
  if (!gate.fails) return reference->program_create(device, desc, program, error);
  std::snprintf(error->message, sizeof error->message, "the gate says no");
  return FACET_EXHAUSTED;
}

facet_status submit(facet_context* context, const facet_submit* slice, uint64_t* fence, facet_error* error) {
  facet::test::Gate& gate = *facet_test_gate();
  ++gate.slices;
  if (gate.holds_slices) {
    gate.slice_reached.release();
    gate.slice_open.acquire();
  }
  return reference->submit(context, slice, fence, error);
}

}  // namespace

FACET_EXPORT facet::test::Gate* facet_test_gate() {
  static facet::test::Gate gate;
  return &gate;
}

FACET_EXPORT const facet_backend* facet_backend_entry(const facet_host* host, uint32_t abi_min,
                                                      uint32_t abi_max) {
  void* library = dlopen(FACET_REFERENCE, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return nullptr;
  const auto entry = reinterpret_cast<facet_backend_entry_fn>(dlsym(library, "facet_backend_entry"));
  reference = entry(host, abi_min, abi_max);
  static facet_backend table = *reference;
  table.name = "held";
  table.program_create = create_program;
  table.submit = submit;
  return &table;
}
