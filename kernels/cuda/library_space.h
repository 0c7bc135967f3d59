// LibraryAlignment: where NVIDIA's libraries want their workspace. Buffers of a plan lie on 64 bytes, so a workspace
// has room for the rest, and what lies in it begins on multiples.
//
// Functions of the host. Threads: any. Invariant: what the compiler plans is what the launchers use, for both ask
// here. Read next: kernels/cuda/matmul_copies.h, kernels/cuda/convolution_space.h.
#ifndef ONEFLOW_KERNELS_CUDA_LIBRARY_SPACE_H_
#define ONEFLOW_KERNELS_CUDA_LIBRARY_SPACE_H_

#include <cstdint>

namespace oneflow::kernels {

inline constexpr int64_t kLibraryAlignment = 256;

inline int64_t AlignedBytes(int64_t bytes) {
  return (bytes + kLibraryAlignment - 1) / kLibraryAlignment * kLibraryAlignment;
}
inline char* AlignedSpace(void* workspace) {
  const int64_t at = static_cast<int64_t>(reinterpret_cast<uintptr_t>(workspace));
  return static_cast<char*>(workspace) + (AlignedBytes(at) - at);
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_LIBRARY_SPACE_H_
