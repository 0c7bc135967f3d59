// CudnnConvolution: a convolution or one of its gradients by an engine of cuDNN, chosen once.
//
// cuDNN is opened by name, at run time; its interface is declared in cudnn_backend.h. Images are [n, h, w, c]
// as ours, filters channels last (kernels/cuda/filter_layout.h). Engines are taken in the order of cuDNN's
// heuristics, mode A and then FALLBACK: the first that fits the workspace, adds in f32, gives the same
// bits in every run, and multiplies f32 as f32. The order depends on the problem, cuDNN's version and the
// GPU alone and nothing is timed, so two processes, and two GPUs of one kind, choose alike: that the bits of a run
// come again would not survive a race between two engines that are equally fast.
//
// Owner: the plan of kernels/cuda/convolution.cu. Threads: any; calls on one GPU follow one another. Invariants: Run
// only enqueues, and can be captured. Read next: kernels/cuda/cudnn_backend.h, kernels/cuda/convolution.cu.
#ifndef ONEFLOW_KERNELS_CUDA_CUDNN_CONVOLUTION_H_
#define ONEFLOW_KERNELS_CUDA_CUDNN_CONVOLUTION_H_

#include <cstdint>
#include <memory>

#include "kernels/cuda/cuda_api.h"

namespace oneflow::kernels {

class CudnnConvolution {
 public:
  // For the calling thread's device, with so many bytes of workspace. nullptr where there is no cuDNN, or none of its
  // engines will do.
  static std::unique_ptr<CudnnConvolution> Make(const CudaConvolution& problem,
                                                int64_t workspace_bytes);
  CudnnConvolution(const CudnnConvolution&) = delete;
  CudnnConvolution& operator=(const CudnnConvolution&) = delete;
  ~CudnnConvolution();

  // Image, filters, result: two of them are read, the third, by the pass, is written.
  CudaError Run(const void* x, const void* w, const void* y, void* workspace,
                CudaStreamHandle stream) const;
  int64_t engine() const { return engine_; }  // its number in cuDNN
  int64_t workspace_bytes() const { return workspace_bytes_; }

 private:
  CudnnConvolution() = default;

  void* handle_ = nullptr;  // of the device, for ever
  void* plan_ = nullptr;
  void* config_ = nullptr;  // what the plan was made from
  int64_t engine_ = 0;
  int64_t workspace_bytes_ = 0;
};

// Opens it at `path`, or where the loader finds it if that is empty; once per process. "cuDNN 9.19.0", or why it is
// not there.
const char* CudnnLibrary(const char* path, bool* found);
// Of a status of cuDNN.
const char* CudnnErrorText(int status);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_CUDNN_CONVOLUTION_H_
