#include "compiler/parallel/stage_cut.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "base/check.h"

namespace oneflow {
namespace {

constexpr int64_t kInfinite = std::numeric_limits<int64_t>::max() / 4;
// Positions considered: the search is quadratic in them.
constexpr size_t kMaxCandidates = 512;

// Positions where a cut may lie, ascending. When there are too many: the cheapest to cross in each of
// `limit` stretches of about equal weight, so that there is one wherever a balanced cut may want it.
std::vector<size_t> Candidates(const std::vector<int64_t>& prefix,
                               const std::vector<int64_t>& crossing, int parts) {
  std::vector<size_t> positions;
  const size_t limit = std::max<size_t>(kMaxCandidates, 8 * static_cast<size_t>(parts));
  if (crossing.size() - 1 <= limit) {
    for (size_t i = 1; i < crossing.size(); ++i) positions.push_back(i);
    return positions;
  }
  // Items count as well: without weight they would all lie in one stretch.
  const auto strata = static_cast<int64_t>(limit);
  const int64_t unit = prefix.back() / (int64_t{1} << 40) + 1;
  const auto stretch = [&](size_t i) {
    const int64_t by_weight = prefix[i] / unit * strata / (prefix.back() / unit + 1);
    const int64_t by_count =
        static_cast<int64_t>(i) * strata / static_cast<int64_t>(crossing.size());
    return (by_weight + by_count) / 2;
  };
  for (size_t i = 1; i < crossing.size(); ++i) {
    if (positions.empty() || stretch(positions.back()) != stretch(i)) {
      positions.push_back(i);
    } else if (crossing[i] < crossing[positions.back()]) {
      positions.back() = i;
    }
  }
  return positions;
}

}  // namespace

std::vector<size_t> StageCut(const std::vector<int64_t>& weights,
                             const std::vector<int64_t>& crossing, int parts) {
  OF_CHECK(weights.size() == crossing.size() && parts >= 1) << "one crossing per item";
  const size_t items = weights.size();
  std::vector<size_t> cuts;
  if (items <= static_cast<size_t>(parts)) {
    for (int i = 1; i < parts; ++i) cuts.push_back(std::min<size_t>(i, items));
    return cuts;
  }
  std::vector<int64_t> prefix(items + 1, 0);
  std::partial_sum(weights.begin(), weights.end(), prefix.begin() + 1);
  std::vector<size_t> bounds = {0};
  for (size_t position : Candidates(prefix, crossing, parts)) bounds.push_back(position);
  bounds.push_back(items);
  const size_t last = bounds.size() - 1;

  // heaviest[k][j]: least possible heaviest range when the items before bounds[j] form k ranges.
  const auto range = [&](size_t i, size_t j) { return prefix[bounds[j]] - prefix[bounds[i]]; };
  std::vector<std::vector<int64_t>> heaviest(parts + 1, std::vector<int64_t>(last + 1, kInfinite));
  heaviest[0][0] = 0;
  for (int k = 1; k <= parts; ++k) {
    for (size_t j = k; j <= last; ++j) {
      for (size_t i = k - 1; i < j; ++i) {
        heaviest[k][j] = std::min(heaviest[k][j], std::max(heaviest[k - 1][i], range(i, j)));
      }
    }
  }
  const int64_t limit = heaviest[parts][last] + heaviest[parts][last] / 10;
  // A tenth more in each of the others could leave one range nearly empty.
  const int64_t least = prefix.back() / (5 * parts) * 4;
  // Weights in units of which few enough make the whole that squares can be summed.
  const int64_t unit = prefix.back() / (int64_t{1} << 24) + 1;

  // best[k][j]: fewest bytes over the cuts, and then the smallest sum of squared weights, when no
  // range is heavier than the limit.
  using Cost = std::pair<int64_t, int64_t>;
  std::vector<std::vector<size_t>> from(parts + 1, std::vector<size_t>(last + 1, 0));
  const auto search = [&](int64_t floor) {
    std::vector<std::vector<Cost>> best(parts + 1,
                                        std::vector<Cost>(last + 1, {kInfinite, kInfinite}));
    best[0][0] = {0, 0};
    for (int k = 1; k <= parts; ++k) {
      for (size_t j = k; j <= last; ++j) {
        for (size_t i = k - 1; i < j; ++i) {
          const int64_t weight = range(i, j);
          if (best[k - 1][i].first >= kInfinite || weight > limit || weight < floor) continue;
          const int64_t units = weight / unit;
          const Cost cost = {best[k - 1][i].first + (i == 0 ? 0 : crossing[bounds[i]]),
                             best[k - 1][i].second + units * units};
          if (cost < best[k][j]) {
            best[k][j] = cost;
            from[k][j] = i;
          }
        }
      }
    }
    return best[parts][last].first < kInfinite;
  };
  if (!search(least)) search(0);
  size_t j = last;
  for (int k = parts; k > 1; --k) {
    j = from[k][j];
    cuts.push_back(bounds[j]);
  }
  std::reverse(cuts.begin(), cuts.end());
  return cuts;
}

}  // namespace oneflow
