#include "plan/firing_graph.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace oneflow {

FiringGraph::FiringGraph(const plan::Plan& plan) {
  const auto tasks = static_cast<uint32_t>(plan.tasks_size());
  first_.reserve(tasks + 1);
  first_.push_back(0);
  for (uint32_t task = 0; task < tasks; ++task) {
    const auto firings = static_cast<uint32_t>(FiringsPerStep(plan, task));
    first_.push_back(first_.back() + firings);
    task_.insert(task_.end(), firings, task);
  }
  constexpr uint32_t kNowhere = 0xffffffffu;
  stream_.assign(task_.size(), kNowhere);
  position_.assign(task_.size(), 0);
  for (uint32_t s = 0; s < static_cast<uint32_t>(plan.streams_size()); ++s) {
    std::vector<uint32_t>& order = order_.emplace_back();
    for (const FiringId& firing : ExpandStream(plan, plan.streams(static_cast<int>(s)))) {
      const uint32_t index = IndexOf(plan, firing);
      OF_CHECK(stream_[index] == kNowhere) << FiringName(plan, firing) << " fires twice in a step";
      stream_[index] = s;
      position_[index] = static_cast<uint32_t>(order.size());
      if (!order.empty()) edges_.push_back({order.back(), index, 0, EdgeKind::kStream, s});
      order.push_back(index);
    }
    if (!order.empty()) edges_.push_back({order.back(), order.front(), 1, EdgeKind::kStream, s});
  }
  for (uint32_t index = 0; index < size(); ++index) {
    OF_CHECK(stream_[index] != kNowhere) << FiringName(plan, At(plan, index)) << " is in no stream";
  }

  for (uint32_t r = 0; r < static_cast<uint32_t>(plan.registers_size()); ++r) {
    const plan::Register& reg = plan.registers(static_cast<int>(r));
    const int64_t iterations = IterationsPerStep(plan, reg.producer(), reg.level());
    for (const uint32_t consumer : reg.consumers()) {
      for (int64_t q = 0; q < iterations; ++q) {
        const FiringId last = LastFiring(plan, reg.producer(), reg.level(), q);
        const FiringId first = FirstFiring(plan, consumer, reg.level(), q);
        edges_.push_back({IndexOf(plan, last), IndexOf(plan, first), 0, EdgeKind::kData, r});
        const FiringId released = LastFiring(plan, consumer, reg.level(), q);
        const FiringId refill = FirstFiring(plan, reg.producer(), reg.level(), q + reg.slots());
        edges_.push_back(
            {IndexOf(plan, released), IndexOf(plan, refill), refill.step, EdgeKind::kCredit, r});
      }
    }
  }
  for (uint32_t task = 0; task < tasks; ++task) {
    const plan::Task& t = plan.tasks(static_cast<int>(task));
    for (int i = 0; i < t.after_size(); ++i) {
      const std::vector<FiringEdge> more =
          EdgesOf(plan, task, t.after(i), static_cast<uint32_t>(i));
      edges_.insert(edges_.end(), more.begin(), more.end());
    }
  }
  std::sort(edges_.begin(), edges_.end(), [](const FiringEdge& a, const FiringEdge& b) {
    return std::tie(a.to, a.kind, a.item, a.from) < std::tie(b.to, b.kind, b.item, b.from);
  });

  std::vector<Stamp> stamps;
  stamps.reserve(size());
  for (uint32_t index = 0; index < size(); ++index)
    stamps.push_back(StampOf(plan, At(plan, index)));
  by_stamp_.resize(size());
  std::iota(by_stamp_.begin(), by_stamp_.end(), 0u);
  std::sort(by_stamp_.begin(), by_stamp_.end(), [&](uint32_t a, uint32_t b) {
    return std::tie(stamps[a], stream_[a], position_[a]) <
           std::tie(stamps[b], stream_[b], position_[b]);
  });
  stamp_rank_.resize(size());
  for (uint32_t rank = 0; rank < size(); ++rank) stamp_rank_[by_stamp_[rank]] = rank;
}

uint32_t FiringGraph::IndexOf(const plan::Plan& plan, const FiringId& firing) const {
  FiringId in_step = firing;
  in_step.step = 0;
  return first_[firing.task] + static_cast<uint32_t>(OrdinalOf(plan, in_step));
}

FiringId FiringGraph::At(const plan::Plan& plan, uint32_t index, uint32_t step) const {
  FiringId firing = FiringAt(plan, task_[index], index - first_[task_[index]]);
  firing.step = step;
  return firing;
}

std::vector<FiringEdge> FiringGraph::EdgesOf(const plan::Plan& plan, uint32_t task,
                                             const plan::AfterEdge& after, uint32_t item) const {
  std::vector<FiringEdge> edges;
  const int64_t iterations = IterationsPerStep(plan, task, after.level());
  for (int64_t q = 0; q < iterations; ++q) {
    const FiringId last = LastFiring(plan, after.task(), after.level(), q);
    const FiringId first = FirstFiring(plan, task, after.level(), q + after.lag());
    edges.push_back(
        {IndexOf(plan, last), IndexOf(plan, first), first.step, EdgeKind::kAfter, item});
  }
  return edges;
}

std::string DescribeEdge(const plan::Plan& plan, const FiringGraph& graph, const FiringEdge& edge) {
  std::string why;
  switch (edge.kind) {
    case EdgeKind::kStream:
      why = absl::StrCat("next in stream ", plan.streams(static_cast<int>(edge.item)).name());
      break;
    case EdgeKind::kData:
      why = absl::StrCat("reads register ", edge.item);
      break;
    case EdgeKind::kCredit: {
      const uint32_t slots = plan.registers(static_cast<int>(edge.item)).slots();
      why = absl::StrCat("refills register ", edge.item, " (", slots,
                         slots == 1 ? " slot)" : " slots)");
      break;
    }
    case EdgeKind::kAfter:
      why = "after edge";
      break;
  }
  const uint32_t to = graph.TaskOf(edge.to);
  return absl::StrCat(FiringName(plan, graph.At(plan, edge.from)), " -> ",
                      FiringName(plan, graph.At(plan, edge.to, edge.steps)), ": ", why, ", ",
                      LocationOfTask(plan, to).Short());
}

}  // namespace oneflow
