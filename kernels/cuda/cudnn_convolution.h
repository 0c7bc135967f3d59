// CudnnConvolution: a convolution, one of its gradients, or one with statistics beside it, by an engine of cuDNN,
// chosen once (kernels/cuda/cudnn_graph.h), on the calling thread's device.
//
// Owner: plans of kernels/cuda/convolution.cu. Threads: any; calls on one GPU follow one another. Invariants: Run
// only enqueues, and can be captured. Read next: kernels/cuda/cudnn_graph.h, kernels/cuda/convolution.cu.
#ifndef ONEFLOW_KERNELS_CUDA_CUDNN_CONVOLUTION_H_
#define ONEFLOW_KERNELS_CUDA_CUDNN_CONVOLUTION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/cuda_api.h"

namespace oneflow::kernels {

// Image, filters, result: two of them are read, the third, by the pass, is written. Beside statistics the numbers that
// they are about, and the two sums.
struct CudnnOperands {
  const void *x, *w, *y;
  const void *pivots = nullptr, *sums = nullptr, *squares = nullptr;
};

class CudnnConvolution {
 public:
  // For the calling thread's device, with so many bytes of workspace. nullptr where there is no cuDNN, or none of its
  // engines will do.
  // `name`: of the engine that it is to be, of those that are offered; "": the first that will do.
  static std::unique_ptr<CudnnConvolution> Make(const CudaConvolution& problem,
                                                int64_t workspace_bytes,
                                                const std::string& name = "");
  // The same, one for all equal problems that live: where engines are compiled when they are chosen, for a second each.
  static std::shared_ptr<CudnnConvolution> Shared(const CudaConvolution& problem,
                                                  int64_t workspace_bytes,
                                                  const std::string& name = "");
  // Names of the first few engines that may do, each exact.
  static std::vector<std::string> Offered(const CudaConvolution& problem, int64_t workspace_bytes,
                                          size_t most);
  CudnnConvolution(const CudnnConvolution&) = delete;
  CudnnConvolution& operator=(const CudnnConvolution&) = delete;
  ~CudnnConvolution();

  CudaError Run(const CudnnOperands& operands, void* workspace, CudaStreamHandle stream) const;
  int64_t engine() const { return engine_; }  // its number in cuDNN
  const std::string& name() const { return name_; }
  int64_t workspace_bytes() const { return workspace_bytes_; }

 private:
  CudnnConvolution() = default;

  void* handle_ = nullptr;  // of the device, for ever
  void* plan_ = nullptr;
  void* config_ = nullptr;  // what the plan was made from
  int64_t engine_ = 0;
  std::string name_;
  int64_t workspace_bytes_ = 0;
};

// Opens it at `path`, or where the loader finds it if that is empty; once per process. "cuDNN 9.19.0", or why it is
// not there.
const char* CudnnLibrary(const char* path, bool* found);
// Of a status of cuDNN.
const char* CudnnErrorText(int status);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_CUDNN_CONVOLUTION_H_
