// The parts of the CUDA table, one group per .cu file; put together by the library's table
// (cuda_table.cu) and by the software one (soft_cuda_for_test.cc).
//
// Functions only. Threads: any. Read next: kernels/cuda/cuda_api.h.
#ifndef ONEFLOW_KERNELS_CUDA_FAMILIES_H_
#define ONEFLOW_KERNELS_CUDA_FAMILIES_H_

#include "kernels/cuda/cuda_api.h"

namespace oneflow::kernels {

void AddElementwise(CudaApi* api);
void AddBinary(CudaApi* api);
void AddMovement(CudaApi* api);
void AddReductions(CudaApi* api);
void AddRows(CudaApi* api);
void AddCrossEntropy(CudaApi* api);
void AddCtc(CudaApi* api);
void AddUpdates(CudaApi* api);
void AddFused(CudaApi* api);
void AddMatmul(CudaApi* api);
void AddNorms(CudaApi* api);
void AddBatchNorm(CudaApi* api);
void AddIndices(CudaApi* api);
void AddLines(CudaApi* api);
void AddConvolution(CudaApi* api);
void AddPool(CudaApi* api);
void AddAttention(CudaApi* api);
void AddGate(CudaApi* api);
// The own kernels of a plan of attention; nullptr: none takes the type. And of these the part of f64.
CudaRun<CudaAttention> FindAttention(bool backward, int32_t dtype);
CudaRun<CudaAttention> FindDoubleAttention(bool forward);

// All of them.
inline void AddKernels(CudaApi* api) {
  AddElementwise(api);
  AddBinary(api);
  AddMovement(api);
  AddReductions(api);
  AddRows(api);
  AddCrossEntropy(api);
  AddCtc(api);
  AddUpdates(api);
  AddFused(api);
  AddMatmul(api);
  AddNorms(api);
  AddBatchNorm(api);
  AddIndices(api);
  AddLines(api);
  AddConvolution(api);
  AddPool(api);
  AddAttention(api);
  AddGate(api);
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_FAMILIES_H_
