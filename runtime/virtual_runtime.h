// VirtualRuntime: runs the plans of all ranks in one thread, in virtual time, from a seed: the same
// actors as the threaded executor, real kernels, random delays. For tests (any order gives the same
// bits, a credit too many is found) and for prediction.
//
// Owned by the caller. Threads: one at a time. Create once (verifies, makes kernels), Run many
// seeds; runs are independent. Time advances to the next event; each thread of each device runs one
// task at a time; a message between threads and a transfer between ranks take time too. A stream of a
// device that answers later is a time line of its own: a thread only enqueues there. A kernel
// takes effect at its beginning or at its end, by the seed, and arenas begin as NaNs, so a plan
// that lets two tasks use the same bytes at once gives wrong bits for some seed. Read next:
// runtime/virtual_runtime.cc, runtime/actor.h.
#ifndef ONEFLOW_RUNTIME_VIRTUAL_RUNTIME_H_
#define ONEFLOW_RUNTIME_VIRTUAL_RUNTIME_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/host_tensor.h"
#include "kernels/kernel.h"
#include "plan/plan.pb.h"
#include "plan/verify.h"

namespace oneflow {

// What a run gave.
struct VirtualRun {
  // A rank's plan names the outputs that it fetches; here are those of all ranks, by first
  // appearance.
  std::vector<std::string> output_names;
  std::vector<std::vector<HostTensor>> outputs;            // [step][output], logical
  std::vector<std::pair<std::string, HostTensor>> states;  // final, logical, sorted by name
  uint64_t event_order_hash = 0;  // of the order in which firings completed
  int64_t virtual_ns = 0;         // when the last firing completed
  uint64_t firings = 0;
};

// Of one run.
struct VirtualOptions {
  const kernels::KernelTable* cpu_kernels =
      nullptr;  // nullptr: no kernels, for size (Create's wins)
  uint64_t seed = 0;
  double jitter = 1.0;  // each duration is scaled by 1 + jitter * Exp(1)
  int steps = 1;
};

class VirtualRuntime {
 public:
  struct Setup {
    const kernels::KernelTable* cpu_kernels = nullptr;  // nullptr: no kernels, no memory
    bool verify = true;                                 // false only in tests that plant a fault
    OpRules rules;                                      // as SessionOptions::rules
    // Each firing works on copies of its operands between guards (runtime/isolated_firing.h): one
    // that touches a byte that is not its own is an error of Run, or ends the process.
    bool isolate = false;
  };
  // `plans`: one per rank, in rank order.
  static absl::StatusOr<std::unique_ptr<VirtualRuntime>> Create(
      const std::vector<const plan::Plan*>& plans, const Setup& setup);
  virtual ~VirtualRuntime() = default;

  // `states` and `inputs` are logical; inputs[step][input]; states that are not named begin as
  // zeros. A deadlock is an error that prints the cycle of who waits for whom and every actor;
  // replicas of a state that differ at the end are an error too.
  virtual absl::StatusOr<VirtualRun> Run(
      const std::vector<std::pair<std::string, HostTensor>>& states,
      const std::vector<std::vector<HostTensor>>& inputs, const VirtualOptions& options) = 0;
};

// Create and Run at once.
absl::StatusOr<VirtualRun> RunInVirtualTime(
    const std::vector<const plan::Plan*>& plans,
    const std::vector<std::pair<std::string, HostTensor>>& states,
    const std::vector<std::vector<HostTensor>>& inputs, const VirtualOptions& options);

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_VIRTUAL_RUNTIME_H_
