// CudaAlgorithms: what cuBLASLt offers for a product, cuDNN for a convolution or attention, or software CUDA for any of
// them, by name.
//
// Plain data that crosses the seam (kernels/cuda/cuda_api.h). Owner: the caller. Threads: one. Invariant: names end
// within their places. Read next: kernels/cuda/timed_choice.h.
#ifndef ONEFLOW_KERNELS_CUDA_OFFERED_ALGORITHMS_H_
#define ONEFLOW_KERNELS_CUDA_OFFERED_ALGORITHMS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace oneflow::kernels {

// What a problem may be done by, by names that stand for the same in every process with the same `place` (kind of
// GPU, version of the library). The first is what its plan has when it is made. Each sums as the first does, with
// the same bits in every run.
inline constexpr int kMostAlgorithms = 8;
struct CudaAlgorithms {
  char place[384];
  int32_t count;
  char names[kMostAlgorithms][192];
};

// Adds a name behind the others. False: it is too long, or there is no place left.
inline bool Offer(const char* name, CudaAlgorithms* offered) {
  const size_t length = std::strlen(name);
  if (offered->count == kMostAlgorithms || length >= sizeof(offered->names[0])) return false;
  std::memcpy(offered->names[offered->count++], name, length + 1);
  return true;
}
// Where a name stands; -1: it was not offered.
inline int PlaceOf(const char* name, const CudaAlgorithms& offered) {
  for (int i = 0; i < offered.count; ++i) {
    if (std::strcmp(name, offered.names[i]) == 0) return i;
  }
  return -1;
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_OFFERED_ALGORITHMS_H_
