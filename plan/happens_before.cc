#include "plan/happens_before.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

#include "base/check.h"

namespace oneflow {
namespace {

// Enough for every credit and lag that a compiler makes; what lies further apart is answered from
// here.
constexpr uint32_t kMaxSteps = 8;

bool Join(const uint32_t* from, uint32_t* to, size_t lanes) {
  bool learnt = false;
  for (size_t lane = 0; lane < lanes; ++lane) {
    learnt |= from[lane] > to[lane];
    to[lane] = std::max(to[lane], from[lane]);
  }
  return learnt;
}

}  // namespace

HappensBefore::HappensBefore(const plan::Plan& plan, uint32_t steps)
    : HappensBefore(plan, FiringGraph(plan), steps, nullptr) {}

HappensBefore::HappensBefore(const plan::Plan& plan, FiringGraph graph)
    : HappensBefore(plan, std::move(graph), /*steps=*/0, nullptr) {}

HappensBefore::HappensBefore(const plan::Plan& plan, uint32_t steps, const Begins& begins)
    : HappensBefore(plan, FiringGraph(plan), steps, begins) {}

HappensBefore::HappensBefore(const plan::Plan& plan, FiringGraph graph, uint32_t steps,
                             const Begins& begins)
    : plan_(plan), graph_(std::move(graph)), lanes_(graph_.streams()) {
  const uint32_t firings = graph_.size();
  receive_.assign(firings, kNone);
  for (uint32_t index = 0; index < firings; ++index) {
    if (plan.tasks(static_cast<int>(graph_.TaskOf(index))).kind() == plan::RECV) {
      receive_[index] = receives_++;
    }
  }

  uint32_t furthest = 1;
  first_link_.assign(firings + 1, 0);
  for (const FiringEdge& edge : graph_.edges()) {
    CheckRises(edge);
    furthest = std::max(furthest, edge.steps);
    ++first_link_[edge.from + 1];
  }
  std::partial_sum(first_link_.begin(), first_link_.end(), first_link_.begin());
  links_.resize(graph_.edges().size());
  std::vector<uint32_t> next(first_link_.begin(), first_link_.end() - 1);
  for (const FiringEdge& edge : graph_.edges()) {
    links_[next[edge.from]++] = {edge.to, edge.steps, edge.kind == EdgeKind::kStream};
  }
  first_added_.assign(firings, kNone);
  steps_ = steps > 0 ? steps : std::min(furthest + 2, kMaxSteps);

  start_.assign(size_t{steps_} * firings * lanes_, 0);
  arrive_.assign(size_t{steps_} * receives_ * lanes_, 0);
  for (step_ = 0; step_ < steps_; ++step_) {
    for (rank_ = 0; rank_ < firings; ++rank_) {
      const uint32_t from = graph_.ByStamp()[rank_];
      if (begins) begins(this, step_, from);
      Tell(step_, from, [](uint32_t, uint32_t) {});
    }
  }
}

template <typename Learnt>
void HappensBefore::Tell(uint32_t step, uint32_t from, const Learnt& learnt) {
  Settle(step, from);
  const auto tell = [&](const Link& link) {
    const uint64_t to_step = uint64_t{step} + link.steps;
    if (to_step >= steps_) return;
    if (Flow(step, from, static_cast<uint32_t>(to_step), link.to, link.stream))
      learnt(static_cast<uint32_t>(to_step), link.to);
  };
  for (uint32_t i = first_link_[from]; i < first_link_[from + 1]; ++i) tell(links_[i]);
  for (uint32_t i = first_added_[from]; i != kNone; i = added_[i].next) tell(added_[i].link);
}

void HappensBefore::CheckRises(const FiringEdge& edge) const {
  const FiringId from = graph_.At(plan_, edge.from);
  const FiringId to = graph_.At(plan_, edge.to, edge.steps);
  const Stamp before = StampOf(plan_, from), after = StampOf(plan_, to);
  OF_CHECK(before < after || (edge.kind == EdgeKind::kStream && before == after))
      << DescribeEdge(plan_, graph_, edge) << ": does not raise the stamp, " << ToString(before)
      << " to " << ToString(after);
}

bool HappensBefore::Flow(uint32_t from_step, uint32_t from, uint32_t to_step, uint32_t to,
                         bool stream) {
  const uint32_t lane = graph_.StreamOf(from);
  const uint32_t over = from_step * graph_.StreamLength(lane) + graph_.PositionOf(from) + 1;
  if (!IsReceive(from)) {
    uint32_t* target = Start(to_step, to);
    bool learnt = Join(Start(from_step, from), target, lanes_);
    if (target[lane] < over) {
      target[lane] = over;
      learnt = true;
    }
    return learnt;
  }
  bool learnt = false;
  uint32_t* target = Start(to_step, to);
  if (stream && IsReceive(to)) {  // post to post, and arrive to arrive: a post does not wait for
                                  // the arrive before it
    learnt |= Join(Start(from_step, from), target, lanes_);
    target = Arrive(to_step, to);
  }
  learnt |= Join(Arrive(from_step, from), target, lanes_);
  if (target[lane] < over) {
    target[lane] = over;
    learnt = true;
  }
  return learnt;
}

bool HappensBefore::Settle(uint32_t step, uint32_t index) {
  return IsReceive(index) && Join(Start(step, index), Arrive(step, index), lanes_);
}

bool HappensBefore::Before(const FiringId& a, const FiringId& b) const {
  if (b.step < a.step) return false;
  const uint32_t step = std::min(b.step - a.step, steps_ - 1);
  const uint32_t from = graph_.IndexOf(plan_, a);
  const uint32_t to = graph_.IndexOf(plan_, b);
  return Start(step, to)[graph_.StreamOf(from)] > graph_.PositionOf(from);
}

bool HappensBefore::AllBefore(uint32_t a, int64_t qa, uint32_t b, int64_t qb) const {
  const plan::Register& first = plan_.registers(static_cast<int>(a));
  const plan::Register& second = plan_.registers(static_cast<int>(b));
  const FiringId begin = FirstFiring(plan_, second.producer(), second.level(), qb);
  if (!Before(LastFiring(plan_, first.producer(), first.level(), qa), begin)) return false;
  return std::all_of(first.consumers().begin(), first.consumers().end(), [&](uint32_t consumer) {
    return Before(LastFiring(plan_, consumer, first.level(), qa), begin);
  });
}

void HappensBefore::AddAfterEdge(uint32_t task, const plan::AfterEdge& after) {
  // Firings whose past has grown, in an order in which every edge goes forward.
  std::set<std::pair<uint32_t, uint32_t>> grown;  // (step, place in stamp order)
  for (const FiringEdge& edge : graph_.EdgesOf(plan_, task, after, 0)) {
    CheckRises(edge);
    added_.push_back({{edge.to, edge.steps, false}, first_added_[edge.from]});
    first_added_[edge.from] = static_cast<uint32_t>(added_.size() - 1);
    for (uint32_t step = 0; uint64_t{step} + edge.steps < steps_; ++step) {
      if (!Swept(step, edge.from)) continue;  // its turn to tell comes
      if (Flow(step, edge.from, step + edge.steps, edge.to, false) &&
          Swept(step + edge.steps, edge.to)) {
        grown.emplace(step + edge.steps, graph_.StampRank(edge.to));
      }
    }
  }
  while (!grown.empty()) {
    const auto [step, rank] = *grown.begin();
    grown.erase(grown.begin());
    Tell(step, graph_.ByStamp()[rank], [&](uint32_t to_step, uint32_t to) {
      if (Swept(to_step, to)) grown.emplace(to_step, graph_.StampRank(to));
    });
  }
}

}  // namespace oneflow
