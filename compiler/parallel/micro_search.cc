#include "compiler/parallel/micro_search.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "compiler/parallel/node_kind.h"

namespace oneflow {
namespace {

constexpr int64_t kInfeasible = std::numeric_limits<int64_t>::max() / 4;
bool AllBroadcast(const AxisSignature& signature) {
  const auto is_broadcast = [](const Sbp& sbp) { return sbp.kind == Sbp::kBroadcast; };
  return std::all_of(signature.inputs.begin(), signature.inputs.end(), is_broadcast) &&
         std::all_of(signature.outputs.begin(), signature.outputs.end(), is_broadcast);
}

class MicroSearch {
 public:
  MicroSearch(const BoundGraph& bound, const CostModel& cost)
      : bound_(bound),
        graph_(*bound.graph),
        cost_(cost),
        micro_axis_({bound.axes[0]}),
        batches_(bound.axes[0].size),
        choice_(graph_.num_nodes(), 0),
        layout_(graph_.num_values()),
        after_loop_(graph_.num_values(), false) {}

  absl::StatusOr<std::vector<int>> Run(NeededEarly* early) {
    early_ = early;
    if (batches_ == 1) return choice_;
    for (NodeId id : bound_.order) OF_RETURN_IF_ERROR(Decide(graph_.node(id)));
    for (size_t i = bound_.order.size(); i-- > 0;) SinkIntoLoop(graph_.node(bound_.order[i]));
    return choice_;
  }

 private:
  const TensorType& type(ValueId value) const { return graph_.value(value).type; }
  const Sbp& sbp(ValueId value) const { return layout_[value].sbps[0]; }
  const std::vector<AxisSignature>& signatures(const Node& node) const {
    return bound_.nodes[node.id].rule->signatures();
  }

  absl::Status Decide(const Node& node) {
    const BoundNode& bound = bound_.nodes[node.id];
    if (bound.rule == nullptr) {
      for (ValueId output : node.outputs) {
        layout_[output] = Sharding::Broadcast(0, 1, type(output).shape.size());
        if (bound.role != NodeRole::kFixed) continue;
        layout_[output].sbps[0] = bound.fixed.sbps[0];
        layout_[output] = Canonical(layout_[output], micro_axis_, type(output).shape);
      }
      return absl::OkStatus();
    }
    int best = -1;
    int64_t best_cost = kInfeasible;
    for (int index : bound.allowed[0]) {
      const int64_t cost = CandidateCost(node, index);
      if (cost < best_cost) {
        best = index;
        best_cost = cost;
      }
    }
    if (best < 0) return NeededTooEarly(node);
    Take(node, best);
    return absl::OkStatus();
  }

  void Take(const Node& node, int index) {
    choice_[node.id] = index;
    const NodeShardings shardings = Layouts(node, index);
    const bool step_level = AllBroadcast(signatures(node)[index]);
    bool after = node.phase == NodePhase::kUpdate && !IsLeaf(node);
    for (ValueId input : node.inputs) {
      after = after || after_loop_[input] || (step_level && sbp(input).kind != Sbp::kBroadcast);
    }
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      layout_[node.outputs[i]] = shardings.outputs[i];
      after_loop_[node.outputs[i]] = step_level && after;
    }
  }

  NodeShardings Layouts(const Node& node, int index) const {
    std::vector<const Sharding*> current;
    for (ValueId input : node.inputs) current.push_back(&layout_[input]);
    return bound_.nodes[node.id].rule->Apply({index}, micro_axis_, current, 0);
  }

  // Micro-batches must be equal: every split deals out a multiple of their number.
  bool Divides(const NodeShardings& shardings) const {
    for (const auto* side : {&shardings.inputs, &shardings.outputs}) {
      for (const Sharding& sharding : *side) {
        for (int64_t units : sharding.units) {
          if (units % batches_ != 0) return false;
        }
      }
    }
    return true;
  }

  int64_t SumNs(ValueId value) const { return batches_ * cost_.MemoryNs(3 * type(value).bytes()); }
  int64_t CopyPiecesNs(ValueId value) const {
    return batches_ * cost_.MemoryNs(2 * type(value).bytes() / batches_);
  }

  // Time per step to bring an input from how it is to how a signature wants it.
  // `folds`: the node may read the pieces of all micro-batches together, after the loop.
  int64_t ConversionCost(ValueId value, const Sbp& wanted, bool step_level, bool folds) const {
    const Sbp& have = sbp(value);
    if (have == wanted) {
      return !step_level && after_loop_[value] ? kInfeasible : 0;
    }
    if (have.kind == Sbp::kBroadcast) {
      if (after_loop_[value]) return kInfeasible;
      return wanted.kind == Sbp::kSplit ? CopyPiecesNs(value)
                                        : batches_ * cost_.MemoryNs(2 * type(value).bytes());
    }
    if (!step_level) return kInfeasible;
    if (have.kind == Sbp::kPartial) return SumNs(value);
    return folds ? CopyPiecesNs(value) : kInfeasible;
  }

  // A new value of a state may be folded from what the micro-batches left (running statistics).
  bool OnlyUpdatesStates(const Node& node) const {
    for (ValueId output : node.outputs) {
      for (NodeId reader : graph_.uses(output)) {
        if (graph_.node(reader).op != "state_write") return false;
      }
    }
    return true;
  }

  int64_t ComputeCost(const Node& node, const NodeShardings& shardings, bool step_level) const {
    const BoundNode& bound = bound_.nodes[node.id];
    if (bound.role == NodeRole::kPin || bound.def->view) return 0;
    std::vector<TensorType> inputs, outputs;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      inputs.push_back(LargestShard(type(node.inputs[i]), shardings.inputs[i], micro_axis_));
    }
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      outputs.push_back(LargestShard(type(node.outputs[i]), shardings.outputs[i], micro_axis_));
    }
    return (step_level ? 1 : batches_) *
           cost_.ComputeNs(LocalCost(*bound.def, node.attrs, inputs, outputs));
  }

  int64_t CandidateCost(const Node& node, int index) const {
    const AxisSignature& signature = signatures(node)[index];
    const bool step_level = AllBroadcast(signature);
    const bool folds = OnlyUpdatesStates(node);
    int64_t total = 0;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const int64_t cost = ConversionCost(node.inputs[i], signature.inputs[i], step_level, folds);
      if (cost >= kInfeasible) return kInfeasible;
      total += cost;
    }
    const NodeShardings shardings = Layouts(node, index);
    if (!Divides(shardings)) return kInfeasible;
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      if (signature.outputs[i].kind == Sbp::kPartial) total += SumNs(node.outputs[i]);
    }
    return total + ComputeCost(node, shardings, step_level);
  }

  // Turns a node that runs once, before the loop, into one that makes the piece of each
  // micro-batch.
  void SinkIntoLoop(const Node& node) {
    const BoundNode& bound = bound_.nodes[node.id];
    if (bound.rule == nullptr || node.outputs.size() != 1 || choice_[node.id] != 0) return;
    const ValueId value = node.outputs[0];
    if (after_loop_[value] || graph_.uses(value).empty()) return;
    std::optional<Sbp> wanted;
    for (NodeId reader : graph_.uses(value)) {
      if (bound_.nodes[reader].rule == nullptr) return;
      const AxisSignature& signature = signatures(graph_.node(reader))[choice_[reader]];
      for (size_t i = 0; i < signature.inputs.size(); ++i) {
        if (graph_.node(reader).inputs[i] != value) continue;
        if (wanted.has_value() && *wanted != signature.inputs[i]) return;
        wanted = signature.inputs[i];
      }
    }
    if (!wanted.has_value() || wanted->kind != Sbp::kSplit) return;
    // Worth it where no more bytes are cut before the node than would be cut behind it.
    for (int index : bound.allowed[0]) {
      const AxisSignature& signature = signatures(node)[index];
      if (signature.outputs[0] != *wanted || CandidateCost(node, index) >= kInfeasible) continue;
      int64_t cut_bytes = 0;
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (signature.inputs[i].kind == Sbp::kSplit) cut_bytes += type(node.inputs[i]).bytes();
      }
      if (cut_bytes > type(value).bytes()) continue;
      Take(node, index);
      return;
    }
  }

  // The values over the whole batch behind what a node of the loop needs: sums that are ready only
  // after it.
  void CollectEarly(const Node& node) const {
    early_->node = node.id;
    early_->sums.clear();
    early_->late = after_loop_;
    for (NodeId id : bound_.order) {
      if (id == node.id) break;
      for (ValueId value : graph_.node(id).outputs) {
        if (sbp(value).kind == Sbp::kPartial) early_->late[value] = true;
      }
    }
    std::vector<NodeId> open = {node.id};
    std::set<NodeId> seen = {node.id};
    while (!open.empty()) {
      const Node& at = graph_.node(open.back());
      open.pop_back();
      for (const ValueId input : at.inputs) {
        const NodeId producer = graph_.value(input).producer;
        if (sbp(input).kind != Sbp::kBroadcast) {
          if (sbp(input).kind == Sbp::kPartial) early_->sums.push_back(input);
        } else if (after_loop_[input] && seen.insert(producer).second) {
          open.push_back(producer);
        }
      }
    }
  }

  absl::Status NeededTooEarly(const Node& node) const {
    if (early_ != nullptr) CollectEarly(node);
    const std::string line =
        absl::StrCat(node.phase == NodePhase::kBackward ? "The gradient of this line" : "This line",
                     " (`", node.op, "`)");
    const std::string advice =
        absl::StrCat(": with accumulate=", batches_,
                     " the samples of a step are seen one micro-batch after the other. Compute it "
                     "per sample and "
                     "reduce it only in the loss or a metric, or use accumulate=1");
    for (ValueId input : node.inputs) {
      if (!after_loop_[input] && sbp(input).kind != Sbp::kPartial) continue;
      const Node& culprit = graph_.node(graph_.value(input).producer);
      return MakeError(ErrorKind::kSharding,
                       absl::StrCat(line, " needs a value over the whole batch, made by `",
                                    culprit.op, "` (", graph_.location(culprit.location).Short(),
                                    "), before the last micro-batch", advice),
                       graph_.location(node.location));
    }
    return MakeError(ErrorKind::kSharding,
                     absl::StrCat(line, " combines samples of different micro-batches", advice),
                     graph_.location(node.location));
  }

  NeededEarly* early_ = nullptr;  // what the node that fails would need
  const BoundGraph& bound_;
  const Graph& graph_;
  const CostModel& cost_;
  const std::vector<Axis> micro_axis_;
  const int64_t batches_;
  std::vector<int> choice_;       // by NodeId
  std::vector<Sharding> layout_;  // by ValueId, on the micro axis alone
  std::vector<bool> after_loop_;  // by ValueId: known only after the last micro-batch
};

}  // namespace

absl::StatusOr<std::vector<int>> SearchMicro(const BoundGraph& bound, const CostModel& cost,
                                             NeededEarly* early) {
  return MicroSearch(bound, cost).Run(early);
}

}  // namespace oneflow
