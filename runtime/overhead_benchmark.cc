// What a firing costs without its work: chains of tasks on null devices, threads and virtual time.
//   oneflow_runtime_overhead [steps]; ./dev bench firing runs it
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "runtime/plans_for_test.h"
#include "runtime/session.h"

namespace oneflow {
namespace {

double Seconds(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

plan::Plan OnNullDevices(plan::Plan plan) {
  for (plan::DeviceProto& device : *plan.mutable_devices()) device.set_kind("null");
  return plan;
}

void Threads(const char* name, const plan::Plan& plan, const Shape& input, int steps) {
  SessionOptions options;
  options.verify = HasDataflow(plan);
  std::unique_ptr<Session> session = *Session::Create(options);
  const PlanId id = *session->Load(plan);
  const HostTensor x = Filled(input, 1);
  for (int i = 0; i < 10; ++i) session->Discard(*session->Launch(id, {x}));
  (void)session->Wait();
  uint64_t before = 0, after = 0;
  for (const DeviceCounters& counters : session->Counters()) before += counters.firings;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < steps; ++i) session->Discard(*session->Launch(id, {x}));
  (void)session->Wait();
  const double seconds = Seconds(begin);
  for (const DeviceCounters& counters : session->Counters()) after += counters.firings;
  const Session::Waits waits = session->waits();
  std::printf("%-24s %8.0f ns/firing %8.1f us/step %6.2f %% of %llu waits parked\n", name,
              1e9 * seconds / static_cast<double>(after - before), 1e6 * seconds / steps,
              100.0 * static_cast<double>(waits.parked) / static_cast<double>(waits.all + 1),
              static_cast<unsigned long long>(waits.all));
}

void Virtual(const char* name, const plan::Plan& plan, const Shape& input, int steps) {
  VirtualRuntime::Setup setup;
  setup.verify = HasDataflow(plan);
  std::unique_ptr<VirtualRuntime> runtime = *VirtualRuntime::Create({&plan}, setup);
  const std::vector<std::vector<HostTensor>> inputs(static_cast<size_t>(steps), {Filled(input, 1)});
  VirtualOptions options;
  options.steps = steps;
  const auto begin = std::chrono::steady_clock::now();
  const absl::StatusOr<VirtualRun> run = runtime->Run({}, inputs, options);
  std::printf("%-24s %8.0f ns/firing\n", name,
              1e9 * Seconds(begin) / static_cast<double>(run->firings));
}

}  // namespace
}  // namespace oneflow

int main(int argc, char** argv) {
  const int steps = argc > 1 ? std::atoi(argv[1]) : 1000;
  using namespace oneflow;
  Threads("chain of 1000", OnNullDevices(ChainPlan(1000)), {4, 4}, steps);
  Threads("chain of 20", OnNullDevices(ChainPlan(20)), {4, 4}, steps);
  Threads("two threads in turn", OnNullDevices(PingPongPlan(64)), {4, 4}, steps);
  Threads("pipeline, 2 devices", OnNullDevices(PipelinePlan(64, 2)), {256, 4}, steps);
  Virtual("virtual, chain of 1000", ChainPlan(1000), {4, 4}, 20);
  Virtual("virtual, pipeline", PipelinePlan(64, 2), {256, 4}, 20);
  return 0;
}
