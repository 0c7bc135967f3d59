// CudaKernels: the table of kernels for CUDA devices, and the library behind it.
//
// Threads: any; the library is opened once per process. Invariants: describing needs no library and
// no GPU, so plans compile anywhere. Read next: kernels/cuda/cuda_api.h, kernels/kernel.h.
#ifndef ONEFLOW_KERNELS_CUDA_CUDA_KERNELS_H_
#define ONEFLOW_KERNELS_CUDA_CUDA_KERNELS_H_

#include <string>

#include "absl/status/statusor.h"
#include "kernels/cuda/cuda_api.h"
#include "kernels/kernel.h"

namespace oneflow::kernels {

// `api` outlives the table; with nullptr kernels are described only, and making one says so.
KernelTable CudaKernels(const CudaApi* api);
// CudaKernels(nullptr), for the compiler.
const KernelTable& CudaDescriptions();

// Opens liboneflow_cuda.so at `path` and looks for a device; cuBLASLt, NCCL and cuDNN are opened at the paths given,
// or where the loader finds them if those are empty. The error names what is missing (the library, a driver, a GPU)
// and what to do.
absl::StatusOr<const CudaApi*> OpenCuda(const std::string& path, const std::string& cublaslt,
                                        const std::string& nccl = "",
                                        const std::string& cudnn = "");

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_CUDA_KERNELS_H_
