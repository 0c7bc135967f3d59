#include "plan/packed_heads.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace oneflow {
namespace {

constexpr int64_t kMostHeads = int64_t{1} << 40;  // sums of three do not overflow

}  // namespace

bool IsPacked(const Attrs& attrs) {
  if (!attrs.Has("packed")) return false;
  const std::vector<int64_t>* list = attrs.Find<std::vector<int64_t>>("packed");
  return list == nullptr || !list->empty();
}

std::optional<PackedHeads> PackedHeadsOf(const Attrs& attrs) {
  const std::vector<int64_t>* list = attrs.Find<std::vector<int64_t>>("packed");
  if (list == nullptr || list->size() != 5) return std::nullopt;
  const PackedHeads packed = {{(*list)[0], (*list)[1], (*list)[2]}, (*list)[3], (*list)[4]};
  if (packed.heads < 1 || packed.key_heads < 1 || packed.heads > kMostHeads ||
      packed.key_heads > kMostHeads) {
    return std::nullopt;
  }
  std::array<std::pair<int64_t, int64_t>, 3> parts = {{{packed.first[0], packed.heads},
                                                       {packed.first[1], packed.key_heads},
                                                       {packed.first[2], packed.key_heads}}};
  std::sort(parts.begin(), parts.end());
  int64_t end = 0;
  for (const auto& [begin, count] : parts) {
    if (begin != end) return std::nullopt;
    end += count;
  }
  return packed;
}

}  // namespace oneflow
