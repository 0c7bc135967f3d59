#include <algorithm>

#include "base/check.h"
#include "compiler/lower/emit_reshard.h"

namespace oneflow {
namespace {

// Counts through the coordinates of the axes in `which`, last fastest. Returns false after the
// last.
bool Advance(const std::vector<Axis>& axes, const std::vector<size_t>& which,
             std::vector<int64_t>* coordinates) {
  for (size_t i = which.size(); i-- > 0;) {
    if (++(*coordinates)[which[i]] < axes[which[i]].size) return true;
    (*coordinates)[which[i]] = 0;
  }
  return false;
}

int PositionOf(const std::vector<Axis>& axes, const std::vector<int64_t>& coordinates) {
  int64_t position = 0;
  for (size_t a = 1; a < axes.size(); ++a) position = position * axes[a].size + coordinates[a];
  return static_cast<int>(position);
}

}  // namespace

std::vector<ExchangePiece> PlanExchange(const Shape& shape, const Sharding& from,
                                        const Sharding& to, const Mesh& mesh,
                                        const std::vector<Axis>& axes, int destination) {
  std::vector<int64_t> target = {0};
  for (int64_t c : mesh.StageCoordinates(destination)) target.push_back(c);

  // Axes of the source that are walked: P axes (combined, outer loop, mesh order) and S axes
  // (pieces).
  std::vector<size_t> partial, split;
  std::vector<int64_t> fixed = target;  // B axes: the replica with the destination's own coordinate
  for (size_t a = 1; a < axes.size(); ++a) {
    const bool stays_partial =
        from.sbps[a].kind == Sbp::kPartial && to.sbps[a].kind == Sbp::kPartial;
    if (to.sbps[a].kind == Sbp::kPartial && !stays_partial && target[a] != 0) return {};
    if (stays_partial) continue;
    if (from.sbps[a].kind == Sbp::kPartial) partial.push_back(a);
    if (from.sbps[a].kind == Sbp::kSplit) split.push_back(a);
  }
  const Slice wanted = SliceOf(to, axes, shape, target);
  std::vector<ExchangePiece> pieces;
  std::vector<int64_t> source = fixed;
  for (size_t a : partial) source[a] = 0;
  bool combines = false;
  do {
    for (size_t a : split) source[a] = 0;
    do {
      const Slice held = SliceOf(from, axes, shape, source);
      ExchangePiece piece;
      piece.source = PositionOf(axes, source);
      piece.combines = combines;
      bool empty = false;
      for (size_t d = 0; d < shape.size(); ++d) {
        const int64_t begin = std::max(held.begin[d], wanted.begin[d]);
        const int64_t end =
            std::min(held.begin[d] + held.extent[d], wanted.begin[d] + wanted.extent[d]);
        empty = empty || end <= begin;
        piece.source_begin.push_back(begin - held.begin[d]);
        piece.destination_begin.push_back(begin - wanted.begin[d]);
        piece.extent.push_back(end - begin);
      }
      if (!empty) pieces.push_back(std::move(piece));
    } while (Advance(axes, split, &source));
    combines = true;
  } while (Advance(axes, partial, &source));
  return pieces;
}

}  // namespace oneflow
