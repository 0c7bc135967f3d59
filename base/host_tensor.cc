#include "base/host_tensor.h"

#include <cstdint>
#include <cstdlib>
#include <utility>

#include "base/check.h"

namespace oneflow {
namespace {

constexpr size_t kAlignment = 64;

}  // namespace

HostTensor HostTensor::Allocate(DType dtype, Shape shape) {
  HostTensor tensor{dtype, std::move(shape), nullptr};
  // A block of malloc with room to align in it: aligned_alloc cuts blocks and joins them again, which
  // costs an eager op of 16 KiB a tenth of its time.
  const size_t bytes = static_cast<size_t>(tensor.bytes());
  auto* block = static_cast<std::byte*>(std::malloc(bytes + kAlignment));
  OF_CHECK(block != nullptr) << "out of host memory for " << bytes << " bytes";
  const size_t past = reinterpret_cast<uintptr_t>(block) % kAlignment;
  tensor.data = std::shared_ptr<std::byte>(block + (kAlignment - past),
                                           [block](std::byte*) { std::free(block); });
  return tensor;
}

}  // namespace oneflow
