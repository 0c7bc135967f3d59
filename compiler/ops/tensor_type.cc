#include "compiler/ops/tensor_type.h"

namespace oneflow {

std::string TensorType::ToString() const {
  return std::string(NameOf(dtype)) + oneflow::ToString(shape);
}

}  // namespace oneflow
