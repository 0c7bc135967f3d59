// LinesAhead: the cache lines of a block of an operand in the order in which it will be packed. A
// product fetches a few of them at a time while it multiplies what is packed already.
//
// A value inside a kernel; allocates nothing. Threads: one. Invariant: every line is one of the block.
// Read next: kernels/cpu/panel_gemm.cc.
#ifndef ONEFLOW_KERNELS_CPU_LINES_AHEAD_H_
#define ONEFLOW_KERNELS_CPU_LINES_AHEAD_H_

#include <algorithm>
#include <cstdint>

namespace oneflow::kernels {

class LinesAhead {
 public:
  LinesAhead() = default;

  // Element (i, j) of the block is block[i * row + j * column]. None if neither stride is 1: such
  // operands are rare, and each of their elements is a line.
  template <typename T>
  static LinesAhead Of(const T* block, int64_t rows, int64_t columns, int64_t row, int64_t column) {
    if (rows == 0 || columns == 0 || (row != 1 && column != 1)) return LinesAhead();
    const auto* bytes = reinterpret_cast<const char*>(block);
    constexpr int64_t kSize = sizeof(T);
    return column == 1 ? LinesAhead(bytes, rows, row * kSize, columns * kSize)
                       : LinesAhead(bytes, columns, column * kSize, rows * kSize);
  }

  int64_t left() const { return left_; }
  // The next lines, at most `count`, are written to `lines`. Returns how many.
  int64_t Take(int64_t count, const void** lines) {
    count = std::min(count, left_);
    for (int64_t i = 0; i < count; ++i) {
      lines[i] = run_ + std::min(at_, bytes_ - 1);
      at_ += kLine;
      if (at_ >= end_) {
        at_ = 0;
        run_ += stride_;
      }
    }
    left_ -= count;
    return count;
  }

 private:
  static constexpr int64_t kLine = 64;

  // `runs` runs of `bytes`; one that does not begin with a line may end in one line more.
  LinesAhead(const char* first, int64_t runs, int64_t stride, int64_t bytes)
      : run_(first), stride_(stride), bytes_(bytes) {
    const bool aligned = reinterpret_cast<uintptr_t>(first) % kLine == 0 && stride % kLine == 0;
    const int64_t lines = (bytes + kLine - 1) / kLine + (aligned ? 0 : 1);
    end_ = lines * kLine;
    left_ = runs * lines;
  }

  const char* run_ = nullptr;
  int64_t stride_ = 0;
  int64_t bytes_ = 0;
  int64_t end_ = 0;
  int64_t at_ = 0;
  int64_t left_ = 0;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_LINES_AHEAD_H_
