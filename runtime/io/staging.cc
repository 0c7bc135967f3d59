#include "runtime/io/staging.h"

#include <cstdint>
#include <cstring>

#include "base/check.h"

namespace oneflow {
namespace {

size_t Aligned(const HostTensor& tensor) {
  return (static_cast<size_t>(tensor.bytes()) + 63) / 64 * 64;
}

}  // namespace

void Staging::Copy(const std::vector<HostTensor>& inputs, const std::vector<bool>& fed,
                   Invocation* invocation) {
  size_t bytes = 0;
  for (size_t i = 0; i < inputs.size(); ++i) bytes += fed[i] ? Aligned(inputs[i]) : 0;
  Buffer* free = nullptr;
  for (Buffer& buffer : buffers_) {
    if (buffer.reader != nullptr && buffer.reader != invocation &&
        buffer.reader->feeds_left.load(std::memory_order_acquire) > 0) {
      continue;
    }
    buffer.reader = nullptr;  // its entry may serve another step, which must not hold two buffers
    if (free == nullptr) free = &buffer;
  }
  OF_CHECK(free != nullptr) << "more steps in flight than staging buffers";
  if (static_cast<size_t>(free->memory.bytes()) < bytes) {
    free->memory = HostTensor();  // before the larger one is made
    free->memory = HostTensor::Allocate(DType::kU8, {static_cast<int64_t>(bytes)});
  }
  free->reader = invocation;
  std::byte* next = free->memory.data.get();
  for (size_t i = 0; i < inputs.size(); ++i) {
    invocation->input_bytes[i] = nullptr;
    if (!fed[i]) continue;
    if (inputs[i].bytes() > 0) {
      std::memcpy(next, inputs[i].data.get(), static_cast<size_t>(inputs[i].bytes()));
    }
    invocation->input_bytes[i] = next;
    next += Aligned(inputs[i]);
  }
}

void Staging::ReleaseAll() {
  for (Buffer& buffer : buffers_) buffer.reader = nullptr;
}

size_t Staging::bytes() const {
  size_t bytes = 0;
  for (const Buffer& buffer : buffers_) bytes += static_cast<size_t>(buffer.memory.bytes());
  return bytes;
}

}  // namespace oneflow
