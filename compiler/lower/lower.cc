#include "compiler/lower/lower.h"

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status.h"
#include "compiler/lower/credits.h"
#include "compiler/lower/draft.h"
#include "compiler/lower/emit_nodes.h"
#include "compiler/lower/memory_planner.h"
#include "compiler/lower/schedule.h"
#include "compiler/lower/streams.h"
#include "plan/memory_limit.h"
#include "plan/needs.h"

namespace oneflow {
namespace {

// What all ranks must agree on, node by node, so that a mismatch names the first line that differs.
void AddFingerprints(const Graph& graph, const Decisions& decisions, plan::Plan* plan) {
  Hasher all;
  all.Text(decisions.mesh.ToString()).Integer(decisions.micro_batches);
  for (NodeId id : graph.order()) {
    const Node& node = graph.node(id);
    Hasher hasher;
    hasher.Text(node.op).Text(node.attrs.ToString()).Integer(node.stage.value_or(0));
    for (ValueId value : node.inputs) hasher.Integer(value);
    for (ValueId value : node.outputs) {
      hasher.Integer(value)
          .Text(graph.value(value).type.ToString())
          .Text(graph.value(value).sharding.ToString());
    }
    plan::NodeFingerprint* fingerprint = plan->add_node_fingerprints();
    fingerprint->set_hash(hasher.value());
    fingerprint->set_location(node.location);
    all.Integer(hasher.value());
  }
  plan->set_graph_fingerprint(all.value());
}

}  // namespace

absl::StatusOr<Lowered> Lower(const Graph& graph, const Decisions& decisions,
                              const plan::Target& target, int rank, int world_size,
                              const DescribeKernel& describe, const RingIsOneCall& one_call) {
  // Loops, phases and stamps: everything after takes its order from here.
  OF_ASSIGN_OR_RETURN(const Schedule schedule, Schedule::Make(graph, decisions));
  Draft draft(graph, decisions, target, schedule, rank, world_size);
  draft.describe = describe;
  // Tasks and registers of this rank, movement included.
  OF_RETURN_IF_ERROR(EmitNodes(&draft));
  // Each stream becomes a static cyclic order.
  OrderStreams(&draft);
  // Slots: the least that cannot deadlock, one more where overlap pays.
  GrantCredits(&draft);
  // Offsets, and the edges that make sharing bytes safe under any timing.
  PlanMemory(&draft);
  // Which edges need no more than that the device has taken the other firing.
  MarkNeeds(&draft.plan);
  AddFingerprints(graph, decisions, &draft.plan);
  // A plan that its devices have no room for is refused here, before anything is allocated. Workspaces that
  // nobody could be asked for are not in it.
  OF_RETURN_IF_ERROR(CheckMemory(draft.plan, target, one_call));

  Lowered lowered;
  lowered.plan = draft.owner;
  for (auto& [key, row] : draft.rows) lowered.rows.push_back(std::move(row));
  for (auto& [key, query] : draft.missing) lowered.missing.push_back(std::move(query));
  return lowered;
}

}  // namespace oneflow
