// cudnn::Operations: what a graph of cuDNN is made of: tensors, and operations on them, all in f32 between operands.
//
// Values that own their descriptors; an operation keeps what it is of. Threads: one. Invariant: sums over a dim give the
// same bits in every run: no note of an engine says so, the attribute of the reduction does. Read next:
// kernels/cuda/cudnn_engines.h.
#ifndef ONEFLOW_KERNELS_CUDA_CUDNN_OPERATIONS_H_
#define ONEFLOW_KERNELS_CUDA_CUDNN_OPERATIONS_H_

#include <array>
#include <cstdint>
#include <vector>

#include "base/dtype.h"
#include "kernels/cuda/cudnn_descriptor.h"

namespace oneflow::kernels::cudnn {

using Extents = std::array<int64_t, 4>;

int DataTypeOf(DType dtype);  // of f32, bf16, f16

struct TensorLook {
  int64_t id;
  int type;  // a DataType
  Extents dims, strides;
  bool is_virtual = false;   // it is in no memory
  bool is_by_value = false;  // a number of the host, read when the plan is run
};
Owned Tensor(const TensorLook& look);

struct PointwiseLook {
  PointwiseMode mode;
  int type = kFloat;  // that it computes in
  int64_t axis = -1;  // of kIndex
};
// y = mode(x, b), of x alone where b is nullptr; `condition`, of kSelect: where it holds x, else b.
Owned Pointwise(const PointwiseLook& look, const Owned& x, const Owned* b, const Owned& y,
                const Owned* condition = nullptr);
// Over the dims that y has not.
Owned Reduce(ReductionOperator how, const Owned& x, const Owned& y);
// c = a b, of the last two dims.
Owned Matmul(const Owned& a, const Owned& b, const Owned& c);
// y is x by other dims and strides.
Owned Reshape(const Owned& x, const Owned& y);

struct Operations {
  std::vector<Owned> list;
  bool ok() const;
};

}  // namespace oneflow::kernels::cudnn

#endif  // ONEFLOW_KERNELS_CUDA_CUDNN_OPERATIONS_H_
