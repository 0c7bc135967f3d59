#include "compiler/lower/schedule.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "compiler/ops/op_table.h"
#include "compiler/parallel/node_kind.h"

namespace oneflow {
namespace {

bool VariesOverMicro(const NodeShardings& shardings) {
  for (const auto* side : {&shardings.inputs, &shardings.outputs}) {
    for (const Sharding& sharding : *side) {
      if (sharding.sbps[0].kind != Sbp::kBroadcast) return true;
    }
  }
  return false;
}

// True if output `value` is whole only after the last micro-batch although its node runs in the
// loop.
bool LeavesMicroLoop(const Graph& graph, ValueId value) {
  return graph.value(value).sharding.sbps[0].kind == Sbp::kBroadcast;
}

uint32_t PositionsOf(const Node& node) {
  if (node.op != "reshard") return 1;
  return std::max<uint32_t>(1, static_cast<uint32_t>(node.attrs.Strings("rounds").size()));
}

}  // namespace

absl::StatusOr<Schedule> Schedule::Make(const Graph& graph, const Decisions& decisions) {
  Schedule schedule;
  schedule.stages_ = decisions.mesh.stages();
  schedule.micro_batches_ = decisions.micro_batches;
  schedule.nodes_.resize(graph.num_nodes());
  for (NodeId id : graph.order()) {
    if (FindOp(graph.node(id).op)->may_fail) schedule.may_fail_.push_back(id);
  }
  // States are written at the end: whoever reads one sees it as the step found it.
  uint32_t position = 0, end = 0;
  for (NodeId id : graph.order()) {
    if (graph.node(id).op != "state_write") end += PositionsOf(graph.node(id));
  }
  for (NodeId id : graph.order()) {
    const Node& node = graph.node(id);
    NodeSchedule& entry = schedule.nodes_[id];
    uint32_t& next = node.op == "state_write" ? end : position;
    entry.position = next;
    next += PositionsOf(node);
    if (schedule.micro_batches_ == 1) continue;
    if (node.op == "state_write" && !schedule.may_fail_.empty()) {
      entry.phase = Phase::kEpilogue;
      continue;
    }

    // An update, or what reads a sum or concatenation over the micro-batches.
    bool after_loop = node.phase == NodePhase::kUpdate && !IsLeaf(node) &&
                      !VariesOverMicro(decisions.nodes[id].shardings);
    bool backward = node.phase != NodePhase::kForward;
    for (ValueId input : node.inputs) {
      const NodeId producer = graph.value(input).producer;
      const NodeSchedule& from = schedule.nodes_[producer];
      if (from.phase == Phase::kEpilogue) after_loop = true;
      if (from.in_micro_loop() && LeavesMicroLoop(graph, input)) after_loop = true;
      if (from.phase == Phase::kBackward) backward = true;
    }
    // A move between stages runs where it keeps the order of slots: a forward value goes up the
    // stages in the forward phase even if only gradients read it, and down in the backward phase.
    if (node.op == "reshard") {
      const int from = graph.value(node.inputs[0]).sharding.stage;
      const int to = graph.value(node.outputs[0]).sharding.stage;
      const Phase producer = schedule.nodes_[graph.value(node.inputs[0]).producer].phase;
      if (from < to && producer == Phase::kForward) backward = false;
      if (from > to) backward = true;
      if (from < to && producer == Phase::kBackward &&
          VariesOverMicro(decisions.nodes[id].shardings)) {
        return MakeError(
            ErrorKind::kSharding,
            absl::StrCat("a gradient would move from pipeline stage ", from, " up to stage ", to,
                         " for every micro-batch; put this op on stage ", from,
                         " or an earlier one"),
            graph.location(node.location));
      }
    }
    if (VariesOverMicro(decisions.nodes[id].shardings)) {
      if (after_loop) {
        return MakeError(
            ErrorKind::kSharding,
            absl::StrCat(
                "`", node.op, "` runs for every micro-batch but reads a value that is known only ",
                "after the last one, because it is summed over the batch. With accumulate=",
                schedule.micro_batches_,
                " compute it per sample, move it behind the loss, or use accumulate=1"),
            graph.location(node.location));
      }
      entry.phase = backward ? Phase::kBackward : Phase::kForward;
    } else {
      entry.phase = after_loop ? Phase::kEpilogue : Phase::kPrologue;
    }
  }
  return schedule;
}

bool Schedule::BehindFailures(NodeId id) const {
  const auto turn = [](const NodeSchedule& entry) {
    return entry.phase == Phase::kPrologue ? 0 : entry.in_micro_loop() ? 1 : 2;
  };
  const NodeSchedule& node = nodes_[id];
  return std::all_of(may_fail_.begin(), may_fail_.end(), [&](NodeId other) {
    const NodeSchedule& fails = nodes_[other];
    if (turn(node) != turn(fails)) return turn(node) > turn(fails);
    return !node.in_micro_loop() && node.position > fails.position;
  });
}

plan::StampProto Schedule::Stamp(NodeId id, int stage, Sub sub, uint32_t piece,
                                 uint32_t round) const {
  const NodeSchedule& entry = nodes_[id];
  plan::StampProto stamp;
  // What follows a chunk loop of the same node stands behind all of its chunks.
  stamp.set_position(2 * (entry.position + round) + (sub == Sub::kExtract ? 1 : 0));
  stamp.set_sub(static_cast<uint32_t>(sub) * kPiecesPerSub + piece);
  const int p = stages_;
  switch (entry.phase) {
    case Phase::kPrologue:
      stamp.set_slot(0);
      break;
    case Phase::kForward:
      stamp.set_slot(1 + stage);
      stamp.set_slot_per_micro(2);
      break;
    case Phase::kBackward:
      stamp.set_slot(1 + 2 * p - 1 - stage);
      stamp.set_slot_per_micro(2);
      break;
    case Phase::kEpilogue:
      stamp.set_slot(2 * p + 2 * micro_batches_ + 1);
      break;
  }
  return stamp;
}

}  // namespace oneflow
