// CommsEnd: ends the communicators that a session shares with other ranks when it fails: their kernels wait on
// the GPU for ranks that may never come, and nothing else would end them.
//
// Owned by the context, which outlives the communicators. Threads: Begin and begun from any; the rest from the
// session's caller. One thread of its own, from the first communicator on, aborts all of them at once: that
// waits for captured graphs to go, so nobody else may. Invariants: while Use runs nothing is aborted; what Use
// waits for ends when begun() is true; after Begin no call is made. REQUIRES: when it is destroyed no graph has
// a call of theirs. Read next: runtime/devices/cuda/cuda_comms.h.
#ifndef ONEFLOW_RUNTIME_DEVICES_CUDA_COMMS_END_H_
#define ONEFLOW_RUNTIME_DEVICES_CUDA_COMMS_END_H_

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "kernels/cuda/cuda_api.h"

namespace oneflow {

class CommsEnd {
 public:
  explicit CommsEnd(const kernels::CudaApi* api) : api_(api) {}
  ~CommsEnd();
  CommsEnd(const CommsEnd&) = delete;
  CommsEnd& operator=(const CommsEnd&) = delete;

  // Returns at once; again does nothing.
  void Begin();
  bool begun() const { return begun_.load(); }
  // Calls of the handles, unless it has begun: then an error.
  absl::Status Use(const std::function<absl::Status()>& calls);
  // These end with the session.
  void Add(const std::vector<kernels::CudaCommHandle>& handles);
  // The caller ends them; false: it has begun, and they are gone or will be.
  bool Remove(const std::vector<kernels::CudaCommHandle>& handles);

 private:
  void Loop();

  const kernels::CudaApi* const api_;
  std::atomic<bool> begun_{false};
  std::mutex use_mutex_;  // held while calls are made, and before those that guard less
  std::mutex mutex_;      // of what follows; nobody waits with it
  std::condition_variable changed_;
  std::vector<kernels::CudaCommHandle> handles_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_DEVICES_CUDA_COMMS_END_H_
