#include "compiler/parallel/assign_stages.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "compiler/ops/op_table.h"
#include "compiler/parallel/node_kind.h"
#include "compiler/parallel/stage_cut.h"

namespace oneflow {
namespace {

// A gradient costs about two forward passes of its node; the same factor for all nodes, so it drops
// out but against the work on parameters: read, gradient, update.
constexpr int64_t kPassesPerStep = 3;
constexpr int64_t kTouchesPerParameter = 6;

class StageAssignment {
 public:
  StageAssignment(Graph* graph, int stages, const CostModel& cost)
      : graph_(*graph), stages_(stages), cost_(cost) {}

  absl::Status Run() {
    order_ = graph_.order();
    OF_RETURN_IF_ERROR(CheckAsked());
    Classify();
    if (HasAskedStages()) {
      FollowAsked();
    } else {
      CutByCost();
    }
    OF_RETURN_IF_ERROR(CheckMonotone());
    PlaceStates();
    PlaceTheRest();
    PlaceLeaves();
    return absl::OkStatus();
  }

 private:
  const Location& LocationOf(const Node& node) const { return graph_.location(node.location); }

  absl::Status CheckAsked() const {
    for (NodeId id : order_) {
      const Node& node = graph_.node(id);
      if (!node.stage.has_value() || (*node.stage >= 0 && *node.stage < stages_)) continue;
      return MakeError(
          ErrorKind::kSharding,
          absl::StrCat(
              "flow.stage(", *node.stage, ") around `", node.op, "`, but the mesh has ", stages_,
              stages_ == 1 ? " stage (no axis `pp`): add pp=" : " stages: use pp=", *node.stage + 1,
              " in flow.mesh or a stage below ", stages_),
          LocationOf(node));
    }
    return absl::OkStatus();
  }

  void Classify() {
    forward_.assign(graph_.num_nodes(), false);
    for (NodeId id : order_) {
      const Node& node = graph_.node(id);
      forward_[id] = node.phase == NodePhase::kForward && !IsLeaf(node);
    }
  }

  // Stages fixed by flow.stage or by where an earlier plan put the states that a node reads.
  std::optional<int> Asked(const Node& node) const {
    if (node.stage.has_value()) return node.stage;
    std::optional<int> asked;
    for (ValueId input : node.inputs) {
      const Node& producer = graph_.node(graph_.value(input).producer);
      if (producer.op != "state_read") continue;
      const GraphState& state = graph_.states().at(producer.attrs.String("name"));
      if (state.sharding.has_value()) asked = std::max(asked.value_or(0), state.sharding->stage);
    }
    return asked;
  }

  bool HasAskedStages() const {
    return stages_ == 1 || std::any_of(order_.begin(), order_.end(), [&](NodeId id) {
             return forward_[id] && Asked(graph_.node(id)).has_value();
           });
  }

  int LatestInput(const Node& node) const {
    int stage = 0;
    for (ValueId input : node.inputs) {
      const NodeId producer = graph_.value(input).producer;
      if (forward_[producer]) stage = std::max(stage, graph_.node(producer).stage.value_or(0));
    }
    return stage;
  }

  void FollowAsked() {
    for (NodeId id : order_) {
      if (!forward_[id]) continue;
      Node& node = graph_.mutable_node(id);
      if (node.stage.has_value()) continue;
      const int latest = LatestInput(node);
      node.stage = std::min(std::max(latest, Asked(node).value_or(0)), stages_ - 1);
    }
  }

  int64_t Weight(const Node& node, std::set<std::string>* seen_states) const {
    int64_t ns = 0;
    std::vector<TensorType> inputs, outputs;
    for (ValueId input : node.inputs) inputs.push_back(graph_.value(input).type);
    for (ValueId output : node.outputs) outputs.push_back(graph_.value(output).type);
    const OpDef* def = FindOp(node.op);
    if (def != nullptr && !def->structural && !def->view) {
      ns += kPassesPerStep * cost_.ComputeNs(CostOf(*def, node.attrs, inputs, outputs));
    }
    for (ValueId input : node.inputs) {
      const Node& producer = graph_.node(graph_.value(input).producer);
      if (producer.op != "state_read" || !seen_states->insert(producer.attrs.String("name")).second)
        continue;
      ns += cost_.MemoryNs(kTouchesPerParameter * graph_.value(input).type.bytes());
    }
    return ns;
  }

  void CutByCost() {
    std::vector<NodeId> items;
    std::map<NodeId, size_t> place;
    for (NodeId id : order_) {
      if (!forward_[id] || graph_.node(id).op == "output") continue;
      place[id] = items.size();
      items.push_back(id);
    }
    std::vector<int64_t> weights, crossing(items.size() + 1, 0);
    std::set<std::string> seen_states;
    for (size_t i = 0; i < items.size(); ++i) {
      const Node& node = graph_.node(items[i]);
      weights.push_back(Weight(node, &seen_states));
      for (ValueId output : node.outputs) {
        size_t last = i;
        for (NodeId reader : graph_.uses(output)) {
          const auto found = place.find(reader);
          if (found != place.end()) last = std::max(last, found->second);
        }
        // Crosses the cuts before items i+1 .. last.
        crossing[i + 1] += graph_.value(output).type.bytes();
        crossing[last + 1 > items.size() ? items.size() : last + 1] -=
            graph_.value(output).type.bytes();
      }
    }
    for (size_t i = 1; i < crossing.size(); ++i) crossing[i] += crossing[i - 1];
    crossing.resize(items.size());
    const std::vector<size_t> cuts = StageCut(weights, crossing, stages_);
    for (size_t i = 0; i < items.size(); ++i) {
      const auto stage = std::upper_bound(cuts.begin(), cuts.end(), i) - cuts.begin();
      graph_.mutable_node(items[i]).stage = static_cast<int>(stage);
    }
    for (NodeId id : order_) {
      Node& node = graph_.mutable_node(id);
      if (forward_[id] && node.op == "output") node.stage = LatestInput(node);
    }
  }

  absl::Status CheckMonotone() const {
    for (NodeId id : order_) {
      if (!forward_[id]) continue;
      const Node& node = graph_.node(id);
      for (ValueId input : node.inputs) {
        const NodeId producer = graph_.value(input).producer;
        if (!forward_[producer] || *graph_.node(producer).stage <= *node.stage) continue;
        return MakeError(
            ErrorKind::kSharding,
            absl::StrCat("`", node.op, "` on stage ", *node.stage, " reads the result of `",
                         graph_.node(producer).op, "` (", LocationOf(graph_.node(producer)).Short(),
                         ") on stage ", *graph_.node(producer).stage,
                         ": a pipeline flows forward only. Give this line a stage of at least ",
                         *graph_.node(producer).stage, ", or the other one at most ", *node.stage),
            LocationOf(node));
      }
    }
    return absl::OkStatus();
  }

  // A state lives where an earlier plan put it, else at its first forward use.
  void PlaceStates() {
    for (const auto& [name, state] : graph_.states()) {
      if (state.sharding.has_value()) homes_[name] = std::min(state.sharding->stage, stages_ - 1);
    }
    for (NodeId id : order_) {
      if (!forward_[id]) continue;
      for (ValueId input : graph_.node(id).inputs) {
        const Node& producer = graph_.node(graph_.value(input).producer);
        if (producer.op != "state_read") continue;
        homes_.try_emplace(producer.attrs.String("name"), *graph_.node(id).stage);
      }
    }
    for (NodeId id : order_) {
      Node& node = graph_.mutable_node(id);
      if (node.op != "state_read" || node.stage.has_value()) continue;
      const auto home = homes_.find(node.attrs.String("name"));
      if (home != homes_.end()) node.stage = home->second;
    }
  }

  // Gradients, and what follows them: an update goes where its gradient is made and its states are.
  void PlaceTheRest() {
    for (NodeId id : order_) {
      Node& node = graph_.mutable_node(id);
      if (forward_[id] || IsLeaf(node) || node.op == "state_write") continue;
      if (node.forward >= 0 && graph_.node(node.forward).stage.has_value()) {
        node.stage = graph_.node(node.forward).stage;
      } else if (!node.stage.has_value()) {
        node.stage = StageByInputs(node);
      }
      if (node.stage.has_value()) GiveHomes(node);
    }
    // What an update computes from a state that nobody else reads goes to who reads it.
    for (auto id = order_.rbegin(); id != order_.rend(); ++id) {
      Node& node = graph_.mutable_node(*id);
      if (forward_[*id] || IsLeaf(node) || node.op == "state_write" || node.stage.has_value())
        continue;
      for (ValueId output : node.outputs) {
        for (NodeId reader : graph_.uses(output)) {
          if (!node.stage.has_value()) node.stage = graph_.node(reader).stage;
        }
      }
      if (!node.stage.has_value()) node.stage = 0;
      GiveHomes(node);
    }
    for (NodeId id : order_) {
      Node& node = graph_.mutable_node(id);
      if (node.op != "state_write") continue;
      const int produced = graph_.node(graph_.value(node.inputs[0]).producer).stage.value_or(0);
      node.stage = homes_.try_emplace(node.attrs.String("name"), produced).first->second;
    }
  }

  // States that it is the first to read live where it runs.
  void GiveHomes(const Node& node) {
    for (ValueId input : node.inputs) {
      const Node& producer = graph_.node(graph_.value(input).producer);
      if (producer.op == "state_read")
        homes_.try_emplace(producer.attrs.String("name"), *node.stage);
    }
  }

  // The home of a state that it reads, else where its largest input is made, if one is known.
  std::optional<int> StageByInputs(const Node& node) const {
    int64_t largest = -1;
    std::optional<int> stage;
    for (ValueId input : node.inputs) {
      const Node& producer = graph_.node(graph_.value(input).producer);
      if (producer.op == "state_read") {
        const auto home = homes_.find(producer.attrs.String("name"));
        if (home != homes_.end()) return home->second;
      }
      if (producer.stage.has_value() && !IsLeaf(producer) &&
          graph_.value(input).type.bytes() > largest) {
        largest = graph_.value(input).type.bytes();
        stage = *producer.stage;
      }
    }
    return stage;
  }

  // State reads go home; inputs and constants are copied to each stage that reads them.
  void PlaceLeaves() {
    for (NodeId id : order_) {
      const Node leaf = graph_.node(id);
      if (!IsLeaf(leaf)) continue;
      if (leaf.op == "state_read") {
        const auto home = homes_.find(leaf.attrs.String("name"));
        graph_.mutable_node(id).stage = home == homes_.end() ? 0 : home->second;
        continue;
      }
      const std::vector<NodeId> readers = graph_.uses(leaf.outputs[0]);
      std::map<int, std::vector<NodeId>> by_stage;
      for (NodeId reader : readers)
        by_stage[graph_.node(reader).stage.value_or(0)].push_back(reader);
      graph_.mutable_node(id).stage = by_stage.empty() ? 0 : by_stage.begin()->first;
      for (const auto& [stage, stage_readers] : by_stage) {
        if (stage != by_stage.begin()->first) CopyLeaf(id, stage, stage_readers);
      }
    }
  }

  void CopyLeaf(NodeId id, int stage, const std::vector<NodeId>& readers) {
    Node like = graph_.node(id);
    like.stage = stage;
    const auto copy = graph_.InsertNode(id, like.op, {}, like.attrs, like);
    OF_CHECK(copy.ok()) << MessageOf(copy.status());
    graph_.mutable_value((*copy)[0]).annotation = graph_.value(like.outputs[0]).annotation;
    for (NodeId reader : readers) {
      const std::vector<ValueId> inputs = graph_.node(reader).inputs;
      for (size_t i = 0; i < inputs.size(); ++i) {
        if (inputs[i] == like.outputs[0])
          graph_.ReplaceInput(reader, static_cast<int>(i), (*copy)[0]);
      }
    }
  }

  Graph& graph_;
  const int stages_;
  const CostModel& cost_;
  std::vector<NodeId> order_;
  std::vector<bool> forward_;         // by NodeId
  std::map<std::string, int> homes_;  // state -> stage
};

}  // namespace

absl::Status AssignStages(Graph* graph, int stages, const CostModel& cost) {
  return StageAssignment(graph, stages, cost).Run();
}

}  // namespace oneflow
