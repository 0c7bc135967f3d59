#include "plan/content.h"

#include <algorithm>
#include <bit>

namespace oneflow {

Nest Nest::Of(int64_t base, const Shape& extent, const Shape& strides) {
  Nest nest;
  nest.base = base;
  for (size_t d = 0; d < extent.size(); ++d) {
    if (extent[d] == 1) continue;
    if (!nest.loops.empty() && nest.loops.back().stride == extent[d] * strides[d]) {
      nest.loops.back() = {nest.loops.back().extent * extent[d], strides[d]};
    } else {
      nest.loops.push_back({extent[d], strides[d]});
    }
  }
  return nest;
}

int64_t Nest::elements() const {
  int64_t elements = 1;
  for (const Loop& loop : loops) elements *= loop.extent;
  return elements;
}

std::optional<Shape> Nest::StridesIn(const Shape& extent) const {
  Shape strides(extent.size(), 0);
  size_t loop = loops.size();  // innermost first
  int64_t left = 1, stride = 0;
  for (size_t d = extent.size(); d-- > 0;) {
    if (extent[d] == 1) continue;
    if (left == 1) {
      if (loop == 0) return std::nullopt;
      --loop;
      left = loops[loop].extent;
      stride = loops[loop].stride;
    }
    if (left % extent[d] != 0) return std::nullopt;
    strides[d] = stride;
    left /= extent[d];
    stride *= extent[d];
  }
  if (left != 1 || loop != 0) return std::nullopt;
  return strides;
}

bool Parts::Meets(const Parts& other) const {
  for (size_t i = 0; i < std::min(words_.size(), other.words_.size()); ++i) {
    if ((words_[i] & other.words_[i]) != 0) return true;
  }
  return false;
}

void Parts::Merge(const Parts& other) {
  words_.resize(std::max(words_.size(), other.words_.size()), 0);
  for (size_t i = 0; i < other.words_.size(); ++i) words_[i] |= other.words_[i];
}

int64_t Parts::count() const {
  int64_t count = 0;
  for (const uint64_t word : words_) count += std::popcount(word);
  return count;
}

Content Content::Whole(const Shape& frame, Cell cell) {
  cell.box = {Shape(frame.size(), 0), frame};
  cell.offset = 0;
  return {frame, {std::move(cell)}};
}

bool Content::Covered() const {
  int64_t covered = 0;
  for (const Cell& cell : cells) covered += NumElements(cell.box.extent);
  return covered == NumElements(frame);
}

std::optional<Combine> ParseCombine(const std::string& mode) {
  if (mode == "copy") return Combine::kCopy;
  if (mode == "sum") return Combine::kSum;
  if (mode == "max") return Combine::kMax;
  if (mode == "min") return Combine::kMin;
  return std::nullopt;
}

namespace content_internal {

std::optional<Slice> Meet(const Slice& a, const Slice& b) {
  Slice met{a.begin, a.extent};
  for (size_t d = 0; d < a.begin.size(); ++d) {
    met.begin[d] = std::max(a.begin[d], b.begin[d]);
    met.extent[d] = std::min(a.begin[d] + a.extent[d], b.begin[d] + b.extent[d]) - met.begin[d];
    if (met.extent[d] <= 0) return std::nullopt;
  }
  return met;
}

std::optional<Cell> CutCell(const Cell& cell, const Slice& box) {
  if (box == cell.box) return cell;
  Cell cut = cell;
  cut.box = box;
  if (!cell.known()) return cut;
  if (box.begin.size() == 1) {
    cut.offset += box.begin[0] - cell.box.begin[0];
    if (cell.nest.loops.size() == 1) {
      const int64_t stride = cell.nest.loops[0].stride;
      cut.nest = Nest::Of(cell.nest.base + cut.offset * stride, box.extent, {stride});
      cut.offset = 0;
    }
    return cut;
  }
  const std::optional<Shape> strides = cell.nest.StridesIn(cell.box.extent);
  if (!strides.has_value()) return std::nullopt;
  int64_t base = cell.nest.base;
  for (size_t d = 0; d < box.begin.size(); ++d)
    base += (box.begin[d] - cell.box.begin[d]) * (*strides)[d];
  cut.nest = Nest::Of(base, box.extent, *strides);
  return cut;
}

std::optional<std::vector<Cell>> CutOut(const Cell& cell, const Slice& region) {
  std::vector<Cell> rest;
  Slice left = cell.box;  // shrinks to the region, dim by dim
  for (size_t d = 0; d < region.begin.size(); ++d) {
    const int64_t end = left.begin[d] + left.extent[d];
    const int64_t region_end = region.begin[d] + region.extent[d];
    for (const auto& [from, to] :
         {std::pair(left.begin[d], region.begin[d]), std::pair(region_end, end)}) {
      if (from >= to) continue;
      Slice box = left;
      box.begin[d] = from;
      box.extent[d] = to - from;
      std::optional<Cell> cut = CutCell(cell, box);
      if (!cut.has_value()) return std::nullopt;
      rest.push_back(*std::move(cut));
    }
    left.begin[d] = region.begin[d];
    left.extent[d] = region.extent[d];
  }
  return rest;
}

std::string CombineCells(const Cell& from, Combine mode, std::optional<Sbp::Reduce> reduce,
                         Cell* into) {
  if (from.value == Cell::kForeign || into->value == Cell::kForeign) {
    Cell foreign;
    foreign.box = into->box;
    foreign.value = Cell::kForeign;
    *into = foreign;
    return "";
  }
  if (mode == Combine::kSum && from.value == Cell::kZero) return "";
  if (mode == Combine::kSum && into->value == Cell::kZero) {
    *into = from;
    return "";
  }
  if (!from.SameElements(*into)) return "combines elements of different places";
  if (!reduce.has_value()) return "combines copies of a value that is whole already";
  const Combine right = *reduce == Sbp::kMax   ? Combine::kMax
                        : *reduce == Sbp::kMin ? Combine::kMin
                                               : Combine::kSum;
  if (mode != right) return "combines contributions in another way than their value says";
  if (mode == Combine::kSum && from.parts.Meets(into->parts)) {
    return "adds a contribution twice";
  }
  into->parts.Merge(from.parts);
  return "";
}

}  // namespace content_internal

namespace {

using content_internal::CutCell;

bool FillsNest(const Cell& cell) {
  return !cell.known() ||
         (cell.offset == 0 && cell.nest.elements() == NumElements(cell.box.extent));
}

// Neighbours in a frame of one dim that run on in one nest become one cell.
void JoinRuns(Content* content) {
  std::sort(content->cells.begin(), content->cells.end(),
            [](const Cell& a, const Cell& b) { return a.box.begin[0] < b.box.begin[0]; });
  std::vector<Cell> joined;
  for (Cell& cell : content->cells) {
    if (!joined.empty()) {
      Cell& last = joined.back();
      const bool runs_on = last.box.begin[0] + last.box.extent[0] == cell.box.begin[0] &&
                           last.value == cell.value && last.parts == cell.parts &&
                           (!cell.known() || (last.nest == cell.nest &&
                                              last.offset + last.box.extent[0] == cell.offset));
      if (runs_on) {
        last.box.extent[0] += cell.box.extent[0];
        continue;
      }
    }
    joined.push_back(std::move(cell));
  }
  content->cells = std::move(joined);
}

// One cell in place of several that are one box of one value, all alike.
void JoinBoxes(Content* content) {
  if (content->cells.size() < 2 || !content->Covered()) return;
  const Cell& first =
      *std::min_element(content->cells.begin(), content->cells.end(),
                        [](const Cell& a, const Cell& b) { return a.box.begin < b.box.begin; });
  const size_t rank = content->frame.size();
  Shape strides(rank, 0);
  for (const Cell& cell : content->cells) {
    if (cell.value != first.value || cell.parts != first.parts || !FillsNest(cell)) return;
  }
  Cell whole = first;
  if (first.known()) {
    for (size_t d = 0; d < rank; ++d) {
      if (content->frame[d] == 1) continue;
      for (const Cell& cell : content->cells) {
        const std::optional<Shape> inner = cell.nest.StridesIn(cell.box.extent);
        if (!inner.has_value()) return;
        if (cell.box.extent[d] > 1) {
          strides[d] = (*inner)[d];
          break;
        }
        Shape begin = cell.box.begin;
        begin[d] = first.box.begin[d];
        if (begin == first.box.begin && cell.box.begin[d] != first.box.begin[d]) {
          strides[d] =
              (cell.nest.base - first.nest.base) / (cell.box.begin[d] - first.box.begin[d]);
          break;
        }
      }
    }
    for (const Cell& cell : content->cells) {
      int64_t base = first.nest.base;
      for (size_t d = 0; d < rank; ++d)
        base += (cell.box.begin[d] - first.box.begin[d]) * strides[d];
      if (cell.nest != Nest::Of(base, cell.box.extent, strides)) return;
    }
    whole.nest = Nest::Of(first.nest.base, content->frame, strides);
  }
  *content = Content::Whole(content->frame, std::move(whole));
}

// First element of a box that is one run of the frame's row-major order; nullopt if it is none.
std::optional<int64_t> RunOf(const Slice& box, const Shape& frame) {
  size_t d = 0;
  while (d < frame.size() && box.extent[d] == 1) ++d;
  for (size_t inner = d + 1; inner < frame.size(); ++inner) {
    if (box.extent[inner] != frame[inner]) return std::nullopt;
  }
  const Shape strides = StridesOf(frame);
  int64_t first = 0;
  for (size_t i = 0; i < frame.size(); ++i) first += box.begin[i] * strides[i];
  return first;
}

// The box of the frame that is this run; nullopt if it is none.
std::optional<Slice> BoxOf(int64_t first, int64_t length, const Shape& frame) {
  const Shape strides = StridesOf(frame);
  Slice box{Shape(frame.size(), 0), Shape(frame.size(), 1)};
  for (size_t d = 0; d < frame.size(); ++d) {
    box.begin[d] = first / strides[d];
    first %= strides[d];
    box.extent[d] = std::max<int64_t>(1, length / strides[d]);
    if (box.begin[d] + box.extent[d] > frame[d]) return std::nullopt;
    if (box.extent[d] > 1) {
      if (length % strides[d] != 0 || first != 0) return std::nullopt;
      for (size_t inner = d + 1; inner < frame.size(); ++inner) box.extent[inner] = frame[inner];
      return box;
    }
  }
  return NumElements(box.extent) == length ? std::optional(box) : std::nullopt;
}

}  // namespace

std::optional<Content> Reframed(Content content, const Shape& frame) {
  if (content.frame == frame) return content;
  if (NumElements(content.frame) != NumElements(frame)) return std::nullopt;
  if (NumElements(frame) == 0) return Content{frame, {}};
  if (content.frame.size() == 1) JoinRuns(&content);
  JoinBoxes(&content);
  if (content.cells.size() == 1 && content.Covered() && FillsNest(content.cells[0])) {
    return Content::Whole(frame, content.cells[0]);
  }
  // Through one run of elements per cell.
  Content result{frame, {}};
  for (Cell& cell : content.cells) {
    const std::optional<int64_t> first = RunOf(cell.box, content.frame);
    if (!first.has_value()) return std::nullopt;
    const int64_t length = NumElements(cell.box.extent);
    if (frame.size() == 1) {
      cell.box = {{*first}, {length}};
    } else {
      const std::optional<Slice> box = BoxOf(*first, length, frame);
      if (!box.has_value() || !FillsNest(cell)) return std::nullopt;
      cell.box = *box;
    }
    result.cells.push_back(std::move(cell));
  }
  return result;
}

std::optional<Content> Extract(const Content& content, const Slice& region) {
  Content result{region.extent, {}};
  for (const Cell& cell : content.cells) {
    const std::optional<Slice> met = content_internal::Meet(cell.box, region);
    if (!met.has_value()) continue;
    std::optional<Cell> cut = CutCell(cell, *met);
    if (!cut.has_value()) return std::nullopt;
    for (size_t d = 0; d < region.begin.size(); ++d) cut->box.begin[d] -= region.begin[d];
    result.cells.push_back(*std::move(cut));
  }
  return result;
}

}  // namespace oneflow
