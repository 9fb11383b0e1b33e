#include <algorithm>
#include <map>
#include <utility>

#include "backends/onednn/steps.h"

namespace facet::cpu {
namespace {

// An op of the program, or a quantisation that goes before its first matmul.
struct Node {
  uint32_t op;
  bool quantises = false;
  uint32_t x = FACET_NONE, y = FACET_NONE, out = FACET_NONE;  // slots
  ActKind kind = ActKind::kFloat;
  bool done = false;
};

bool is_elementwise(uint32_t kind) {
  return kind == FACET_OP_ADD || kind == FACET_OP_MUL || kind == FACET_OP_SCALE || kind == FACET_OP_GATED ||
         kind == FACET_OP_SOFT_CAP;
}

class Fusion {
 public:
  explicit Fusion(const plugin::Description& program) : program_(program) {
    for (const facet_value& value : program.values) {
      result_.slots.push_back({value.rows, size_t{value.width} * sizeof(float)});
    }
    written_.assign(result_.slots.size(), FACET_NONE);
    for (const facet_port& input : program.inputs) {
      written_[input.value] = 0;
      result_.slots[input.value].first_step = 0;
    }
    for (uint32_t i = 0; i < program.ops.size(); ++i) add_nodes(i);
  }

  Steps run() {
    // Up to and with each attention in turn, and then to the end.
    for (size_t begin = 0, end = 0; begin < nodes_.size(); begin = end) {
      while (end < nodes_.size() && !is(nodes_[end], FACET_OP_ATTENTION)) ++end;
      schedule(begin, end);
      if (end < nodes_.size()) add_attention(nodes_[end++]);
    }
    for (const facet_port& output : program_.outputs) {
      result_.slots[output.value].last_step = static_cast<uint32_t>(result_.steps.size());
    }
    find_local_slots();
    return std::move(result_);
  }

 private:
  const facet_op& op(const Node& node) const { return program_.ops[node.op]; }
  bool is(const Node& node, uint32_t kind) const { return !node.quantises && op(node).kind == kind; }

  void add_nodes(uint32_t number) {
    const facet_op& op = program_.ops[number];
    Node node{number, false, op.inputs[0], op.inputs[1], op.output};
    if (op.kind == FACET_OP_MATMUL) {
      ActKind kind = act_kind(program_.weights[op.weights[0]].type);
      if (kind != ActKind::kFloat) node.x = quantised(number, node.x, kind);
    }
    nodes_.push_back(node);
  }

  // The slot of a value quantised, shared by all matmuls that read it.
  uint32_t quantised(uint32_t number, uint32_t value, ActKind kind) {
    auto [place, is_new] = quantised_.try_emplace({value, kind}, static_cast<uint32_t>(result_.slots.size()));
    if (is_new) {
      const facet_value& from = program_.values[value];
      result_.slots.push_back({from.rows, ActRow(kind, from.width).bytes});
      written_.push_back(FACET_NONE);
      nodes_.push_back({number, true, value, FACET_NONE, place->second, kind});
    }
    return place->second;
  }

  void schedule(size_t begin, size_t end) {
    for (size_t left = end - begin; left > 0;) {
      size_t done = add_rows(begin, end, FACET_ROWS_BATCH);
      done += add_rows(begin, end, FACET_ROWS_SELECTED);
      done += add_matmuls(begin, end);
      done += add_experts(begin, end);
      left -= done;
    }
  }

  uint32_t now() const { return static_cast<uint32_t>(result_.steps.size()); }

  // Whether a slot was written by a step before this one, or by this one if `same_step`.
  bool ready(uint32_t slot, bool same_step) const {
    if (slot == FACET_NONE) return true;
    return written_[slot] != FACET_NONE && (written_[slot] < now() + 1 || same_step);
  }

  void touch(uint32_t slot) {
    if (slot != FACET_NONE) result_.slots[slot].last_step = std::max(result_.slots[slot].last_step, now());
  }

  // written_ counts from 1; 0 is before the first step.
  void finish(Node& node) {
    node.done = true;
    touch(node.x);
    touch(node.y);
    if (node.out == FACET_NONE) return;
    touch(node.out);
    result_.slots[node.out].first_step = now();
    written_[node.out] = now() + 1;
  }

  uint32_t rows_of(const Node& node) const {
    uint32_t slot = node.out != FACET_NONE ? node.out : node.x;
    return result_.slots[slot].rows;
  }

  size_t add_rows(size_t begin, size_t end, uint32_t rows) {
    Step step;
    step.rows = rows;
    step.by_columns = true;
    for (size_t i = begin; i < end; ++i) {
      Node& node = nodes_[i];
      if (node.done || is(node, FACET_OP_MATMUL) || is(node, FACET_OP_EXPERTS) || rows_of(node) != rows) {
        continue;
      }
      bool same_step = !is(node, FACET_OP_SELECT);
      if (!ready(node.x, same_step) || !ready(node.y, same_step)) continue;
      finish(node);
      step.row_ops.push_back({node.quantises ? FACET_NONE : node.op, node.x, node.y, node.out, node.kind});
      bool same_width = step.row_ops[0].out != FACET_NONE && node.out != FACET_NONE &&
                        result_.slots[step.row_ops[0].out].row_bytes == result_.slots[node.out].row_bytes;
      step.by_columns &= !node.quantises && is_elementwise(op(node).kind) && same_width;
    }
    return add(std::move(step));
  }

  // A step for each, so that a slice may end between them; where it does not, they are computed in one, and
  // so their slots live as long as if they were.
  size_t add_matmuls(size_t begin, size_t end) {
    std::vector<Node*> nodes;
    for (size_t i = begin; i < end; ++i) {
      Node& node = nodes_[i];
      if (!node.done && is(node, FACET_OP_MATMUL) && ready(node.x, false)) nodes.push_back(&node);
    }
    const uint32_t first = now();
    for (Node* node : nodes) {
      Step step;
      step.kind = StepKind::kMatmul;
      step.matmul = {node->op, node->x, node->out};
      step.joins = now() != first;
      finish(*node);
      result_.slots[node->out].first_step = first;
      add(std::move(step));
    }
    for (const Node* node : nodes) result_.slots[node->x].last_step = now() - 1;
    return nodes.size();
  }

  // The first mixture of experts that is ready.
  size_t add_experts(size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      Node& node = nodes_[i];
      if (node.done || !is(node, FACET_OP_EXPERTS) || !ready(node.x, false) || !ready(node.y, false))
        continue;
      Step step;
      step.kind = StepKind::kExperts;
      step.experts = experts_of(node);
      finish(node);
      return add(std::move(step));
    }
    return 0;
  }

  Experts experts_of(const Node& node) {
    const facet_op& op = this->op(node);
    auto route = std::find_if(program_.ops.begin(), program_.ops.end(),
                              [&](const facet_op& other) { return other.output == op.inputs[1]; });
    const facet_weight &gates = program_.weights[op.weights[0]], &downs = program_.weights[op.weights[1]];
    const bool own_ups = op.weights[2] != FACET_NONE;
    const uint32_t ups_type = own_ups ? program_.weights[op.weights[2]].type : gates.type;
    Experts experts;
    experts.op = node.op;
    experts.x = node.x;
    experts.shares = node.y;
    experts.out = node.out;
    experts.used = route->p.route.used;
    auto places = [&](size_t bytes) {
      result_.slots.push_back({result_.slots[node.x].rows, experts.used * bytes, now(), now()});
      written_.push_back(now() + 1);
      return static_cast<uint32_t>(result_.slots.size() - 1);
    };
    auto width_of = [](const facet_weight& weight, int i) { return static_cast<uint32_t>(weight.dims[i]); };
    const uint32_t inner = width_of(downs, 0);
    experts.gate_in = places(ActRow(act_kind(gates.type), width_of(gates, 0)).bytes);
    experts.up_in = act_kind(ups_type) == act_kind(gates.type)
                        ? experts.gate_in
                        : places(ActRow(act_kind(ups_type), width_of(gates, 0)).bytes);
    experts.gate = places(width_of(gates, 1) * sizeof(float));
    experts.up = own_ups ? places(inner * sizeof(float)) : FACET_NONE;
    experts.hidden = places(ActRow(act_kind(downs.type), inner).bytes);
    experts.down = places(width_of(downs, 1) * sizeof(float));
    return experts;
  }

  void add_attention(Node& node) {
    Step step;
    step.kind = StepKind::kAttention;
    step.attention = node.op;
    finish(node);
    add(std::move(step));
  }

  size_t add(Step step) {
    const size_t size = step.kind == StepKind::kRows ? step.row_ops.size() : 1;
    if (size == 0) return 0;
    // The ops before the first node that is not done, if nothing after it is done.
    auto pending = std::find_if(nodes_.begin(), nodes_.end(), [](const Node& node) { return !node.done; });
    bool prefix =
        std::none_of(pending, nodes_.end(), [](const Node& node) { return node.done && !node.quantises; });
    if (prefix) {
      step.cut = pending == nodes_.end() ? static_cast<uint32_t>(program_.ops.size()) : pending->op;
      if (step.cut == last_cut_) step.cut = 0;
      last_cut_ = std::max(last_cut_, step.cut);
    }
    result_.steps.push_back(std::move(step));
    return size;
  }

  void find_local_slots() {
    for (uint32_t s = 0; s < result_.steps.size(); ++s) {
      if (result_.steps[s].kind != StepKind::kRows) continue;
      size_t bytes = 0;
      for (const RowOp& row_op : result_.steps[s].row_ops) {
        if (row_op.out == FACET_NONE || result_.slots[row_op.out].last_step != s) continue;
        Slot& slot = result_.slots[row_op.out];
        slot.local = true;
        slot.local_offset = bytes;
        bytes += round_up(slot.row_bytes, 64);
      }
      result_.local_bytes = std::max(result_.local_bytes, bytes);
    }
  }

  const plugin::Description& program_;
  std::vector<Node> nodes_;
  std::map<std::pair<uint32_t, ActKind>, uint32_t> quantised_;
  std::vector<uint32_t> written_;  // per slot: 1 + the step that writes it
  uint32_t last_cut_ = 0;
  Steps result_;
};

}  // namespace

Steps fuse(const plugin::Description& program) {
  return Fusion(program).run();
}

Arena plan(const Steps& steps, uint32_t max_rows, uint32_t max_selected) {
  struct Block {
    size_t begin, end;
    uint32_t last_step;
  };
  Arena arena;
  arena.offsets.assign(steps.slots.size(), 0);
  std::vector<uint32_t> order;
  for (uint32_t i = 0; i < steps.slots.size(); ++i) {
    if (!steps.slots[i].local) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return steps.slots[a].first_step < steps.slots[b].first_step;
  });
  std::vector<Block> live;  // by begin
  for (uint32_t i : order) {
    const Slot& slot = steps.slots[i];
    std::erase_if(live, [&](const Block& block) { return block.last_step < slot.first_step; });
    size_t rows = slot.rows == FACET_ROWS_BATCH ? max_rows : max_selected;
    size_t size = round_up(rows * slot.row_bytes, 64), at = 0;
    auto place = live.begin();
    while (place != live.end() && place->begin < at + size) at = std::max(at, (place++)->end);
    live.insert(place, {at, at + size, slot.last_step});
    arena.offsets[i] = at;
    arena.bytes = std::max(arena.bytes, at + size);
  }
  return arena;
}

}  // namespace facet::cpu
