// CudaDevice: a logical device on a GPU, on the CUDA table (kernels/cuda/cuda_api.h): several may share
// one, so that layouts over a mesh run on a single GPU.
//
// Owned by a session; the context is shared by its CUDA devices. Threads: as Device; the context's
// stream may be used by several threads at a time (CUDA's streams may). Invariants: all CUDA devices
// of a session are on GPU 0 and enqueue on the context's one stream, so work runs in the order in
// which the actors enqueue it: no event and no host wait is needed between firings, and copies do
// not overlap with kernels. FETCH, the reading of states and kernels that may find wrong data
// (plan::Task::may_fail) wait for the GPU, nothing else does. An error of a
// kernel that already runs shows at a later call (CUDA error 700 and the like): the session fails,
// and the task that is named is the first that could not be enqueued. Read next:
// kernels/cuda/cuda_kernels.h.
#ifndef ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_DEVICE_H_
#define ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_DEVICE_H_

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/cuda/cuda_api.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/kernel.h"
#include "runtime/devices/device.h"

namespace oneflow {

// What the CUDA devices of one session share.
class CudaContext {
 public:
  // `api` outlives it.
  static absl::StatusOr<std::shared_ptr<CudaContext>> Make(const kernels::CudaApi* api);

  const kernels::CudaApi& api() const { return *api_; }
  const kernels::KernelTable& table() const { return table_; }
  kernels::CudaStream* stream() const { return stream_.get(); }
  // The calling thread works with this GPU from now on.
  absl::Status Enter() const;

 private:
  friend class CudaDevice;
  explicit CudaContext(const kernels::CudaApi* api);

  const kernels::CudaApi* const api_;
  const kernels::KernelTable table_;
  std::unique_ptr<kernels::CudaStream> stream_;
  // Where shards that are no single run of bytes are gathered; grows to the largest.
  std::mutex scratch_mutex_;
  std::vector<std::byte> scratch_;
};

std::unique_ptr<Device> MakeCudaDevice(std::shared_ptr<CudaContext> context);

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_DEVICE_H_
