// The rows of one step, gathered from several sequences, in the form that a backend takes.
#pragma once

#include <facet/backend.h>

#include <cstdint>
#include <vector>

#include "daemon/engine/pages.h"

namespace facet::engine {

// Reused from step to step. What rows() and tables() point to is valid until the next change.
class Batch {
 public:
  explicit Batch(uint32_t groups) : groups_(groups) {}

  void clear();
  // The sequence's page tables as they are now; they must not change until the run is over. Returns its
  // number.
  uint32_t add_sequence(const SequencePages& pages);
  // The row sees positions up to its own.
  void add_row(uint32_t sequence, uint32_t token, uint32_t position, bool selected);
  // A row that writes nothing to the cache and sees up to the position before its own.
  void add_reader(uint32_t sequence, uint32_t token, uint32_t position);
  // The sequence's rows count no more: its cache is neither read nor written by what is submitted from here
  // on, and its pages may go to others.
  void drop_sequence(uint32_t sequence);

  uint32_t row_count() const { return static_cast<uint32_t>(tokens_.size()); }
  uint32_t live_rows() const { return live_rows_; }
  uint32_t selected_count() const { return static_cast<uint32_t>(selected_.size()); }
  uint32_t sequence_count() const { return static_cast<uint32_t>(tables_.size() / groups_); }

  facet_rows rows() const;
  const std::vector<int32_t>& tokens() const { return tokens_; }
  const std::vector<facet_page_table>& tables() const { return tables_; }

 private:
  uint32_t groups_;
  uint32_t live_rows_ = 0;
  std::vector<int32_t> tokens_;
  std::vector<int32_t> positions_;
  std::vector<int32_t> last_visible_;
  std::vector<uint32_t> sequences_;
  std::vector<uint8_t> flags_;
  std::vector<uint32_t> selected_;
  std::vector<facet_page_table> tables_;  // [sequences, groups]
};

}  // namespace facet::engine
