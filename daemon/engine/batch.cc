#include "daemon/engine/batch.h"

namespace facet::engine {

void Batch::clear() {
  live_rows_ = 0;
  tokens_.clear();
  positions_.clear();
  last_visible_.clear();
  sequences_.clear();
  flags_.clear();
  selected_.clear();
  tables_.clear();
}

uint32_t Batch::add_sequence(const SequencePages& pages) {
  for (uint32_t group = 0; group < groups_; ++group) tables_.push_back(pages.table(group));
  return sequence_count() - 1;
}

void Batch::add_row(uint32_t sequence, uint32_t token, uint32_t position, bool selected) {
  if (selected) selected_.push_back(row_count());
  tokens_.push_back(static_cast<int32_t>(token));
  positions_.push_back(static_cast<int32_t>(position));
  last_visible_.push_back(static_cast<int32_t>(position));
  sequences_.push_back(sequence);
  flags_.push_back(FACET_ROW_LIVE);
  ++live_rows_;
}

void Batch::add_reader(uint32_t sequence, uint32_t token, uint32_t position) {
  add_row(sequence, token, position, true);
  --last_visible_.back();
}

void Batch::drop_sequence(uint32_t sequence) {
  for (size_t row = 0; row < sequences_.size(); ++row) {
    if (sequences_[row] != sequence || flags_[row] == 0) continue;
    flags_[row] = 0;
    --live_rows_;
  }
  for (uint32_t group = 0; group < groups_; ++group) {
    tables_[sequence * groups_ + group] = {sizeof(facet_page_table), 0, 0, nullptr};
  }
}

facet_rows Batch::rows() const {
  facet_rows rows{};
  rows.size = sizeof rows;
  rows.count = row_count();
  rows.tokens = tokens_.data();
  rows.positions = positions_.data();
  rows.last_visible = last_visible_.data();
  rows.sequences = sequences_.data();
  rows.flags = flags_.data();
  rows.selected_count = selected_count();
  rows.selected = selected_.data();
  return rows;
}

}  // namespace facet::engine
