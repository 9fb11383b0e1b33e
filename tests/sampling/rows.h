// Rows of logits that tests share: random ones of several widths, and those that break samplers.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace facet::sampling {

struct NamedRow {
  std::string name;
  std::vector<float> logits;
};

inline std::vector<NamedRow> rows_of(uint32_t size, uint32_t seed) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::mt19937 random(seed);
  auto unit = [&] { return float(random() >> 8) * 0x1p-24f; };
  auto make = [&](auto&& logit) {
    std::vector<float> row(size);
    for (float& x : row) x = logit();
    return row;
  };
  std::vector<NamedRow> rows;
  rows.push_back({"flat", make([&] { return unit(); })});
  rows.push_back({"wide", make([&] { return 40 * unit() - 20; })});
  rows.push_back({"peaked", make([&] { return 12 - 20 * std::sqrt(unit()); })});
  rows.push_back({"equal", make([] { return -3.25f; })});
  rows.push_back({"ties", make([&] { return float(random() % 5); })});
  rows.push_back({"signed zeros", make([&] { return random() % 2 ? 0.0f : -0.0f; })});
  rows.push_back({"denormals", make([&] { return unit() * 1e-40f; })});
  rows.push_back({"mostly masked", make([&] { return random() % 7 ? -kInfinity : 4 * unit(); })});
  rows.push_back({"huge", make([&] { return (2 * unit() - 1) * 3e38f; })});
  rows.push_back({"spike", make([&] { return unit(); })});
  rows.back().logits[random() % size] = 50;
  rows.push_back({"one allowed", make([] { return -kInfinity; })});
  rows.back().logits[random() % size] = -7;
  for (NamedRow& row : rows) {  // the masked ones need one token
    if (row.name == "mostly masked") row.logits[random() % size] = 1;
  }
  return rows;
}

}  // namespace facet::sampling
