#include "compiler/lower/first_fit.h"

#include <algorithm>
#include <limits>

namespace oneflow {
namespace {

// Beginnings and ends in a leaf: its items are looked at one by one.
constexpr size_t kLeafTimes = 64;

// Those of `uses`, which are sorted and disjoint, that share a time with `times`.
std::span<const Interval> Within(std::span<const Interval> uses, const Interval& times) {
  while (!uses.empty() && uses.front().end < times.begin) uses = uses.subspan(1);
  while (!uses.empty() && uses.back().begin > times.end) uses = uses.first(uses.size() - 1);
  return uses;
}

bool Covers(const Interval& a, const Interval& b) { return a.begin <= b.begin && b.end <= a.end; }

}  // namespace

void ByteSet::Add(ByteRange bytes) {
  const auto first =
      std::lower_bound(ranges_.begin(), ranges_.end(), bytes.begin,
                       [](const ByteRange& range, int64_t begin) { return range.end < begin; });
  auto last = first;
  for (; last != ranges_.end() && last->begin <= bytes.end; ++last) {
    bytes = {std::min(bytes.begin, last->begin), std::max(bytes.end, last->end)};
  }
  if (first == last) {
    ranges_.insert(first, bytes);
  } else {
    *first = bytes;
    ranges_.erase(first + 1, last);
  }
}

int64_t ByteSet::FirstOutside(int64_t offset, int64_t bytes) const {
  auto range =
      std::upper_bound(ranges_.begin(), ranges_.end(), offset,
                       [](int64_t begin, const ByteRange& other) { return begin < other.end; });
  for (; range != ranges_.end() && range->begin < offset + bytes; ++range) offset = range->end;
  return offset;
}

FirstFit::FirstFit(std::vector<int64_t> times) {
  std::sort(times.begin(), times.end());
  size_t leaves = 1;
  while (leaves * kLeafTimes < times.size()) leaves *= 2;
  bounds_.push_back(std::numeric_limits<int64_t>::min());
  for (size_t leaf = 1; leaf < leaves; ++leaf) {
    bounds_.push_back(times[leaf * times.size() / leaves]);
  }
  bounds_.push_back(std::numeric_limits<int64_t>::max());
  stretches_.resize(2 * leaves);
  partly_.resize(leaves);
}

int64_t FirstFit::Place(Uses uses, int64_t bytes, const ByteSet& avoided) {
  const size_t leaves = partly_.size();
  avoid_ = {&avoided, &near_};
  near_ = {};
  Meet(uses, 1, 0, leaves);
  int64_t offset = 0;
  for (size_t agree = 0; agree < avoid_.size();) {
    for (const ByteSet* set : avoid_) {
      const int64_t outside = set->FirstOutside(offset, bytes);
      agree = outside == offset ? agree + 1 : 1;
      offset = outside;
    }
    looks_ += static_cast<int64_t>(avoid_.size());
  }
  Hold(uses, {offset, offset + bytes}, 1, 0, leaves);
  return offset;
}

void FirstFit::Meet(Uses uses, size_t node, size_t first_leaf, size_t leaves) {
  const Interval times = Times(first_leaf, leaves);
  uses = Within(uses, times);
  if (uses.empty()) return;
  if (Covers(uses[0], times)) {
    avoid_.push_back(&stretches_[node].touched);
    return;
  }
  avoid_.push_back(&stretches_[node].whole);
  if (leaves > 1) {
    Meet(uses, 2 * node, first_leaf, leaves / 2);
    Meet(uses, 2 * node + 1, first_leaf + leaves / 2, leaves / 2);
    return;
  }
  looks_ += static_cast<int64_t>(partly_[first_leaf].size());
  for (const Held& held : partly_[first_leaf]) {
    if (!Within(uses, held.busy).empty()) near_.Add(held.bytes);
  }
}

void FirstFit::Hold(Uses uses, const ByteRange& bytes, size_t node, size_t first_leaf,
                    size_t leaves) {
  const Interval times = Times(first_leaf, leaves);
  uses = Within(uses, times);
  if (uses.empty()) return;
  stretches_[node].touched.Add(bytes);
  if (Covers(uses[0], times)) {
    stretches_[node].whole.Add(bytes);
  } else if (leaves > 1) {
    Hold(uses, bytes, 2 * node, first_leaf, leaves / 2);
    Hold(uses, bytes, 2 * node + 1, first_leaf + leaves / 2, leaves / 2);
  } else {
    for (const Interval& use : uses) partly_[first_leaf].push_back({use, bytes});
  }
}

}  // namespace oneflow
