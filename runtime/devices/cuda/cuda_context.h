// CudaContext: what the CUDA devices of one session share: the GPUs that they lie on, kernels, streams.
//
// Device i (its global id) lies on GPU i mod the number of visible GPUs, or where the user says
// (`placement`). A GPU is opened when the first device on it is made; the first one opened leads: the steps of
// all begin and end on its stream(). That is one of two, by turns where a step is large enough (Turn): so that what a
// step needs from the host comes while the step before it runs.
//
// Shared by its devices, by what they allocated and by the steps that run there. Threads: Open, Allocate,
// StreamOf, Aside, Join, Drain from the session's caller; Enter and Abandon from any. Invariants: what is enqueued on stream(),
// and by Aside on any GPU (states read and written), is ordered with all steps; memory is given back when all
// streams of all GPUs are drained, for others copy into it. Read next: runtime/devices/cuda/cuda_device.h,
// runtime/devices/cuda/cuda_step.h.
#ifndef ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_CONTEXT_H_
#define ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_CONTEXT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/cuda/cuda_api.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/kernel.h"
#include "runtime/devices/cuda/comms_end.h"
#include "runtime/devices/cuda/cuda_comms.h"
#include "runtime/devices/device.h"
#include "runtime/io/copy_team.h"

namespace oneflow {

class CudaContext : public std::enable_shared_from_this<CudaContext> {
 public:
  // `api` outlives it. `captures`: steps become graphs. `placement`: GPUs by the driver's numbers, device i
  // lies on the one at i mod their number; empty: all that are visible.
  static absl::StatusOr<std::shared_ptr<CudaContext>> Make(const kernels::CudaApi* api,
                                                           bool captures,
                                                           std::vector<int> placement = {},
                                                           double peer_seconds = 120);

  const kernels::CudaApi& api() const { return *api_; }
  const kernels::KernelTable& table() const { return table_; }
  bool captures() const { return captures_; }
  int GpuOf(uint32_t device) const { return placement_[device % placement_.size()]; }
  // A device of this process.
  absl::Status Add(uint32_t device);
  // Makes the GPU ready; again does nothing.
  absl::Status Open(int gpu);
  // The GPU that leads, and its stream of now. REQUIRES: one is open.
  int lead() const { return lead_; }
  kernels::CudaStream* stream() const { return turns_[turn_].get(); }
  // The one that Turn makes stream(): behind all but what came since the last Turn.
  kernels::CudaStream* next_stream() const { return turns_[1 - turn_].get(); }
  // next_stream() is stream() now, and what comes into it from here is behind all that the other was given. One
  // call to the driver if that ends with the step that was Ended, else two.
  absl::Status Turn();
  // Or it is stream() for one more step.
  void Stay() { ended_ = nullptr; }
  // A step has been enqueued: `over`, which stays until stream() was given more, is recorded behind it.
  absl::Status Ended(kernels::CudaEvent* over);
  // A GPU's own stream, for Aside and for the inputs of steps.
  kernels::CudaStream* StreamOfGpu(int gpu) const {
    return gpu == lead_ ? stream() : gpus_.at(gpu).stream.get();
  }
  // The stream for that role of a logical device, on its GPU; made when it is first asked for.
  absl::StatusOr<kernels::CudaStream*> StreamOf(uint32_t device, const std::string& name);
  // The calling thread works with this GPU from now on.
  absl::Status Enter(int gpu) const;
  // Zeros on a GPU, and in pinned memory of the host. They outlive no stream's work.
  absl::StatusOr<Block> Allocate(int gpu, int64_t bytes);
  absl::StatusOr<Block> AllocatePinned(int64_t bytes);
  // Zeros that can grow where they lie, up to all that the GPU has, if it can that; and more of them, unless the
  // block is none of these.
  absl::StatusOr<Block> AllocateGrowing(int gpu, int64_t bytes);
  absl::StatusOr<bool> Grow(int gpu, Block* block, int64_t bytes);
  bool Grows(const Block& block) const { return growing_.contains(block.data()); }
  // For copies into pinned memory.
  CopyTeam* copies() { return &copies_; }
  absl::Status Zero(int gpu, void* data, int64_t bytes);
  // What `enqueue` puts into the GPU's own stream comes behind all that stream() was given, and before all
  // that it will be.
  absl::Status Aside(int gpu, const std::function<absl::Status(kernels::CudaStream*)>& enqueue);
  // True if NCCL is there, and the devices lie on GPUs that are all different.
  bool Communicates(const std::vector<uint32_t>& devices) const;
  // Their communicator, by rank; made when it is first asked for, unless ranks share it: then it is there since
  // Join. REQUIRES: they communicate.
  absl::StatusOr<CudaComms*> CommsOf(const std::vector<uint32_t>& devices);
  // The groups of devices that have one.
  std::set<std::vector<uint32_t>> Communicators() const;
  // As of Device: what tells a GPU from all others, what communicators over ranks lack, and making them.
  absl::StatusOr<std::string> PlaceOf(int gpu) const;
  std::string LackOfCalls() const;
  absl::Status Join(const std::vector<std::vector<uint32_t>>& groups,
                    const Device::Exchange& exchange);
  // Ends what waits for other ranks. From any thread, at once.
  void Abandon() { comms_end_.Begin(); }
  // Waits until nothing is enqueued. Of events that were Ended none is looked at any more.
  void Drain();

 private:
  struct Gpu {
    std::unique_ptr<kernels::CudaStream> stream;  // nullptr: the one that leads has turns_
    std::unique_ptr<kernels::CudaEvent> done;     // what was done aside
  };

  CudaContext(const kernels::CudaApi* api, bool captures, std::vector<int> placement,
              double peer_seconds);
  absl::Status JoinOne(const std::vector<uint32_t>& devices, const kernels::CudaCommId& id);
  // Gives the memory back when no stream can use it any more.
  Block Owned(void* data, int64_t bytes, kernels::CudaError (*release)(void*));

  const kernels::CudaApi* const api_;
  const kernels::KernelTable table_;
  const bool captures_;
  const std::vector<int> placement_;
  int lead_ = 0;
  std::unique_ptr<kernels::CudaStream> turns_[2];  // of the GPU that leads
  std::unique_ptr<kernels::CudaEvent> turned_;
  const kernels::CudaEvent* ended_ = nullptr;  // behind all of stream(); nullptr: no event is
  size_t turn_ = 0;
  std::map<int, Gpu> gpus_;  // those that are open, by the driver's numbers
  std::map<std::pair<uint32_t, std::string>, std::unique_ptr<kernels::CudaStream>> streams_;
  std::map<const void*, int64_t> growing_;  // blocks that grow, and how far
  std::set<uint32_t> own_;                  // devices
  std::set<std::vector<uint32_t>> joined_;  // groups over ranks, of all ranks
  const double peer_seconds_;
  CopyTeam copies_;
  CommsEnd comms_end_;
  std::map<std::vector<uint32_t>, std::unique_ptr<CudaComms>>
      comms_;  // by devices; before their end
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_CONTEXT_H_
