#include "compiler/passes/bucket_sums.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "compiler/parallel/cost_model.h"
#include "compiler/parallel/sum_rounds.h"
#include "compiler/passes/decided_graph.h"

namespace oneflow {
namespace {

// A message of that many times latency x rate spends a fifth of its time on its start.
constexpr int64_t kMessagesOfLatency = 4;

// What can share a ring: axis, group (by level), stage, phase, dtype, mode.
using Kind = std::tuple<int, int64_t, int, NodePhase, DType, Sbp::Reduce>;

// A sum that could wait for others.
struct Candidate {
  NodeId node = -1;
  NodeId producer = -1;
  size_t position = 0;  // in the order
  size_t deadline = 0;  // of its first reader
  int64_t bytes = 0;    // on the largest device
};

class Bucketing {
 public:
  Bucketing(Graph* graph, Decisions* decisions, const plan::Target& target)
      : graph_(*graph),
        decisions_(*decisions),
        target_(target),
        order_(graph->order()),
        position_(graph->num_nodes(), 0) {
    for (size_t i = 0; i < order_.size(); ++i) position_[order_[i]] = i;
  }

  absl::Status Run() {
    std::map<Kind, std::vector<Candidate>> candidates;
    for (NodeId id : order_) {
      if (const std::optional<Kind> kind = KindOf(graph_.node(id)); kind.has_value()) {
        candidates[*kind].push_back(MakeCandidate(id));
      }
    }
    for (const auto& [kind, list] : candidates) {
      const int64_t devices = decisions_.axes[std::get<0>(kind)].size;
      OF_RETURN_IF_ERROR(Fill(list, BucketBytes(target_, decisions_, devices)));
    }
    MarkRounds();
    return absl::OkStatus();
  }

 private:
  // The mesh axis, of more than one device, on which the node turns P into B and changes nothing
  // else; 0 if it does not.
  int SummedAxis(const Node& node) const {
    if (node.op != "reshard") return 0;
    const int axis = static_cast<int>(node.attrs.Int("axis"));
    if (axis < 1 || decisions_.axes[axis].size == 1) return 0;
    const Sharding& from = graph_.value(node.inputs[0]).sharding;
    Sharding summed = from;
    summed.sbps[axis] = Sbp::B();
    const bool sums =
        from.sbps[axis].kind == Sbp::kPartial && summed == graph_.value(node.outputs[0]).sharding;
    return sums ? axis : 0;
  }

  // A sum that may share its ring: whole over micro-batches.
  std::optional<Kind> KindOf(const Node& node) const {
    const int axis = SummedAxis(node);
    if (axis == 0) return std::nullopt;
    const Value& value = graph_.value(node.inputs[0]);
    if (value.sharding.sbps[0].kind != Sbp::kBroadcast || graph_.uses(node.outputs[0]).empty() ||
        !BehindTheLoop(node)) {
      return std::nullopt;
    }
    return Kind{axis,       node.attrs.Int("group"), value.sharding.stage,
                node.phase, value.type.dtype,        value.sharding.sbps[axis].reduce};
  }

  // With micro-batches all members must be sums over them: what stands before the loop stays there.
  bool BehindTheLoop(const Node& node) const {
    if (decisions_.micro_batches == 1) return true;
    const Node& producer = graph_.node(graph_.value(node.inputs[0]).producer);
    return producer.op == "reshard" && producer.attrs.Int("axis") == 0;
  }

  Candidate MakeCandidate(NodeId id) const {
    const Node& node = graph_.node(id);
    const Value& value = graph_.value(node.inputs[0]);
    return {id, value.producer, position_[id], position_[graph_.uses(node.outputs[0])[0]],
            LargestShard(value.type, value.sharding, decisions_.axes).bytes()};
  }

  absl::Status Fill(const std::vector<Candidate>& list, int64_t limit) {
    std::vector<Candidate> open;
    int64_t bytes = 0;
    size_t deadline = 0;
    const auto close = [&]() -> absl::Status {
      if (open.size() > 1) OF_RETURN_IF_ERROR(Join(open, bytes));
      open.clear();
      bytes = 0;
      return absl::OkStatus();
    };
    for (size_t i = 0; i < list.size(); ++i) {
      const Candidate& candidate = list[i];
      if (!open.empty() && candidate.position >= deadline) OF_RETURN_IF_ERROR(close());
      size_t next = i + 1;  // made by another node: what one node makes together is read together
      while (next < list.size() && list[next].producer == candidate.producer) ++next;
      const bool waits = next == list.size() || list[next].position < candidate.deadline;
      if (!waits || candidate.bytes >= limit) continue;
      if (bytes + candidate.bytes > limit) OF_RETURN_IF_ERROR(close());
      deadline = open.empty() ? candidate.deadline : std::min(deadline, candidate.deadline);
      open.push_back(candidate);
      bytes += candidate.bytes;
    }
    return close();
  }

  // One reshard in the place of the last.
  absl::Status Join(const std::vector<Candidate>& members, int64_t bytes) {
    const Node last = graph_.node(members.back().node);
    std::vector<ValueId> inputs, results;
    std::vector<NodeId> gone;
    for (const Candidate& member : members) {
      inputs.push_back(graph_.node(member.node).inputs[0]);
      results.push_back(graph_.node(member.node).outputs[0]);
      gone.push_back(member.node);
    }
    OF_ASSIGN_OR_RETURN(const NodeId made, DecidedGraph(&graph_, &decisions_)
                                               .Replace(last, "reshard", std::move(inputs),
                                                        last.attrs, results, gone));
    decisions_.nodes[made].reason =
        absl::StrCat("a bucket of ", members.size(), " sums, ", bytes, " bytes");
    return absl::OkStatus();
  }

  // Bytes of all values of one side on the largest device.
  int64_t BytesOf(const std::vector<ValueId>& values) const {
    int64_t bytes = 0;
    for (ValueId each : values) {
      const Value& value = graph_.value(each);
      bytes += LargestShard(value.type, value.sharding, decisions_.axes).bytes();
    }
    return bytes;
  }

  // Sums that are direct, and what goes by level.
  void MarkRounds() {
    const CostModel cost(target_, decisions_.mesh, decisions_.micro_batches);
    for (NodeId id : graph_.order()) {
      Node& node = graph_.mutable_node(id);
      if (node.op != "reshard") continue;
      if (const int axis = SummedAxis(node);
          axis > 0 && cost.SumsDirectly(axis, BytesOf(node.inputs))) {
        node.attrs.Set("direct", true);
        continue;
      }
      const int64_t group = node.attrs.Int("group");
      if (group == 0) continue;
      const int axis = static_cast<int>(node.attrs.Int("axis"));
      const auto collective = CollectiveOf(graph_.value(node.inputs[0]).sharding.sbps[axis],
                                           graph_.value(node.outputs[0]).sharding.sbps[axis]);
      OF_CHECK(collective.has_value()) << node.attrs.ToString();
      const int64_t bytes =
          BytesOf(*collective == Collective::kGather ? node.outputs : node.inputs);
      std::vector<std::string> rounds;
      for (const Round& round : RoundsByLevel(cost, axis, *collective, group, bytes))
        rounds.push_back(RoundText(round));
      if (rounds.size() > 1) node.attrs.Set("rounds", std::move(rounds));
    }
  }

  Graph& graph_;
  Decisions& decisions_;
  const plan::Target& target_;
  const std::vector<NodeId> order_;
  std::vector<size_t> position_;
};

}  // namespace

int64_t BucketBytes(const plan::Target& target, const Decisions& decisions, int64_t devices) {
  const CostModel cost(target, decisions.mesh, decisions.micro_batches);
  return cost.LatencyBytes() * kMessagesOfLatency * devices;
}

absl::Status BucketSums(Graph* graph, Decisions* decisions, const plan::Target& target) {
  return Bucketing(graph, decisions, target).Run();
}

}  // namespace oneflow
