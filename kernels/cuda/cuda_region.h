// CudaRegion: a region of one tensor on a GPU, copied or combined into a region of another.
//
// A value, made at load time. Threads: const access from any. Read next: kernels/cpu/strided_copy.h,
// kernels/cuda/movement_kernels.cc.
#ifndef ONEFLOW_KERNELS_CUDA_CUDA_REGION_H_
#define ONEFLOW_KERNELS_CUDA_CUDA_REGION_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "base/dtype.h"
#include "kernels/cpu/combine.h"
#include "kernels/cpu/strided_copy.h"
#include "kernels/cuda/definition.h"

namespace oneflow::kernels {

class CudaRegion {
 public:
  CudaRegion() = default;
  // `spec`: whose kernel it is, for the error.
  static absl::StatusOr<CudaRegion> Of(const CudaApi* api, const KernelSpec& spec, CombineMode mode,
                                       const StridedCopy& copy) {
    CudaRegion region;
    region.api_ = api;
    region.run_ = api->find_combine(static_cast<int>(mode), static_cast<int>(copy.dtype()));
    if (region.run_ == nullptr) return NoCudaKernel(spec);
    region.nest_ = NestOf(copy.nest());
    region.element_bytes_ = SizeOf(copy.dtype());
    region.source_ = copy.source_begin() * region.element_bytes_;
    region.destination_ = copy.destination_begin() * region.element_bytes_;
    const int last = region.nest_.rank - 1;
    region.plain_ = mode == CombineMode::kCopy && last == 0 && region.nest_.stride[0][0] == 1 &&
                    region.nest_.stride[1][0] == 1;
    return region;
  }

  // `source_shift`, `destination_shift`: elements to add to where the region begins.
  CudaError Run(const void* source, void* destination, CudaStreamHandle stream,
                int64_t source_shift = 0, int64_t destination_shift = 0) const {
    if (nest_.elements == 0) return 0;
    const char* from = static_cast<const char*>(source) + source_ + source_shift * element_bytes_;
    char* to = static_cast<char*>(destination) + destination_ + destination_shift * element_bytes_;
    if (plain_) return api_->copy(to, from, nest_.elements * element_bytes_, stream);
    return run_(&nest_, from, to, stream);
  }

 private:
  const CudaApi* api_ = nullptr;
  CudaCombine run_ = nullptr;
  CudaNest<2> nest_ = {};
  int64_t element_bytes_ = 0;
  int64_t source_ = 0;       // bytes
  int64_t destination_ = 0;  // bytes
  bool plain_ = false;       // one run of bytes
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_CUDA_REGION_H_
