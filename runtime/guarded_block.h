// GuardedBlock: bytes that show who touches what is not his: a page without access on both sides,
// the end as close to it as 64-byte alignment allows, and known bytes in the rest. An access beyond
// is a fault, one into the rest is seen by Intact (by AddressSanitizer at once).
//
// For tests and attacks; owned by who made it. Threads: one. Read next: runtime/isolated_firing.h.
#ifndef ONEFLOW_RUNTIME_GUARDED_BLOCK_H_
#define ONEFLOW_RUNTIME_GUARDED_BLOCK_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/host_tensor.h"

namespace oneflow {

class GuardedBlock {
 public:
  // Aligned to 64 bytes, zeros. An impossible size is our bug.
  explicit GuardedBlock(int64_t bytes);
  GuardedBlock(GuardedBlock&& other) noexcept { *this = std::move(other); }
  GuardedBlock& operator=(GuardedBlock&& other) noexcept {
    std::swap(map_, other.map_);
    std::swap(mapped_, other.mapped_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~GuardedBlock();

  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  // Nobody has written beside the bytes.
  bool Intact() const;

 private:
  std::byte* inside() const;  // the first accessible byte

  std::byte* map_ = nullptr;
  size_t mapped_ = 0;
  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
};

// A tensor of zeros in a block of its own.
HostTensor GuardedTensor(DType dtype, const Shape& shape);

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_GUARDED_BLOCK_H_
