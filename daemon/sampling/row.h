// A row: the logits of one position over the whole vocabulary, and the questions that sampling asks of it.
//
// The *rank* order puts the larger logit first and, of equal ones, the smaller id. A *cut* is the prefix of
// the rank order before a given (logit, id); every filter keeps such a prefix. A token's *weight* is that of
// row_kernels.h. -infinity marks a token that must not be drawn: its weight is 0.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/sampling/row_kernels.h"

namespace facet::sampling {

// The tokens that rank before (logit, id); the token itself is not among them.
struct Cut {
  float logit = 0;
  uint32_t id = 0;

  bool holds(float other, uint32_t other_id) const {
    return other > logit || (other == logit && other_id < id);
  }
};

// e to the x is 2 to the kLog2E * x: the scale of temperature 1.
inline constexpr double kLog2E = 1.44269504088896340736;

// Weights added up block by block, in order and in double: `ends` holds the sums up to the end of each block.
struct Masses {
  Weighing weighing;
  std::vector<double> blocks, ends;
  double total = 0;
};

// One row at a time; its memory is kept for the next. The logits it was given are only referred to: they must
// outlive the use. set() copies the touched blocks. Owned by one thread.
class Row {
 public:
  explicit Row(const RowKernels& kernels) : kernels_(kernels) {}

  // A new row. scan() comes before any other question.
  void assign(std::span<const float> logits);
  // Replaces one logit; before scan().
  void set(uint32_t id, float logit);
  // internal if there is a NaN or +infinity; invalid_argument if every logit is -infinity.
  Result<void> scan();

  uint32_t size() const { return size_; }
  float operator[](uint32_t id) const { return blocks_[id / kBlock][id % kBlock]; }
  float max() const { return max_; }
  Cut everything() const;

  // The first in rank.
  uint32_t best() const;
  // The first `count` in rank (fewer if fewer are above -infinity), in the order of ids: their logits and
  // ids. Costs about a microsecond per hundred candidates beyond scan() for a count up to size() / kGroup;
  // above, up to three dozen passes over the row.
  void top(uint32_t count, std::vector<float>& logits, std::vector<uint32_t>& ids) const;

  // The weights of a cut. The reference of `weighing` must be at least max().
  void weigh(Weighing weighing, Cut cut, Masses& masses) const;
  // weigh() of everything at temperature 1, done once a row. Valid until the next assign().
  const Masses& softmax();
  // Whether the weights of a cut at temperature 1 add up to less than `enough`, or there are none. Stops when
  // that is decided.
  bool holds_less(Cut cut, double enough);
  // The token of that cut at which the weights, added in the order of ids, pass `mass`; the last one that
  // weighs anything if none does. `masses` must be weigh()'s answer for that cut, and `mass` below its total.
  uint32_t pick(const Masses& masses, Cut cut, double mass) const;

 private:
  using Block = std::array<float, kBlock>;

  void gather(float floor, uint32_t ties, std::vector<float>& logits, std::vector<uint32_t>& ids) const;
  float* owned(size_t block);
  double block_mass(size_t block, Weighing weighing, Cut cut) const;

  const RowKernels& kernels_;
  uint32_t size_ = 0;
  float max_ = 0;
  std::vector<const float*> blocks_;  // kBlock logits each, filled up with -infinity
  std::vector<float*> owned_;         // per block: its copy, or null
  std::vector<float> group_max_;
  Masses softmax_;            // of this row if not empty
  std::deque<Block> copies_;  // stable addresses; the first copies_used_ belong to this row
  size_t copies_used_ = 0;
};

}  // namespace facet::sampling
