// Content: what a buffer holds, symbolically: which elements of which logical value, and which
// contributions to them have been combined. Movement tasks are executed on contents instead of
// bytes, so that what arrives is proved, not declared.
//
// A buffer has a frame (its local shape) and cells: boxes of the frame, each with the elements of
// one logical value in row-major order, as a nest of strided loops over the value's flat index. A
// Partial value has one contribution per coordinate of its P axes; `parts` says which of them a cell
// has combined. Values. Threads: any. REQUIRES everywhere: contents that the verifier made of a well
// formed plan. Read next: plan/verify_flow.cc.
#ifndef ONEFLOW_PLAN_CONTENT_H_
#define ONEFLOW_PLAN_CONTENT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/shape.h"
#include "plan/sharding.h"

namespace oneflow {

// Row-major elements of a box as loops over a flat index, outermost first. Canonical: no loop of
// extent 1, neighbours merged where they run on; so equal sequences are equal nests.
struct Nest {
  struct Loop {
    int64_t extent = 1;
    int64_t stride = 1;
    bool operator==(const Loop&) const = default;
  };
  int64_t base = 0;
  std::vector<Loop> loops;
  bool operator==(const Nest&) const = default;

  static Nest Of(int64_t base, const Shape& extent, const Shape& strides);
  int64_t elements() const;
  // Strides with which the nest fills a box of `extent` (0 where an extent is 1); nullopt if it does
  // not fall into its dims.
  std::optional<Shape> StridesIn(const Shape& extent) const;
};

// Which contributions to a value have been combined: a set of numbers below a size.
class Parts {
 public:
  explicit Parts(int64_t size = 1) : words_(static_cast<size_t>((size + 63) / 64), 0) {}
  void Add(int64_t part) { words_[static_cast<size_t>(part / 64)] |= uint64_t{1} << (part % 64); }
  bool Meets(const Parts& other) const;
  void Merge(const Parts& other);
  int64_t count() const;
  bool operator==(const Parts&) const = default;

 private:
  std::vector<uint64_t> words_;
};

// A box of a buffer with elements of one value.
struct Cell {
  static constexpr int kZero = -1;     // zeros
  static constexpr int kForeign = -2;  // of another rank, taken to be what is expected
  Slice box;                           // in the frame
  int value = kZero;                   // the verifier's number of the logical value
  Nest nest;                           // of a larger box if the frame has one dim, see `offset`
  int64_t offset = 0;                  // first element of the nest that the box has
  Parts parts;

  bool known() const { return value >= 0; }
  bool SameElements(const Cell& other) const {
    return value == other.value && (!known() || (nest == other.nest && offset == other.offset));
  }
};

// All that a buffer holds.
struct Content {
  Shape frame;
  std::vector<Cell> cells;  // disjoint; what no cell covers was never written

  // All of the frame.
  static Content Whole(const Shape& frame, Cell cell);
  bool Covered() const;
};

// How two writes of one region meet.
enum class Combine { kCopy, kSum, kMax, kMin };
std::optional<Combine> ParseCombine(const std::string& mode);

// The same bytes under another frame with as many elements. nullopt: the cells do not fall into it.
std::optional<Content> Reframed(Content content, const Shape& frame);

// The region of `content` as a buffer of its own; nullopt if a cell cannot be cut there.
std::optional<Content> Extract(const Content& content, const Slice& region);

// Writes `source` to the region of `target` that begins at `begin`. `reduce` gives the way in which
// a value's contributions combine, nullopt if it has none. Empty text: done; else what is wrong.
template <typename ReduceOf>
std::string Write(const Content& source, const Shape& begin, Combine mode, const ReduceOf& reduce,
                  Content* target);

// Implementation below.
namespace content_internal {
std::optional<Cell> CutCell(const Cell& cell, const Slice& box);
std::optional<Slice> Meet(const Slice& a, const Slice& b);
// Removes `region` from the cell: what is left, as cells; nullopt if it cannot be cut.
std::optional<std::vector<Cell>> CutOut(const Cell& cell, const Slice& region);
// One cell of two that meet. Empty text: done, in `into`.
std::string CombineCells(const Cell& from, Combine mode, std::optional<Sbp::Reduce> reduce,
                         Cell* into);
}  // namespace content_internal

template <typename ReduceOf>
std::string Write(const Content& source, const Shape& begin, Combine mode, const ReduceOf& reduce,
                  Content* target) {
  namespace internal = content_internal;
  const char kUncut[] = "cuts a piece that is no box of what lies there";
  for (Cell from : source.cells) {
    for (size_t d = 0; d < begin.size(); ++d) from.box.begin[d] += begin[d];
    std::vector<Cell> kept;
    std::vector<Cell> combined;
    int64_t met = 0;
    for (const Cell& cell : target->cells) {
      const std::optional<Slice> region = internal::Meet(cell.box, from.box);
      if (!region.has_value()) {
        kept.push_back(cell);
        continue;
      }
      const std::optional<std::vector<Cell>> rest = internal::CutOut(cell, *region);
      if (!rest.has_value()) return kUncut;
      kept.insert(kept.end(), rest->begin(), rest->end());
      if (mode == Combine::kCopy) continue;
      std::optional<Cell> into = internal::CutCell(cell, *region);
      const std::optional<Cell> piece = internal::CutCell(from, *region);
      if (!into.has_value() || !piece.has_value()) return kUncut;
      const std::string wrong = internal::CombineCells(
          *piece, mode, piece->known() ? reduce(piece->value) : std::nullopt, &*into);
      if (!wrong.empty()) return wrong;
      met += NumElements(region->extent);
      combined.push_back(*std::move(into));
    }
    if (mode == Combine::kCopy) {
      combined.push_back(from);
    } else if (met != NumElements(from.box.extent)) {
      return "combines with bytes that nobody wrote";
    }
    target->cells = std::move(kept);
    target->cells.insert(target->cells.end(), combined.begin(), combined.end());
  }
  return "";
}

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_CONTENT_H_
