#include "kernels/cuda/cuda_kernels.h"

#include <dlfcn.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cuda/definition.h"

namespace oneflow::kernels {

KernelTable CudaKernels(const CudaApi* api) {
  std::vector<KernelDef> defs;
  for (const std::vector<CudaRow>& rows :
       {CudaElementwiseRows(), CudaFusedRows(), CudaMovementRows(), CudaMathRows(), CudaNormRows(),
        CudaIndexRows(), CudaImageRows(), CudaAttentionRows()}) {
    for (const CudaRow& row : rows) {
      // What keeps a kernel inside its operands does not depend on the device.
      const KernelDef* checked = CpuKernels().Find(row.op);
      OF_CHECK(checked != nullptr) << row.op << " has no check: no CPU kernel has its name";
      defs.push_back(
          {row.op, checked->check, row.describe, [api, make = row.make](const KernelSpec& spec) {
             if (api != nullptr) return make(api, spec);
             return KernelOr(MakeError(ErrorKind::kError, "the cuda kernel of " + spec.op +
                                                              " needs the library for CUDA"));
           }});
    }
  }
  return KernelTable(std::move(defs));
}

const KernelTable& CudaDescriptions() {
  static const KernelTable table = CudaKernels(nullptr);
  return table;
}

absl::StatusOr<const CudaApi*> OpenCuda(const std::string& path, const std::string& cublaslt,
                                        const std::string& nccl, const std::string& cudnn) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return MakeError(ErrorKind::kError,
                     absl::StrCat("the library for CUDA cannot be opened: ", dlerror(),
                                  "; ./dev cuda builds it, ONEFLOW_CUDA_LIBRARY names another"));
  }
  using Entry = const CudaApi* (*)();
  const Entry entry = reinterpret_cast<Entry>(dlsym(library, "oneflow_cuda_api"));
  if (entry == nullptr || entry()->version != kCudaApiVersion) {
    return MakeError(ErrorKind::kError,
                     absl::StrCat(path,
                                  " is of another version than this package: build it "
                                  "again with ./dev cuda"));
  }
  const CudaApi* api = entry();
  int count = 0;
  const CudaError error = api->device_count(&count);
  if (error != 0 || count == 0) {
    // The most frequent cause by its name.
    if (dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL) == nullptr) {
      return MakeError(ErrorKind::kError,
                       "there is no NVIDIA driver on this machine (libcuda.so.1 is not found), so "
                       "there are no cuda devices; use flow.mesh('cpu', ...)");
    }
    return MakeError(
        ErrorKind::kError,
        absl::StrCat("the NVIDIA driver shows no usable GPU (",
                     error == 0 ? "it counts none" : api->error_text(error), "); see nvidia-smi"));
  }
  api->matmul_library(cublaslt.c_str());
  bool found = false;
  api->nccl_library(nccl.c_str(), &found);
  api->convolution_library(cudnn.c_str(), &found);
  return api;
}

}  // namespace oneflow::kernels
