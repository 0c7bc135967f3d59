// Session: owns everything alive: loaded plans, states with versions, arenas, threads. Two sessions
// may live in one process; nothing is global.
//
// Threads: calls come from one thread at a time (the Python thread, GIL released); the session's
// own threads run the plan. Invocations have one order; what comes after step i in the program sees
// exactly step i. Errors before launch leave state untouched. Wrong data that a kernel finds (a label
// out of range) fails its step and those launched behind it: they change no state, the next call
// that waits returns the DataError once, and the session goes on as if they had not been launched;
// with several ranks the job ends instead. After any other error in flight the session is failed and
// every call returns that root cause. Destruction stops all threads within seconds,
// also in mid-step. Version of a state: one more per invocation that writes it and per WriteState.
// Read next: runtime/session.cc, runtime/actor.h; runtime/virtual_runtime.h runs plans without
// threads.
#ifndef ONEFLOW_RUNTIME_SESSION_H_
#define ONEFLOW_RUNTIME_SESSION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/host_tensor.h"
#include "comm/transport.h"
#include "kernels/cuda/cuda_api.h"
#include "kernels/kernel.h"
#include "plan/plan.pb.h"
#include "plan/verify.h"
#include "runtime/spinning.h"
#include "runtime/virtual_runtime.h"

namespace oneflow {

// What a session is made of; what it points to outlives it.
struct SessionOptions {
  const kernels::KernelTable* cpu_kernels = nullptr;
  const kernels::CudaApi* cuda = nullptr;  // nullptr: no cuda devices
  bool cuda_graphs = true;                 // false: a step's kernels are enqueued one by one
  std::vector<int> cuda_placement;         // device i on the GPU at i mod size; empty: all GPUs
  comm::Transport* transport = nullptr;    // nullptr for one rank; outlives the session
  double watchdog_seconds = 30;            // speaks after max(this, 10 x median step)
  double peer_seconds = 120;      // a peer that owes a message for longer is given up: PeerError
  std::string trace_path;         // Perfetto trace of what ran, written at destruction; empty: none
  size_t trace_slices = 1 << 16;  // kept per thread, the last ones
  bool verify = true;             // false only in tests that plant a fault
  OpRules rules;                  // of the op table, to compare a plan's with; may be empty
  size_t max_plans = 1 << 16;     // loaded at once; messages number plans with 16 bits
  // How threads wait (runtime/spinning.h). Cores: that this session's threads may hold; -1: a rank's
  // share of those that the process may run on.
  int cores = -1;
  int64_t patience_ns = Patience::kMostNs;
};

using PlanId = int64_t;  // never used again in a session
using InvocationId = int64_t;

// Counted where it happens, outside the compiler: tests compare them with formulas.
struct DeviceCounters {
  uint32_t device = 0;  // global id
  int gpu = -1;         // that it lies on, by the driver's number; -1: none
  uint64_t flops = 0;   // of kernels that ran
  uint64_t received_bytes =
      0;                     // bytes that a movement kernel or channel brought from another device
  uint64_t state_bytes = 0;  // allocated for states
  uint64_t arena_bytes = 0;  // allocated for the arena
  uint64_t firings = 0;
  uint64_t busy_ns = 0;
};

class Session {
 public:
  static absl::StatusOr<std::unique_ptr<Session>> Create(const SessionOptions& options);
  virtual ~Session() = default;

  // Verifies the plan, makes kernels, binds memory (one arena per device for all plans: the largest
  // counts), connects channels (collective when there is a transport). New states start as zeros.
  virtual absl::StatusOr<PlanId> Load(const plan::Plan& plan) = 0;
  // Waits until nothing is in flight; then the plan's actors, kernels, room for messages and
  // channels go. Outputs that nobody has read stay, and so do states and the arena. Not collective:
  // a rank unloads when it launches the plan no more. While a trace is kept, so is what names its
  // slices.
  virtual absl::Status Unload(PlanId plan) = 0;

  // States: logical tensors; each device keeps its shard. Both wait for invocations in flight.
  virtual absl::Status WriteState(const std::string& name, const HostTensor& value) = 0;
  // Fails, naming flow.gather, if this process does not hold all of it.
  virtual absl::StatusOr<HostTensor> ReadState(const std::string& name) = 0;
  virtual bool HasState(const std::string& name) const = 0;
  virtual uint64_t StateVersion(const std::string& name) const = 0;
  // Frees a state. An error while a loaded plan names it.
  virtual absl::Status DropState(const std::string& name) = 0;

  // Starts one invocation with the logical inputs in the order of Plan.inputs. Blocks only for a
  // feed credit (at most Invocation::kWindow steps are in flight), and while another plan has steps
  // in flight: plans share the arenas. The step sees the inputs as they are during the call; then
  // the caller may change them. Large ones are read in place if their slots are free, and Launch
  // waits for that; others are copied to memory that the session keeps. After a failure what may
  // still be read is held until the session is destroyed.
  virtual absl::StatusOr<InvocationId> Launch(PlanId plan, std::vector<HostTensor> inputs) = 0;
  // Waits for the outputs of an invocation, in the order of Plan.outputs. Once per invocation: they
  // leave the fetch ring. An output that no task of this rank fetches (it lies on other ranks) has
  // data == nullptr. Unread outputs never stall a step, but stay in memory until Fetch or Discard.
  virtual absl::StatusOr<std::vector<HostTensor>> Fetch(InvocationId invocation) = 0;
  // Nobody will fetch that invocation. From any thread (a garbage collector's, say); never waits for a step.
  virtual void Discard(InvocationId invocation) = 0;
  // After a DataError: the first of the invocations that it undid, together with all launched since;
  // -1 if there was none since the last call.
  virtual InvocationId TakeUndoneFrom() = 0;
  // Waits until everything launched is done.
  virtual absl::Status Wait() = 0;

  virtual std::vector<DeviceCounters> Counters() const = 0;
  // What a session holds: tests and bars see by it that plans end.
  struct Holdings {
    size_t plans = 0;           // loaded
    size_t numbers = 0;         // of plans, in use or free
    size_t states = 0;          //
    size_t message_room = 0;    // in mailboxes
    size_t channels = 0;        // open
    size_t fetch_rings = 0;     // of plans, and of unloaded ones with unread outputs
    size_t staging_bytes = 0;   // copies of inputs
    size_t rings_in_place = 0;  // members of rings that do not go round (plan/rings.h, RingPlace)
    size_t rings_landing = 0;   // members of others into whose buffers what is gathered is received
  };
  virtual Holdings holdings() const = 0;
  // How the threads have waited for messages so far: all waits, those that parked the thread, and how
  // often another thread did a parked one's work instead of waking it.
  struct Waits {
    uint64_t all = 0;
    uint64_t parked = 0;
    uint64_t borrowed = 0;
  };
  virtual Waits waits() const = 0;
  // State of every actor as text, for the watchdog and tests.
  virtual std::string DebugString() const = 0;
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_SESSION_H_
