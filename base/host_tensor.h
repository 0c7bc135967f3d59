// HostTensor: a dense row-major tensor in host memory, the form in which data enters and leaves:
// batches, fetched metrics, initial values, checkpoint entries, interpreter values.
//
// Shares ownership of its bytes. Threads: the bytes are immutable once shared. Invariant: data
// holds NumElements(shape) * SizeOf(dtype) bytes, at any alignment (memcpy out of foreign arrays).
// Read next: kernels/kernel.h.
#ifndef ONEFLOW_BASE_HOST_TENSOR_H_
#define ONEFLOW_BASE_HOST_TENSOR_H_

#include <cstddef>
#include <memory>

#include "base/dtype.h"
#include "base/shape.h"

namespace oneflow {

// A logical tensor's bytes on the host.
struct HostTensor {
  DType dtype = DType::kInvalid;
  Shape shape;
  std::shared_ptr<std::byte> data;  // may own a foreign buffer through a custom deleter

  int64_t bytes() const { return NumElements(shape) * SizeOf(dtype); }
  // A new tensor with 64-byte aligned, uninitialised bytes.
  static HostTensor Allocate(DType dtype, Shape shape);
};

}  // namespace oneflow

#endif  // ONEFLOW_BASE_HOST_TENSOR_H_
