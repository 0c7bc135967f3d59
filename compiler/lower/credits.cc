#include "compiler/lower/credits.h"

#include <algorithm>
#include <set>

#include "base/check.h"
#include "plan/firings.h"

namespace oneflow {
namespace {

void FillConsumers(plan::Plan* plan) {
  std::vector<std::set<uint32_t>> consumers(plan->registers_size());
  for (int t = 0; t < plan->tasks_size(); ++t) {
    for (const plan::Port& port : plan->tasks(t).inputs()) {
      if (!port.has_state()) consumers[port.register_()].insert(t);
    }
  }
  for (int r = 0; r < plan->registers_size(); ++r) {
    plan->mutable_registers(r)->mutable_consumers()->Assign(consumers[r].begin(),
                                                            consumers[r].end());
  }
}

bool EnoughSlots(const plan::Plan& plan, const plan::Register& reg, int64_t slots) {
  const int64_t iterations = IterationsPerStep(plan, reg.producer(), reg.level());
  for (uint32_t consumer : reg.consumers()) {
    for (int64_t q = 0; q < iterations; ++q) {
      const Stamp done = StampOf(plan, LastFiring(plan, consumer, reg.level(), q));
      const Stamp refill = StampOf(plan, FirstFiring(plan, reg.producer(), reg.level(), q + slots));
      if (!(done < refill)) return false;
    }
  }
  return true;
}

bool CrossesStreams(const plan::Plan& plan, const plan::Register& reg) {
  const uint32_t stream = plan.tasks(reg.producer()).stream();
  return std::any_of(reg.consumers().begin(), reg.consumers().end(),
                     [&](uint32_t c) { return plan.tasks(c).stream() != stream; });
}

// Registers on the same bytes have the same slots: the most that one of them needs.
void ShareSlots(plan::Plan* plan) {
  for (bool changed = true; changed;) {
    changed = false;
    for (plan::Register& reg : *plan->mutable_registers()) {
      if (!reg.has_in_place_of()) continue;
      plan::Register* below = plan->mutable_registers(reg.in_place_of());
      if (reg.slots() == below->slots()) continue;
      const uint32_t slots = std::max(reg.slots(), below->slots());
      reg.set_slots(slots);
      below->set_slots(slots);
      changed = true;
    }
  }
}

}  // namespace

void GrantCredits(Draft* draft) {
  plan::Plan& plan = draft->plan;
  FillConsumers(&plan);
  for (int r = 0; r < plan.registers_size(); ++r) {
    plan::Register* reg = plan.mutable_registers(r);
    const plan::Task& producer = plan.tasks(reg->producer());
    if (!draft->links.contains(r)) {
      int64_t slots = 1;
      while (!EnoughSlots(plan, *reg, slots)) ++slots;
      const bool prefetch = producer.kind() == plan::FEED;
      const bool waits = slots == 1 && reg->level() == plan::MICRO && CrossesStreams(plan, *reg);
      if (prefetch || waits) ++slots;
      reg->set_slots(slots);
    }
    OF_CHECK(EnoughSlots(plan, *reg, reg->slots())) << producer.name();
    reg->set_slot_stride((reg->bytes() + 63) / 64 * 64);
  }
  ShareSlots(&plan);
}

}  // namespace oneflow
