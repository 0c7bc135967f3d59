// AddNccl: the collectives of the CUDA table, by NCCL.
//
// Its few types are declared in nccl.cu, so that its headers are not needed. Threads: as CudaApi. Read next:
// kernels/cuda/cuda_api.h, kernels/cuda/open_library.h, docs/decisions/0015-rings-by-nccl.md.
#ifndef ONEFLOW_KERNELS_CUDA_NCCL_H_
#define ONEFLOW_KERNELS_CUDA_NCCL_H_

#include "kernels/cuda/cuda_api.h"

namespace oneflow::kernels {

void AddNccl(CudaApi* api);
// Of a status of NCCL.
const char* NcclErrorText(int status);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_NCCL_H_
