// IsShut: how a kernel that writes a state knows that the data of its step, or of one before, was wrong.
//
// Device code. The blocks lie in the GPU's memory; those who report to them are over before a kernel that
// asks begins, so all its threads see the same. Threads: any of a grid. Read next:
// kernels/cuda/data_error.h, runtime/devices/cuda/cuda_step.h.
#ifndef ONEFLOW_KERNELS_CUDA_GATE_H_
#define ONEFLOW_KERNELS_CUDA_GATE_H_

#include "kernels/cuda/device_code.h"
#include "kernels/step_block.h"

namespace oneflow::kernels {

// True if one of the blocks has an error: then nothing may be written.
__device__ __forceinline__ bool IsShut(const CudaGate& gate) {
  for (int32_t i = 0; i < gate.count; ++i) {
    if (gate.blocks[i].error_code != 0) return true;
  }
  return false;
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_GATE_H_
