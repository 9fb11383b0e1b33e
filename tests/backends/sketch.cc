#include "tests/backends/sketch.h"

#include <facet/blocks.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "plugins/host/discovery.h"

namespace facet::test {
namespace {

// Where the float16 scales and minimums of a block lie; -1: none.
struct Scales {
  int first, second;
};
Scales scales_of(uint32_t type) {
  switch (type) {
    case FACET_TYPE_Q4_1:
    case FACET_TYPE_Q5_1:
    case FACET_TYPE_Q4_K:
    case FACET_TYPE_Q5_K:
      return {0, 2};
    case FACET_TYPE_Q2_K:
      return {offsetof(facet_block_q2_k, d), offsetof(facet_block_q2_k, dmin)};
    case FACET_TYPE_Q3_K:
      return {offsetof(facet_block_q3_k, d), -1};
    case FACET_TYPE_Q6_K:
      return {offsetof(facet_block_q6_k, d), -1};
  }
  return {0, -1};
}

// What a scale of 1 makes the largest element.
float largest_of(uint32_t type) {
  switch (type) {
    case FACET_TYPE_Q4_0:
    case FACET_TYPE_Q4_1:
      return 8;
    case FACET_TYPE_Q5_0:
    case FACET_TYPE_Q5_1:
      return 16;
    case FACET_TYPE_Q2_K:
      return 3 * 15;
    case FACET_TYPE_Q3_K:
      return 4 * 32;
    case FACET_TYPE_Q4_K:
      return 15 * 63;
    case FACET_TYPE_Q5_K:
      return 31 * 63;
    case FACET_TYPE_Q6_K:
    case FACET_TYPE_IQ4_XS:
      return 32 * 128;
  }
  return 128;
}

template <typename T>
T sized() {
  T made{};
  made.size = sizeof made;
  return made;
}

plugins::Device open_under_test() {
  return need(plugins::open_device(backend_under_test(), 2));
}

}  // namespace

const std::vector<uint32_t> kTypes = {FACET_TYPE_F32,    FACET_TYPE_F16,    FACET_TYPE_Q4_0, FACET_TYPE_Q4_1,
                                      FACET_TYPE_Q5_0,   FACET_TYPE_Q5_1,   FACET_TYPE_Q8_0, FACET_TYPE_Q2_K,
                                      FACET_TYPE_Q3_K,   FACET_TYPE_Q4_K,   FACET_TYPE_Q5_K, FACET_TYPE_Q6_K,
                                      FACET_TYPE_IQ4_NL, FACET_TYPE_IQ4_XS, FACET_TYPE_BF16};

std::string backend_under_test() {
  const char* name = std::getenv("FACET_TEST_BACKEND");
  if (name == nullptr) throw std::runtime_error("FACET_TEST_BACKEND names no backend");
  return name;
}

double tolerance(uint32_t weight_type) {
  if (backend_under_test() == "reference") return 1e-6;
  return facet_block_size_of(weight_type).elements == 1 ? 2e-5 : 1e-2;
}

float Random::uniform(float low, float high) {
  return low + (high - low) * static_cast<float>(engine_() >> 8) * 0x1p-24f;
}

std::vector<float> Random::floats(size_t count, float low, float high) {
  std::vector<float> made(count);
  for (float& value : made) value = uniform(low, high);
  return made;
}

std::vector<std::byte> random_blocks(uint32_t type, uint64_t elements, Random& random) {
  std::vector<std::byte> bytes(facet_row_bytes(type, elements));
  const facet_block_size block = facet_block_size_of(type);
  if (block.elements == 1) {
    for (uint64_t i = 0; i < elements; ++i) {
      const float value = random.uniform(-1, 1);
      const uint16_t half = type == FACET_TYPE_F16 ? facet_f32_to_f16(value) : facet_f32_to_bf16(value);
      if (type == FACET_TYPE_F32) {
        std::memcpy(&bytes[4 * i], &value, 4);
      } else {
        std::memcpy(&bytes[2 * i], &half, 2);
      }
    }
    return bytes;
  }
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.below(256));
  const Scales scales = scales_of(type);
  for (size_t at = 0; at < bytes.size(); at += block.bytes) {
    for (int offset : {scales.first, scales.second}) {
      if (offset < 0) continue;
      const uint16_t scale = facet_f32_to_f16(random.uniform(0.3f, 1) / largest_of(type));
      std::memcpy(&bytes[at + static_cast<size_t>(offset)], &scale, 2);
    }
  }
  return bytes;
}

uint32_t Sketch::add_weight(uint32_t type, Dims dims, std::vector<std::byte> bytes) {
  auto* memory = static_cast<std::byte*>(::operator new[](bytes.size(), std::align_val_t(32)));
  std::memcpy(memory, bytes.data(), bytes.size());
  memory_.emplace_back(memory);
  facet_weight weight = sized<facet_weight>();
  weight.name = keep("weight." + std::to_string(weights.size()));
  weight.type = type;
  weight.access = FACET_ACCESS_DENSE;
  for (size_t i = 0; i < dims.size(); ++i) weight.dims[i] = std::max<uint64_t>(dims[i], 1);
  weight.dims[3] = 1;
  weight.data = memory;
  weight.bytes = bytes.size();
  weights.push_back(weight);
  return static_cast<uint32_t>(weights.size() - 1);
}

uint32_t Sketch::weight(uint32_t type, Dims dims, Random& random) {
  return add_weight(
      type, dims,
      random_blocks(type, dims[0] * std::max<uint64_t>(dims[1], 1) * std::max<uint64_t>(dims[2], 1), random));
}

uint32_t Sketch::weight_f32(Dims dims, const std::vector<float>& data) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data.data());
  return add_weight(FACET_TYPE_F32, dims, {bytes, bytes + data.size() * sizeof(float)});
}

uint32_t Sketch::value(uint32_t width, uint32_t rows) {
  facet_value value = sized<facet_value>();
  value.rows = rows;
  value.width = width;
  values.push_back(value);
  return static_cast<uint32_t>(values.size() - 1);
}

uint32_t Sketch::input(const std::string& name, uint32_t width) {
  facet_port port = sized<facet_port>();
  port.name = keep(name);
  port.value = value(width);
  inputs.push_back(port);
  return port.value;
}

void Sketch::output(const std::string& name, uint32_t value) {
  facet_port port = sized<facet_port>();
  port.name = keep(name);
  port.value = value;
  outputs.push_back(port);
}

uint32_t Sketch::group(uint32_t page_positions) {
  facet_cache_group group = sized<facet_cache_group>();
  group.page_positions = page_positions;
  groups.push_back(group);
  return static_cast<uint32_t>(groups.size() - 1);
}

uint32_t Sketch::layer(uint32_t group, uint32_t kv_heads, uint32_t key_dim, uint32_t value_dim) {
  facet_cache_layer layer = sized<facet_cache_layer>();
  layer.group = group;
  layer.kv_heads = kv_heads;
  layer.key_dim = key_dim;
  layer.value_dim = value_dim;
  layers.push_back(layer);
  return static_cast<uint32_t>(layers.size() - 1);
}

facet_op& Sketch::op(uint32_t kind, std::vector<uint32_t> op_inputs, std::vector<uint32_t> op_weights,
                     uint32_t output) {
  facet_op op = sized<facet_op>();
  op.kind = kind;
  std::fill(std::begin(op.inputs), std::end(op.inputs), FACET_NONE);
  std::fill(std::begin(op.weights), std::end(op.weights), FACET_NONE);
  std::copy(op_inputs.begin(), op_inputs.end(), op.inputs);
  std::copy(op_weights.begin(), op_weights.end(), op.weights);
  op.output = output;
  return ops.emplace_back(op);
}

facet_program_desc Sketch::desc() {
  layout_ = sized<facet_cache_layout>();
  layout_.type = cache_type;
  layout_.group_count = static_cast<uint32_t>(groups.size());
  layout_.layer_count = static_cast<uint32_t>(layers.size());
  layout_.groups = groups.data();
  layout_.layers = layers.data();
  facet_program_desc desc = sized<facet_program_desc>();
  desc.weight_count = static_cast<uint32_t>(weights.size());
  desc.value_count = static_cast<uint32_t>(values.size());
  desc.op_count = static_cast<uint32_t>(ops.size());
  desc.input_count = static_cast<uint32_t>(inputs.size());
  desc.output_count = static_cast<uint32_t>(outputs.size());
  desc.weights = weights.data();
  desc.values = values.data();
  desc.ops = ops.data();
  desc.inputs = inputs.data();
  desc.outputs = outputs.data();
  desc.cache = layers.empty() ? nullptr : &layout_;
  return desc;
}

std::vector<float> Sketch::decoded(uint32_t index) const {
  const facet_weight& weight = weights[index];
  std::vector<float> rows(weight.dims[0] * weight.dims[1] * weight.dims[2]);
  facet_decode_row(weight.type, weight.data, rows.size(), rows.data());
  return rows;
}

Submit::Submit(const Batch& batch, facet_cache* cache) {
  for (const Batch::Row& row : batch.rows) {
    tokens.push_back(row.token);
    positions.push_back(row.position);
    last_visible.push_back(row.last_visible < 0 ? row.position : row.last_visible);
    sequences.push_back(row.sequence);
    flags.push_back(row.live ? FACET_ROW_LIVE : 0);
  }
  rows = sized<facet_rows>();
  rows.count = static_cast<uint32_t>(batch.rows.size());
  rows.tokens = tokens.data();
  rows.embeddings = batch.embeddings.empty() ? nullptr : batch.embeddings.data();
  rows.positions = positions.data();
  rows.last_visible = last_visible.data();
  rows.sequences = sequences.data();
  rows.flags = flags.data();
  rows.selected_count = static_cast<uint32_t>(batch.selected.size());
  rows.selected = batch.selected.data();

  for (const Pages& pages : batch.sequences) {
    for (size_t g = 0; g < pages.pages.size(); ++g) {
      facet_page_table table = sized<facet_page_table>();
      table.first_block = pages.first_block.empty() ? 0 : pages.first_block[g];
      table.count = static_cast<uint32_t>(pages.pages[g].size());
      table.pages = pages.pages[g].data();
      tables.push_back(table);
    }
  }
  for (const std::vector<float>& data : batch.inputs) {
    facet_input input = sized<facet_input>();
    input.port = static_cast<uint32_t>(inputs.size());
    input.data = data.data();
    inputs.push_back(input);
  }
  submit = sized<facet_submit>();
  submit.rows = &rows;
  submit.cache = cache;
  submit.sequence_count = std::max<uint32_t>(1, static_cast<uint32_t>(batch.sequences.size()));
  submit.tables = tables.data();
}

facet_submit& Submit::slice(uint32_t first_cut, uint32_t last_cut) {
  submit.first_cut = first_cut;
  submit.last_cut = last_cut;
  submit.input_count = first_cut == 0 ? static_cast<uint32_t>(inputs.size()) : 0;
  submit.inputs = inputs.data();
  return submit;
}

Rig::Rig(Sketch& sketch, std::vector<uint32_t> pages, uint32_t max_rows)
    : device(open_under_test()), sketch_(sketch) {
  const facet_program_desc desc = sketch.desc();
  program = need(device.create_program(desc));
  if (desc.cache != nullptr) cache = need(device.create_cache(*desc.cache, pages));
  context = make_context(max_rows);
}

plugins::Context Rig::make_context(uint32_t max_rows) {
  return need(program.create_context(max_rows, max_rows));
}

std::vector<float> Rig::run(const Batch& batch, uint32_t cuts) {
  Submit submit(batch, cache.handle());
  const auto last = static_cast<uint32_t>(program.cuts().size()) - 1;
  uint64_t fence = 0;
  for (uint32_t cut = 0; cut < last;) {
    const uint32_t end = cuts == 0 ? last : std::min(last, cut + cuts);
    fence = need(context.submit(submit.slice(cut, end)));
    if (cuts != 0) need(context.wait(fence));
    cut = end;
  }
  need(context.wait(fence));
  return read(context, batch);
}

std::vector<float> Rig::read(plugins::Context& from, const Batch& batch, uint32_t port) {
  const facet_value& value = sketch_.values[sketch_.outputs[port].value];
  const size_t rows = value.rows == FACET_ROWS_BATCH ? batch.rows.size() : batch.selected.size();
  std::vector<float> data(rows * value.width);
  need(from.read_output(port, 0, static_cast<uint32_t>(rows), data));
  return data;
}

std::vector<std::byte> Rig::page(uint32_t group, uint32_t number) {
  std::vector<std::byte> bytes(cache.page_bytes(group));
  need(cache.read_page(group, number, bytes));
  return bytes;
}

}  // namespace facet::test
