// CallTimer: how long a call of a library takes on the GPU, on memory of its own, which is given back with it.
//
// Operands are drawn: the clock of a GPU depends on the bits that it multiplies. They are warm in the caches as far as
// they fit. Owner: who chooses an algorithm. Threads: one, which is with its GPU. Read next:
// kernels/cuda/algorithm_choices.h.
#ifndef ONEFLOW_KERNELS_CUDA_CALL_TIMER_H_
#define ONEFLOW_KERNELS_CUDA_CALL_TIMER_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/dtype.h"
#include "kernels/cuda/cuda_api.h"

namespace oneflow::kernels {

// The first `drawn` bytes get numbers between -1 and 1.
struct TimedMemory {
  int64_t drawn, bytes;
};

class CallTimer {
 public:
  // Enqueues one call, whose memory begins there, on kLibraryAlignment.
  using Call = std::function<CudaError(char* memory, CudaStreamHandle stream)>;

  CallTimer(const CudaApi* api, DType dtype, TimedMemory memory, Call call)
      : api_(api), dtype_(dtype), memory_(memory), call_(std::move(call)) {}
  CallTimer(const CallTimer&) = delete;
  CallTimer& operator=(const CallTimer&) = delete;
  ~CallTimer();

  // Of one of several calls; the first use takes the memory, and says so where there is none.
  absl::StatusOr<double> Seconds();

 private:
  absl::Status Prepare();
  CudaError Run();

  const CudaApi* const api_;
  const DType dtype_;
  const TimedMemory memory_;
  const Call call_;
  void* data_ = nullptr;
  CudaStreamHandle stream_ = nullptr;
  CudaEventHandle begin_ = nullptr, end_ = nullptr;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_CALL_TIMER_H_
