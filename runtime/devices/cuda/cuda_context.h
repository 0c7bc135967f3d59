// CudaContext: what the CUDA devices of one session share: GPU 0, its kernels, its streams.
//
// Shared by its devices, by what they allocated and by the steps that run there. Threads: Allocate,
// StreamOf, Drain from the session's caller; Enter from any. Invariants: every step begins and ends on
// stream(), so what is enqueued there (states read and written) is ordered with all steps; memory is given
// back when all streams are drained. Read next: runtime/devices/cuda/cuda_device.h,
// runtime/devices/cuda/cuda_step.h.
#ifndef ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_CONTEXT_H_
#define ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_CONTEXT_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "kernels/cuda/cuda_api.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/kernel.h"
#include "runtime/devices/device.h"

namespace oneflow {

class CudaContext : public std::enable_shared_from_this<CudaContext> {
 public:
  // `api` outlives it. `captures`: steps become graphs.
  static absl::StatusOr<std::shared_ptr<CudaContext>> Make(const kernels::CudaApi* api,
                                                           bool captures);

  const kernels::CudaApi& api() const { return *api_; }
  const kernels::KernelTable& table() const { return table_; }
  bool captures() const { return captures_; }
  kernels::CudaStream* stream() const { return stream_.get(); }
  // The stream for that role of a logical device; made when it is first asked for.
  absl::StatusOr<kernels::CudaStream*> StreamOf(uint32_t device, const std::string& name);
  // The calling thread works with this GPU from now on.
  absl::Status Enter() const;
  // Zeros on the GPU, and in pinned memory of the host. They outlive no stream's work.
  absl::StatusOr<Block> Allocate(int64_t bytes);
  absl::StatusOr<Block> AllocatePinned(int64_t bytes);
  absl::Status Zero(void* data, int64_t bytes);
  // Waits until nothing is enqueued.
  void Drain() const;

 private:
  CudaContext(const kernels::CudaApi* api, bool captures);
  // Gives the memory back when no stream can use it any more.
  Block Owned(void* data, int64_t bytes, kernels::CudaError (*release)(void*));

  const kernels::CudaApi* const api_;
  const kernels::KernelTable table_;
  const bool captures_;
  std::unique_ptr<kernels::CudaStream> stream_;
  std::map<std::pair<uint32_t, std::string>, std::unique_ptr<kernels::CudaStream>> streams_;
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_CONTEXT_H_
