// Kernel: one op on one device for one local problem. Plain functions behind one interface: no
// graph, no actor, no allocation while running.
//
// Made at load time by a KernelTable from a KernelSpec, owned by whoever runs it (a loaded plan,
// the interpreter). Threads: Run may be called from one thread at a time; different kernels from
// different threads. Invariants: Run allocates nothing, reads only its inputs, writes only its
// outputs and workspace, and gives the same bits for the same bytes and the same team of threads.
// Run enqueues on a stream: the work may be over later (kernels/stream.h), on a CPU it is over when
// Run returns. What is wrong in the data goes to the step's block (kernels/step_block.h): a status
// could not come back from a device that answers later.
// Recording: a device may record what Run enqueues and replay it in later steps. `inputs`, `outputs`,
// `workspace`, `block`, `task`, `micro` and `chunk` are constants of a firing's place in the order of
// a step (slots repeat after the plan's period, plan/analyse.h), so they may be recorded; the number
// of the step is none, which is why it lies in the block and not here.
// Read next: kernels/cpu/cpu_kernels.h, kernels/spec_check.h.
#ifndef ONEFLOW_KERNELS_KERNEL_H_
#define ONEFLOW_KERNELS_KERNEL_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/dtype.h"
#include "base/shape.h"
#include "kernels/step_block.h"
#include "kernels/stream.h"
#include "plan/attrs.h"
#include "plan/plan.pb.h"

namespace oneflow::kernels {

inline constexpr int kMaxRank = 16;  // of an operand

// Local type of one buffer, and where it lies in the logical tensor.
struct Operand {
  DType dtype = DType::kInvalid;
  Shape shape;          // local
  Shape logical_shape;  // == shape where nothing is cut
  Shape begin;          // of the shard, at micro-batch 0
  int micro_dim = 0;
  int64_t micro_stride = 0;  // begin[micro_dim] += micro_stride * micro
};

// The problem that a kernel solves.
struct KernelSpec {
  std::string op;
  Attrs attrs;
  std::vector<Operand> inputs;
  std::vector<Operand> outputs;
  int threads = 1;  // team that runs it

  // Deterministic text of op, attrs, local types and threads (slices are left out: they change no
  // need).
  std::string Key() const;
  // Total: a task that makes no sense gives a spec that CheckOperands refuses.
  static KernelSpec FromTask(const plan::Task& task, int threads);
};

// What one call gets. Pointers are 64-byte aligned. An output and an input may be the same buffer
// where Needs::aliases says so. The arrays `inputs` and `outputs` are the caller's and are gone
// after the call; what they point to, and `block`, stay until the work is over.
struct KernelArgs {
  const void* const* inputs = nullptr;
  void* const* outputs = nullptr;
  void* workspace = nullptr;
  StepBlock* block = nullptr;  // never null in Run
  uint32_t task = 0;           // for error reports
  uint32_t micro = 0;
  uint32_t chunk = 0;
  // For a device that enqueues writes of states before anybody has looked at the data: blocks of the
  // step; a kernel that writes a state writes nothing if one of them has an error. None: it writes.
  const StepBlock* gate = nullptr;
  uint32_t gate_blocks = 0;
  // For a ring that does not go round (plan/rings.h, RingPlace), to its `ring_reduce` on a CPU: the buffers of all
  // members in the order of addition, this one's last. It makes the whole sum of the chunk's piece, in all of them.
  void* const* members = nullptr;
  uint32_t member_count = 0;
};

class Kernel {
 public:
  virtual ~Kernel() = default;
  // Enqueues the work. An error says that this was not possible, and why; nothing runs then.
  virtual absl::Status Run(const KernelArgs& args, Stream* stream) const = 0;
};

// For kernels on a CPU: reports what is wrong in the data; the first report of a step counts. The
// kernel goes on (or returns) with any outputs that stay inside their buffers.
inline void ReportDataError(const KernelArgs& args, DataErrorCode code, int64_t value,
                            int64_t bound) {
  ReportDataError(args.block, args.task, code, value, bound);
}

// Output `output` may be the buffer of input `input`: the kernel reads each element of the input
// for the last time before it writes that element of the output.
struct Alias {
  int output = 0;
  int input = 0;
  bool operator==(const Alias&) const = default;
};

// What a kernel needs beyond its operands. Any of the aliases may hold at once.
struct Needs {
  int64_t workspace_bytes = 0;
  std::vector<Alias> aliases;  // sorted

  bool MayAlias(int output, int input) const;
};

// One row of a table: an op's kernel on one kind of device.
struct KernelDef {
  std::string op;
  // Refuses what would lead the kernel out of its operands (kernels/spec_check.h). `describe` and
  // `make` may rely on it: only KernelTable calls them.
  std::function<absl::Status(const KernelSpec&)> check;
  std::function<absl::StatusOr<Needs>(const KernelSpec&)> describe;
  std::function<absl::StatusOr<std::unique_ptr<Kernel>>(const KernelSpec&)> make;
};

// Ops by name. Const after construction. Describe and Make take any spec, also one of a plan file
// that nobody trusts: they check it first.
class KernelTable {
 public:
  // REQUIRES: every row has a check.
  explicit KernelTable(std::vector<KernelDef> defs);
  // nullptr if the op has no kernel here.
  const KernelDef* Find(const std::string& op) const;
  std::vector<std::string> ops() const;
  absl::Status Check(const KernelSpec& spec) const;
  absl::StatusOr<Needs> Describe(const KernelSpec& spec) const;
  absl::StatusOr<std::unique_ptr<Kernel>> Make(const KernelSpec& spec) const;

 private:
  std::map<std::string, KernelDef> defs_;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_KERNEL_H_
