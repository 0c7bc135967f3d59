#include "runtime/virtual_runtime.h"

#include <gtest/gtest.h>

#include <set>

#include "base/status.h"
#include "runtime/plans_for_test.h"
#include "runtime/session.h"

namespace oneflow {
namespace {

std::unique_ptr<VirtualRuntime> Loaded(const std::vector<plan::Plan>& plans,
                                       const kernels::KernelTable* table, bool verify = true) {
  std::vector<const plan::Plan*> pointers;
  for (const plan::Plan& plan : plans) pointers.push_back(&plan);
  absl::StatusOr<std::unique_ptr<VirtualRuntime>> runtime =
      VirtualRuntime::Create(pointers, {table, verify && HasDataflow(plans[0])});
  EXPECT_TRUE(runtime.ok()) << MessageOf(runtime.status());
  return *std::move(runtime);
}

std::vector<std::vector<HostTensor>> Inputs(const Shape& shape, int steps) {
  std::vector<std::vector<HostTensor>> inputs;
  for (int s = 0; s < steps; ++s) inputs.push_back({Filled(shape, static_cast<float>(s))});
  return inputs;
}

VirtualOptions Options(uint64_t seed, int steps) {
  VirtualOptions options;
  options.seed = seed;
  options.steps = steps;
  return options;
}

// All outputs and states of a run as numbers.
std::vector<float> BitsOf(const VirtualRun& run) {
  std::vector<float> all;
  const auto append = [&](const HostTensor& tensor) {
    const std::vector<float> values = ValuesOf(tensor);
    all.insert(all.end(), values.begin(), values.end());
  };
  for (const std::vector<HostTensor>& step : run.outputs) {
    for (const HostTensor& output : step) append(output);
  }
  for (const auto& [name, state] : run.states) append(state);
  return all;
}

TEST(VirtualRuntimeTest, ManyOrdersGiveTheSameBits) {
  const kernels::KernelTable table = TestKernels();
  const std::vector<std::pair<std::vector<plan::Plan>, Shape>> cases = {
      {{ChainPlan(4, "add", 2)}, {4, 4}},
      {{PipelinePlan(4, 2)}, {16, 4}},
      {TwoRankPlans(6, 2), {4, 4}}};
  for (const auto& [plans, shape] : cases) {
    std::unique_ptr<VirtualRuntime> runtime = Loaded(plans, &table);
    const std::vector<std::vector<HostTensor>> inputs = Inputs(shape, 6);
    std::vector<float> first;
    std::set<uint64_t> orders;
    for (uint64_t seed = 0; seed < 200; ++seed) {
      absl::StatusOr<VirtualRun> run = runtime->Run({}, inputs, Options(seed, 6));
      ASSERT_TRUE(run.ok()) << MessageOf(run.status());
      if (seed == 0) first = BitsOf(*run);
      ASSERT_EQ(BitsOf(*run), first) << plans[0].name() << " seed " << seed;
      orders.insert(run->event_order_hash);
    }
    EXPECT_GE(orders.size(), 190u) << plans[0].name();
  }
}

TEST(VirtualRuntimeTest, TheSameSeedIsTheSameRun) {
  const kernels::KernelTable table = TestKernels();
  std::unique_ptr<VirtualRuntime> runtime = Loaded({PipelinePlan(4, 2)}, &table);
  const std::vector<std::vector<HostTensor>> inputs = Inputs({16, 4}, 3);
  absl::StatusOr<VirtualRun> a = runtime->Run({}, inputs, Options(7, 3));
  absl::StatusOr<VirtualRun> other = runtime->Run({}, inputs, Options(8, 3));
  absl::StatusOr<VirtualRun> b = runtime->Run({}, inputs, Options(7, 3));
  ASSERT_TRUE(a.ok() && b.ok() && other.ok());
  EXPECT_EQ(a->event_order_hash, b->event_order_hash);
  EXPECT_EQ(a->virtual_ns, b->virtual_ns);
  EXPECT_EQ(a->firings, 3u * 21);
  EXPECT_NE(a->event_order_hash, other->event_order_hash);
}

TEST(VirtualRuntimeTest, EqualsTheThreadedExecutor) {
  const kernels::KernelTable table = TestKernels();
  const plan::Plan plan = ChainPlan(4, "add", 2);
  const std::vector<std::vector<HostTensor>> inputs = Inputs({4, 4}, 5);
  std::unique_ptr<VirtualRuntime> runtime = Loaded({plan}, &table);
  absl::StatusOr<VirtualRun> run = runtime->Run({{"w", Filled({4, 4}, 9)}}, inputs, Options(3, 5));
  ASSERT_TRUE(run.ok()) << MessageOf(run.status());
  std::unique_ptr<Session> session = SessionWith(&table);
  const PlanId id = *session->Load(plan);
  ASSERT_TRUE(session->WriteState("w", Filled({4, 4}, 9)).ok());
  for (size_t step = 0; step < inputs.size(); ++step) {
    const InvocationId invocation = *session->Launch(id, inputs[step]);
    EXPECT_EQ(ValuesOf((*session->Fetch(invocation))[0]), ValuesOf(run->outputs[step][0]));
  }
  ASSERT_EQ(run->states.size(), 1u);
  EXPECT_EQ(ValuesOf(*session->ReadState("w")), ValuesOf(run->states[0].second));
}

TEST(VirtualRuntimeTest, WithoutJitterTimeIsTheSumOfTheChain) {
  std::unique_ptr<VirtualRuntime> runtime = Loaded({ChainPlan(4)}, nullptr);
  VirtualOptions options = Options(1, 1);
  options.jitter = 0;
  absl::StatusOr<VirtualRun> run = runtime->Run({}, Inputs({4, 4}, 1), options);
  ASSERT_TRUE(run.ok());
  // Launch, feed, message, four adds, message or the update, fetch: each task 1000 ns, each message
  // 300.
  EXPECT_EQ(run->virtual_ns, 300 + 1000 + 300 + 4000 + 300 + 1000);
  EXPECT_EQ(run->states.size(), 0u);  // no memory without kernels
}

// One credit more than there are bytes: two slots at the same place.
TEST(VirtualRuntimeTest, ACreditTooManyIsFound) {
  const kernels::KernelTable table = TestKernels();
  const std::vector<std::vector<HostTensor>> inputs = Inputs({16, 4}, 6);
  plan::Plan good = PipelinePlan(4, 1);
  plan::Plan bad = PipelinePlan(4, 1);
  bad.mutable_registers(1)->set_slots(2);  // of add.0, read by the move of the other device
  bad.mutable_registers(1)->set_slot_stride(0);
  std::unique_ptr<VirtualRuntime> right = Loaded({good}, &table);
  std::unique_ptr<VirtualRuntime> wrong = Loaded({bad}, &table, /*verify=*/false);
  int differ = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    absl::StatusOr<VirtualRun> expected = right->Run({}, inputs, Options(seed, 6));
    absl::StatusOr<VirtualRun> run = wrong->Run({}, inputs, Options(seed, 6));
    ASSERT_TRUE(expected.ok() && run.ok());
    differ += BitsOf(*expected) != BitsOf(*run);
  }
  EXPECT_GT(differ, 0);
}

// One credit too few: the stream fires the producer twice before its consumer.
TEST(VirtualRuntimeTest, ACreditTooFewDeadlocksAndTheCycleIsPrinted) {
  const kernels::KernelTable table = TestKernels();
  plan::Plan plan = PipelinePlan(2, 2);
  // On device 1 both moves now come before both fetches and sums, on one stream.
  plan.mutable_registers(2)->set_slots(1);
  const uint32_t move = 2, sum = 3;
  plan::Stream* compute = plan.mutable_streams(2);
  compute->clear_items();
  for (const auto& [task, micro] :
       std::vector<std::pair<uint32_t, int>>{{move, 0}, {move, 1}, {sum, 0}, {sum, 1}}) {
    plan::Firing* firing = compute->add_items()->mutable_firing();
    firing->set_task(task);
    firing->set_micro_offset(micro);
  }
  plan.mutable_streams(3)->clear_items();
  plan.mutable_tasks(static_cast<int>(move))->set_stream(2);
  std::unique_ptr<VirtualRuntime> runtime = Loaded({plan}, &table, /*verify=*/false);
  const absl::Status status = runtime->Run({}, Inputs({8, 4}, 1), Options(0, 1)).status();
  ASSERT_FALSE(status.ok());
  const std::string text = MessageOf(status);
  EXPECT_NE(text.find("deadlock with seed 0"), std::string::npos) << text;
  EXPECT_NE(text.find("rank 0 move (model.py:30) step 0 micro 1 waits for a credit of r2 (1 slots) "
                      "from accumulate\n"
                      "  rank 0 accumulate (model.py:40) step 0 micro 0 waits for its turn after "
                      "move\n"),
            std::string::npos)
      << text;
}

// Rank 0 fetches nothing and its plan says so: the outputs are those of rank 1.
TEST(VirtualRuntimeTest, OutputsOfAllRanksAreMergedByName) {
  const kernels::KernelTable table = TestKernels();
  std::vector<plan::Plan> plans = TwoRankPlans(2, 1);
  plans[0].clear_outputs();
  std::unique_ptr<VirtualRuntime> runtime = Loaded(plans, &table);
  absl::StatusOr<VirtualRun> run = runtime->Run({}, Inputs({4, 4}, 2), Options(0, 2));
  ASSERT_TRUE(run.ok()) << MessageOf(run.status());
  EXPECT_EQ(run->output_names, std::vector<std::string>{"y"});
  EXPECT_EQ(ValuesOf(run->outputs[1][0])[0], 2 * (1.0f + 1.0f));
  EXPECT_EQ(KindOf(runtime->Run({}, Inputs({4, 5}, 1), Options(0, 1)).status()), ErrorKind::kData);
  EXPECT_EQ(KindOf(runtime->Run({}, {}, Options(0, 1)).status()), ErrorKind::kData);
}

TEST(VirtualRuntimeTest, PlansMustFitTogether) {
  const kernels::KernelTable table = TestKernels();
  const std::vector<plan::Plan> plans = TwoRankPlans(2, 1);
  EXPECT_FALSE(VirtualRuntime::Create({&plans[1], &plans[0]}, {&table, false}).ok());
  EXPECT_FALSE(VirtualRuntime::Create({&plans[0]}, {&table, false}).ok());
  plan::Plan renamed = plans[1];
  renamed.mutable_channels(0)->set_name("elsewhere");
  EXPECT_FALSE(VirtualRuntime::Create({&plans[0], &renamed}, {&table, false}).ok());
}

}  // namespace
}  // namespace oneflow
