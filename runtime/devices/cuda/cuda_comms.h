// CudaComms: a communicator of GPUs, one of each of some devices, by NCCL: all of this process, or also of other
// ranks.
//
// Made once per group of devices (those along a mesh axis; for messages one of each GPU) and kept by the
// context. Threads: the session's caller. Invariants: all ranks of a collective that are of this process are
// given in one call, so none of them makes another call in between; which calls follow each other on a GPU, of
// several communicators too, is ordered by who calls (CudaStep). With other ranks nothing waits without a limit:
// what NCCL says is pending is looked at until it is done, the limit is over, or the session has failed
// (CommsEnd). Destroyed when nothing is enqueued and no graph has a call; after an error aborted, for what was
// begun may never end. Read next: kernels/cuda/nccl.h, docs/decisions/0015-rings-by-nccl.md,
// docs/decisions/0017-nccl-over-processes.md.
#ifndef ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_COMMS_H_
#define ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_COMMS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/cuda/cuda_api.h"
#include "kernels/cuda/cuda_stream.h"
#include "plan/rings.h"
#include "runtime/devices/cuda/comms_end.h"

namespace oneflow {

class CudaComms {
 public:
  // A rank of the communicator in this process: its number there and its GPU.
  struct Member {
    int number = 0;
    int gpu = 0;
  };
  // `gpus`: by rank, all different; `api` outlives it.
  static absl::StatusOr<std::unique_ptr<CudaComms>> Make(const kernels::CudaApi* api,
                                                         const std::vector<int>& gpus);
  // One of `ranks`, with those that have the same id. Waits for them so many seconds at most. `members`: by
  // number; `end` outlives it.
  static absl::StatusOr<std::unique_ptr<CudaComms>> Join(const kernels::CudaApi* api, int ranks,
                                                         const kernels::CudaCommId& id,
                                                         const std::vector<Member>& members,
                                                         double seconds, CommsEnd* end);
  ~CudaComms();
  CudaComms(const CudaComms&) = delete;
  CudaComms& operator=(const CudaComms&) = delete;

  // True if NCCL has the sums of the ring: their shares are even and their type is one of its own.
  static bool Does(const WholeRing& ring);
  // Enqueues the parts of all ranks of this process: buffers and streams by member.
  absl::Status Run(const WholeRing& ring, const std::vector<void*>& buffers,
                   const std::vector<kernels::CudaStream*>& streams);
  // An end of a message, and where it is read or written.
  struct End {
    kernels::CudaMessage message;
    void* data = nullptr;
    kernels::CudaStream* stream = nullptr;
  };
  // All of them in one call, which is over when each has met its other end. REQUIRES: it was joined; the ends
  // of one member are on one stream.
  absl::Status Carry(const std::vector<End>& ends);

 private:
  CudaComms(const kernels::CudaApi* api, int ranks, double seconds, CommsEnd* end)
      : api_(api), ranks_(ranks), seconds_(seconds), end_(end) {}

  // Between group_begin and group_end, and until that is done.
  absl::Status InGroup(const std::function<kernels::CudaError()>& calls, const char* what);
  // Until nothing is pending.
  absl::Status Settle(const char* what) const;

  const kernels::CudaApi* const api_;
  const int ranks_;
  const double seconds_;
  CommsEnd* const end_;                           // nullptr: all are of this process
  std::vector<kernels::CudaCommHandle> handles_;  // by member
  std::vector<int> numbers_;                      // their ranks
  bool broken_ = false;
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_COMMS_H_
