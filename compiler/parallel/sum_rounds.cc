#include "compiler/parallel/sum_rounds.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace oneflow {
namespace {

constexpr const char* kNames[] = {"direct", "scatter", "sum", "gather"};

// Sizes of direct rounds whose product is `devices`: as few rounds as can be, then as few messages. None if there are
// no such sizes under which a device brings the others less than latency x rate.
std::optional<std::vector<int64_t>> DirectSizes(const CostModel& cost, int64_t devices,
                                                int64_t bytes, int64_t most) {
  if (devices == 1) return std::vector<int64_t>();
  std::optional<std::vector<int64_t>> best;
  int64_t best_messages = 0;
  for (int64_t size = std::min(most, devices); size > 1; --size) {
    if (devices % size != 0 || (size - 1) * bytes > cost.LatencyBytes()) continue;
    std::optional<std::vector<int64_t>> sizes = DirectSizes(cost, devices / size, bytes, size);
    if (!sizes.has_value()) continue;
    sizes->insert(sizes->begin(), size);
    int64_t messages = 0;
    for (const int64_t each : *sizes) messages += each - 1;
    if (best.has_value() && (sizes->size() > best->size() ||
                             (sizes->size() == best->size() && messages >= best_messages))) {
      continue;
    }
    best_messages = messages;
    best = std::move(sizes);
  }
  return best;
}

// Adds direct rounds among `devices` that stand `stride` apart; false if they are no such.
bool AddDirect(const CostModel& cost, int64_t devices, int64_t stride, int64_t bytes,
               std::vector<Round>* rounds) {
  const auto sizes = DirectSizes(cost, devices, bytes, CostModel::kMostDirect);
  if (!sizes.has_value()) return false;
  for (const int64_t size : *sizes) {
    rounds->push_back({Round::kDirect, size, stride});
    stride *= size;
  }
  return true;
}

}  // namespace

std::optional<Collective> CollectiveOf(const Sbp& from, const Sbp& to) {
  if (from.kind == Sbp::kPartial && to.kind == Sbp::kBroadcast) return Collective::kSum;
  if (from.kind == Sbp::kPartial && to.kind == Sbp::kSplit) return Collective::kScatter;
  if (from.kind == Sbp::kSplit && to.kind == Sbp::kBroadcast) return Collective::kGather;
  return std::nullopt;
}

std::vector<Round> FlatRounds(const CostModel& cost, int axis, Collective collective) {
  const Round::Kind kind = collective == Collective::kSum       ? Round::kSum
                           : collective == Collective::kScatter ? Round::kScatter
                                                                : Round::kGather;
  return {{kind, cost.axes()[axis].size, 1}};
}

std::vector<Round> RoundsByLevel(const CostModel& cost, int axis, Collective collective,
                                 int64_t group, int64_t bytes) {
  const int64_t groups = cost.axes()[axis].size / group;
  OF_CHECK(group * groups == cost.axes()[axis].size);
  if (collective == Collective::kScatter)
    return {{Round::kScatter, group, 1}, {Round::kScatter, groups, group}};
  if (collective == Collective::kGather)
    return {{Round::kGather, groups, group}, {Round::kGather, group, 1}};
  std::vector<Round> rounds;
  if (AddDirect(cost, group, 1, bytes, &rounds) && AddDirect(cost, groups, group, bytes, &rounds))
    return rounds;
  // Shares of a few elements: not worth three rounds.
  if (bytes < 64 * group * groups) return FlatRounds(cost, axis, collective);
  rounds = {{Round::kScatter, group, 1}};
  if (!AddDirect(cost, groups, group, bytes / group, &rounds))
    rounds.push_back({Round::kSum, groups, group});
  rounds.push_back({Round::kGather, group, 1});
  return rounds;
}

int64_t RoundsNs(const CostModel& cost, int axis, const std::vector<Round>& rounds, int64_t bytes) {
  int64_t ns = 0;
  int64_t parts = 1;  // of the whole: a device has one of them
  if (rounds.front().kind == Round::kGather) {
    for (const Round& round : rounds) parts *= round.size;
  }
  for (const Round& round : rounds) {
    const int64_t n = round.size;
    const LinkRate& link = cost.LinkWithin(axis, n * round.stride);
    if (round.kind == Round::kGather) parts /= n;
    const int64_t whole = bytes / parts;
    switch (round.kind) {
      case Round::kDirect:
        ns += link.Ns(1, whole * (n - 1)) + cost.MemoryNs((3 * n - 1) * whole);
        break;
      case Round::kSum:
        ns += link.Ns(2 * (n - 1), 2 * whole * (n - 1) / n) + cost.MemoryNs(4 * whole);
        break;
      case Round::kScatter:
        ns += link.Ns(n - 1, whole * (n - 1) / n) + cost.MemoryNs(3 * whole);
        parts *= n;
        break;
      case Round::kGather:
        ns += link.Ns(n - 1, whole * (n - 1) / n) + cost.MemoryNs(2 * whole);
        break;
    }
  }
  return ns;
}

bool GroupsFit(const std::vector<Axis>& axes, int axis, int64_t group, const Sharding* split) {
  const int64_t n = axes[axis].size;
  if (axis < 1 || group <= 1 || group >= n || n % group != 0) return false;
  if (split == nullptr) return true;
  const int dim = split->sbps[axis].dim;
  int64_t shares = 1;
  for (size_t a = 0; a < axes.size(); ++a) {
    if (split->sbps[a].kind == Sbp::kSplit && split->sbps[a].dim == dim) shares *= axes[a].size;
  }
  return split->units[dim] == shares;
}

std::string RoundText(const Round& round) {
  return absl::StrCat(kNames[round.kind], " ", round.size, "/", round.stride);
}

Round ParseRound(const std::string& text) {
  const size_t space = text.find(' '), slash = text.find('/');
  OF_CHECK(space != std::string::npos && slash != std::string::npos && space < slash) << text;
  const auto name =
      std::find(std::begin(kNames), std::end(kNames), std::string_view(text).substr(0, space));
  Round round;
  OF_CHECK(name != std::end(kNames)) << text;
  round.kind = static_cast<Round::Kind>(name - std::begin(kNames));
  OF_CHECK(absl::SimpleAtoi(text.substr(space + 1, slash - space - 1), &round.size) &&
           absl::SimpleAtoi(text.substr(slash + 1), &round.stride))
      << text;
  return round;
}

}  // namespace oneflow
