// DeviceSet: the devices of one session by global id, each with one arena that all its plans share.
//
// Owned by a session or a virtual runtime. Threads: the owner's caller; arenas change only while
// nothing runs. Invariant: an arena is as large as the largest plan bound to it, and never shrinks.
// Read next: runtime/program.h.
#ifndef ONEFLOW_RUNTIME_DEVICES_DEVICE_SET_H_
#define ONEFLOW_RUNTIME_DEVICES_DEVICE_SET_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "comm/transport.h"
#include "kernels/cuda/cuda_api.h"
#include "kernels/kernel.h"
#include "plan/plan.pb.h"
#include "runtime/devices/device.h"

namespace oneflow {

class CudaContext;

class DeviceSet {
 public:
  static constexpr uint32_t kMaxThreads = 1024;  // of a device's team

  struct Entry {
    std::unique_ptr<Device> device;
    Block arena;
    std::map<std::string, std::unique_ptr<kernels::Stream>> streams;  // by name, for all plans
  };

  // `cpu_kernels` may be nullptr: then devices of kind "cpu" are null devices, for size and order
  // alone. Without `cuda` there are no devices of that kind. With `transport`, which outlives the set,
  // arenas in the host's memory are such that ranks of this host write their messages into them.
  // `cuda_graphs`: cuda devices capture their steps; `cuda_placement`: which GPUs they lie on
  // (runtime/devices/cuda/cuda_context.h); `peer_seconds`: how long they wait for other ranks to join them.
  explicit DeviceSet(const kernels::KernelTable* cpu_kernels,
                     const kernels::CudaApi* cuda = nullptr, comm::Transport* transport = nullptr,
                     bool cuda_graphs = true, std::vector<int> cuda_placement = {},
                     double peer_seconds = 120)
      : cpu_kernels_(cpu_kernels),
        cuda_(cuda),
        transport_(transport),
        cuda_graphs_(cuda_graphs),
        cuda_placement_(std::move(cuda_placement)),
        peer_seconds_(peer_seconds) {}

  // Finds or makes the device. PlanError for an unknown kind or a kind that differs from before, and
  // for a plan that asks for another instruction set, team or more memory than the machine has.
  absl::StatusOr<Device*> Find(const plan::DeviceProto& device);
  // OutOfMemoryError if the devices have too little memory free for the plan, besides these states that are
  // there; on devices that can be asked. REQUIRES: Find was called for all of the plan's.
  absl::Status CheckMemory(const plan::Plan& plan, std::set<std::string> states) const;
  // Makes the arena at least that large. True if its bytes are elsewhere now: plans must be bound
  // again. REQUIRES: Find was called for it, nothing runs.
  absl::StatusOr<bool> GrowArena(uint32_t id, int64_t bytes);

  // The device's stream of that name; made when it is first asked for. REQUIRES: Find was called.
  absl::StatusOr<kernels::Stream*> StreamOf(uint32_t id, const std::string& name);

  const Entry& at(uint32_t id) const { return entries_.at(id); }
  const std::map<uint32_t, Entry>& entries() const { return entries_; }
  // Waits until no device has work enqueued.
  void Drain();
  // Other ranks are waited for no more: what devices have enqueued that needs them ends, its results are
  // nothing. From any thread; returns at once.
  void Abandon() const;

 private:
  absl::StatusOr<Block> AllocateArena(Device* device, int64_t bytes) const;

  const kernels::KernelTable* cpu_kernels_;
  const kernels::CudaApi* cuda_;
  comm::Transport* transport_;
  bool cuda_graphs_;
  std::vector<int> cuda_placement_;
  double peer_seconds_;
  mutable std::mutex context_mutex_;
  mutable bool abandoned_ = false;
  std::shared_ptr<CudaContext> cuda_context_;  // made by the first cuda device
  std::map<uint32_t, Entry> entries_;          // by global id
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_DEVICES_DEVICE_SET_H_
