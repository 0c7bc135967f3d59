// How a plan grows with layers and devices, in counts: times are the benchmark's (plan-scale).
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "compiler/compile.h"
#include "compiler/parallel/step_builder_for_test.h"
#include "plan/firings.h"
#include "plan/verify.h"

namespace oneflow {
namespace {

// An MLP of `layers` square layers; trained with momentum.
StepBuilder Mlp(int layers, int64_t batch, int64_t width = 64) {
  StepBuilder b;
  ValueId x = b.Input("x", {batch, width});
  const ValueId labels = b.Input("labels", {batch}, "i64");
  for (int i = 0; i < layers; ++i) {
    const std::string name = "fc" + std::to_string(i);
    x = b.Op("relu", {b.Op("add", {b.Linear(x, b.Parameter(name + ".weight", {width, width})),
                                   b.Parameter(name + ".bias", {width})})});
  }
  b.Train(b.CrossEntropy(x, labels));
  return b;
}

// Kernels that need a little workspace.
absl::StatusOr<plan::KernelRow> Describe(const KernelQuery& query) {
  plan::KernelRow row;
  row.set_key(query.key);
  row.set_workspace_bytes(query.task.op() == "matmul" ? 256 : 0);
  if (query.task.op() == "relu") row.add_aliases();
  return row;
}

// One rank of one device per rank.
Compiled CompileRank(const StepBuilder& step, std::vector<Axis> axes, int rank,
                     int micro_batches = 1, std::map<std::string, int>* asked = nullptr) {
  CompileOptions options;
  options.rank = rank;
  options.micro_batches = micro_batches;
  options.mesh = MeshOf(std::move(axes));
  options.world_size = static_cast<int>(options.mesh.devices.size());
  plan::Target target = CpuTarget(options.world_size, 1);
  const auto describe = [&](const KernelQuery& query, const plan::Plan&) {
    if (asked != nullptr) ++(*asked)[query.key];
    return Describe(query);
  };
  absl::StatusOr<Compiled> compiled =
      CompileComplete(step.graph, &target, options, /*keep_dumps=*/false, describe);
  for (int k = 1; k < target.kernels_size(); ++k) {
    EXPECT_LT(target.kernels(k - 1).key(), target.kernels(k).key());
  }
  EXPECT_TRUE(compiled.ok()) << compiled.status();
  return compiled.ok() ? *std::move(compiled) : Compiled{};
}

Compiled CompileRank0(const StepBuilder& step, std::vector<Axis> axes,
                      std::map<std::string, int>* asked = nullptr) {
  return CompileRank(step, std::move(axes), /*rank=*/0, /*micro_batches=*/1, asked);
}

// Predicted time of the kernels of a step.
int64_t KernelNs(const plan::Plan& plan) {
  int64_t ns = 0;
  for (int t = 0; t < plan.tasks_size(); ++t) {
    if (plan.tasks(t).kind() == plan::COMPUTE)
      ns += plan.tasks(t).duration_ns() * FiringsPerStep(plan, t);
  }
  return ns;
}

int AfterEdges(const plan::Plan& plan) {
  return std::accumulate(plan.tasks().begin(), plan.tasks().end(), 0,
                         [](int sum, const plan::Task& task) { return sum + task.after_size(); });
}

TEST(PlanSizeTest, ReceivesOfOnePeerShareAStream) {
  const Compiled compiled = CompileRank0(Mlp(12, 16), {{"dp", 4}, {"tp", 2}});
  int receives = 0;
  for (const plan::Task& task : compiled.plan->tasks()) receives += task.kind() == plan::RECV;
  EXPECT_GT(receives, 2);
  // compute, feed, comm, fetch; the three others on dp (small sums go straight) and the one on tp.
  EXPECT_LE(compiled.plan->streams_size(), 8);
  EXPECT_EQ(VerifyPlan(*compiled.plan), absl::OkStatus());
}

// On a fast network small sums travel together: channels and their tasks count bytes.
TEST(PlanSizeTest, ChannelsDoNotCountParameters) {
  const plan::Plan few = *CompileRank0(Mlp(10, 16), {{"dp", 4}}).plan;
  const plan::Plan many = *CompileRank0(Mlp(40, 16), {{"dp", 4}}).plan;
  // 80 parameters of 16 KiB and 256 B; a bucket holds 480 KB.
  EXPECT_LE(many.channels_size(), 2 * (3 + 3));  // the loss with three others; rings
  EXPECT_LE(few.channels_size(), many.channels_size());
  EXPECT_EQ(VerifyPlan(many), absl::OkStatus());
}

TEST(PlanSizeTest, TasksAndChannelsAreThoseOfFewerDevices) {
  const plan::Plan eight = *CompileRank0(Mlp(20, 16), {{"dp", 8}}).plan;
  const plan::Plan many = *CompileRank0(Mlp(20, 128), {{"dp", 64}}).plan;
  EXPECT_LE(many.tasks_size() * 10, eight.tasks_size() * 11);
  EXPECT_LE(many.channels_size(), eight.channels_size());
  EXPECT_EQ(VerifyPlan(many), absl::OkStatus());
}

TEST(PlanSizeTest, AfterEdgesGrowWithTheLayers) {
  const plan::Plan few = *CompileRank0(Mlp(10, 16), {{"dp", 4}}).plan;
  const plan::Plan many = *CompileRank0(Mlp(40, 16), {{"dp", 4}}).plan;
  EXPECT_LE(AfterEdges(many), 5 * AfterEdges(few));
  EXPECT_LE(AfterEdges(many), many.tasks_size());
  EXPECT_EQ(VerifyPlan(many), absl::OkStatus());
}

TEST(PlanSizeTest, NoAfterEdgeFollowsFromTheOthers) {
  const plan::Plan plan = *CompileRank0(Mlp(6, 16), {{"dp", 2}, {"tp", 2}}).plan;
  int edges = 0;
  for (int t = 0; t < plan.tasks_size(); ++t) {
    for (int i = 0; i < plan.tasks(t).after_size(); ++i) {
      const plan::AfterEdge& edge = plan.tasks(t).after(i);
      if (edge.level() == plan::CHUNK) continue;  // of a ring: declared, whatever else orders it
      plan::Plan without = plan;
      auto* after = without.mutable_tasks(t)->mutable_after();
      after->DeleteSubrange(i, 1);
      ++edges;
      EXPECT_FALSE(VerifyPlan(without).ok())
          << plan.tasks(t).name() << " after " << plan.tasks(edge.task()).name();
    }
  }
  EXPECT_GT(edges, 0);
}

TEST(PlanSizeTest, RowsAreAskedForOnce) {
  std::map<std::string, int> asked;
  CompileRank0(Mlp(3, 8), {{"dp", 2}}, &asked);
  EXPECT_GT(asked.size(), 5u);
  for (const auto& [key, times] : asked) EXPECT_EQ(times, 1) << key;
}

// Every stage of a deep pipeline does its share: also the last, which has the loss.
TEST(PlanSizeTest, StagesOfADeepMlpAreBalanced) {
  constexpr int kStages = 8;
  const StepBuilder step = Mlp(256, 16);
  std::vector<int64_t> stages;
  for (int rank = 0; rank < kStages; ++rank) {
    const Compiled compiled = CompileRank(step, {{"pp", kStages}}, rank, /*micro_batches=*/8);
    ASSERT_NE(compiled.plan, nullptr);
    EXPECT_EQ(VerifyPlan(*compiled.plan), absl::OkStatus());
    stages.push_back(KernelNs(*compiled.plan));
  }
  const int64_t mean = std::accumulate(stages.begin(), stages.end(), int64_t{0}) / kStages;
  for (int stage = 0; stage < kStages; ++stage) {
    EXPECT_GE(stages[stage] * 100, mean * 80) << "stage " << stage;
    EXPECT_LE(stages[stage] * 100, mean * 125) << "stage " << stage;
  }
}

}  // namespace
}  // namespace oneflow
