#include <algorithm>

#include "kernels/cuda/cudnn_operations.h"

namespace oneflow::kernels::cudnn {
namespace {

constexpr int64_t kAlignment = 16;  // of operands, whose heads begin on it; buffers lie on 64 bytes

}  // namespace

int DataTypeOf(DType dtype) {
  return dtype == DType::kBF16 ? kBfloat16 : dtype == DType::kF16 ? kHalf : kFloat;
}

Owned Tensor(const TensorLook& look) {
  Owned tensor(kTensor);
  tensor.Set(kTensorDataType, kTypeDataType, look.type)
      .Set(kTensorDimensions, kTypeInt64, look.dims.data(), 4)
      .Set(kTensorStrides, kTypeInt64, look.strides.data(), 4)
      .Set(kTensorId, kTypeInt64, look.id)
      .Set(kTensorAlignment, kTypeInt64, kAlignment);
  if (look.is_virtual) tensor.Set(kTensorIsVirtual, kTypeBoolean, true);
  if (look.is_by_value) tensor.Set(kTensorIsByValue, kTypeBoolean, true);
  tensor.Finalize();
  return tensor;
}

Owned Pointwise(const PointwiseLook& look, const Owned& x, const Owned* b, const Owned& y,
                const Owned* condition) {
  Owned pointwise(kPointwise);
  pointwise.Set(kPointwiseMode, kTypePointwiseMode, static_cast<int>(look.mode))
      .Set(kPointwiseComputeType, kTypeDataType, look.type);
  if (look.axis >= 0) pointwise.Set(kPointwiseAxis, kTypeInt64, look.axis);
  pointwise.Finalize();
  Owned operation(kPointwiseOperation);
  operation.Set(kPointwiseDescriptor, pointwise).Set(kPointwiseX, x);
  if (b != nullptr) operation.Set(kPointwiseB, *b);
  if (condition != nullptr) operation.Set(kPointwiseCondition, *condition);
  operation.Set(kPointwiseY, y).Finalize();
  return operation;
}

Owned Reduce(ReductionOperator how, const Owned& x, const Owned& y) {
  Owned reduction(kReduction);
  reduction.Set(kReductionOperator, kTypeReductionOperator, static_cast<int>(how))
      .Set(kReductionComputeType, kTypeDataType, static_cast<int>(kFloat))
      .Set(kReductionIsDeterministic, kTypeBoolean, true)
      .Finalize();
  Owned operation(kReductionOperation);
  operation.Set(kReductionDescriptor, reduction).Set(kReductionX, x).Set(kReductionY, y).Finalize();
  return operation;
}

Owned Matmul(const Owned& a, const Owned& b, const Owned& c) {
  Owned matmul(kMatmul);
  matmul.Set(kMatmulComputeType, kTypeDataType, static_cast<int>(kFloat)).Finalize();
  Owned operation(kMatmulOperation);
  operation.Set(kMatmulDescriptor, matmul)
      .Set(kMatmulA, a)
      .Set(kMatmulB, b)
      .Set(kMatmulC, c)
      .Finalize();
  return operation;
}

Owned Reshape(const Owned& x, const Owned& y) {
  Owned operation(kReshapeOperation);
  operation.Set(kReshapeX, x).Set(kReshapeY, y).Finalize();
  return operation;
}

bool Operations::ok() const {
  return std::all_of(list.begin(), list.end(), [](const Owned& one) { return one.ok(); });
}

}  // namespace oneflow::kernels::cudnn
