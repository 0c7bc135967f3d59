// WholeOperand: a tensor that one device has as a whole, for programs that make specs by hand.
//
// A function. Threads: any. Read next: kernels/kernel.h.
#ifndef ONEFLOW_KERNELS_CUDA_WHOLE_OPERAND_H_
#define ONEFLOW_KERNELS_CUDA_WHOLE_OPERAND_H_

#include "kernels/kernel.h"

namespace oneflow::kernels {

inline Operand WholeOperand(DType dtype, const Shape& shape) {
  Operand operand;
  operand.dtype = dtype;
  operand.shape = operand.logical_shape = shape;
  operand.begin = Shape(shape.size(), 0);
  return operand;
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_WHOLE_OPERAND_H_
