// ReportWrongData: how a kernel on a GPU says that an index or a length in the data is out of range.
//
// Device code. The block lies in the GPU's memory; only the first report touches it, and it stays until the
// host has seen it, for kernels that write states look there (gate.h). Threads: any of a grid. Read next:
// kernels/step_block.h, runtime/devices/cuda/cuda_step.h.
#ifndef ONEFLOW_KERNELS_CUDA_DATA_ERROR_H_
#define ONEFLOW_KERNELS_CUDA_DATA_ERROR_H_

#include "kernels/cuda/device_code.h"
#include "kernels/step_block.h"

namespace oneflow::kernels {

__device__ inline void ReportWrongData(StepBlock* block, uint32_t task, DataErrorCode code,
                                       int64_t value, int64_t bound) {
#ifdef __CUDACC__
  if (atomicCAS(&block->error_code, 0u, static_cast<uint32_t>(code)) != 0) return;
  block->error_task = task;
  block->error_value = value;
  block->error_bound = bound;
#else
  ReportDataError(block, task, code, value, bound);
#endif
}
__device__ inline void ReportWrongIndex(StepBlock* block, uint32_t task, int64_t index,
                                        int64_t bound) {
  ReportWrongData(block, task, DataErrorCode::kIndexOutOfRange, index, bound);
}

// Integers of an index operand of either width.
struct Indices {
  const void* data;
  bool wide;
  __device__ __forceinline__ int64_t operator[](int64_t i) const {
    return wide ? static_cast<const int64_t*>(data)[i] : static_cast<const int32_t*>(data)[i];
  }
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_DATA_ERROR_H_
