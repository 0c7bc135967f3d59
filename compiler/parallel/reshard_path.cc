#include "compiler/parallel/reshard_path.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "compiler/parallel/sum_rounds.h"

namespace oneflow {
namespace {

bool SplitsDim(const Sharding& sharding, size_t axis, int dim) {
  return sharding.sbps[axis].kind == Sbp::kSplit && sharding.sbps[axis].dim == dim;
}

bool InnerAxisSplits(const Sharding& sharding, size_t axis, int dim) {
  for (size_t inner = axis + 1; inner < sharding.sbps.size(); ++inner) {
    if (SplitsDim(sharding, inner, dim)) return true;
  }
  return false;
}

// What one layout axis can change into without the others. P(sum) and P(max) never turn into each
// other.
bool LegalChange(bool micro, const Sbp& from, const Sbp& to) {
  if (from == to) return false;
  if (from.kind == Sbp::kBroadcast || to.kind == Sbp::kBroadcast) return true;
  return !micro && to.kind == Sbp::kSplit;  // P->S, S(i)->S(j)
}

// `from` with axis `axis` changed to `sbp`, or nullopt if that is no change of this axis alone.
// `target` says in which units a new split deals out.
std::optional<Sharding> ChangeAxis(const Sharding& from, size_t axis, const Sbp& sbp,
                                   const Sharding& target, const std::vector<Axis>& axes,
                                   const Shape& shape) {
  const Sbp& old = from.sbps[axis];
  if (!LegalChange(axis == 0, old, sbp)) return std::nullopt;
  if (old.kind == Sbp::kSplit && InnerAxisSplits(from, axis, old.dim)) return std::nullopt;
  Sharding to = from;
  to.sbps[axis] = sbp;
  if (sbp.kind == Sbp::kSplit) {
    if (InnerAxisSplits(from, axis, sbp.dim)) return std::nullopt;
    Sharding outer = from;
    outer.units[sbp.dim] = target.units[sbp.dim];
    // The outer shares must be the same ones when counted in the target's units.
    if (from.units[sbp.dim] != 0 &&
        Canonical(outer, axes, shape).units[sbp.dim] != from.units[sbp.dim]) {
      return std::nullopt;
    }
    to.units[sbp.dim] = target.units[sbp.dim];
  }
  return Canonical(std::move(to), axes, shape);
}

// A general exchange sums or copies, it makes no partial values: a P in the target must be in the
// source.
bool LegalExchange(const Sharding& from, const Sharding& to) {
  for (size_t axis = 1; axis < to.sbps.size(); ++axis) {
    if (to.sbps[axis].kind == Sbp::kPartial && from.sbps[axis] != to.sbps[axis]) return false;
  }
  return from.sbps[0] == to.sbps[0];
}

// Elements that two slices share.
int64_t Overlap(const Slice& a, const Slice& b) {
  int64_t elements = 1;
  for (size_t d = 0; d < a.begin.size(); ++d) {
    const int64_t begin = std::max(a.begin[d], b.begin[d]);
    const int64_t end = std::min(a.begin[d] + a.extent[d], b.begin[d] + b.extent[d]);
    elements *= std::max<int64_t>(end - begin, 0);
  }
  return elements;
}

}  // namespace

std::vector<int64_t> ShardingKey(const Sharding& sharding) {
  std::vector<int64_t> key = {sharding.stage};
  for (const Sbp& sbp : sharding.sbps) key.push_back(sbp.kind * 4096 + sbp.dim * 8 + sbp.reduce);
  for (int64_t units : sharding.units) key.push_back(units);
  return key;
}

std::string ChangeText(const std::vector<Axis>& axes, const Sharding& from,
                       const ReshardStep& step) {
  if (step.axis < 0) return absl::StrCat(from.ToString(axes), "->", step.to.ToString(axes));
  return absl::StrCat(from.sbps[step.axis].ToString(), "->", step.to.sbps[step.axis].ToString(),
                      " on ", axes[step.axis].name,
                      step.group > 0 ? absl::StrCat(" by ", step.group) : "");
}

ReshardPaths::Key ReshardPaths::KeyOf(const TensorType& type, const Sharding& from,
                                      const Sharding& to) {
  Key key = ShardingKey(from);
  for (int64_t part : ShardingKey(to)) key.push_back(part);
  key.push_back(static_cast<int64_t>(type.dtype));
  key.insert(key.end(), type.shape.begin(), type.shape.end());
  return key;
}

const ReshardPath& ReshardPaths::Find(const TensorType& type, const Sharding& from,
                                      const Sharding& to) {
  auto [it, added] = paths_.try_emplace(KeyOf(type, from, to));
  if (added && from.stage == to.stage) it->second = Search(type, from, to, false);
  if (added && !it->second.possible) it->second = Search(type, from, to, true);
  return it->second;
}

absl::Status ReshardPaths::Fix(const std::vector<HeldMove>& moves) {
  for (const HeldMove& move : moves) {
    ReshardPath path;
    path.possible = true;
    const Sharding& goal = move.steps.back().to;
    const Sharding* at = &move.from;
    for (const ReshardStep& held : move.steps) {
      const std::vector<ReshardStep> steps = NextSteps(move.type, *at, goal, /*exchange=*/true);
      const auto step = std::find_if(steps.begin(), steps.end(), [&](const ReshardStep& other) {
        return other.axis == held.axis && other.to == held.to;
      });
      if (step == steps.end()) {
        return MakeError(
            ErrorKind::kPlan,
            absl::StrCat("decisions, line ", move.line, ": no step leads from ",
                         at->ToString(cost_->axes()), " to ", held.to.ToString(cost_->axes()),
                         " on ", held.axis < 0 ? "*" : cost_->axes()[held.axis].name));
      }
      if (held.group != 0 && !GoesByLevel(*at, *step, held.group)) {
        return MakeError(
            ErrorKind::kPlan,
            absl::StrCat("decisions, line ", move.line, ": no step by level on ",
                         held.axis < 0 ? "*" : cost_->axes()[held.axis].name, " in groups of ",
                         held.group, " leads from ", at->ToString(cost_->axes()), " to ",
                         held.to.ToString(cost_->axes())));
      }
      path.steps.push_back(*step);
      if (held.group != step->group) {
        path.steps.back().group = held.group;
        path.steps.back().cost_ns = AxisStepNs(move.type, *at, held.to, held.axis, held.group);
      }
      path.cost_ns += path.steps.back().cost_ns;
      at = &held.to;
    }
    paths_[KeyOf(move.type, move.from, goal)] = std::move(path);
  }
  return absl::OkStatus();
}

ReshardPath ReshardPaths::Search(const TensorType& type, const Sharding& from, const Sharding& to,
                                 bool exchange) const {
  // Dijkstra; ties go to fewer steps, then to the smaller key, so that the answer is one.
  struct Reached {
    int64_t cost = 0;
    Key previous;
    ReshardStep step;
  };
  using Entry = std::tuple<int64_t, int, Key>;
  std::map<Key, Reached> best;
  std::set<Entry> open;
  std::map<Key, Sharding> layouts;
  const Key start = ShardingKey(from);
  const Key goal = ShardingKey(to);
  layouts[start] = from;
  best[start] = {};
  open.insert({0, 0, start});
  std::set<Key> closed;
  while (!open.empty()) {
    const auto [cost, hops, key] = *open.begin();
    open.erase(open.begin());
    if (!closed.insert(key).second) continue;
    if (key == goal) break;
    for (ReshardStep& step : NextSteps(type, layouts.at(key), to, exchange)) {
      Key next = ShardingKey(step.to);
      if (closed.contains(next)) continue;
      const int64_t total = cost + step.cost_ns;
      const auto found = best.find(next);
      if (found != best.end() && found->second.cost <= total) continue;
      layouts[next] = step.to;
      open.insert({total, hops + 1, next});
      best[next] = {total, key, std::move(step)};
    }
  }
  ReshardPath path;
  if (!closed.contains(goal)) return path;
  path.possible = true;
  path.cost_ns = best[goal].cost;
  for (Key key = goal; key != start; key = best[key].previous) path.steps.push_back(best[key].step);
  std::reverse(path.steps.begin(), path.steps.end());
  return path;
}

std::vector<ReshardStep> ReshardPaths::NextSteps(const TensorType& type, const Sharding& at,
                                                 const Sharding& to, bool exchange) const {
  const std::vector<Axis>& axes = cost_->axes();
  std::vector<ReshardStep> steps;
  for (size_t axis = 0; axis < axes.size(); ++axis) {
    std::vector<Sbp> candidates = {to.sbps[axis]};
    if (axis > 0 && to.sbps[axis].kind != Sbp::kBroadcast) candidates.push_back(Sbp::B());
    for (const Sbp& sbp : candidates) {
      std::optional<Sharding> next = ChangeAxis(at, axis, sbp, to, axes, type.shape);
      if (!next.has_value()) continue;
      steps.push_back(AxisStep(type, at, std::move(*next), static_cast<int>(axis)));
    }
  }
  if (!exchange) return steps;
  if (at.sbps[0] == to.sbps[0]) {
    if (LegalExchange(at, to)) steps.push_back({-1, to, ExchangeNs(type, at, to)});
  } else {
    // micro still differs: bring the mesh axes where the target has them, or to B, so that it can
    // change.
    for (const bool broadcast : {false, true}) {
      Sharding next =
          broadcast ? Sharding::Broadcast(to.stage, axes.size(), type.shape.size()) : to;
      next.sbps[0] = at.sbps[0];
      if (next.sbps[0].kind == Sbp::kSplit && next.units[next.sbps[0].dim] == 0) {
        next.units[next.sbps[0].dim] = at.units[next.sbps[0].dim];
      }
      next = Canonical(std::move(next), axes, type.shape);
      if (next == at || !LegalExchange(at, next)) continue;
      const int64_t cost = ExchangeNs(type, at, next);
      steps.push_back({-1, std::move(next), cost});
    }
  }
  if (at.stage != to.stage) {
    Sharding moved = at;
    moved.stage = to.stage;
    const int64_t cost = ExchangeNs(type, at, moved);
    steps.push_back({-1, std::move(moved), cost});
  }
  return steps;
}

bool ReshardPaths::GoesByLevel(const Sharding& from, const ReshardStep& step, int64_t group) const {
  if (step.axis < 1) return false;
  const auto collective = CollectiveOf(from.sbps[step.axis], step.to.sbps[step.axis]);
  if (!collective.has_value()) return false;
  const Sharding* split = *collective == Collective::kSum       ? nullptr
                          : *collective == Collective::kScatter ? &step.to
                                                                : &from;
  return GroupsFit(cost_->axes(), step.axis, group, split);
}

ReshardStep ReshardPaths::AxisStep(const TensorType& type, const Sharding& from, Sharding to,
                                   int axis) const {
  ReshardStep step{axis, std::move(to)};
  step.cost_ns = AxisStepNs(type, from, step.to, axis, 0);
  for (const int64_t group : cost_->Groups(axis)) {
    if (!GoesByLevel(from, step, group)) continue;
    const int64_t ns = AxisStepNs(type, from, step.to, axis, group);
    if (ns >= step.cost_ns) continue;
    step.cost_ns = ns;
    step.group = group;
  }
  return step;
}

int64_t ReshardPaths::AxisStepNs(const TensorType& type, const Sharding& from, const Sharding& to,
                                 int axis, int64_t group) const {
  const std::vector<Axis>& axes = cost_->axes();
  const int64_t n = axes[axis].size;
  const int64_t before = LargestShard(type, from, axes).bytes();
  const int64_t after = LargestShard(type, to, axes).bytes();
  const Sbp::Kind source = from.sbps[axis].kind;
  if (axis == 0) {
    // Accumulation reads both and writes one; the others copy the piece of one micro-batch.
    if (source == Sbp::kPartial) return n * cost_->MemoryNs(3 * before);
    return n * cost_->MemoryNs(2 * std::min(before, after));
  }
  const int64_t firings = from.sbps[0].kind == Sbp::kBroadcast ? 1 : cost_->micro_batches();
  if (source == Sbp::kBroadcast) return firings * cost_->MemoryNs(2 * after);
  const auto collective = CollectiveOf(from.sbps[axis], to.sbps[axis]);
  if (!collective.has_value()) {
    const LinkRate& link = cost_->AxisLink(axis);
    return firings * (link.Ns(n - 1, before * (n - 1) / n) + cost_->MemoryNs(2 * (before + after)));
  }
  const int64_t whole = *collective == Collective::kGather ? after : before;
  const std::vector<Round> rounds = group > 0
                                        ? RoundsByLevel(*cost_, axis, *collective, group, whole)
                                        : FlatRounds(*cost_, axis, *collective);
  return firings * RoundsNs(*cost_, axis, rounds, whole);
}

int64_t ReshardPaths::ExchangeNs(const TensorType& type, const Sharding& from,
                                 const Sharding& to) const {
  const std::vector<Axis>& axes = cost_->axes();
  const int64_t firings = from.sbps[0].kind == Sbp::kBroadcast ? 1 : cost_->micro_batches();
  // Every partial copy contributes to every element.
  int64_t copies = 1;
  for (size_t axis = 1; axis < axes.size(); ++axis) {
    if (from.sbps[axis].kind == Sbp::kPartial && to.sbps[axis].kind != Sbp::kPartial) {
      copies *= axes[axis].size;
    }
  }
  const std::vector<int64_t> origin(axes.size(), 0);
  const Slice source = SliceOf(from, axes, type.shape, origin);
  // Few devices speak for all: the first, the last, and those that differ from the first on one
  // axis.
  std::vector<std::vector<int64_t>> places(2, origin);
  for (size_t axis = 1; axis < axes.size(); ++axis) {
    places[1][axis] = axes[axis].size - 1;
    places.push_back(origin);
    places.back()[axis] = axes[axis].size - 1;
  }
  int64_t received = 0;
  int64_t pieces = 1;
  for (const std::vector<int64_t>& place : places) {
    const Slice held = SliceOf(from, axes, type.shape, place);
    const Slice wanted = SliceOf(to, axes, type.shape, place);
    const int64_t elements = NumElements(wanted.extent);
    const int64_t at_hand = from.stage == to.stage ? Overlap(held, wanted) : 0;
    received = std::max(received, elements * copies - at_hand);
    const int64_t piece = std::max<int64_t>(NumElements(source.extent), 1);
    pieces = std::max(pieces, std::min<int64_t>((elements * copies + piece - 1) / piece, 1 << 20));
  }
  const int64_t bytes = received * SizeOf(type.dtype);
  const LinkRate link =
      from.stage == to.stage ? cost_->StageLink() : cost_->CrossStageLink(from.stage, to.stage);
  const int64_t local = LargestShard(type, to, axes).bytes();
  return firings *
         (link.Ns(received == 0 ? 0 : pieces, bytes) + cost_->MemoryNs(2 * local * copies));
}

}  // namespace oneflow
