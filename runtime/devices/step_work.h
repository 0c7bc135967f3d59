// StepWork: all that a step does on devices that order work by themselves, and StepRunner, which enqueues
// it as a whole: no host stands between two firings.
//
//   compute d0:  matmul.3 ---- relu.4 ----------- sgd.9
//   comm d0:             \---- ring_send.5       /       waits: sgd.9 for ring_reduce.7
//   comm d1:                       ring_reduce.7
//
// Data, made from a plan when it is loaded and again when memory has moved (runtime/step_schedule.h); a
// runner is made by the devices' kind and owned by the executor. Threads: Launch, Rebind and ForgetErrors
// from the session's caller, Finish from another; each step is launched, then finished, in order.
// Invariants: firings stand in an order that every edge of the plan allows, each waits for the last
// firings of other lanes that it must come behind; a step begins when the one before it is over, so the
// slots and ordinals of step 0 serve all of them. Read next: runtime/step_schedule.h,
// runtime/devices/cuda/cuda_step.h.
#ifndef ONEFLOW_RUNTIME_DEVICES_STEP_WORK_H_
#define ONEFLOW_RUNTIME_DEVICES_STEP_WORK_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/dtype.h"
#include "base/shape.h"
#include "kernels/kernel.h"
#include "plan/rings.h"

namespace oneflow {

struct StepWork {
  // kCollective: one member's part of a ring, all its chunks, that the devices do by one call. kSend,
  // kReceive: one end of a message from or to a device of another rank, which is a call of both.
  enum class Kind : uint8_t { kKernel, kFeed, kFetch, kCollective, kSend, kReceive };

  struct Firing {
    Kind kind = Kind::kKernel;
    uint32_t lane = 0;
    std::vector<uint32_t> waits;  // firings before it, of other lanes
    bool awaited = false;         // some firing waits for it
    uint32_t device = 0;          // position in the plan
    uint32_t task = 0;
    uint32_t micro = 0;
    uint32_t chunk = 0;
    std::vector<const void*> inputs;
    std::vector<void*> outputs;
    void* workspace = nullptr;
    const kernels::Kernel* kernel = nullptr;
    const std::string* op = nullptr;
    // Outputs that are states, and their bytes. `updates`: it may leave bytes of them as they are.
    std::vector<std::pair<uint32_t, int64_t>> states;
    bool updates = false;
    bool may_fail = false;  // its kernel may report wrong data
    // Ports whose buffer lies on another device, by its position in the plan. `whole`: an output that a
    // firing writes all of.
    struct Remote {
      uint32_t port = 0;
      uint32_t device = 0;
      int64_t bytes = 0;
      bool whole = true;
    };
    std::vector<Remote> remote_inputs, remote_outputs;
    // kCollective: which of `rings`, whose member; outputs[0] is its buffer. The members' firings stand
    // side by side, in their order.
    uint32_t ring = 0;
    uint32_t member = 0;
    // kSend, kReceive: inputs[0] or outputs[0], so many bytes, between two of `messengers`, by position. Ends
    // that stand side by side are one call, from the one that is the first of them (a position) to the last.
    uint32_t own = 0;
    uint32_t peer = 0;
    int64_t bytes = 0;
    uint32_t first_of_call = 0;
    bool last_of_call = true;
    // kFeed, kFetch: the region of input or output `index` that it is, `offset` bytes further.
    uint32_t index = 0;
    int64_t offset = 0;
    DType dtype = DType::kInvalid;
    Shape logical, begin, extent;
  };

  // A stream of one device.
  struct Lane {
    uint32_t device = 0;  // global id
    std::string name;
  };

  std::vector<Lane> lanes;
  std::vector<Firing> firings;
  std::vector<WholeRing> rings;  // those that are one call
  std::vector<uint32_t>
      messengers;  // global ids: a device of each GPU that messages between ranks use
  std::vector<int64_t> input_bytes;   // by Plan.inputs; 0: nothing here reads it
  std::vector<int64_t> output_bytes;  // by Plan.outputs; 0: nothing here writes it
  std::vector<uint32_t> devices;      // global ids, by position in the plan
  bool may_fail = false;              // some kernel may find wrong data
  int64_t window = 1;                 // steps that may be in flight
  std::vector<std::string> names;     // by task, for errors
};

class StepRunner {
 public:
  virtual ~StepRunner() = default;
  // Enqueues the next step. `inputs`: logical tensors of the host, by Plan.inputs, read before this
  // returns. REQUIRES: fewer than `window` steps are in flight.
  virtual absl::Status Launch(int64_t step, const std::byte* const* inputs) = 0;
  // Waits until the oldest step in flight is over. `blocks` gets what each device reported in it or
  // in one before it. If that is nothing, the outputs are written; nullptr: not wanted.
  virtual absl::Status Finish(int64_t step, std::byte* const* outputs,
                              std::vector<kernels::StepBlock>* blocks) = 0;
  // What was reported has been seen: states are written again. REQUIRES: nothing is in flight.
  virtual absl::Status ForgetErrors() = 0;
  // The same work at other addresses. REQUIRES: nothing is in flight.
  virtual absl::Status Rebind(StepWork work) = 0;
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_DEVICES_STEP_WORK_H_
