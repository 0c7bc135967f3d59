// CudaComms: a communicator of the GPUs of some devices of this process, one of each, by NCCL.
//
// Made once per group of devices (those along a mesh axis) and kept by the context. Threads: the session's
// caller. Invariants: all ranks of a collective are given in one call, so no rank of this process makes
// another call in between; which collectives follow each other on a GPU, of several communicators too, is
// ordered by who calls (CudaStep). Destroyed when nothing is enqueued; after an error aborted, for what
// was begun may never end. Read next: kernels/cuda/nccl.h, docs/decisions/0015-rings-by-nccl.md.
#ifndef ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_COMMS_H_
#define ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_COMMS_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/cuda/cuda_api.h"
#include "kernels/cuda/cuda_stream.h"
#include "plan/rings.h"

namespace oneflow {

class CudaComms {
 public:
  // `gpus`: by rank, all different; `api` outlives it.
  static absl::StatusOr<std::unique_ptr<CudaComms>> Make(const kernels::CudaApi* api,
                                                         const std::vector<int>& gpus);
  ~CudaComms();
  CudaComms(const CudaComms&) = delete;
  CudaComms& operator=(const CudaComms&) = delete;

  // True if NCCL has the sums of the ring: their shares are even and their type is one of its own.
  static bool Does(const WholeRing& ring);
  // Enqueues all ranks' parts: buffers and streams by rank.
  absl::Status Run(const WholeRing& ring, const std::vector<void*>& buffers,
                   const std::vector<kernels::CudaStream*>& streams);

 private:
  explicit CudaComms(const kernels::CudaApi* api) : api_(api) {}

  const kernels::CudaApi* const api_;
  std::vector<kernels::CudaCommHandle> handles_;  // by rank
  bool broken_ = false;
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_COMMS_H_
