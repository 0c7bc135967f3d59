// Device: where a loaded plan keeps bytes and gets kernels from.
//
// Owned by a session (or a virtual runtime), longer than what it allocated. Threads: Allocate and
// MakeKernel from the session's caller; EnterThread on the thread that will run kernels. A device
// schedules nothing: the executor does. Where it answers later, its streams run what they were given
// in order, and the host's work (FEED, FETCH, SEND, RECV) waits until that is finished. Where it runs
// whole steps, it schedules what the plan leaves open (runtime/devices/step_work.h). Read next:
// runtime/devices/cpu.h, runtime/devices/async.h, runtime/devices/null.h.
#ifndef ONEFLOW_RUNTIME_DEVICES_DEVICE_H_
#define ONEFLOW_RUNTIME_DEVICES_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/kernel.h"
#include "kernels/stream.h"
#include "plan/plan.pb.h"
#include "plan/rings.h"
#include "runtime/devices/step_work.h"
#include "runtime/io/region.h"

namespace oneflow {

// One allocation of a device, freed with it. data() is nullptr where the device holds no bytes.
class Block {
 public:
  Block() = default;
  Block(std::byte* data, size_t bytes, std::function<void(std::byte*, size_t)> release)
      : data_(data), bytes_(bytes), release_(std::move(release)) {}
  Block(Block&& other) noexcept { *this = std::move(other); }
  Block& operator=(Block&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(release_, other.release_);
    return *this;
  }
  ~Block() {
    if (release_ != nullptr && data_ != nullptr) release_(data_, bytes_);
  }

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  // It has grown where it lies.
  void set_bytes(size_t bytes) { bytes_ = bytes; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  std::function<void(std::byte*, size_t)> release_;
};

class Device {
 public:
  virtual ~Device() = default;
  // "cpu", "cuda", "async", "null".
  virtual std::string kind() const = 0;
  // False: no memory, no kernels; a plan runs for its order alone.
  virtual bool holds_bytes() const = 0;
  // Zeros, aligned to 64 bytes at least. OutOfMemoryError if the system has no more.
  virtual absl::StatusOr<Block> Allocate(int64_t bytes) = 0;
  // The same, but the host can read and write it too while nothing runs: the steps' blocks.
  virtual absl::StatusOr<Block> AllocateShared(int64_t bytes) { return Allocate(bytes); }
  // The same for an arena; and more behind one, zeros again, where it lies: false if it cannot, then it is as it was.
  virtual absl::StatusOr<Block> AllocateArena(int64_t bytes) { return Allocate(bytes); }
  virtual absl::StatusOr<bool> GrowArena(Block*, int64_t) { return false; }
  virtual bool Grows(const Block&) const { return false; }
  // The most bytes that it can ever give; an arena beyond that is refused when a plan is loaded.
  virtual int64_t capacity_bytes() const { return std::numeric_limits<int64_t>::max(); }
  // The GPU that it lies on, by the driver's number; -1: none.
  virtual int gpu() const { return -1; }
  // What its kernels are compiled for; a plan made for another one is refused. Empty = any.
  virtual std::string isa() const { return ""; }
  // The kernel of a COMPUTE or MOVE task for a team of `threads`; nullptr where firings do nothing.
  // PlanError if the task makes no sense or the kernel needs a larger workspace on this machine.
  virtual absl::StatusOr<std::unique_ptr<kernels::Kernel>> MakeKernel(
      const plan::Task& task, int threads, int64_t workspace_bytes) const = 0;
  // True if the executor must tell enqueued from finished: then it runs COMPUTE and MOVE tasks on
  // streams of this device, ordered by its events; both are asked for at load time. Else they run on
  // stream().
  virtual bool answers_later() const { return false; }
  virtual absl::StatusOr<std::unique_ptr<kernels::Stream>> MakeStream() {
    return std::unique_ptr<kernels::Stream>(std::make_unique<kernels::InlineStream>());
  }
  virtual absl::StatusOr<std::unique_ptr<kernels::Event>> MakeEvent() {
    return std::unique_ptr<kernels::Event>(std::make_unique<kernels::InlineEvent>());
  }
  // True: no actor fires its tasks; a step is given to it as a whole, with all others of its kind. Then
  // all devices of a plan are of that kind.
  virtual bool runs_whole_steps() const { return false; }
  // REQUIRES: runs_whole_steps(). `work`: of all devices of the plan.
  virtual absl::StatusOr<std::unique_ptr<StepRunner>> MakeStepRunner(StepWork work);
  // True if a ring between these devices of this process (global ids, by member) is one call there, in place of
  // its tasks; and if there is a call for what it does.
  virtual bool RunsWholeRing(const WholeRing&, const std::vector<uint32_t>&) const { return false; }
  virtual bool HasCallFor(const WholeRing&) const { return false; }
  // For calls with devices of other ranks. What tells the hardware that it lies on from all other of the job,
  // and why it has no such calls; empty: it has.
  virtual std::string place() const { return ""; }
  virtual std::string lack_of_calls() const { return kind() + " devices have no calls"; }
  // Collective: what all ranks say, by rank (comm::Transport::AllGather).
  using Exchange = std::function<absl::StatusOr<std::vector<std::string>>(const std::string& mine)>;
  // Collective: makes what calls between the devices of each group (global ids, of several ranks) need, unless
  // it is there. All ranks give the same groups in the same order.
  virtual absl::Status Join(const std::vector<std::vector<uint32_t>>& groups, const Exchange&) {
    if (groups.empty()) return absl::OkStatus();
    return absl::UnimplementedError(lack_of_calls());
  }
  // Collective where `exchange` is not nullptr: the kernels made so far of all ranks have the same bits where they
  // lie on the same hardware.
  virtual absl::Status SettleKernels(const Exchange&) { return absl::OkStatus(); }
  // Called once on a thread before it runs kernels for a team of `threads`.
  virtual void EnterThread(int threads) const = 0;
  // What kernels of devices that answer at once are given, and what steps begin and end on where they
  // run as a whole.
  virtual kernels::Stream* stream() { return &inline_stream_; }
  // False: what Allocate gives is out of the host's reach, but for the functions below.
  virtual bool host_memory() const { return true; }
  // A shard from and to the host's logical tensor, which has been read, or is filled, when they
  // return; and zeros. They come after what was enqueued before.
  virtual absl::Status ToLocal(const RegionCopy& region, const std::byte* logical,
                               std::byte* local) {
    region.ToLocal(logical, local);
    return absl::OkStatus();
  }
  virtual absl::Status FromLocal(const RegionCopy& region, std::byte* logical,
                                 const std::byte* local) {
    region.FromLocal(logical, local);
    return absl::OkStatus();
  }
  virtual absl::Status Zero(const Block& block) {
    std::memset(block.data(), 0, block.bytes());
    return absl::OkStatus();
  }

 private:
  kernels::InlineStream inline_stream_;
};

// What MakeKernel does on a device with a table of kernels.
absl::StatusOr<std::unique_ptr<kernels::Kernel>> MakeFittingKernel(
    const kernels::KernelTable& table, const plan::Task& task, int threads, int64_t workspace_bytes,
    const std::string& isa);

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_DEVICES_DEVICE_H_
