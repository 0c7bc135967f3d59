// Program: a loaded plan: actor specs, the order of each stream, kernels, and where every buffer
// is. What both executors run.
//
// Owned by a session or a virtual runtime. Threads: after Bind it is const but for the blocks of the
// steps, which are a step's own; whoever runs firings brings the scratch for it. Invariant: RunFiring
// allocates nothing. Read next: runtime/actor.h, runtime/threaded_executor.h,
// runtime/virtual_runtime.cc.
#ifndef ONEFLOW_RUNTIME_PROGRAM_H_
#define ONEFLOW_RUNTIME_PROGRAM_H_

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "comm/transport.h"
#include "kernels/kernel.h"
#include "plan/firings.h"
#include "plan/plan.pb.h"
#include "plan/rings.h"
#include "plan/sent_pieces.h"
#include "runtime/actor.h"
#include "runtime/devices/device_set.h"
#include "runtime/io/invocation.h"
#include "runtime/io/region.h"
#include "runtime/states.h"
#include "runtime/stream_order.h"

namespace oneflow {

class Program {
 public:
  // Who runs a stream. RECV streams hold no thread: whoever brings the bytes delivers the message.
  enum class Lane : uint8_t { kCompute, kMovement, kReceive };

  // The slots of one port.
  struct Buffer {
    std::byte* base = nullptr;
    int64_t stride = 0;
    uint32_t slots = 1;
    uint32_t inner = 1;  // firings of the task per filling of a slot
    std::byte* At(int64_t ordinal) const {
      return slots == 1 ? base : base + (ordinal / inner % slots) * stride;
    }
  };

  // "Firing `ordinal` runs behind an event of `task`": what its device waits for, not the host. For
  // edges that need their other end enqueued only, where it is in another stream of the device.
  struct EventWait {
    uint32_t task = 0;
    uint32_t their_inner = 1;
    uint32_t inner = 1;
    uint32_t lag = 0;  // iterations
    // The firing of `task` whose event it is; -1 if firing `ordinal` need not wait.
    int64_t OrdinalFor(int64_t ordinal) const {
      if (ordinal % inner != 0 || ordinal / inner < lag) return -1;
      return (ordinal / inner - lag + 1) * their_inner - 1;
    }
  };

  // All constant once the plan is loaded and bound.
  struct Task {
    const plan::Task* proto = nullptr;
    ActorSpec actor;
    Lane lane = Lane::kCompute;
    uint32_t micros = 1;  // firings per step = micros * chunks
    uint32_t chunks = 1;
    std::vector<Buffer> inputs;
    std::vector<Buffer> outputs;
    Buffer workspace;
    Device* device = nullptr;
    std::unique_ptr<kernels::Kernel> kernel;
    RegionCopy region;  // FEED, FETCH
    int64_t micro_bytes =
        0;  // FEED, FETCH: how much further in the logical tensor each micro-batch is
    int64_t message_bytes = 0;  // SEND, RECV
    SentPieces sent;            // SEND: of pieces of its register
    // Of a ring that is in place. Its ring_reduce: the buffers of all members, in the order in which it adds them, its
    // own last; and its place. Its ring_send has nothing to do.
    std::vector<Buffer> members;
    const RingPlace* place = nullptr;
    bool passes_on = false;
    // Of a ring that goes round, its ring_reduce: what it gathers is in the buffer when it has come.
    bool lands = false;
    int64_t touched_bytes = 0;    // of all its ports: at least what a firing reads and writes
    uint64_t received_bytes = 0;  // per firing, from another device
    uint32_t receiver = 0;        // global id of the device that receives them
    // Where the device answers later:
    bool on_device = false;  // a stream of the device takes it
    bool recorded = false;   // someone waits for its events
    std::vector<EventWait> waits;

    int64_t firings_per_step() const { return int64_t{micros} * chunks; }
  };

  // The pointers of one call of a kernel, with room for the largest task that was reserved for.
  struct Scratch {
    std::vector<const void*> inputs;
    std::vector<void*> outputs;
    std::vector<void*> members;
    void Reserve(const Program& program);
  };

  // REQUIRES: `plan` passed VerifyPlan (or the caller trusts it). Makes kernels; binds nothing.
  static absl::StatusOr<std::unique_ptr<Program>> Create(const plan::Plan& plan,
                                                         DeviceSet* devices);

  // Streams and events of devices that answer later, for EnqueueFiring. Not in virtual time, which
  // has streams of its own.
  absl::Status MakeStreams(DeviceSet* devices);
  // The device's stream for a stream of the plan; nullptr where there is no device work.
  kernels::Stream* DeviceStreamOf(uint32_t stream) const { return device_streams_[stream]; }

  // Computes every address. Again after an arena has moved. REQUIRES: nothing runs.
  void Bind(const DeviceSet& devices, const StateStore& states);

  // Members of rings that need not go round where all members share memory.
  const std::vector<RingPlace>& ring_places() const { return ring_places_; }
  // One of them is in place from here on: `buffers` of all members, in the ring's order from this one on; none: it goes
  // round. REQUIRES: nothing runs.
  void SumInPlace(const RingPlace& place, const std::vector<comm::Region>& buffers);
  size_t rings_in_place() const;
  // Whether what the place gathers is put into its buffer by who receives it. REQUIRES: SumInPlace was called.
  void Land(const RingPlace& place, bool lands) { tasks_[place.reduce].lands = lands; }
  size_t rings_landing() const;

  // Clears the blocks of a step. REQUIRES: the step kWindow before it is over; before its firings.
  void BeginStep(int64_t step);
  // Where the kernels of a step on one device (position in Plan.devices) report errors in the data;
  // nullptr where the device holds no bytes.
  kernels::StepBlock* BlockOf(uint32_t device, int64_t step) const {
    auto* first = reinterpret_cast<kernels::StepBlock*>(step_blocks_[device].data());
    return first == nullptr ? nullptr : first + step % Invocation::kWindow;
  }

  // Wrong data. A kernel that finds some ends its step and those behind it: from then on their
  // firings do nothing but keep the protocol, so no state changes, until the owner has seen the error
  // and forgets it. Lowering puts what writes states behind what may fail.
  static constexpr int64_t kNoStep = std::numeric_limits<int64_t>::max();
  // The first step that does nothing any more; kNoStep: none. Any thread.
  int64_t failed_step() const { return failed_step_.load(std::memory_order_acquire); }
  // Looks whether this firing found wrong data; true if its step is the first to fail because of it.
  // REQUIRES: the firing is over, and what waits for it has not been told.
  bool FindDataError(uint32_t task, int64_t ordinal);
  // What that firing found, with the user's line.
  absl::Status DataErrorOf(uint32_t task, int64_t step) const;
  // What was found in the failed step. REQUIRES: nothing runs, there is one, and no later step took
  // its place in the window.
  absl::Status DataErrorOfFailedStep() const;
  // The same for devices that run whole steps: what each reported in this step or before it. True if
  // the step is the first that failed.
  bool NoteDataErrors(int64_t step, const std::vector<kernels::StepBlock>& blocks);
  // REQUIRES: nothing runs.
  void ForgetDataError() { failed_step_.store(kNoStep); }

  // Enqueues what firing `ordinal` of a COMPUTE, MOVE, FEED or FETCH task does; the last two are the
  // host's work and over at once. An error says that the device did not take it.
  absl::Status RunFiring(uint32_t task, int64_t ordinal, const Invocation& invocation,
                         kernels::Stream* stream, Scratch* scratch) const;
  // The same of a task that is on a device, on its stream there, behind the events that it waits
  // for. REQUIRES: MakeStreams; those who are waited for were enqueued.
  absl::Status EnqueueFiring(uint32_t task, int64_t ordinal, const Invocation& invocation,
                             Scratch* scratch) const;
  // The same with its operands at other addresses.
  struct Operands {
    const void* const* inputs = nullptr;
    void* const* outputs = nullptr;
    void* workspace = nullptr;
    void* const* members = nullptr;  // KernelArgs
    uint32_t member_count = 0;
  };
  absl::Status Execute(uint32_t task, int64_t ordinal, const Invocation& invocation,
                       const Operands& operands, kernels::Stream* stream) const;
  // The bytes that firing `ordinal` of a SEND reads, or of a RECV fills.
  std::byte* SendSource(uint32_t task, int64_t ordinal) const;
  std::byte* ReceiveSlot(uint32_t task, int64_t ordinal) const;

  const plan::Plan& plan() const { return plan_; }
  const std::vector<Task>& tasks() const { return tasks_; }
  const std::vector<StreamPlan>& streams() const { return streams_; }  // may be empty
  Lane LaneOfStream(uint32_t stream) const { return lanes_[stream]; }
  bool holds_bytes() const { return holds_bytes_; }
  // True if its devices are given each step as a whole (runtime/step_schedule.h): nothing fires.
  bool runs_whole_steps() const { return runs_whole_steps_; }
  Device* device(uint32_t position) const { return devices_[position]; }

  // Per step.
  int32_t feeds_per_step() const { return feeds_per_step_; }
  int32_t fetches_per_step() const { return fetches_per_step_; }
  int32_t busy_streams() const { return busy_streams_; }
  // By output: true if the FETCH tasks here write every element of it.
  const std::vector<bool>& fetches_all() const { return fetches_all_; }
  // By input: true if a FEED task here reads it.
  const std::vector<bool>& fed() const { return fed_; }
  // True if every FEED fires once a step and shares its stream with other FEEDs only: then they all
  // run as soon as their slots are free, whatever else the step does.
  bool feeds_first() const { return feeds_first_; }

  FiringId FiringAt(uint32_t task, int64_t ordinal) const;
  int64_t StepOf(uint32_t task, int64_t ordinal) const {
    return ordinal / tasks_[task].firings_per_step();
  }
  // Of one firing's operand. REQUIRES: a well-formed plan.
  static int64_t BytesOf(const plan::Port& port);
  // "rank 0 matmul.3 (mlp.py:8)".
  std::string NameOf(uint32_t task) const;

 private:
  explicit Program(const plan::Plan& plan) : plan_(plan) {}
  absl::Status FindDevices(DeviceSet* devices);
  absl::Status AddStreams();
  void LookAtFeeds();
  void AddActors();
  absl::Status TaskError(uint32_t task, const absl::Status& status) const;
  absl::Status AddWork();
  // What waits for which completion, where devices answer later.
  void AddCompletions();
  void CountReceivedBytes(Task* task) const;
  uint32_t Inner(uint32_t task, plan::Level level) const;
  bool OnOtherDevice(const plan::Port& port, uint32_t device) const;
  void BindPort(const plan::Port& port, uint32_t task, const DeviceSet& devices,
                const StateStore& states, Buffer* buffer) const;

  const plan::Plan plan_;
  std::vector<Task> tasks_;
  std::vector<Device*> devices_;  // by position in the plan
  std::vector<StreamPlan> streams_;
  std::vector<kernels::Stream*>
      device_streams_;  // by stream; nullptr where there is no device work
  // By task that is recorded, a ring by ordinal: a later firing's event in its place orders more than
  // asked, never less.
  static constexpr int64_t kEvents = 4;
  std::vector<std::vector<std::unique_ptr<kernels::Event>>> events_;
  std::vector<Lane> lanes_;
  bool kernels_sum_in_place_ = false;  // a ring_reduce obeys KernelArgs::members
  std::vector<RingPlace> ring_places_;
  std::atomic<int64_t> failed_step_{kNoStep};
  std::vector<Block> step_blocks_;  // by device: a StepBlock per step in flight
  std::vector<bool> fetches_all_;
  std::vector<bool> fed_;
  bool feeds_first_ = true;
  bool holds_bytes_ = true;
  bool runs_whole_steps_ = false;
  int32_t feeds_per_step_ = 0;
  int32_t fetches_per_step_ = 0;
  int32_t busy_streams_ = 0;
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_PROGRAM_H_
