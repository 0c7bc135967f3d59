#include "plan/needs.h"

#include <algorithm>

namespace oneflow {

bool IsDeviceWork(const plan::Task& task) {
  return task.kind() == plan::COMPUTE || task.kind() == plan::MOVE;
}

bool WritesState(const plan::Task& task) {
  return std::any_of(task.outputs().begin(), task.outputs().end(),
                     [](const plan::Port& port) { return port.has_state(); });
}

bool KeepsGate(const std::string& op) {
  return op == "sgd_update" || op == "adamw_update" || op == "adamw_updates";
}

plan::Need LeastNeed(const plan::Plan& plan, uint32_t from, uint32_t to) {
  const plan::Task& first = plan.tasks(static_cast<int>(from));
  const plan::Task& second = plan.tasks(static_cast<int>(to));
  if (first.may_fail() && WritesState(second)) return plan::FINISHED;
  return IsDeviceWork(first) && IsDeviceWork(second) && first.device() == second.device()
             ? plan::ENQUEUED
             : plan::FINISHED;
}

plan::Need NeedOf(const plan::Register& reg, uint32_t consumer) {
  return std::binary_search(reg.enqueued().begin(), reg.enqueued().end(), consumer)
             ? plan::ENQUEUED
             : plan::FINISHED;
}

bool AnswersLater(const plan::DeviceProto& device) {
  return device.kind() != "cpu" && device.kind() != "null";
}

void MarkNeeds(plan::Plan* plan) {
  const auto enough = [plan](uint32_t from, uint32_t to) {
    const uint32_t device = plan->tasks(static_cast<int>(from)).device();
    return AnswersLater(plan->devices(static_cast<int>(device))) &&
           LeastNeed(*plan, from, to) == plan::ENQUEUED;
  };
  for (plan::Register& reg : *plan->mutable_registers()) {
    reg.clear_enqueued();
    for (const uint32_t consumer : reg.consumers()) {
      if (enough(reg.producer(), consumer)) reg.add_enqueued(consumer);
    }
  }
  for (uint32_t t = 0; t < static_cast<uint32_t>(plan->tasks_size()); ++t) {
    for (plan::AfterEdge& edge : *plan->mutable_tasks(static_cast<int>(t))->mutable_after()) {
      edge.set_need(enough(edge.task(), t) ? plan::ENQUEUED : plan::FINISHED);
    }
  }
}

}  // namespace oneflow
