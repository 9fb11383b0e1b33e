#include <facet/description.hpp>
#include <sstream>

#include "daemon/graph/program.h"

namespace facet::graph {
namespace {

void print_parameters(std::ostream& out, const facet_op& op) {
  switch (op.kind) {
    case FACET_OP_EMBED:
      out << " scale=" << op.p.embed.scale;
      break;
    case FACET_OP_RMS_NORM:
      out << " segment=" << op.p.norm.segment << " eps=" << op.p.norm.eps;
      break;
    case FACET_OP_ROPE:
      out << " n_rot=" << op.p.rope.n_rot << "/" << op.p.rope.head_dim << " base=" << op.p.rope.base
          << " freq_scale=" << op.p.rope.freq_scale;
      break;
    case FACET_OP_CACHE_APPEND:
      out << " layer=" << op.p.append.layer;
      break;
    case FACET_OP_ATTENTION:
      out << " layer=" << op.p.attention.layer << " heads=" << op.p.attention.heads
          << " window=" << op.p.attention.window << " scale=" << op.p.attention.scale;
      break;
    case FACET_OP_SCALE:
      out << " factor=" << op.p.scale.factor;
      break;
    case FACET_OP_SOFT_CAP:
      out << " cap=" << op.p.soft_cap.cap;
      break;
    case FACET_OP_COLUMNS:
      out << " first=" << op.p.columns.first;
      break;
    case FACET_OP_ROUTE:
      out << " used=" << op.p.route.used;
      break;
    default:
      break;
  }
}

}  // namespace

std::string Program::print() const {
  std::ostringstream out;
  auto value = [&](uint32_t index) -> std::ostream& {
    return out << "v" << index << "[" << values_[index].width << "]";
  };
  for (const facet_port& port : inputs_) value(port.value) << " = input " << port.name << "\n";
  for (size_t i = 0; i < ops_.size(); ++i) {
    const facet_op& op = ops_[i];
    out << i << "  ";
    if (op.output != FACET_NONE) value(op.output) << " = ";
    out << plugin::op_name(op.kind);
    for (uint32_t input : op.inputs) {
      if (input != FACET_NONE) out << " v" << input;
    }
    for (uint32_t weight : op.weights) {
      if (weight != FACET_NONE) out << " " << weights_[weight].name;
    }
    print_parameters(out, op);
    out << "\n";
  }
  for (const facet_port& port : outputs_) out << "output " << port.name << " = v" << port.value << "\n";
  return out.str();
}

}  // namespace facet::graph
