// TellPlace: what the calling thread's GPU and a library on it are called where algorithms are kept by name. OnGpu: a
// while with another GPU.
//
// For what nvcc compiles. Threads: any. Read next: kernels/cuda/offered_algorithms.h.
#ifndef ONEFLOW_KERNELS_CUDA_GPU_PLACE_H_
#define ONEFLOW_KERNELS_CUDA_GPU_PLACE_H_

#include <cuda_runtime.h>

#include <cstdio>

#include "kernels/cuda/offered_algorithms.h"

namespace oneflow::kernels {

// "NVIDIA H100 80GB HBM3, sm_90, 132 multiprocessors, cuDNN 9.19.1". False: the GPU does not say.
inline bool TellPlace(const char* library, CudaAlgorithms* offered) {
  int device = 0;
  cudaDeviceProp properties = {};
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaGetDeviceProperties(&properties, device) != cudaSuccess) {
    return false;
  }
  std::snprintf(offered->place, sizeof(offered->place), "%s, sm_%d%d, %d multiprocessors, %s",
                properties.name, properties.major, properties.minor, properties.multiProcessorCount,
                library);
  return true;
}

// The calling thread is with that GPU while it lives; not ok: with the one that it was with.
class OnGpu {
 public:
  explicit OnGpu(int device) {
    ok_ = cudaGetDevice(&before_) == cudaSuccess && cudaSetDevice(device) == cudaSuccess;
  }
  OnGpu(const OnGpu&) = delete;
  OnGpu& operator=(const OnGpu&) = delete;
  ~OnGpu() {
    if (ok_) cudaSetDevice(before_);
  }
  bool ok() const { return ok_; }

 private:
  int before_ = 0;
  bool ok_ = false;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_GPU_PLACE_H_
