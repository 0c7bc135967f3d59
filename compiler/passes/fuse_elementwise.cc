#include "compiler/passes/fuse_elementwise.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/status.h"
#include "compiler/passes/decided_graph.h"
#include "plan/fused.h"

namespace oneflow {
namespace {

// One op of a chain: `value` says which of its inputs runs through.
struct Link {
  NodeId node = -1;
  FusedRole role = FusedRole::kUnary;
  int value = 0;
};

class Fusing {
 public:
  Fusing(Graph* graph, Decisions* decisions)
      : graph_(*graph),
        edit_(graph, decisions),
        order_(graph->order()),
        vacant_(order_.size(), false),
        position_(graph->num_nodes(), 0) {
    for (size_t i = 0; i < order_.size(); ++i) position_[static_cast<size_t>(order_[i])] = i;
  }

  absl::Status Run() {
    for (size_t i = order_.size(); i-- > 0;) {
      const NodeId id = order_[i];
      if (graph_.node(id).removed) continue;
      std::vector<Link> chain = ChainOf(id);
      if (chain.size() < 2) continue;
      std::reverse(chain.begin(), chain.end());
      OF_RETURN_IF_ERROR(Join(chain));
    }
    return absl::OkStatus();
  }

 private:
  const TensorType& TypeOf(ValueId value) const { return graph_.value(value).type; }

  // What the node is in a chain, whatever its value: types, layouts and attributes fit.
  std::optional<FusedRole> RoleOf(const Node& node) const {
    const std::optional<FusedRole> role = FusedRoleOf(node.op);
    if (!role.has_value()) return std::nullopt;
    const Value& out = graph_.value(node.outputs[0]);
    if (!RunsFused(out.type.dtype)) return std::nullopt;
    for (const Sbp& sbp : out.sharding.sbps) {
      if (sbp.kind == Sbp::kPartial) return std::nullopt;
    }
    return role;
  }

  // Input i of a node may be the value that runs through it.
  bool MayRun(const Node& node, FusedRole role, int i) const {
    const Value& in = graph_.value(node.inputs[static_cast<size_t>(i)]);
    const Value& out = graph_.value(node.outputs[0]);
    if (!RunsFused(in.type.dtype) || in.type.shape != out.type.shape ||
        in.sharding != out.sharding || (i > 0 && role != FusedRole::kBinary)) {
      return false;
    }
    if (role != FusedRole::kBinary) return true;
    const ValueId beside = node.inputs[static_cast<size_t>(1 - i)];
    return beside != node.inputs[static_cast<size_t>(i)] && MayStandBeside(node, beside);
  }

  // The other operand of a binary op: of the value's shape and layout, or one element.
  bool MayStandBeside(const Node& node, ValueId beside) const {
    const Value& in = graph_.value(beside);
    const Value& out = graph_.value(node.outputs[0]);
    if (in.type.shape == out.type.shape) return in.sharding == out.sharding;
    return NumElements(in.type.shape) == 1 && in.type.shape.size() <= out.type.shape.size();
  }

  // The op that makes input i of the chain's first one, if it can join.
  std::optional<Link> Above(const std::vector<Link>& chain, int i) const {
    const Node& first = graph_.node(chain.back().node);
    const ValueId value = first.inputs[static_cast<size_t>(i)];
    const Node& maker = graph_.node(graph_.value(value).producer);
    const std::optional<FusedRole> role = RoleOf(maker);
    if (!role.has_value() || graph_.uses(value).size() != 1 || maker.stage != first.stage ||
        maker.phase != first.phase || Crowded(chain, *role) || HoldsMore(maker, chain)) {
      return std::nullopt;
    }
    const int running = RunningInput(maker, *role);
    if (running < 0) return std::nullopt;
    return Link{maker.id, *role, running};
  }

  // The input that runs through the first op of a chain: one that another op might hand on, the later one of
  // two.
  int RunningInput(const Node& node, FusedRole role) const {
    int best = -1;
    for (int i = 0; i < (role == FusedRole::kBinary ? 2 : 1); ++i) {
      if (!MayRun(node, role, i)) continue;
      if (best < 0 || Handed(node, i) > Handed(node, best)) best = i;
    }
    return best;
  }
  // 0 if nobody hands it on, else how late.
  size_t Handed(const Node& node, int i) const {
    const ValueId value = node.inputs[static_cast<size_t>(i)];
    const Node& maker = graph_.node(graph_.value(value).producer);
    if (graph_.uses(value).size() != 1 || !RoleOf(maker).has_value()) return 0;
    return 1 + position_[static_cast<size_t>(maker.id)];
  }

  // One more op of this role would be too many.
  bool Crowded(const std::vector<Link>& chain, FusedRole role) const {
    int inputs = 1 + InputsRead(role);
    bool same = false;
    for (const Link& link : chain) {
      inputs += InputsRead(link.role);
      same = same || link.role == role;
    }
    const bool once = role == FusedRole::kDropout || role == FusedRole::kBatchNorm;
    return static_cast<int>(chain.size()) + 1 > kMaxFusedSteps || inputs > kMaxFusedInputs ||
           (once && same);
  }

  // The op, moved to the chain's last place, would keep more bytes alive than its result has. What it reads of a
  // state it may not read later than the state is written.
  bool HoldsMore(const Node& maker, const std::vector<Link>& chain) const {
    const size_t end = position_[static_cast<size_t>(chain.front().node)];
    bool alone = true;  // nothing but the chain's own ops stands in between
    for (size_t i = position_[static_cast<size_t>(maker.id)] + 1; alone && i < end; ++i) {
      alone = vacant_[i] || std::any_of(chain.begin(), chain.end(),
                                        [&](const Link& link) { return link.node == order_[i]; });
    }
    if (alone) return false;
    int64_t held = 0;
    for (size_t i = 0; i < maker.inputs.size(); ++i) {
      const ValueId value = maker.inputs[i];
      if (graph_.node(graph_.value(value).producer).op == "state_read") {
        if (maker.phase == NodePhase::kUpdate) return true;
        continue;
      }
      const std::vector<NodeId>& uses = graph_.uses(value);
      const bool alive = std::any_of(uses.begin(), uses.end(), [&](NodeId use) {
        return position_[static_cast<size_t>(use)] >= end;
      });
      if (!alive) held += TypeOf(value).bytes();
    }
    return held > TypeOf(maker.outputs[0]).bytes();
  }

  // From the last op upwards.
  std::vector<Link> ChainOf(NodeId last) const {
    const Node& node = graph_.node(last);
    const std::optional<FusedRole> role = RoleOf(node);
    if (!role.has_value()) return {};
    const int running = RunningInput(node, *role);
    if (running < 0) return {};
    std::vector<Link> chain = {{last, *role, running}};
    while (const std::optional<Link> above = Above(chain, chain.back().value)) {
      chain.push_back(*above);
    }
    return chain;
  }

  // One node in the place of the chain's last; `chain` in the order of its ops.
  absl::Status Join(const std::vector<Link>& chain) {
    const Node last = graph_.node(chain.back().node);
    const Node& first = graph_.node(chain.front().node);
    std::vector<ValueId> inputs = {first.inputs[static_cast<size_t>(chain.front().value)]};
    std::vector<FusedStep> steps;
    Attrs attrs;
    for (const Link& link : chain) {
      const Node& node = graph_.node(link.node);
      FusedStep step{node.op, link.role, 0, false, 0, TypeOf(node.outputs[0]).dtype};
      if (node.attrs.Has("value")) step.value = node.attrs.Float("value");
      if (InputsRead(link.role) > 0) step.read = static_cast<int>(inputs.size());
      step.reversed = link.role == FusedRole::kBinary && link.value == 1;
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (static_cast<int>(i) == link.value) continue;
        inputs.push_back(node.inputs[i]);
      }
      if (link.role == FusedRole::kDropout) {
        for (const char* name : {"p", "seed", "key"}) {
          attrs.Set(name, node.attrs.values().at(name));
        }
      }
      steps.push_back(std::move(step));
    }
    SetFusedSteps(steps, &attrs);
    attrs.Set("dtype", std::string(NameOf(steps.back().dtype)));
    std::vector<NodeId> gone;
    for (size_t k = chain.size(); k-- > 0;) {
      gone.push_back(chain[k].node);
      vacant_[position_[static_cast<size_t>(chain[k].node)]] = k + 1 < chain.size();
    }
    OF_RETURN_IF_ERROR(
        edit_.Replace(last, "fused", std::move(inputs), std::move(attrs), last.outputs, gone)
            .status());
    position_.resize(graph_.num_nodes(), position_[static_cast<size_t>(last.id)]);
    return absl::OkStatus();
  }

  Graph& graph_;
  DecidedGraph edit_;
  const std::vector<NodeId> order_;  // as it was
  std::vector<bool> vacant_;         // by position: its op has gone up into a chain
  std::vector<size_t> position_;     // of a node; of a chain: its last op's
};

// A reshape of what an op of one operand made becomes that op on a reshape, if an op behind it can stand in a chain:
//   relu(reshape(cast(%1)))  ->  relu(cast(reshape(%1)))
absl::Status MoveViewsUp(Graph* graph, Decisions* decisions) {
  DecidedGraph edit(graph, decisions);
  for (const NodeId id : graph->order()) {
    if (graph->node(id).op != "reshape") continue;
    const std::vector<NodeId>& readers = graph->uses(graph->node(id).outputs[0]);
    if (readers.size() != 1 || !FusedRoleOf(graph->node(readers[0]).op).has_value()) continue;
    NodeId view = id;
    while (true) {
      const Node reshape = graph->node(view);
      const ValueId value = reshape.inputs[0];
      const Node maker = graph->node(graph->value(value).producer);
      const std::optional<FusedRole> role = FusedRoleOf(maker.op);
      if ((role != FusedRole::kUnary && role != FusedRole::kCast) ||
          graph->uses(value).size() != 1 || maker.stage != reshape.stage ||
          maker.phase != reshape.phase) {
        break;
      }
      const std::vector<Sharding> layout = {graph->value(reshape.outputs[0]).sharding};
      OF_ASSIGN_OR_RETURN(const std::vector<ValueId> seen,
                          edit.Insert(reshape, "reshape", maker.inputs, reshape.attrs, layout));
      OF_ASSIGN_OR_RETURN(const std::vector<ValueId> made,
                          edit.Insert(reshape, maker.op, seen, maker.attrs, layout));
      graph->ReplaceUses(reshape.outputs[0], made[0]);
      edit.Remove(view);
      edit.Remove(maker.id);
      view = graph->value(seen[0]).producer;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status FuseElementwise(Graph* graph, Decisions* decisions) {
  OF_RETURN_IF_ERROR(MoveViewsUp(graph, decisions));
  return Fusing(graph, decisions).Run();
}

}  // namespace oneflow
