// Lines: an operand as [outer, extent, inner] around one of its dims, for kernels that work along it;
// and IndexReader, the integers of an index operand of either width.
//
// Values inside a kernel. Threads: const access from any. Invariant: line `i` begins at element
// First(i), its elements are `inner` apart. Read next: kernels/cpu/sort.cc.
#ifndef ONEFLOW_KERNELS_CPU_LINES_H_
#define ONEFLOW_KERNELS_CPU_LINES_H_

#include <cstdint>

#include "kernels/cpu/definition.h"

namespace oneflow::kernels {

struct Lines {
  int64_t outer = 1;
  int64_t extent = 1;
  int64_t inner = 1;

  // Around the attribute `dim`; a scalar is one line of one element.
  static Lines Along(const KernelSpec& spec) {
    const Shape& shape = spec.inputs.at(0).shape;
    Lines lines;
    if (shape.empty()) return lines;
    const int64_t dim = WrapDim(spec.attrs.Int("dim"), shape.size());
    for (int64_t d = 0; d < dim; ++d) lines.outer *= shape[d];
    lines.extent = shape[dim];
    for (size_t d = dim + 1; d < shape.size(); ++d) lines.inner *= shape[d];
    return lines;
  }
  int64_t count() const { return outer * inner; }
  int64_t First(int64_t line) const { return line / inner * extent * inner + line % inner; }
};

class IndexReader {
 public:
  IndexReader(const void* data, bool wide) : data_(data), wide_(wide) {}
  int64_t operator[](int64_t i) const {
    return wide_ ? static_cast<const int64_t*>(data_)[i] : static_cast<const int32_t*>(data_)[i];
  }

 private:
  const void* data_;
  bool wide_;
};
inline bool IsWide(const Operand& index) { return index.dtype == DType::kI64; }

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_LINES_H_
