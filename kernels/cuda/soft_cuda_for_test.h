// SoftCuda: the CUDA table without a GPU, for tests: the kernels of this folder compiled by the host's
// compiler, streams that are threads with a queue, events that are counters, graphs, host memory.
//
// Test code only; not in the package. Threads: as CudaApi. Invariants: work put into a stream runs
// later, on the stream's thread, in order; what is asked of freed memory is found by a sanitizer; each
// call of the run time leaves a line in the trace. Products run on the own kernel. Read next:
// kernels/cuda/cuda_api.h, kernels/cuda/soft_streams_for_test.h.
#ifndef ONEFLOW_KERNELS_CUDA_SOFT_CUDA_FOR_TEST_H_
#define ONEFLOW_KERNELS_CUDA_SOFT_CUDA_FOR_TEST_H_

#include "kernels/cuda/cuda_api.h"

namespace oneflow::kernels {

// The table without kernels: what a run time does.
CudaApi SoftCudaRuntime();

// As many devices as SoftGpus says, "software CUDA"; one by default. The null stream runs at once.
const CudaApi* SoftCudaApi();

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_SOFT_CUDA_FOR_TEST_H_
