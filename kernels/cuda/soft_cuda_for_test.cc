#include "kernels/cuda/soft_cuda_for_test.h"

#include <string>

#include "kernels/cuda/families.h"
#include "kernels/cuda/soft_gpus_for_test.h"
#include "kernels/cuda/soft_memory_for_test.h"
#include "kernels/cuda/soft_nccl_for_test.h"
#include "kernels/cuda/soft_trace_for_test.h"

namespace oneflow::kernels {

const CudaApi* SoftCudaApi() {
  static const CudaApi api = [] {
    CudaApi table = SoftCudaRuntime();
    AddKernels(&table);
    return table;
  }();
  return &api;
}

// As in liboneflow_cuda.so: liboneflow_soft_cuda.so stands for it in tests of the whole package.
extern "C" __attribute__((visibility("default"))) const CudaApi* oneflow_cuda_api() {
  return SoftCudaApi();
}
// The trace (soft_trace_for_test.h), for those tests.
extern "C" __attribute__((visibility("default"))) void oneflow_soft_cuda_start_trace(int on) {
  StartSoftTrace(on != 0);
}
// Sessions that are made from now on see so many GPUs; `reach`: each reaches the others' memory; `nccl`: NCCL
// is there.
extern "C" __attribute__((visibility("default"))) void oneflow_soft_cuda_set_gpus(int count,
                                                                                  int reach,
                                                                                  int nccl) {
  SoftGpus::Of().Set(count, reach != 0);
  SetSoftNccl(nccl != 0);
  SoftMemory::Of().ForgetPeaks();
}
// Communicators over processes whose ids are made here from now on never come about.
extern "C" __attribute__((visibility("default"))) void oneflow_soft_cuda_set_deaf(int deaf) {
  SetSoftDeaf(deaf != 0);
}
// The most bytes that a GPU held at once since then.
extern "C" __attribute__((visibility("default"))) int64_t oneflow_soft_cuda_peak(int gpu) {
  return SoftMemory::Of().PeakOf(gpu);
}
// From now on each GPU has `total` bytes, of which `reserved` are something else's; `later`, `communicator` and
// `granule` as in CudaMemory.
extern "C" __attribute__((visibility("default"))) void oneflow_soft_cuda_set_memory(
    int64_t total, int64_t reserved, int64_t later, int64_t communicator, int64_t granule) {
  SoftMemory::Of().SetSize({total, total - reserved, later, communicator, granule});
}
// Memory of GPUs grows where it lies, or does not (it does at first).
extern "C" __attribute__((visibility("default"))) void oneflow_soft_cuda_set_growth(int grows) {
  SoftMemory::Of().SetGrowth(grows != 0);
}
// Valid until the next call.
extern "C" __attribute__((visibility("default"))) const char* oneflow_soft_cuda_trace() {
  static std::string text;
  text = SoftTraceText();
  return text.c_str();
}

}  // namespace oneflow::kernels
