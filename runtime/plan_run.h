// PlanRun: the moving parts of one loaded plan under the threaded executor: actors, stream
// positions, the ring of invocations.
//
// Owned by the executor. Threads: an actor and a stream belong to one host and are touched only
// under its state lock; the counts of steps only under the executor's progress lock. Read next:
// runtime/actor_host.h.
#ifndef ONEFLOW_RUNTIME_PLAN_RUN_H_
#define ONEFLOW_RUNTIME_PLAN_RUN_H_

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "comm/transport.h"
#include "runtime/actor.h"
#include "runtime/device_queue.h"
#include "runtime/devices/step_work.h"
#include "runtime/program.h"
#include "runtime/stream_order.h"

namespace oneflow {

class ActorHost;

struct PlanRun {
  uint16_t index = 0;  // of the executor; another run may get it when this one has gone
  Program* program = nullptr;
  std::vector<Actor> actors;
  std::vector<StreamOrder> streams;
  std::vector<uint32_t> stream_of;  // task
  std::vector<uint32_t>
      arrived;  // task, RECV: filled slots that wait for their place in the stream
  std::vector<ActorHost*> host_of;  // task
  std::vector<ActorHost*> hosts;    // each once
  std::vector<DeviceQueue> queues;  // stream; fixed addresses
  std::vector<int64_t> posted_ns;  // task: when what is in flight began (SEND, RECV), for the trace
  std::vector<comm::ChannelId> channels;  // by Plan.channels
  std::array<Invocation, Invocation::kWindow> ring;
  std::unique_ptr<StepRunner> runner;      // where steps run as a whole; then no actor has a host
  std::vector<kernels::StepBlock> blocks;  // what the runner reports, of the executor's finisher
  int64_t launched = 0;
  int64_t completed = 0;

  Invocation& InvocationOf(int64_t step) {
    return ring[static_cast<size_t>(step % Invocation::kWindow)];
  }
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_PLAN_RUN_H_
