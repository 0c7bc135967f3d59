// Sums by level of links, from the choice to the plans of all ranks: what a device brings over which link.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "compiler/compile.h"
#include "compiler/parallel/step_builder_for_test.h"
#include "plan/verify.h"

namespace oneflow {
namespace {

// Hosts of `per_host` devices on fast links and a slow network between them; a rank has `per_rank` devices.
plan::Target Hosts(int devices, int per_host, int per_rank = 1) {
  plan::Target target = CpuTarget(devices, per_rank);
  target.clear_links();
  AddLink("memory", 1, 0, 10'000, &target);
  AddLink("nvlink", per_host, 1'000, 100'000, &target);
  AddLink("network", 0, 20'000, 1'000, &target);
  return target;
}

// An MLP of so many layers of different sizes; trained with momentum.
StepBuilder Mlp(int layers, int64_t batch, int64_t width) {
  StepBuilder b;
  ValueId x = b.Input("x", {batch, width});
  const ValueId labels = b.Input("labels", {batch}, "i64");
  int64_t in = width;
  for (int i = 0; i < layers; ++i) {
    const int64_t out = i + 1 == layers ? width : width * (1 + (i + 1) % 3);
    x = b.Op("relu", {b.Linear(x, b.Parameter("fc" + std::to_string(i), {in, out}))});
    in = out;
  }
  b.Train(b.CrossEntropy(x, labels));
  return b;
}

absl::StatusOr<plan::KernelRow> Describe(const KernelQuery& query, const plan::Plan&) {
  plan::KernelRow row;
  row.set_key(query.key);
  return row;
}

// The plans of all ranks, proved.
std::vector<plan::Plan> CompileAll(const StepBuilder& step, std::vector<Axis> axes,
                                   plan::Target target, int micro_batches = 1) {
  CompileOptions options;
  options.micro_batches = micro_batches;
  options.mesh = MeshOf(std::move(axes));
  options.world_size = static_cast<int>(target.devices(target.devices_size() - 1).rank()) + 1;
  std::vector<plan::Plan> plans;
  std::vector<const plan::Plan*> all;
  for (options.rank = 0; options.rank < options.world_size; ++options.rank) {
    absl::StatusOr<Compiled> compiled =
        CompileComplete(step.graph, &target, options, false, Describe);
    EXPECT_TRUE(compiled.ok()) << compiled.status();
    if (!compiled.ok()) return {};
    plans.push_back(*compiled->plan);
    EXPECT_EQ(VerifyPlan(plans.back()), absl::OkStatus());
  }
  for (const plan::Plan& plan : plans) all.push_back(&plan);
  EXPECT_EQ(VerifyPlans(all), absl::OkStatus());
  return plans;
}

// Bytes that a rank of one device sends to devices of other hosts in a step.
int64_t BytesOverNetwork(const plan::Plan& plan, int per_host) {
  int64_t bytes = 0;
  for (const plan::Task& task : plan.tasks()) {
    if (task.kind() != plan::SEND) continue;
    const plan::ChannelProto& channel = plan.channels(static_cast<int>(task.channel()));
    if (channel.source() / per_host == channel.destination() / per_host) continue;
    bytes += channel.bytes() * std::max<int64_t>(1, task.chunks());
  }
  return bytes;
}

TEST(ByLevelTest, PlansOfAllRanksPassTheProofs) {
  const struct {
    std::vector<Axis> axes;
    int per_host, per_rank, micro, layers;
    int64_t width;
  } cases[] = {
      {{{"dp", 16}}, 8, 1, 1, 2, 64},
      {{{"dp", 16}}, 4, 1, 1, 2, 64},
      {{{"dp", 12}}, 4, 2, 1, 2, 64},
      {{{"dp", 12}}, 4, 1, 1, 1, 8},
      {{{"dp", 22}}, 2, 2, 1, 1, 40},
      {{{"dp", 16}}, 4, 4, 2, 2, 64},
      {{{"dp", 16}}, 4, 8, 1, 2, 8},
      {{{"dp", 10}, {"tp", 2}}, 4, 2, 1, 2, 64},
      {{{"pp", 2}, {"dp", 12}}, 4, 2, 2, 2, 64},
      {{{"dp", 16}}, 4, 2, 1, 8, 128},
  };
  for (const auto& c : cases) {
    int devices = 1;
    for (const Axis& axis : c.axes) devices *= static_cast<int>(axis.size);
    const auto plans = CompileAll(Mlp(c.layers, 4 * devices, c.width), c.axes,
                                  Hosts(devices, c.per_host, c.per_rank), c.micro);
    bool by_level = false;
    for (const plan::Plan& plan : plans) {
      for (const plan::Task& task : plan.tasks()) {
        by_level |= task.op() == "ring_reduce" && task.chunks() < c.axes.back().size - 1;
      }
      for (const plan::ChannelProto& channel : plan.channels())
        by_level |= channel.name().find("direct.1") != std::string::npos;
    }
    EXPECT_TRUE(by_level) << c.axes.back().name << ":" << c.axes.back().size << " width "
                          << c.width;
  }
}

// Each device brings 1/g of what a flat ring takes over the network.
TEST(ByLevelTest, TheNetworkCarriesAShareForEachDevice) {
  const StepBuilder step = Mlp(1, 64, 512);
  const auto by_level = CompileAll(step, {{"dp", 16}}, Hosts(16, 4));
  const auto flat = CompileAll(step, {{"dp", 16}}, Hosts(16, 16));
  ASSERT_EQ(by_level.size(), 16u);
  for (int rank = 0; rank < 16; ++rank) {
    // Of a flat ring only the last of a host sends over the network, and there all that goes round.
    const int64_t bytes = BytesOverNetwork(by_level[rank], 4);
    const int64_t sum = 512 * 512 * 4;
    EXPECT_NEAR(static_cast<double>(bytes), 2.0 * sum / 4 * 3 / 4, 0.02 * sum) << rank;
  }
  EXPECT_GT(BytesOverNetwork(flat[3], 4), 3 * BytesOverNetwork(by_level[3], 4));
}

// Saved where hosts have four devices, followed where they have 16: the same sums, in one process and in many.
TEST(ByLevelTest, DecisionsHoldTheGroups) {
  const auto compile = [](int per_host, int per_rank, std::vector<HeldDecisions> held) {
    plan::Target target = Hosts(16, per_host, per_rank);
    CompileOptions options;
    options.mesh = MeshOf({{"dp", 16}});
    options.world_size = 16 / per_rank;
    options.decisions = std::move(held);
    auto compiled = CompileComplete(Mlp(2, 64, 512).graph, &target, options, false, Describe);
    EXPECT_TRUE(compiled.ok()) << compiled.status();
    return *std::move(compiled);
  };
  const Compiled saved = compile(4, 1, {});
  EXPECT_NE(saved.held_decisions.find(" dp/4 <(B)>"), std::string::npos) << saved.held_decisions;
  const auto held = HeldDecisions::Parse(saved.held_decisions);
  ASSERT_TRUE(held.ok()) << held.status();
  for (const int per_rank : {1, 16}) {
    const Compiled followed = compile(16, per_rank, {*held});
    EXPECT_EQ(followed.held_decisions, saved.held_decisions);
    EXPECT_EQ(followed.plan->graph_fingerprint(), saved.plan->graph_fingerprint());
    EXPECT_NE(compile(16, per_rank, {}).plan->graph_fingerprint(), saved.plan->graph_fingerprint());
  }
}

// Processes of one host are no level of the machine: who holds which device decides no order.
TEST(ByLevelTest, ProcessesAreNoLevel) {
  for (const int per_rank : {1, 2, 4, 16}) {
    plan::Target target = CpuTarget(16, per_rank);
    target.mutable_links(2)->set_latency_ns(500'000);
    CompileOptions options;
    options.mesh = MeshOf({{"dp", 16}});
    options.world_size = 16 / per_rank;
    const auto compiled = CompileComplete(Mlp(2, 64, 512).graph, &target, options, false, Describe);
    ASSERT_TRUE(compiled.ok()) << compiled.status();
    EXPECT_NE(compiled->held_decisions.find(" dp <(B)>"), std::string::npos);
    EXPECT_EQ(compiled->held_decisions.find("dp/"), std::string::npos) << per_rank;
  }
}

// Tasks and channels follow the number of rounds, not of hosts.
TEST(ByLevelTest, APlanDoesNotGrowWithTheHosts) {
  const auto plan_of = [](int devices) {
    plan::Target target = Hosts(devices, 8);
    CompileOptions options;
    options.mesh = MeshOf({{"dp", devices}});
    options.world_size = devices;
    const auto compiled =
        CompileComplete(Mlp(60, 2 * devices, 256).graph, &target, options, false, Describe);
    EXPECT_TRUE(compiled.ok()) << compiled.status();
    return compiled.ok() ? *compiled->plan : plan::Plan();
  };
  const plan::Plan few = plan_of(16), many = plan_of(256);
  EXPECT_LE(many.tasks_size() * 10, few.tasks_size() * 11);
  EXPECT_LE(many.channels_size(), few.channels_size() + 2 * (7 + 3));  // rounds of the loss
}

}  // namespace
}  // namespace oneflow
