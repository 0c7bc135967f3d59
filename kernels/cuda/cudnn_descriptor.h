// cudnn::Owned and cudnn::OpenedLibrary: cuDNN's backend in our hands: the library, opened once, and its descriptors.
//
// Owner of the library: the process. Threads: any; a descriptor is used by one thread at a time. Invariant: where the
// library is not found nothing of it is called. Read next: kernels/cuda/cudnn_backend.h, kernels/cuda/cudnn_graph.h.
#ifndef ONEFLOW_KERNELS_CUDA_CUDNN_DESCRIPTOR_H_
#define ONEFLOW_KERNELS_CUDA_CUDNN_DESCRIPTOR_H_

#include <algorithm>
#include <cstdint>
#include <utility>

#include "kernels/cuda/cudnn_backend.h"

namespace oneflow::kernels::cudnn {

// At `path`, or where the loader finds it if that is empty; what the first call of the process found.
const Library& OpenedLibrary(const char* path = "");

// A descriptor that is destroyed with this; the first error of what is set is kept.
class Owned {
 public:
  explicit Owned(DescriptorKind kind)
      : status_(OpenedLibrary().descriptor_create(kind, &descriptor_)) {
    if (status_ != 0) descriptor_ = nullptr;
  }
  Owned(Owned&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, nullptr)), status_(other.status_) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    std::swap(status_, other.status_);
    return *this;
  }
  Owned(const Owned&) = delete;
  ~Owned() {
    if (descriptor_ != nullptr) OpenedLibrary().descriptor_destroy(descriptor_);
  }
  template <typename T>
  Owned& Set(int attribute, int type, const T* values, int64_t count) {
    if (status_ == 0) status_ = OpenedLibrary().set(descriptor_, attribute, type, count, values);
    return *this;
  }
  template <typename T>
  Owned& Set(int attribute, int type, const T& value) {
    return Set(attribute, type, &value, 1);
  }
  Owned& Set(int attribute, const Owned& other) {
    return Set(attribute, kTypeDescriptor, other.descriptor_);
  }
  Owned& Finalize() {
    if (status_ == 0) status_ = OpenedLibrary().finalize(descriptor_);
    return *this;
  }
  // Up to `wanted` values; how many there were.
  template <typename T>
  int64_t Get(int attribute, int type, T* values, int64_t wanted) const {
    int64_t count = 0;
    const Status status = OpenedLibrary().get(descriptor_, attribute, type, wanted, &count, values);
    return status == 0 ? std::min(count, wanted) : 0;
  }
  bool ok() const { return status_ == 0; }
  Status status() const { return status_; }
  Descriptor get() const { return descriptor_; }
  Descriptor Release() { return std::exchange(descriptor_, nullptr); }

 private:
  Descriptor descriptor_ = nullptr;
  Status status_ = 0;
};

}  // namespace oneflow::kernels::cudnn

#endif  // ONEFLOW_KERNELS_CUDA_CUDNN_DESCRIPTOR_H_
