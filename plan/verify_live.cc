// Proof 2: no cycle without a token can exist anywhere, because every edge raises the stamp (in a
// stream: does not lower it). What another rank does between a RECV's post and its arrive is
// bounded by the SEND's stamp, which the channel carries: what the post waits for stands before the
// SEND, the arrive stands behind it.
#include <algorithm>
#include <deque>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "plan/firings.h"
#include "plan/proofs.h"

namespace oneflow {
namespace {

const char kLiveProof[] = "live";

bool Rises(const plan::Plan& plan, const FiringGraph& graph, const FiringEdge& edge) {
  const FiringId from = graph.At(plan, edge.from);
  const FiringId to = graph.At(plan, edge.to, edge.steps);
  // Neighbours in a stream may tie: a stream is a line, so ties alone close no cycle. Receives are
  // two lines, of posts and of arrivals; a post stands just before its SEND.
  if (edge.kind == EdgeKind::kStream) {
    if (StampOf(plan, to) < StampOf(plan, from)) return false;
    const bool receives = plan.tasks(static_cast<int>(from.task)).kind() == plan::RECV;
    return !receives || BeginStampOf(plan, from) <= BeginStampOf(plan, to);
  }
  return StampOf(plan, from) < BeginStampOf(plan, to);
}

// The edges of a shortest way from one firing to another within a step; empty if there is none.
std::vector<const FiringEdge*> WayBack(const FiringGraph& graph, uint32_t from, uint32_t to) {
  std::vector<std::vector<const FiringEdge*>> out(graph.size());
  for (const FiringEdge& edge : graph.edges()) {
    if (edge.steps == 0) out[edge.from].push_back(&edge);
  }
  std::vector<const FiringEdge*> reached_by(graph.size(), nullptr);
  std::deque<uint32_t> queue = {from};
  while (!queue.empty() && reached_by[to] == nullptr) {
    const uint32_t at = queue.front();
    queue.pop_front();
    for (const FiringEdge* edge : out[at]) {
      if (edge->to == from || reached_by[edge->to] != nullptr) continue;
      reached_by[edge->to] = edge;
      queue.push_back(edge->to);
    }
  }
  std::vector<const FiringEdge*> way;
  for (uint32_t at = to; reached_by[at] != nullptr; at = reached_by[at]->from)
    way.push_back(reached_by[at]);
  std::reverse(way.begin(), way.end());
  return way;
}

// What would cure the credit edges among these, if more slots do.
std::string Cure(const plan::Plan& plan, const std::vector<const FiringEdge*>& edges) {
  std::string text;
  for (const FiringEdge* edge : edges) {
    if (edge->kind != EdgeKind::kCredit) continue;
    const int64_t least = LeastSlots(plan, edge->item);
    const int64_t now = plan.registers(static_cast<int>(edge->item)).slots();
    if (least > now) {
      absl::StrAppend(&text, "\n  ", least, " slots of ", RegisterText(plan, edge->item),
                      " would open it");
    }
  }
  return text;
}

absl::Status NotRising(const plan::Plan& plan, const FiringGraph& graph, const FiringEdge& edge) {
  const FiringId from = graph.At(plan, edge.from);
  const FiringId to = graph.At(plan, edge.to, edge.steps);
  std::vector<const FiringEdge*> hops;
  if (edge.steps == 0 && edge.from != edge.to) hops = WayBack(graph, edge.to, edge.from);
  hops.insert(hops.begin(), &edge);
  std::string text;
  if (hops.size() > 1 || (edge.from == edge.to && edge.steps == 0)) {
    text = "deadlock, each waits for the one before:";
    for (const FiringEdge* hop : hops)
      absl::StrAppend(&text, "\n  ", DescribeEdge(plan, graph, *hop));
  } else {
    text = absl::StrCat("an edge does not raise the stamp: ", DescribeEdge(plan, graph, edge));
  }
  const Stamp begin = edge.kind == EdgeKind::kStream ? StampOf(plan, to) : BeginStampOf(plan, to);
  absl::StrAppend(&text, "\n  stamp ", ToString(StampOf(plan, from)), " of ",
                  FiringName(plan, from), " is not below ", ToString(begin), " of ",
                  FiringName(plan, to), Cure(plan, hops));
  return ProofError(plan, kLiveProof, to.task, text);
}

}  // namespace

absl::Status ProveLive(const plan::Plan& plan, const FiringGraph& graph) {
  for (uint32_t t = 0; t < static_cast<uint32_t>(plan.tasks_size()); ++t) {
    if (plan.tasks(static_cast<int>(t)).kind() != plan::RECV) continue;
    for (int64_t i = 0; i < FiringsPerStep(plan, t); ++i) {
      const FiringId firing = FiringAt(plan, t, i);
      if (BeginStampOf(plan, firing) < StampOf(plan, firing)) continue;
      return ProofError(
          plan, kLiveProof, t,
          absl::StrCat(TaskText(plan, t), ": ", FiringName(plan, firing), " arrives at stamp ",
                       ToString(StampOf(plan, firing)), ", not behind the stamp ",
                       ToString(BeginStampOf(plan, firing)), " of its channel"));
    }
  }
  for (const FiringEdge& edge : graph.edges()) {
    if (!Rises(plan, graph, edge)) return NotRising(plan, graph, edge);
  }
  return absl::OkStatus();
}

int64_t LeastSlots(const plan::Plan& plan, uint32_t register_id) {
  const plan::Register& reg = plan.registers(static_cast<int>(register_id));
  const int64_t iterations = IterationsPerStep(plan, reg.producer(), reg.level());
  const auto enough = [&](int64_t slots) {
    for (const uint32_t consumer : reg.consumers()) {
      for (int64_t q = 0; q < iterations; ++q) {
        const FiringId refill = FirstFiring(plan, reg.producer(), reg.level(), q + slots);
        if (StampOf(plan, LastFiring(plan, consumer, reg.level(), q)) >= BeginStampOf(plan, refill))
          return false;
      }
    }
    return true;
  };
  if (!enough(iterations + 1)) return 0;
  int64_t low = 0;  // not enough, or none
  int64_t high = iterations + 1;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (enough(middle) ? high : low) = middle;
  }
  return high;
}

}  // namespace oneflow
