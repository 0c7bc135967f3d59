// StridedCopy: copies a region of one tensor into a region of another, dims in any order, any
// element size: the kernel under permute, broadcast_to, cat, slice, pack, assemble and the ring.
//
// A value inside a kernel. Threads: Run may be called from any thread; it uses the caller's team.
// Invariants: source and destination do not overlap; allocates nothing. Read next: parallel.h.
#ifndef ONEFLOW_KERNELS_CPU_STRIDED_COPY_H_
#define ONEFLOW_KERNELS_CPU_STRIDED_COPY_H_

#include <cstdint>

#include "base/dtype.h"
#include "base/shape.h"
#include "kernels/cpu/loop_nest.h"

namespace oneflow::kernels {

class StridedCopy {
 public:
  StridedCopy() = default;
  // destination[destination_begin + i . destination_strides] = source[source_begin + i .
  // source_strides] for every index i of `extent`; strides in elements, a source stride of 0
  // repeats.
  StridedCopy(DType dtype, const Shape& extent, const Shape& source_strides, int64_t source_begin,
              const Shape& destination_strides, int64_t destination_begin);

  // The region `extent` at `source_begin` of a dense tensor of shape `source`, to
  // `destination_begin` of a dense tensor of shape `destination`.
  static StridedCopy Region(DType dtype, const Shape& extent, const Shape& source,
                            const Shape& source_begin, const Shape& destination,
                            const Shape& destination_begin);

  void Run(const void* source, void* destination, int threads) const;

  // The same region moved: adds elements to where source and destination begin.
  StridedCopy Shifted(int64_t source_elements, int64_t destination_elements) const;

  DType dtype() const { return dtype_; }
  int64_t elements() const { return nest_.elements(); }
  int64_t source_begin() const { return source_begin_; }
  int64_t destination_begin() const { return destination_begin_; }
  // Operand 0 is the source, 1 the destination.
  const LoopNest<2>& nest() const { return nest_; }

 private:
  LoopNest<2> nest_;
  DType dtype_ = DType::kInvalid;
  int64_t source_begin_ = 0;
  int64_t destination_begin_ = 0;
};

// Position of an index in a dense tensor of `shape`.
int64_t DenseOffset(const Shape& shape, const Shape& index);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_STRIDED_COPY_H_
