// Session: owns everything alive: loaded plans, states with versions, arenas, threads. Two sessions may live
// in one process; nothing is global.
//
// Threads: calls come from one thread at a time (the Python thread, GIL released); the session's own threads
// run the plan. Invocations have one order; what comes after step i in the program sees exactly step i.
// Errors before launch leave state untouched; after an error in flight the session is failed and every call
// returns that root cause. Destruction stops all threads within seconds. Read next: runtime/actor.h.
#ifndef ONEFLOW_RUNTIME_SESSION_H_
#define ONEFLOW_RUNTIME_SESSION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/host_tensor.h"
#include "comm/transport.h"
#include "kernels/kernel.h"
#include "plan/plan.pb.h"

namespace oneflow {

struct SessionOptions {
  const kernels::KernelTable* cpu_kernels = nullptr;
  comm::Transport* transport = nullptr;  // nullptr for one rank; outlives the session
  double watchdog_seconds = 30;          // speaks after max(this, 10 x median step)
  std::string trace_path;                // Perfetto trace of what ran, written at Close; empty: none
};

using PlanId = int;
using InvocationId = int64_t;

// Counted where it happens, outside the compiler: tests compare them with formulas.
struct DeviceCounters {
  uint32_t device = 0;          // global id
  uint64_t flops = 0;           // of kernels that ran
  uint64_t received_bytes = 0;  // bytes that a movement kernel or channel brought from another device
  uint64_t state_bytes = 0;     // allocated for states
  uint64_t arena_bytes = 0;     // allocated for the arena
  uint64_t firings = 0;
  uint64_t busy_ns = 0;
};

class Session {
 public:
  static absl::StatusOr<std::unique_ptr<Session>> Create(const SessionOptions& options);
  virtual ~Session() = default;

  // Verifies the plan, makes kernels, binds memory (one arena per device for all plans: the largest counts),
  // connects channels (collective when there is a transport). New states start as zeros.
  virtual absl::StatusOr<PlanId> Load(const plan::Plan& plan) = 0;

  // States: logical tensors; each device keeps its shard. Both wait for invocations in flight.
  virtual absl::Status WriteState(const std::string& name, const HostTensor& value) = 0;
  // Fails, naming flow.gather, if this process does not hold all of it.
  virtual absl::StatusOr<HostTensor> ReadState(const std::string& name) = 0;
  virtual bool HasState(const std::string& name) const = 0;
  virtual uint64_t StateVersion(const std::string& name) const = 0;

  // Starts one invocation with the logical inputs in the order of Plan.inputs. Blocks only for a feed credit.
  // The inputs' bytes are kept alive until they were read.
  virtual absl::StatusOr<InvocationId> Launch(PlanId plan, std::vector<HostTensor> inputs) = 0;
  // Waits for the outputs of an invocation, in the order of Plan.outputs. Once per invocation: they are moved
  // out of the fetch ring. Unread outputs never stall a step.
  virtual absl::StatusOr<std::vector<HostTensor>> Fetch(InvocationId invocation) = 0;
  // Waits until everything launched is done.
  virtual absl::Status Wait() = 0;

  virtual std::vector<DeviceCounters> Counters() const = 0;
  // State of every actor as text, for the watchdog and tests.
  virtual std::string DebugString() const = 0;
};

// Runs the plans of all ranks in one thread in virtual time from a seed: same actors, real kernels, random
// delays. For tests (any order gives the same bits) and prediction. Returns the outputs of each step of rank 0.
struct VirtualRun {
  std::vector<std::vector<HostTensor>> outputs;                   // [step][output]
  std::vector<std::pair<std::string, HostTensor>> states;         // final, logical, sorted by name
  uint64_t event_order_hash = 0;                                  // of the order in which firings completed
  int64_t virtual_ns = 0;                                         // when the last firing completed
  uint64_t firings = 0;
};
struct VirtualOptions {
  const kernels::KernelTable* cpu_kernels = nullptr;  // nullptr: no kernels, for size
  uint64_t seed = 0;
  double jitter = 1.0;       // each duration is scaled by 1 + jitter * Exp(1)
  int steps = 1;
};
// `states` and `inputs` are logical; inputs[step][input]. A deadlock is an error that prints every actor.
absl::StatusOr<VirtualRun> RunInVirtualTime(
    const std::vector<const plan::Plan*>& plans,
    const std::vector<std::pair<std::string, HostTensor>>& states,
    const std::vector<std::vector<HostTensor>>& inputs, const VirtualOptions& options);

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_SESSION_H_
