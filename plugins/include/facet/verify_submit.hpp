// Checks submits that cross the plugin boundary, against a program that has passed facet/verify.hpp: rows,
// page tables, inputs and cuts. Beyond the words of facet/backend.h it demands that a live row sees at least
// one position in each attention.
#ifndef FACET_VERIFY_SUBMIT_HPP_
#define FACET_VERIFY_SUBMIT_HPP_

#include <facet/verify.hpp>

#include <algorithm>
#include <utility>
#include <vector>

namespace facet::plugin {

// The half-open range of positions that a row at `position` sees: window as in facet_op. May be empty.
inline std::pair<int64_t, int64_t> visible_positions(int32_t position, int32_t last_visible,
                                                     uint32_t window) {
  int64_t first = window == 0 ? 0 : std::max<int64_t>(0, int64_t{position} - window + 1);
  return {first, int64_t{last_visible} + 1};
}

// What a run of one program in one context and cache must keep to; filled once, used for every submit.
struct RunRules {
  struct View {  // one kind of attention
    uint32_t group, window;
    bool operator==(const View&) const = default;
  };

  uint32_t cut_count = 0;
  uint32_t max_rows = 0, max_selected = 0;
  bool embeds = false;
  uint32_t vocabulary = 0;  // tokens that every EMBED has a row for
  bool has_cache = false;
  std::vector<uint32_t> page_positions;  // per group
  std::vector<bool> appends;             // per group
  std::vector<View> views;
  std::vector<uint32_t> input_rows;  // per input: facet_rows_kind

  // `program` has passed verify().
  RunRules(const Description& program, uint32_t cuts, uint32_t rows, uint32_t selected)
      : cut_count(cuts), max_rows(rows), max_selected(selected), has_cache(program.has_cache) {
    for (const facet_cache_group& group : program.cache.groups)
      page_positions.push_back(group.page_positions);
    appends.resize(page_positions.size());
    for (const facet_op& op : program.ops) {
      if (op.kind == FACET_OP_EMBED) {
        auto tokens = static_cast<uint32_t>(program.weights[op.weights[0]].dims[1]);
        vocabulary = embeds ? std::min(vocabulary, tokens) : tokens;
        embeds = true;
      } else if (op.kind == FACET_OP_CACHE_APPEND) {
        appends[program.cache.layers[op.p.append.layer].group] = true;
      } else if (op.kind == FACET_OP_ATTENTION) {
        View view{program.cache.layers[op.p.attention.layer].group, op.p.attention.window};
        if (std::find(views.begin(), views.end(), view) == views.end()) views.push_back(view);
      }
    }
    for (const facet_port& input : program.inputs) input_rows.push_back(program.values[input.value].rows);
  }
  uint32_t groups() const { return static_cast<uint32_t>(page_positions.size()); }
};

namespace detail {

class RunCheck {
 public:
  RunCheck(const Slice& slice, const RunRules& rules, const std::vector<uint32_t>& pages)
      : slice_(slice), rows_(slice.rows), rules_(rules), pages_(pages) {}

  void run() {
    if (slice_.first_cut >= slice_.last_cut || slice_.last_cut >= rules_.cut_count) {
      fail("cuts ", slice_.first_cut, " to ", slice_.last_cut, " are no range within ", rules_.cut_count,
           " cuts");
    }
    if (rules_.has_cache && slice_.cache == nullptr) fail("the submit has no cache");
    check_arrays();
    check_selected();
    check_tables();
    for (uint32_t row = 0; row < rows_.count; ++row) check_row(row);
    check_distinct();
    check_inputs();
  }

 private:
  void check_arrays() const {
    if (rows_.count == 0) fail("the batch has no rows");
    if (rows_.count > rules_.max_rows) fail(rows_.count, " rows, more than the context's ", rules_.max_rows);
    if (rows_.selected_count > rules_.max_selected) {
      fail(rows_.selected_count, " selected rows, more than the context's ", rules_.max_selected);
    }
    if (rows_.tokens == nullptr) fail("tokens are NULL");
    if (rows_.positions == nullptr) fail("positions are NULL");
    if (rows_.last_visible == nullptr) fail("last_visible are NULL");
    if (rows_.sequences == nullptr) fail("sequences are NULL");
    if (rows_.flags == nullptr) fail("flags are NULL");
    if (rows_.selected_count != 0 && rows_.selected == nullptr) fail("selected are NULL");
  }

  void check_selected() const {
    for (uint32_t i = 0; i < rows_.selected_count; ++i) {
      uint32_t row = rows_.selected[i];
      if (row >= rows_.count) fail("selected row ", row, " is beyond the ", rows_.count, " rows");
      if (i > 0 && row <= rows_.selected[i - 1]) fail("selected rows are not ascending at ", i);
    }
  }

  void check_tables() const {
    for (uint32_t s = 0; rules_.has_cache && s < slice_.sequence_count; ++s) {
      for (uint32_t g = 0; g < rules_.groups(); ++g) {
        const facet_page_table& table = slice_.table(s, g);
        if (table.count != 0 && table.pages == nullptr)
          fail("sequence ", s, ", group ", g, ": pages are NULL");
        for (uint32_t i = 0; i < table.count; ++i) {
          if (table.pages[i] >= pages_[g]) {
            fail("sequence ", s, ", group ", g, ": page ", table.pages[i], " is beyond the cache's ",
                 pages_[g]);
          }
        }
      }
    }
  }

  void check_row(uint32_t row) const {
    auto bad = [&](const auto&... parts) { fail("row ", row, ": ", parts...); };
    if ((rows_.flags[row] & ~FACET_ROW_LIVE) != 0) bad("flags ", unsigned{rows_.flags[row]}, " are unknown");
    int32_t token = rows_.tokens[row];
    if (rules_.embeds && token >= 0 && static_cast<uint32_t>(token) >= rules_.vocabulary) {
      bad("token ", token, " is beyond the vocabulary of ", rules_.vocabulary);
    }
    if (rules_.embeds && token < 0 && rows_.embeddings == nullptr) bad("its embedding is missing");
    if (rows_.positions[row] < 0) bad("position ", rows_.positions[row], " is negative");
    if (rows_.sequences[row] >= slice_.sequence_count) bad("there is no sequence ", rows_.sequences[row]);
    if (!slice_.live(row)) return;

    for (uint32_t g = 0; g < rules_.groups(); ++g) {
      if (rules_.appends[g] && !covered(row, g, rows_.positions[row], int64_t{rows_.positions[row]} + 1)) {
        bad("position ", rows_.positions[row], " has no page in group ", g);
      }
    }
    for (const RunRules::View& view : rules_.views) {
      auto [first, end] = visible_positions(rows_.positions[row], rows_.last_visible[row], view.window);
      if (first >= end) bad("it sees no position in group ", view.group);
      if (!covered(row, view.group, first, end)) {
        bad("it sees positions ", first, " to ", end - 1, ", not all have a page in group ", view.group);
      }
    }
  }

  bool covered(uint32_t row, uint32_t group, int64_t first, int64_t end) const {
    const facet_page_table& table = slice_.table(rows_.sequences[row], group);
    int64_t size = rules_.page_positions[group];
    return first / size >= table.first_block &&
           (end - 1) / size < int64_t{table.first_block} + int64_t{table.count};
  }

  void check_distinct() const {
    std::vector<std::pair<uint32_t, int32_t>> places;
    for (uint32_t row = 0; row < rows_.count; ++row) {
      if (slice_.live(row)) places.emplace_back(rows_.sequences[row], rows_.positions[row]);
    }
    if (!std::is_sorted(places.begin(), places.end())) std::sort(places.begin(), places.end());
    auto twice = std::adjacent_find(places.begin(), places.end());
    if (twice != places.end()) {
      fail("two live rows have position ", twice->second, " of sequence ", twice->first);
    }
  }

  void check_inputs() const {
    std::vector<bool> present(rules_.input_rows.size());
    for (const facet_input& input : slice_.inputs) {
      if (input.port >= present.size()) fail("there is no input ", input.port);
      if (present[input.port]) fail("input ", input.port, " is given twice");
      present[input.port] = true;
      bool empty = rules_.input_rows[input.port] == FACET_ROWS_SELECTED && rows_.selected_count == 0;
      if (input.data == nullptr && !empty) fail("input ", input.port, ": its data is NULL");
    }
    for (size_t i = 0; slice_.first_cut == 0 && i < present.size(); ++i) {
      if (!present[i]) fail("input ", i, " is missing");
    }
  }

  const Slice& slice_;
  const facet_rows& rows_;
  const RunRules& rules_;
  const std::vector<uint32_t>& pages_;
};

}  // namespace detail

// `cache_pages`: pages per group of the cache that the submit names; not read if the program uses no cache.
inline Fault verify(const Slice& slice, const RunRules& rules, const std::vector<uint32_t>& cache_pages) {
  return detail::fault_of([&] { detail::RunCheck(slice, rules, cache_pages).run(); });
}
inline Fault verify(const facet_submit& submit, const RunRules& rules,
                    const std::vector<uint32_t>& cache_pages) {
  return detail::fault_of([&] {
    Slice slice(submit, rules.groups());
    detail::RunCheck(slice, rules, cache_pages).run();
  });
}

}  // namespace facet::plugin

#endif  // FACET_VERIFY_SUBMIT_HPP_
