// RegionCopy: a dense local tensor <-> the region of a dense logical tensor that it is a shard of.
// What FEED, FETCH and the reading and writing of states do.
//
// A value, made at load time. Threads: const access from any. Copies allocate nothing.
// Read next: runtime/program.h, runtime/states.h.
#ifndef ONEFLOW_RUNTIME_IO_REGION_H_
#define ONEFLOW_RUNTIME_IO_REGION_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/shape.h"

namespace oneflow {

class RegionCopy {
 public:
  RegionCopy() = default;
  // REQUIRES: equal ranks, and begin + extent <= logical in every dim.
  RegionCopy(const Shape& logical, const Shape& begin, const Shape& extent, int64_t element_bytes);

  void ToLocal(const std::byte* logical, std::byte* local) const;
  void FromLocal(std::byte* logical, const std::byte* local) const;
  int64_t bytes() const { return bytes_; }
  // One run of bytes in the logical tensor too, `offset` bytes into it.
  bool contiguous() const { return outer_.empty(); }
  int64_t offset() const { return offset_; }

 private:
  struct Dim {
    int64_t extent = 0;
    int64_t stride = 0;  // bytes, in the logical tensor
  };
  template <bool kToLocal>
  std::byte* Walk(size_t dim, std::byte* logical, std::byte* local) const;

  std::vector<Dim> outer_;  // around runs of contiguous bytes
  int64_t run_bytes_ = 0;
  int64_t offset_ = 0;
  int64_t bytes_ = 0;
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_IO_REGION_H_
