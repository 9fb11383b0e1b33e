// The mixtures of experts of a run.
#include <algorithm>
#include <cstring>

#include "backends/onednn/device.h"
#include "backends/onednn/run.h"

namespace facet::cpu {

Jobs Run::run_experts(const Experts& experts) {
  const facet_op& op = this->op(experts.op);
  const uint32_t kind = slot(experts.x).rows, rows = rows_of(kind), used = experts.used;
  const auto count = static_cast<uint32_t>(slot(experts.shares).row_bytes / sizeof(float));
  auto shares = [&](uint32_t row) { return reinterpret_cast<const float*>(row_of(experts.shares, row, 0)); };

  std::vector<Group> groups;
  std::vector<uint32_t> places_of_rows(size_t{rows} * used, FACET_NONE), chosen(rows);  // chosen: so far
  std::vector<float> factors(size_t{rows} * used);
  uint32_t places = 0;
  for (uint32_t e = 0; e < count; ++e) {
    Group group{e, places, 0};
    const float* weight = program_.floats(experts.op);
    for (uint32_t row = 0; row < rows; ++row) {
      if (!live(kind, row) || !(shares(row)[e] > 0)) continue;
      const size_t at = size_t{row} * used + chosen[row]++;
      places_of_rows[at] = places++;
      factors[at] = weight == nullptr ? shares(row)[e] : shares(row)[e] * weight[e];
      ++group.count;
    }
    if (group.count != 0) groups.push_back(group);
  }

  for (Jobs fill = fill_places(experts, places_of_rows); fill.next();) co_yield fill.job();
  std::vector<Product> inner = products(groups, op.weights[0], experts.gate_in, experts.gate, used);
  if (experts.up != FACET_NONE) {
    const std::vector<Product> ups = products(groups, op.weights[2], experts.up_in, experts.up, used);
    inner.insert(inner.end(), ups.begin(), ups.end());
  }
  for (Jobs gate_up = multiply(std::move(inner)); gate_up.next();) co_yield gate_up.job();
  const PreparedWeight downs = program_.prepared(op.weights[1]);
  const auto gated = [&](uint32_t place, uint32_t) {
    auto* gate = reinterpret_cast<float*>(place_of(experts.gate, used, place));
    const float* up = gate + downs.width;
    if (experts.up != FACET_NONE) up = reinterpret_cast<float*>(place_of(experts.up, used, place));
    kernels_.gelu_gated(gate, up, downs.width, gate);
    quantise(gate, act_kind(downs.type), downs.width, place_of(experts.hidden, used, place));
  };
  co_yield Job(places, gated);
  Jobs outer = multiply(products(groups, op.weights[1], experts.hidden, experts.down, used));
  while (outer.next()) co_yield outer.job();
  const auto sum = [&](uint32_t row, uint32_t) {
    auto* out = reinterpret_cast<float*>(row_of(experts.out, row, 0));
    std::fill_n(out, downs.outputs, 0.0f);
    for (size_t at = size_t{row} * used; at < size_t{row} * used + chosen[row]; ++at) {
      auto* down = reinterpret_cast<const float*>(place_of(experts.down, used, places_of_rows[at]));
      kernels_.add_scaled(down, factors[at], downs.outputs, out);
    }
  };
  co_yield Job(rows, sum);
}

// Each row of x goes to all its places.
Jobs Run::fill_places(const Experts& experts, const std::vector<uint32_t>& places_of_rows) {
  const facet_op& op = this->op(experts.op);
  const PreparedWeight gates = program_.prepared(op.weights[0]);
  const auto fill = [&](uint32_t row, ActKind kind, uint32_t to) {
    const std::byte* first = nullptr;
    const size_t bytes = slot(to).row_bytes / experts.used;
    for (size_t at = size_t{row} * experts.used; at < size_t{row + 1} * experts.used; ++at) {
      if (places_of_rows[at] == FACET_NONE) break;
      std::byte* place = place_of(to, experts.used, places_of_rows[at]);
      if (first == nullptr) {
        auto* x = reinterpret_cast<const float*>(row_of(experts.x, row, 0));
        quantise(x, kind, gates.width, place);
        first = place;
      } else {
        std::memcpy(place, first, bytes);
      }
    }
  };
  const auto fill_row = [&](uint32_t row, uint32_t) {
    fill(row, act_kind(gates.type), experts.gate_in);
    if (experts.up_in != experts.gate_in) {
      fill(row, act_kind(program_.prepared(op.weights[2]).type), experts.up_in);
    }
  };
  co_yield Job(rows_of(slot(experts.x).rows), fill_row);
}

std::vector<Run::Product> Run::products(const std::vector<Group>& groups, uint32_t weight, uint32_t in,
                                        uint32_t out, uint32_t used) const {
  std::vector<Product> products;
  products.reserve(groups.size());
  for (const Group& group : groups) {
    products.push_back({program_.prepared(weight).matrix(group.expert),
                        place_of(in, used, group.first),
                        reinterpret_cast<float*>(place_of(out, used, group.first)),
                        slot(in).row_bytes / used,
                        group.count,
                        {{0, group.count}}});
  }
  return products;
}

}  // namespace facet::cpu
