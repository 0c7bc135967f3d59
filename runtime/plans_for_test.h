// Small plans and kernels by hand for the runtime's tests: what a step computes is known in closed
// form.
//
// Functions that return values. Threads: any. The kernels work on f32[4,4]: `add` sums all inputs
// and adds 1, `accumulate` adds its input to its output (overwrites at micro 0 and chunk 0),
// `update` adds its second input to the state in place, `block` waits until a test lets it go. Read
// next: runtime/session_test.cc.
#ifndef ONEFLOW_RUNTIME_PLANS_FOR_TEST_H_
#define ONEFLOW_RUNTIME_PLANS_FOR_TEST_H_

#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/host_tensor.h"
#include "base/status.h"
#include "kernels/kernel.h"
#include "plan/needs.h"
#include "plan/plan_builder_for_test.h"
#include "runtime/session.h"

namespace oneflow {

constexpr int64_t kElements = 16;  // f32[4,4]

// A kernel that is a function of its arguments and the number of inputs.
template <typename Function>
class FunctionKernel : public kernels::Kernel {
 public:
  FunctionKernel(Function function, size_t inputs) : function_(function), inputs_(inputs) {}
  absl::Status Run(const kernels::KernelArgs& args, kernels::Stream*) const override {
    if constexpr (std::is_void_v<decltype(function_(args, inputs_))>) {
      function_(args, inputs_);
      return absl::OkStatus();
    } else {
      return function_(args, inputs_);
    }
  }

 private:
  Function function_;
  size_t inputs_;
};

template <typename Function>
kernels::KernelDef DefineKernel(const std::string& op, Function function) {
  return {op, [](const kernels::KernelSpec&) { return absl::OkStatus(); },
          [](const kernels::KernelSpec& spec) {
            kernels::Needs needs;
            for (size_t i = 0; i < spec.inputs.size(); ++i)
              needs.aliases.push_back({0, static_cast<int>(i)});
            return needs;
          },
          [function](const kernels::KernelSpec& spec) {
            return std::unique_ptr<kernels::Kernel>(
                std::make_unique<FunctionKernel<Function>>(function, spec.inputs.size()));
          }};
}

// `gate`: kernel `block` waits until it is true; `refuse` is not taken in step 2; `judge` finds what
// begins below 0 wrong.
inline kernels::KernelTable TestKernels(const std::atomic<bool>* gate = nullptr) {
  const auto in = [](const kernels::KernelArgs& args, size_t i) {
    return static_cast<const float*>(args.inputs[i]);
  };
  const auto out = [](const kernels::KernelArgs& args) {
    return static_cast<float*>(args.outputs[0]);
  };
  const auto add = [=](const kernels::KernelArgs& args, size_t inputs) {
    for (int64_t e = 0; e < kElements; ++e) {
      float sum = 1;
      for (size_t i = 0; i < inputs; ++i) sum += in(args, i)[e];
      out(args)[e] = sum;
    }
  };
  const auto accumulate = [=](const kernels::KernelArgs& args, size_t) {
    const bool first = args.micro == 0 && args.chunk == 0;
    for (int64_t e = 0; e < kElements; ++e) {
      out(args)[e] = (first ? 0 : out(args)[e]) + in(args, 0)[e];
    }
  };
  const auto update = [=](const kernels::KernelArgs& args, size_t) {
    for (int64_t e = 0; e < kElements; ++e) out(args)[e] = in(args, 0)[e] + in(args, 1)[e];
  };
  const auto block = [=](const kernels::KernelArgs& args, size_t inputs) {
    while (gate != nullptr && !gate->load()) std::this_thread::yield();
    add(args, inputs);
  };
  const auto judge = [=](const kernels::KernelArgs& args, size_t inputs) {
    const int64_t value = static_cast<int64_t>(in(args, 0)[0]);
    if (value < 0) {
      ReportDataError(args, kernels::DataErrorCode::kIndexOutOfRange, value, 7);
    }
    add(args, inputs);
  };
  const auto refuse = [=](const kernels::KernelArgs& args, size_t inputs) {
    if (args.block->step == 2) return MakeError(ErrorKind::kError, "the device is lost");
    add(args, inputs);
    return absl::OkStatus();
  };
  return kernels::KernelTable({DefineKernel("add", add), DefineKernel("accumulate", accumulate),
                               DefineKernel("update", update), DefineKernel("block", block),
                               DefineKernel("refuse", refuse), DefineKernel("judge", judge)});
}

// A session whose CPU devices have the kernels of `table`.
inline std::unique_ptr<Session> SessionWith(const kernels::KernelTable* table,
                                            SessionOptions options = {}) {
  options.cpu_kernels = table;
  return *Session::Create(options);
}

inline void AddInput(plan::Plan* plan, const std::string& name, const Shape& shape) {
  plan::InputProto* input = plan->add_inputs();
  input->set_name(name);
  input->set_dtype(plan::F32);
  input->mutable_logical_shape()->Assign(shape.begin(), shape.end());
}

inline void AddOutput(plan::Plan* plan, const std::string& name, const Shape& shape) {
  plan::OutputProto* output = plan->add_outputs();
  output->set_name(name);
  output->set_dtype(plan::F32);
  output->mutable_logical_shape()->Assign(shape.begin(), shape.end());
}

inline HostTensor Filled(const Shape& shape, float value) {
  HostTensor tensor = HostTensor::Allocate(DType::kF32, shape);
  float* data = reinterpret_cast<float*>(tensor.data.get());
  for (int64_t i = 0; i < NumElements(shape); ++i) data[i] = value + 0.25f * static_cast<float>(i);
  return tensor;
}

inline std::vector<float> ValuesOf(const HostTensor& tensor) {
  std::vector<float> values(static_cast<size_t>(NumElements(tensor.shape)));
  std::memcpy(values.data(), tensor.data.get(), static_cast<size_t>(tensor.bytes()));
  return values;
}

inline TaskSpec Spec(plan::TaskKind kind, const std::string& op, uint32_t slot = 0) {
  TaskSpec spec;
  spec.kind = kind;
  spec.op = op;
  spec.slot = slot;
  return spec;
}

// x -> feed -> `length` adds -> y, and the state w += the last add: in a step y = x + length and
// w' = w + y. `op` is the kernel of the first add.
inline plan::Plan ChainPlan(int length, const std::string& op = "add", uint32_t slots = 1) {
  PlanBuilder b;
  const uint32_t compute = b.Stream("compute"), feed = b.Stream("feed"), fetch = b.Stream("fetch");
  RegisterSpec reg;
  reg.slots = slots;
  uint32_t from = b.Task("feed.x", feed, Spec(plan::FEED, "feed"));
  for (int i = 0; i < length; ++i) {
    const uint32_t to =
        b.Task("add." + std::to_string(i), compute, Spec(plan::COMPUTE, i == 0 ? op : "add"));
    b.Register(from, {to}, reg);
    from = to;
  }
  const uint32_t update = b.Task("update.w", compute, Spec(plan::COMPUTE, "update"));
  const uint32_t y = b.Task("fetch.y", fetch, Spec(plan::FETCH, "fetch"));
  const uint32_t w = b.State("w", {4, 4});
  b.ReadState(update, w);
  b.Register(from, {update, y}, reg);
  b.WriteState(update, w);
  AddInput(&b.plan(), "x", {4, 4});
  AddOutput(&b.plan(), "y", {4, 4});
  b.plan().set_name("chain");
  return b.Build();
}

// x -> feed -> `length` adds, in turn on the thread of `compute` and on that of movement -> y = x +
// length: every firing waits for a message from the other thread.
inline plan::Plan PingPongPlan(int length) {
  PlanBuilder b;
  const uint32_t compute = b.Stream("compute"), feed = b.Stream("feed"), comm = b.Stream("comm"),
                 fetch = b.Stream("fetch");
  uint32_t from = b.Task("feed.x", feed, Spec(plan::FEED, "feed"));
  for (int i = 0; i < length; ++i) {
    const bool here = i % 2 == 0;
    const uint32_t to =
        b.Task("add." + std::to_string(i), here ? compute : comm, Spec(plan::COMPUTE, "add"));
    b.Register(from, {to});
    from = to;
  }
  const uint32_t y = b.Task("fetch.y", fetch, Spec(plan::FETCH, "fetch"));
  b.Register(from, {y});
  AddInput(&b.plan(), "x", {4, 4});
  AddOutput(&b.plan(), "y", {4, 4});
  b.plan().set_name("ping_pong");
  return b.Build();
}

// The plan on devices whose streams answer later.
inline plan::Plan OnAsyncDevices(plan::Plan plan) {
  for (plan::DeviceProto& device : *plan.mutable_devices()) device.set_kind("async");
  MarkNeeds(&plan);
  return plan;
}

// Two devices and `micros` micro-batches: x[4 * micros, 4] is fed slice by slice to device 0, goes
// through an add, moves to device 1 (an add too), is accumulated over the step and fetched; the
// slices are fetched as z. z = x + 2, y = sum over micro-batches of (x_m + 2).
inline plan::Plan PipelinePlan(uint32_t micros, uint32_t slots) {
  PlanBuilder b(micros, 2);
  const uint32_t compute0 = b.Stream("compute", 0), feed0 = b.Stream("feed", 0);
  const uint32_t compute1 = b.Stream("compute", 1), comm1 = b.Stream("comm", 1);
  const uint32_t fetch1 = b.Stream("fetch", 1);
  const auto micro = [](plan::TaskKind kind, const std::string& op) {
    TaskSpec spec = Spec(kind, op, 1);
    spec.level = plan::MICRO;
    spec.slot_per_micro = 2;
    return spec;
  };
  RegisterSpec reg;
  reg.level = plan::MICRO;
  reg.slots = slots;
  const uint32_t x = b.Task("feed.x", feed0, micro(plan::FEED, "feed"));
  const uint32_t first = b.Task("add.0", compute0, micro(plan::COMPUTE, "add"));
  const uint32_t move = b.Task("move", comm1, micro(plan::MOVE, "add"));
  const uint32_t sum = b.Task("accumulate", compute1, micro(plan::MOVE, "accumulate"));
  const uint32_t z = b.Task("fetch.z", fetch1, micro(plan::FETCH, "fetch"));
  const uint32_t y = b.Task("fetch.y", fetch1, Spec(plan::FETCH, "fetch", 1 + 2 * micros));
  b.Register(x, {first}, reg);
  b.Register(first, {move}, reg);
  b.Register(move, {sum, z}, reg);
  b.Register(sum, {y});
  const int64_t rows = 4 * int64_t{micros};
  for (plan::Port* port : {b.plan().mutable_tasks(static_cast<int>(x))->mutable_outputs(0),
                           b.plan().mutable_tasks(static_cast<int>(z))->mutable_inputs(0)}) {
    port->set_logical_shape(0, rows);
    port->set_micro_stride(4);
    port->mutable_sharding()->mutable_sbps(0)->set_kind(plan::SbpProto::S);  // S(0) on micro
    port->mutable_sharding()->add_units(micros);
    port->mutable_sharding()->add_units(0);
  }
  b.plan().mutable_tasks(static_cast<int>(y))->set_index(1);
  AddInput(&b.plan(), "x", {rows, 4});
  AddOutput(&b.plan(), "z", {rows, 4});
  AddOutput(&b.plan(), "y", {4, 4});
  b.plan().set_name("pipeline");
  return b.Build();
}

// Two ranks: rank 0 feeds x, adds, sends in `chunks` chunks through a register of `slots`; rank 1
// receives, accumulates the chunks (each is the whole tensor) and fetches y = chunks * (x + 1).
inline std::vector<plan::Plan> TwoRankPlans(uint32_t chunks, uint32_t slots) {
  std::vector<plan::Plan> plans;
  for (uint32_t rank = 0; rank < 2; ++rank) {
    PlanBuilder b;
    b.plan().set_rank(rank);
    b.plan().set_world_size(2);
    b.plan().set_name("two_ranks");
    b.plan().mutable_devices(0)->set_id(rank);
    const auto chunked = [&](plan::TaskKind kind, const std::string& op, uint32_t sub) {
      TaskSpec spec = Spec(kind, op, 1);
      spec.level = plan::CHUNK;
      spec.chunks = chunks;
      spec.sub = sub;
      spec.position = 10;
      return spec;
    };
    RegisterSpec reg;
    reg.level = plan::CHUNK;
    reg.slots = slots;
    if (rank == 0) {
      const uint32_t compute = b.Stream("compute"), feed = b.Stream("feed"),
                     comm = b.Stream("comm");
      const uint32_t x = b.Task("feed.x", feed, Spec(plan::FEED, "feed"));
      const uint32_t add = b.Task("add", compute, Spec(plan::COMPUTE, "add"));
      const uint32_t send = b.Task("send", comm, chunked(plan::SEND, "send", 1));
      b.Register(x, {add});
      b.Register(add, {send});
      b.Channel(send, "r0.0.0-1", 0, 1, 4 * kElements, slots, 1);
    } else {
      const uint32_t recv = b.Stream("recv"), comm = b.Stream("comm"), fetch = b.Stream("fetch");
      const uint32_t receive = b.Task("receive", recv, chunked(plan::RECV, "recv", 2));
      const uint32_t sum = b.Task("accumulate", comm, chunked(plan::MOVE, "accumulate", 3));
      TaskSpec last = Spec(plan::FETCH, "fetch", 2);
      last.position = 11;
      const uint32_t y = b.Task("fetch.y", fetch, last);
      b.Register(receive, {sum}, reg);
      b.Register(sum, {y});
      b.Channel(receive, "r0.0.0-1", 0, 1, 4 * kElements, slots, 1);
    }
    AddInput(&b.plan(), "x", {4, 4});
    AddOutput(&b.plan(), "y", {4, 4});
    // Rank r is stage r: its values live there.
    plan::MeshProto* mesh = b.plan().mutable_mesh();
    plan::AxisProto* stages = mesh->add_axes();
    stages->set_name("pp");
    stages->set_size(2);
    mesh->clear_devices();
    for (uint32_t device = 0; device < 2; ++device) mesh->add_devices(device);
    for (plan::Task& task : *b.plan().mutable_tasks()) {
      for (plan::Port& port : *task.mutable_inputs()) port.mutable_sharding()->set_stage(rank);
      for (plan::Port& port : *task.mutable_outputs()) port.mutable_sharding()->set_stage(rank);
    }
    plans.push_back(b.Build());
  }
  return plans;
}

// False for pipelines and two ranks: what their `accumulate` sums up are slices and chunks, so they have
// an order and bits, but no logical value that the proof of dataflow could follow. Load them without
// verification.
inline bool HasDataflow(const plan::Plan& plan) {
  return plan.name() != "pipeline" && plan.name() != "two_ranks";
}

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_PLANS_FOR_TEST_H_
