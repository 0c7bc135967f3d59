// FirstFit: the lowest offset for bytes that are busy at some times, beside what was placed before.
//
//   time ->      0 1 2 3 4 5
//   a [0..2]     a a a . . .      placed in the order a, b, c:
//   b [2..3]     . . b b . .      a at 0; b behind a, with which it shares time 2;
//   c [3..5]     . . . c c c      c at 0: a is over, and b lies elsewhere
//
// Times form a tree (a segment tree over equally many beginnings and ends). Each stretch knows the bytes that
// somebody holds throughout it and those that somebody holds at any time in it, as few long runs: a
// first fit packs. So placing one asks a few runs per level and a leaf's items one by one, whatever
// else is alive: a plan's memory is near-linear in its layers although all activations live at once.
//
// Owner: one call of the planner. Threads: one. Invariant: what was placed overlaps in time or in
// bytes, never in both. Read next: compiler/lower/memory_planner.h.
#ifndef ONEFLOW_COMPILER_LOWER_FIRST_FIT_H_
#define ONEFLOW_COMPILER_LOWER_FIRST_FIT_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace oneflow {

// Closed interval of times at which something is filled or read.
struct Interval {
  int64_t begin = 0;
  int64_t end = 0;
};

// Bytes [begin, end).
struct ByteRange {
  int64_t begin = 0;
  int64_t end = 0;
};

// A set of bytes: sorted ranges that neither overlap nor touch.
class ByteSet {
 public:
  void Add(ByteRange bytes);
  // The lowest place at or above `offset` from which `bytes` bytes are all outside the set.
  int64_t FirstOutside(int64_t offset, int64_t bytes) const;

 private:
  std::vector<ByteRange> ranges_;
};

class FirstFit {
 public:
  // `times`: at which what will be placed begins and ends to be busy; how well they are told decides
  // what a placement costs, not where it lies.
  explicit FirstFit(std::vector<int64_t> times);

  // Places `bytes` that are busy in `uses` (sorted, disjoint) at the lowest offset where nothing
  // lies that is busy at the same time, and outside `avoided`.
  int64_t Place(std::span<const Interval> uses, int64_t bytes, const ByteSet& avoided);

  // Sets of bytes and single items that all placements so far have looked at: what they cost.
  int64_t looks() const { return looks_; }

 private:
  // A node of the tree: a stretch of time, two of which make that of the node above.
  struct Stretch {
    ByteSet whole;    // held throughout, but not throughout the stretch above
    ByteSet touched;  // held at any time of it, but not throughout the stretch above
  };
  struct Held {
    Interval busy;
    ByteRange bytes;
  };

  Interval Times(size_t first_leaf, size_t leaves) const {
    return {bounds_[first_leaf], bounds_[first_leaf + leaves] - 1};
  }
  using Uses = std::span<const Interval>;
  // Adds what is to be avoided in `uses` to avoid_ and near_.
  void Meet(Uses uses, size_t node, size_t first_leaf, size_t leaves);
  void Hold(Uses uses, const ByteRange& bytes, size_t node, size_t first_leaf, size_t leaves);

  std::vector<int64_t> bounds_;            // of the leaves, one more at the end
  std::vector<Stretch> stretches_;         // a heap: the halves of node n are 2n and 2n + 1
  std::vector<std::vector<Held>> partly_;  // by leaf: held in a part of it
  // Of Place.
  std::vector<const ByteSet*> avoid_;
  ByteSet near_;
  int64_t looks_ = 0;
};

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_LOWER_FIRST_FIT_H_
