#include "base/host_tensor.h"

#include <cstdlib>
#include <utility>

#include "base/check.h"

namespace oneflow {

HostTensor HostTensor::Allocate(DType dtype, Shape shape) {
  HostTensor tensor{dtype, std::move(shape), nullptr};
  const size_t rounded = (static_cast<size_t>(tensor.bytes()) + 63) / 64 * 64;
  void* block = std::aligned_alloc(64, rounded == 0 ? 64 : rounded);
  OF_CHECK(block != nullptr) << "out of host memory for " << rounded << " bytes";
  tensor.data = std::shared_ptr<std::byte>(static_cast<std::byte*>(block),
                                           [](std::byte* p) { std::free(p); });
  return tensor;
}

}  // namespace oneflow
