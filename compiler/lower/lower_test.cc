#include "compiler/lower/lower.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/status.h"
#include "compiler/compile.h"
#include "compiler/golden_for_test.h"
#include "compiler/graph/graph.h"
#include "compiler/passes/autodiff.h"
#include "plan/attrs.h"
#include "plan/firings.h"
#include "plan/text.h"
#include "plan/verify.h"

namespace oneflow {
namespace {

// y = relu(x w0) w1 ..., loss = sum(y * y); layer i on stage i * stages / layers; SGD on every
// weight.
Graph Network(int layers, int stages, int64_t batch = 24, int64_t width = 8) {
  Graph graph("network");
  ValueId x = (*graph.AddNode("input", {},
                              {{"name", std::string("x")},
                               {"kind", std::string("batch")},
                               {"dtype", std::string("f32")},
                               {"shape", Shape{batch, width}}},
                              graph.AddLocation({"net.py", 1, "step"})))[0];
  const ValueId lr = (*graph.AddNode("input", {},
                                     {{"name", std::string("lr")},
                                      {"kind", std::string("scalar")},
                                      {"dtype", std::string("f32")},
                                      {"shape", Shape{}}},
                                     0))[0];
  const ValueId step = (*graph.AddNode("input", {},
                                       {{"name", std::string("step")},
                                        {"kind", std::string("scalar")},
                                        {"dtype", std::string("i64")},
                                        {"shape", Shape{}}},
                                       0))[0];
  std::vector<ValueId> weights;
  for (int i = 0; i < layers; ++i) {
    const std::string name = "w" + std::to_string(i);
    const LocationId line = graph.AddLocation({"net.py", 10 + i, "step"});
    const int stage = i * stages / layers;
    EXPECT_TRUE(graph.AddState(name, {DType::kF32, {width, width}}).ok());
    weights.push_back((*graph.AddNode("state_read", {}, {{"name", name}}, line))[0]);
    x = (*graph.AddNode("matmul", {x, weights.back()}, {}, line, "", stage))[0];
    x = (*graph.AddNode("relu", {x}, {}, line, "", stage))[0];
  }
  const LocationId line = graph.AddLocation({"net.py", 30, "step"});
  x = (*graph.AddNode("square", {x}, {}, line, "", stages - 1))[0];
  const ValueId loss = (*graph.AddNode("sum", {x}, {{"dims", Shape{0, 1}}, {"keepdim", false}},
                                       line, "", stages - 1))[0];
  const std::vector<ValueId> gradients = *AddGradients(&graph, loss, weights);
  for (int i = 0; i < layers; ++i) {
    const auto updated = graph.AddNode("sgd_update", {weights[i], gradients[i], lr, step}, {}, 0);
    EXPECT_TRUE(updated.ok()) << updated.status();
    EXPECT_TRUE(
        graph.AddNode("state_write", {(*updated)[0]}, {{"name", "w" + std::to_string(i)}}, 0).ok());
  }
  EXPECT_TRUE(graph.AddNode("output", {loss}, {{"name", std::string("loss")}}, 0).ok());
  return graph;
}

plan::Target CpuTarget(int devices, int ranks) {
  plan::Target target;
  target.set_name("test");
  for (int d = 0; d < devices; ++d) {
    plan::TargetDevice* device = target.add_devices();
    device->set_kind("cpu");
    device->set_rank(d * ranks / devices);
    device->set_threads(1);
    device->set_flops_per_us(10000);
    device->set_bytes_per_us(10000);
  }
  return target;
}

struct Case {
  std::vector<Axis> axes;
  int micro = 1;
  int ranks = 1;
  int64_t batch = 24;
  int64_t width = 8;
};

std::vector<plan::Plan> CompileAll(const Case& c, int layers = 4) {
  CompileOptions options;
  options.mesh.axes = c.axes;
  int devices = 1;
  for (const Axis& axis : c.axes) devices *= static_cast<int>(axis.size);
  for (int d = 0; d < devices; ++d) options.mesh.devices.push_back(d);
  options.micro_batches = c.micro;
  options.world_size = c.ranks;
  const plan::Target target = CpuTarget(devices, c.ranks);
  std::vector<plan::Plan> plans;
  for (int r = 0; r < c.ranks; ++r) {
    options.rank = r;
    plan::Target rows = target;
    Compiled compiled;
    for (int round = 0; round < 3; ++round) {
      auto result =
          Compile(Network(layers, options.mesh.stages(), c.batch, c.width), rows, options);
      EXPECT_TRUE(result.ok()) << result.status();
      if (!result.ok()) return {};
      compiled = *std::move(result);
      if (compiled.missing.empty()) break;
      for (const KernelQuery& query : compiled.missing) {
        plan::KernelRow* row = rows.add_kernels();
        row->set_key(query.key);
        row->set_workspace_bytes(query.task.op() == "matmul" ? 256 : 0);
        const std::string& op = query.task.op();
        if (op == "relu" || op == "relu_grad" || op == "sgd_update") row->add_aliases();
        if (op == "sgd_update" && query.task.outputs_size() > 1) {
          row->add_aliases()->set_output(1);
          row->mutable_aliases(1)->set_input(4);
        }
      }
      std::sort(rows.mutable_kernels()->begin(), rows.mutable_kernels()->end(),
                [](const auto& a, const auto& b) { return a.key() < b.key(); });
    }
    EXPECT_TRUE(compiled.missing.empty());
    plans.push_back(*compiled.plan);
  }
  return plans;
}

class LayoutTest : public testing::TestWithParam<Case> {};

TEST_P(LayoutTest, PlansOfAllRanksPassTheProofs) {
  const std::vector<plan::Plan> plans = CompileAll(GetParam());
  std::vector<const plan::Plan*> pointers;
  for (const plan::Plan& plan : plans) {
    const absl::Status status = VerifyPlan(plan);
    EXPECT_TRUE(status.ok()) << status;
    pointers.push_back(&plan);
  }
  const absl::Status status = VerifyPlans(pointers);
  EXPECT_TRUE(status.ok()) << status;
}

INSTANTIATE_TEST_SUITE_P(
    All, LayoutTest,
    testing::Values(Case{{{"dp", 1}}}, Case{{{"dp", 2}}}, Case{{{"dp", 3}}, 1, 1, 7},
                    Case{{{"tp", 2}}}, Case{{{"tp", 4}}}, Case{{{"dp", 2}, {"tp", 2}}},
                    Case{{{"pp", 2}}}, Case{{{"dp", 2}, {"pp", 2}}}, Case{{{"dp", 1}}, 4},
                    Case{{{"dp", 2}}, 4}, Case{{{"pp", 2}}, 4}, Case{{{"pp", 4}}, 8},
                    Case{{{"dp", 2}, {"pp", 2}}, 4}, Case{{{"dp", 2}}, 1, 2},
                    Case{{{"dp", 3}}, 1, 3}, Case{{{"tp", 2}}, 1, 2}, Case{{{"pp", 2}}, 4, 2},
                    Case{{{"dp", 2}, {"pp", 2}}, 4, 2}, Case{{{"dp", 2}, {"pp", 2}}, 4, 4}));

// The order of one compute stream with forward and backward phases as letters: "F0 F1 B0 ..".
std::string PhasesOf(const plan::Plan& plan, uint32_t device) {
  std::string text;
  for (const plan::Stream& stream : plan.streams()) {
    if (stream.name() != "compute" || plan.devices(stream.device()).id() != device) continue;
    std::string last;
    for (const FiringId& firing : ExpandStream(plan, stream)) {
      const plan::Task& task = plan.tasks(firing.task);
      if (!InMicroLoop(task)) continue;
      const int stages = 4;
      const bool forward = static_cast<int>(task.stamp().slot()) <= stages;
      const std::string phase = (forward ? "F" : "B") + std::to_string(firing.micro);
      if (phase != last) text += (text.empty() ? "" : " ") + phase;
      last = phase;
    }
  }
  return text;
}

// Narayanan et al., PipeDream-Flush / Megatron-LM, figure of 4 stages and 8 micro-batches: warm-up
// of p - 1 - s forwards, then one forward and one backward, then the drain.
TEST(OneForwardOneBackwardTest, IsAsTheTextbookHasIt) {
  const std::vector<plan::Plan> plans = CompileAll({{{"pp", 4}}, 8});
  ASSERT_EQ(plans.size(), 1u);
  EXPECT_EQ(PhasesOf(plans[0], 0), "F0 F1 F2 F3 B0 F4 B1 F5 B2 F6 B3 F7 B4 B5 B6 B7");
  EXPECT_EQ(PhasesOf(plans[0], 1), "F0 F1 F2 B0 F3 B1 F4 B2 F5 B3 F6 B4 F7 B5 B6 B7");
  EXPECT_EQ(PhasesOf(plans[0], 2), "F0 F1 B0 F2 B1 F3 B2 F4 B3 F5 B4 F6 B5 F7 B6 B7");
  EXPECT_EQ(PhasesOf(plans[0], 3), "F0 B0 F1 B1 F2 B2 F3 B3 F4 B4 F5 B5 F6 B6 F7 B7");
}

TEST(LowerTest, ActivationsInFlightAreTheTextbooks) {
  const std::vector<plan::Plan> plans = CompileAll({{{"pp", 4}}, 8});
  ASSERT_EQ(plans.size(), 1u);
  const plan::Plan& plan = plans[0];
  for (int stage = 0; stage < 4; ++stage) {
    uint32_t most = 0;
    for (const plan::Register& reg : plan.registers()) {
      const plan::Task& producer = plan.tasks(reg.producer());
      if (plan.devices(reg.device()).id() != static_cast<uint32_t>(stage)) continue;
      if (producer.stamp().slot() > 4) continue;  // backward
      if (producer.op() == "matmul" || producer.op() == "relu") most = std::max(most, reg.slots());
    }
    EXPECT_EQ(most, static_cast<uint32_t>(4 - stage)) << "stage " << stage;
  }
}

// Whole plans as text: a change of the compiler shows here.
TEST(LowerTest, GoldenPlans) {
  const std::map<std::string, Case> cases = {
      {"dp2", {{{"dp", 2}}, 1, 2}}, {"tp2", {{{"tp", 2}}}}, {"pp2_micro2", {{{"pp", 2}}, 2}}};
  for (const auto& [name, c] : cases) {
    const std::vector<plan::Plan> plans = CompileAll(c, 2);
    ASSERT_FALSE(plans.empty());
    ExpectGolden("network_" + name + ".plan", PrintPlan(plans[0]));
  }
}

TEST(LowerTest, APlanDoesNotGrowWithTheGroup) {
  std::map<int, size_t> tasks;
  for (int n : {2, 16, 32}) {
    Case c{{{"dp", n}}, 1, n};
    tasks[n] = static_cast<size_t>(CompileAll(c)[0].tasks_size());
  }
  EXPECT_LT(tasks[2], tasks[16]);  // few give each other their own: no ring
  EXPECT_EQ(tasks[16], tasks[32]);
}

// Sums of 16 MiB: each rank sends the shares from where they lie, 4 MiB at a time, and holds two of them.
TEST(LowerTest, LargeSharesTravelInPieces) {
  const std::vector<plan::Plan> plans = CompileAll({{{"dp", 2}}, 1, 2, 24, 2048}, 1);
  ASSERT_EQ(plans.size(), 2u);
  for (const plan::Plan& plan : plans) {
    int sends = 0;
    for (const plan::Task& task : plan.tasks()) {
      EXPECT_NE(task.op(), "ring_send");
      if (task.kind() != plan::SEND || task.level() != plan::CHUNK) continue;
      ++sends;
      EXPECT_EQ(task.chunks(), 4u);
      EXPECT_EQ(Attrs::FromProto(task.attrs()).Int("pieces"), 2);
      EXPECT_EQ(plan.channels(static_cast<int>(task.channel())).bytes(), 4 << 20);
      EXPECT_EQ(plan.registers(static_cast<int>(task.inputs(0).register_())).bytes(), 16 << 20);
    }
    EXPECT_EQ(sends, 1);
    for (const plan::Register& reg : plan.registers()) {
      if (plan.tasks(static_cast<int>(reg.producer())).kind() == plan::RECV &&
          reg.level() == plan::CHUNK) {
        EXPECT_EQ(int64_t{reg.slots()} * reg.bytes(), 8 << 20);
      }
    }
  }
  const absl::Status status = VerifyPlans({&plans[0], &plans[1]});
  EXPECT_TRUE(status.ok()) << status;
  // What is wrong in a sender is found by the proofs of all ranks: another share first, whole shares for pieces.
  const auto changed = [&](const std::string& name, int64_t value) {
    plan::Plan other = plans[1];
    for (plan::Task& task : *other.mutable_tasks()) {
      if (task.kind() != plan::SEND || task.level() != plan::CHUNK) continue;
      Attrs attrs = Attrs::FromProto(task.attrs());
      attrs.Set(name, value);
      task.clear_attrs();
      attrs.ToProto(task.mutable_attrs());
    }
    return MessageOf(VerifyPlans({&plans[0], &other}));
  };
  EXPECT_NE(changed("base", 1).find("dataflow"), std::string::npos) << changed("base", 1);
  EXPECT_NE(changed("pieces", 1).find("moves 8388608 bytes"), std::string::npos)
      << changed("pieces", 1);
  EXPECT_NE(changed("units", 1000).find("unequal pieces"), std::string::npos)
      << changed("units", 1000);
}

TEST(LowerTest, SameInputSameBytes) {
  const Case c{{{"dp", 2}, {"pp", 2}}, 4, 2};
  const auto a = CompileAll(c);
  const auto b = CompileAll(c);
  for (size_t r = 0; r < a.size(); ++r)
    EXPECT_EQ(a[r].SerializeAsString(), b[r].SerializeAsString());
}

TEST(LowerTest, TooLittleMemoryNamesTheLargestRegisters) {
  CompileOptions options;
  options.mesh = {{{"dp", 1}}, {0}};
  plan::Target target = CpuTarget(1, 1);
  target.mutable_devices(0)->set_memory_bytes(2000);
  const auto result = Compile(Network(2, 1), target, options);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(KindOf(result.status()), ErrorKind::kOutOfMemory);
  EXPECT_NE(MessageOf(result.status()).find("net.py:1"), std::string::npos) << result.status();
}

}  // namespace
}  // namespace oneflow
