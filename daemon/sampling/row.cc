#include "daemon/sampling/row.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace facet::sampling {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLowest = std::numeric_limits<float>::lowest();

float next_above(float x) {
  return std::nextafter(x, kInfinity);
}

// Integers in the order of the floats they stand for.
int32_t key_of(float x) {
  const int32_t bits = std::bit_cast<int32_t>(x);
  return bits >= 0 ? bits : bits ^ 0x7FFFFFFF;
}
float float_of(int32_t key) {
  return std::bit_cast<float>(key >= 0 ? key : key ^ 0x7FFFFFFF);
}

// The count-th largest of `values`, by bisection: a fixed number of passes whatever the values are. Fills
// `values` up with -infinity to whole blocks. `least` is a lower bound of the answer, `most` the largest
// value.
float nth_largest(const RowKernels& kernels, std::vector<float>& values, uint32_t count, float least,
                  float most) {
  values.resize((values.size() + kBlock - 1) / kBlock * kBlock, -kInfinity);
  int64_t low = key_of(least);
  int64_t high = key_of(most);
  while (low < high) {
    const int64_t middle = low + (high - low + 1) / 2;
    const float floor = float_of(int32_t(middle));
    uint64_t found = 0;
    for (size_t i = 0; i < values.size(); i += kBlock) found += kernels.count(values.data() + i, floor);
    if (found >= count) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return float_of(int32_t(low));
}

}  // namespace

float* Row::owned(size_t block) {
  if (!owned_[block]) {
    if (copies_used_ == copies_.size()) copies_.emplace_back();
    float* copy = copies_[copies_used_++].data();
    const size_t begin = block * kBlock;
    const size_t count = std::min<size_t>(kBlock, size_ - begin);
    std::copy_n(blocks_[block], count, copy);
    std::fill(copy + count, copy + kBlock, -kInfinity);
    owned_[block] = copy;
    blocks_[block] = copy;
  }
  return owned_[block];
}

void Row::assign(std::span<const float> logits) {
  size_ = uint32_t(logits.size());
  const size_t count = (logits.size() + kBlock - 1) / kBlock;
  copies_used_ = 0;
  softmax_.blocks.clear();
  owned_.assign(count, nullptr);
  blocks_.resize(count);
  for (size_t block = 0; block < count; ++block) blocks_[block] = logits.data() + block * kBlock;
  if (size_ % kBlock != 0) owned(count - 1);
}

void Row::set(uint32_t id, float logit) {
  owned(id / kBlock)[id % kBlock] = logit;
}

Result<void> Row::scan() {
  const Error broken = {FACET_INTERNAL, "a logit is NaN or infinite"};
  group_max_.resize(blocks_.size() * kGroupsPerBlock);
  max_ = -kInfinity;
  for (size_t block = 0; block < blocks_.size(); ++block) {
    float* group_max = group_max_.data() + block * kGroupsPerBlock;
    if (!kernels_.scan(blocks_[block], group_max)) return broken;
    for (uint32_t group = 0; group < kGroupsPerBlock; ++group) max_ = std::max(max_, group_max[group]);
  }
  if (max_ == kInfinity) return broken;
  if (max_ == -kInfinity)
    return Error{FACET_INVALID_ARGUMENT, "every token is banned: no logit is above -infinity"};
  return {};
}

Cut Row::everything() const {
  return {kLowest, size_};
}

uint32_t Row::best() const {
  const auto group = std::find(group_max_.begin(), group_max_.end(), max_) - group_max_.begin();
  uint32_t id = uint32_t(group) * kGroup;
  while ((*this)[id] != max_) ++id;
  return id;
}

// The logits above `floor`, and the first that equal it until there are `ties` or a few more of them.
void Row::gather(float floor, uint32_t ties, std::vector<float>& logits, std::vector<uint32_t>& ids) const {
  logits.clear();
  ids.clear();
  size_t found = 0;
  uint32_t tied = 0;
  for (uint32_t group = 0; group < group_max_.size(); ++group) {
    if (group_max_[group] < floor || (group_max_[group] == floor && tied >= ties)) continue;
    if (ids.size() < found + kGroup) {
      logits.resize(2 * found + kGroup);
      ids.resize(2 * found + kGroup);
    }
    const float* from = blocks_[group / kGroupsPerBlock] + group % kGroupsPerBlock * kGroup;
    for (uint32_t i = 0; i < kGroup; ++i) {
      logits[found] = from[i];
      ids[found] = group * kGroup + i;
      found += from[i] >= floor;
      tied += from[i] == floor;
    }
  }
  logits.resize(found);
  ids.resize(found);
}

void Row::top(uint32_t count, std::vector<float>& logits, std::vector<uint32_t>& ids) const {
  // At least `count` logits reach the count-th largest of the groups' maxima. Fewer than `count` groups have
  // a logit above it, and of those that equal it only the first `count` matter.
  float floor = kLowest;
  logits = group_max_;
  if (count <= logits.size()) floor = std::max(floor, nth_largest(kernels_, logits, count, -kInfinity, max_));
  gather(floor, count, logits, ids);
  const size_t found = ids.size();
  if (found <= count) return;

  const float last = nth_largest(kernels_, logits, count, floor, max_);
  uint32_t ties = count;
  for (size_t i = 0; i < found; ++i) ties -= logits[i] > last;
  size_t kept = 0;
  for (size_t i = 0; i < found && kept < count; ++i) {
    const bool tie = logits[i] == last;
    if (logits[i] < last || (tie && ties == 0)) continue;
    ties -= tie;
    logits[kept] = logits[i];
    ids[kept++] = ids[i];
  }
  logits.resize(kept);
  ids.resize(kept);
}

double Row::block_mass(size_t block, Weighing weighing, Cut cut) const {
  const float* group_max = group_max_.data() + block * kGroupsPerBlock;
  const size_t last = cut.id / kBlock;
  if (block < last) return kernels_.mass(blocks_[block], group_max, weighing, cut.logit);
  if (block > last) return kernels_.mass(blocks_[block], group_max, weighing, next_above(cut.logit));
  // Here the cut's ties end.
  Block part;
  std::copy_n(blocks_[block], kBlock, part.data());
  for (uint32_t i = cut.id % kBlock; i < kBlock; ++i) {
    if (part[i] == cut.logit) part[i] = -kInfinity;
  }
  return kernels_.mass(part.data(), group_max, weighing, cut.logit);
}

void Row::weigh(Weighing weighing, Cut cut, Masses& masses) const {
  masses.weighing = weighing;
  masses.blocks.resize(blocks_.size());
  masses.ends.resize(blocks_.size());
  masses.total = 0;
  for (size_t block = 0; block < blocks_.size(); ++block) {
    masses.blocks[block] = block_mass(block, weighing, cut);
    masses.total += masses.blocks[block];
    masses.ends[block] = masses.total;
  }
}

const Masses& Row::softmax() {
  if (softmax_.blocks.empty()) weigh({max_, float(kLog2E)}, everything(), softmax_);
  return softmax_;
}

bool Row::holds_less(Cut cut, double enough) {
  const Masses& all = softmax();
  double held = 0;
  double open = all.total;  // of the blocks not yet looked at
  for (size_t block = 0; block < blocks_.size(); ++block) {
    if (all.blocks[block] == 0) continue;
    held += block_mass(block, all.weighing, cut);
    open -= all.blocks[block];
    if (held > 0 && held >= enough) return false;
    if (held + open < enough) return true;
  }
  return true;
}

uint32_t Row::pick(const Masses& masses, Cut cut, double mass) const {
  // The first block whose end passes `mass`; if none does, the last that weighs anything.
  const auto& ends = masses.ends;
  auto end = std::upper_bound(ends.begin(), ends.end(), mass);
  if (end == ends.end()) end = std::lower_bound(ends.begin(), ends.end(), masses.total);
  const size_t chosen = size_t(end - ends.begin());
  double before = chosen == 0 ? 0 : ends[chosen - 1];
  float weights[kBlock];
  kernels_.weigh(blocks_[chosen], masses.weighing, cut.logit, weights);
  uint32_t token = 0;
  const uint32_t begin = uint32_t(chosen) * kBlock;
  for (uint32_t i = 0; i < kBlock; ++i) {
    const uint32_t id = begin + i;
    if (weights[i] == 0 || (blocks_[chosen][i] == cut.logit && id >= cut.id)) continue;
    token = id;
    before += weights[i];
    if (before > mass) break;
  }
  return token;
}

}  // namespace facet::sampling
