// CudnnHandle: a device's handle of cuDNN, for all its streams.
//
// Owner: the process, for ever. Threads: any; who calls cuDNN by it holds its mutex. Read next:
// kernels/cuda/cudnn_convolution.h, kernels/cuda/cudnn_attention.h.
#ifndef ONEFLOW_KERNELS_CUDA_CUDNN_HANDLE_H_
#define ONEFLOW_KERNELS_CUDA_CUDNN_HANDLE_H_

#include <cstdint>
#include <mutex>

#include "kernels/cuda/cuda_api.h"
#include "kernels/cuda/cudnn_descriptor.h"

namespace oneflow::kernels {

struct CudnnHandle {
  cudnn::Handle handle = nullptr;
  std::mutex mutex;

  // Of the calling thread's device; nullptr: no library, or it does not start.
  static CudnnHandle* OfDevice();
  // Enqueues a plan, for the tensors of these ids where these places are.
  CudaError Run(cudnn::Descriptor plan, const int64_t* ids, const void* const* places,
                int64_t count, void* workspace, CudaStreamHandle stream);
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_CUDNN_HANDLE_H_
