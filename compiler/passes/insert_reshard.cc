#include "compiler/passes/insert_reshard.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "compiler/parallel/bound_graph.h"
#include "compiler/parallel/cost_model.h"
#include "compiler/parallel/node_kind.h"
#include "compiler/parallel/reshard_path.h"

namespace oneflow {
namespace {

class ReshardInserter {
 public:
  ReshardInserter(Graph* graph, Decisions* decisions, const plan::Target& target)
      : graph_(*graph),
        decisions_(*decisions),
        target_(target),
        cost_(target, decisions->mesh, decisions->micro_batches),
        paths_(&cost_) {}

  absl::Status Run(int world_size) {
    OF_RETURN_IF_ERROR(paths_.Fix(decisions_.held.moves));
    decisions_.held.moves.clear();
    if (world_size > 1) OF_RETURN_IF_ERROR(CopyOutputs());
    order_ = graph_.order();
    position_.assign(graph_.num_nodes(), 0);
    for (size_t i = 0; i < order_.size(); ++i) position_[order_[i]] = i;
    for (NodeId id : order_) {
      for (size_t i = 0; i < graph_.node(id).inputs.size(); ++i) {
        OF_RETURN_IF_ERROR(BringInput(id, static_cast<int>(i)));
      }
      if (IsPin(graph_.node(id))) RemovePin(id);
    }
    return absl::OkStatus();
  }

 private:
  std::set<int> RanksOf(int stage) const {
    std::set<int> ranks;
    for (int device : decisions_.mesh.StageDevices(stage)) {
      ranks.insert(
          device < target_.devices_size() ? static_cast<int>(target_.devices(device).rank()) : 0);
    }
    return ranks;
  }

  absl::Status CopyOutputs() {
    std::vector<std::set<int>> ranks;
    for (int stage = 0; stage < decisions_.mesh.stages(); ++stage) ranks.push_back(RanksOf(stage));
    for (NodeId id : graph_.order()) {
      const Node output = graph_.node(id);
      if (output.op != "output") continue;
      std::set<int> served = ranks[*output.stage];
      for (int stage = 0; stage < decisions_.mesh.stages(); ++stage) {
        const bool serves =
            std::includes(served.begin(), served.end(), ranks[stage].begin(), ranks[stage].end());
        if (serves) continue;
        served.insert(ranks[stage].begin(), ranks[stage].end());
        const NodeId copy = static_cast<NodeId>(graph_.num_nodes());
        OF_RETURN_IF_ERROR(graph_
                               .AddNode("output", output.inputs, output.attrs, output.location,
                                        output.scope, stage)
                               .status());
        decisions_.nodes.resize(graph_.num_nodes());
        NodeDecision& decision = decisions_.nodes[copy];
        decision = decisions_.nodes[id];
        decision.shardings.inputs[0].stage = stage;
      }
    }
    return absl::OkStatus();
  }

  absl::Status BringInput(NodeId reader, int index) {
    const ValueId value = graph_.node(reader).inputs[index];
    const Sharding from = graph_.value(value).sharding;
    const Sharding to = decisions_.nodes[reader].shardings.inputs[index];
    if (from == to) return absl::OkStatus();
    const TensorType type = graph_.value(value).type;
    const ReshardPath& path = paths_.Find(type, from, to);
    if (!path.possible) {
      const Node& node = graph_.node(reader);
      return MakeError(
          ErrorKind::kSharding,
          absl::StrCat("`", node.op, "` needs its input ", index, " ", type.ToString(), " as ",
                       to.ToString(cost_.axes()), " but it is ", from.ToString(cost_.axes()),
                       ", and micro-batches cannot be joined and cut again within a step. Annotate "
                       "the value with flow.shard, or use accumulate=1"),
          graph_.location(node.location));
    }
    decisions_.held.moves.push_back({type, from, path.steps});
    Place place = PlaceFor(value, reader, path);
    ValueId current = value;
    for (const ReshardStep& step : path.steps) {
      auto [known, added] = made_.try_emplace({value, ShardingKey(step.to)}, -1);
      if (added) {
        // An earlier reader may have put the steps so far behind that place.
        if (!graph_.Before(graph_.value(current).producer, place.before)) place.before = reader;
        OF_ASSIGN_OR_RETURN(known->second, AddStep(current, step, place));
      } else if (graph_.node(reader).phase == NodePhase::kForward) {
        // Made for a gradient or an update, now read before them as well.
        Node& shared = graph_.mutable_node(graph_.value(known->second).producer);
        shared.phase = NodePhase::kForward;
        shared.forward = -1;
      }
      current = known->second;
    }
    graph_.ReplaceInput(reader, index, current);
    return absl::OkStatus();
  }

  // Before which node a chain stands, and whose stage, scope and direction it takes.
  struct Place {
    NodeId before = -1;
    Node like;
  };

  Place PlaceFor(ValueId value, NodeId reader, const ReshardPath& path) const {
    const NodeId producer = graph_.value(value).producer;
    const Node& from = graph_.node(producer);
    const Node& to = graph_.node(reader);
    const bool moves =
        std::any_of(path.steps.begin(), path.steps.end(), [&](const ReshardStep& step) {
          return step.axis < 0 ||
                 graph_.value(value).sharding.sbps[step.axis].kind != Sbp::kBroadcast;
        });
    Place place{reader, to};
    place.like.location = to.location;
    if (!moves || IsLeaf(from) ||
        (from.phase == NodePhase::kForward && to.phase != NodePhase::kForward))
      return place;
    place.like = from;
    place.like.location = to.location != 0 ? to.location : from.location;
    // The next node of the original order that still stands; the reader at the latest.
    size_t next = Position(producer) + 1;
    while (graph_.node(order_[next]).removed) ++next;
    place.before = order_[next];
    return place;
  }

  // A reshard stands where its origin does.
  size_t Position(NodeId id) const {
    const auto origin = origin_.find(id);
    return position_[origin == origin_.end() ? id : origin->second];
  }

  absl::StatusOr<ValueId> AddStep(ValueId value, const ReshardStep& step, const Place& place) {
    const Sharding from = graph_.value(value).sharding;
    Node like = place.like;
    like.stage = step.to.stage;
    const Attrs attrs{{"axis", AttrValue(static_cast<int64_t>(step.axis))},
                      {"change", AttrValue(ChangeText(cost_.axes(), from, step))},
                      {"group", AttrValue(step.group)}};
    OF_ASSIGN_OR_RETURN(const std::vector<ValueId> made,
                        graph_.InsertNode(place.before, "reshard", {value}, attrs, like));
    graph_.mutable_value(made[0]).sharding = step.to;
    decisions_.nodes.resize(graph_.num_nodes());
    const NodeId id = graph_.value(made[0]).producer;
    NodeDecision& decision = decisions_.nodes[id];
    decision.shardings.inputs = {from};
    decision.shardings.outputs = {step.to};
    decision.reason =
        absl::StrCat("predicted ", step.cost_ns / 1000, ".", step.cost_ns / 100 % 10, " us");
    origin_[id] = place.before == -1 ? id : OriginBefore(place.before);
    return made[0];
  }

  // The node of the original order right before `before`.
  NodeId OriginBefore(NodeId before) const {
    const size_t position = position_[before];
    return order_[position == 0 ? 0 : position - 1];
  }

  // A pin passes its input through unchanged: its readers read the input.
  void RemovePin(NodeId id) {
    const ValueId pinned = graph_.node(id).outputs[0];
    const ValueId value = graph_.node(id).inputs[0];
    OF_CHECK(graph_.value(value).sharding == graph_.value(pinned).sharding)
        << "a pin changes no layout";
    graph_.ReplaceUses(pinned, value);
    graph_.RemoveNode(id);
    decisions_.nodes[id] = {};
  }

  Graph& graph_;
  Decisions& decisions_;
  const plan::Target& target_;
  const CostModel cost_;
  ReshardPaths paths_;
  std::vector<NodeId> order_;        // before anything was inserted
  std::vector<size_t> position_;     // in order_, by NodeId
  std::map<NodeId, NodeId> origin_;  // reshard -> the original node that it follows
  std::map<std::pair<ValueId, std::vector<int64_t>>, ValueId> made_;
};

}  // namespace

absl::Status InsertReshard(Graph* graph, Decisions* decisions, int world_size,
                           const plan::Target& target) {
  return ReshardInserter(graph, decisions, target).Run(world_size);
}

}  // namespace oneflow
