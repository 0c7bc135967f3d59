#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "plan/firing_graph.h"
#include "plan/firings.h"
#include "plan/mutate.h"

namespace oneflow {
namespace {

using Items = google::protobuf::RepeatedPtrField<plan::StreamItem>;

void Renumber(const std::vector<uint32_t>& new_id, Items* items) {
  for (plan::StreamItem& item : *items) {
    if (item.has_firing()) item.mutable_firing()->set_task(new_id[item.firing().task()]);
    if (item.has_loop()) Renumber(new_id, item.mutable_loop()->mutable_body());
  }
}

class NoHarm {
 public:
  NoHarm(const plan::Plan& plan, uint64_t seed, int per_kind)
      : plan_(plan), graph_(plan), random_(seed), per_kind_(per_kind) {}

  std::vector<Mutation> Make() {
    ExtraCredit();
    for (int i = 0; i < per_kind_; ++i) {
      Renumbered();
      ShiftedArena();
      OtherDurations();
    }
    CommutingTasks();
    RedundantEdge();
    return std::move(made_);
  }

 private:
  const plan::Task& TaskAt(uint32_t t) const { return plan_.tasks(static_cast<int>(t)); }
  const plan::Register& Reg(uint32_t r) const { return plan_.registers(static_cast<int>(r)); }
  void Add(const std::string& kind, const std::string& item, plan::Plan plan) {
    made_.push_back({kind, false, item, {}, std::move(plan)});
  }

  // One slot more for a register that lives on one stream (so that no other order leans on its
  // credits), all of its slots on fresh bytes.
  void ExtraCredit() {
    std::vector<uint32_t> candidates;
    for (uint32_t r = 0; r < static_cast<uint32_t>(plan_.registers_size()); ++r) {
      const plan::Register& reg = Reg(r);
      const uint32_t stream = TaskAt(reg.producer()).stream();
      const bool one_stream = std::all_of(reg.consumers().begin(), reg.consumers().end(),
                                          [&](uint32_t c) { return TaskAt(c).stream() == stream; });
      const bool shared =
          reg.has_in_place_of() || std::any_of(plan_.registers().begin(), plan_.registers().end(),
                                               [&](const plan::Register& o) {
                                                 return o.has_in_place_of() && o.in_place_of() == r;
                                               });
      if (one_stream && !shared && TaskAt(reg.producer()).kind() != plan::RECV)
        candidates.push_back(r);
    }
    std::shuffle(candidates.begin(), candidates.end(), random_);
    for (int i = 0; i < per_kind_ && i < static_cast<int>(candidates.size()); ++i) {
      plan::Plan changed = plan_;
      plan::Register* reg = changed.mutable_registers(static_cast<int>(candidates[i]));
      plan::DeviceProto* device = changed.mutable_devices(static_cast<int>(reg->device()));
      reg->set_slots(reg->slots() + 1);
      reg->set_slot_stride((reg->bytes() + 63) / 64 * 64);
      reg->set_offset((device->arena_bytes() + 63) / 64 * 64);
      device->set_arena_bytes(reg->offset() + reg->slot_stride() * reg->slots());
      Add("extra credit with room",
          absl::StrCat("register ", candidates[i], " of ", TaskAt(reg->producer()).name()),
          std::move(changed));
    }
  }

  // Tasks and registers in another order of ids.
  void Renumbered() {
    std::vector<uint32_t> task(plan_.tasks_size()), reg(plan_.registers_size());
    std::iota(task.begin(), task.end(), 0u);
    std::iota(reg.begin(), reg.end(), 0u);
    std::shuffle(task.begin(), task.end(), random_);
    std::shuffle(reg.begin(), reg.end(), random_);
    plan::Plan changed = plan_;
    for (uint32_t t = 0; t < task.size(); ++t) {
      plan::Task* moved = changed.mutable_tasks(static_cast<int>(task[t]));
      *moved = TaskAt(t);
      for (auto* ports : {moved->mutable_inputs(), moved->mutable_outputs()}) {
        for (plan::Port& port : *ports) {
          if (!port.has_state()) port.set_register_(reg[port.register_()]);
        }
      }
      if (moved->has_workspace()) moved->set_workspace(reg[moved->workspace()]);
      for (plan::AfterEdge& edge : *moved->mutable_after()) edge.set_task(task[edge.task()]);
    }
    for (uint32_t r = 0; r < reg.size(); ++r) {
      plan::Register* moved = changed.mutable_registers(static_cast<int>(reg[r]));
      *moved = Reg(r);
      moved->set_producer(task[moved->producer()]);
      for (uint32_t& consumer : *moved->mutable_consumers()) consumer = task[consumer];
      std::sort(moved->mutable_consumers()->begin(), moved->mutable_consumers()->end());
      if (moved->has_in_place_of()) moved->set_in_place_of(reg[moved->in_place_of()]);
    }
    for (plan::Stream& stream : *changed.mutable_streams()) Renumber(task, stream.mutable_items());
    Add("renumbered", "all tasks and registers", std::move(changed));
  }

  void ShiftedArena() {
    plan::Plan changed = plan_;
    const int64_t shift = 64 * (1 + static_cast<int64_t>(random_() % 1000));
    for (plan::Register& reg : *changed.mutable_registers()) reg.set_offset(reg.offset() + shift);
    for (plan::DeviceProto& device : *changed.mutable_devices())
      device.set_arena_bytes(device.arena_bytes() + shift);
    Add("shifted arena", absl::StrCat("all registers by ", shift, " bytes"), std::move(changed));
  }

  void OtherDurations() {
    plan::Plan changed = plan_;
    for (plan::Task& task : *changed.mutable_tasks())
      task.set_duration_ns(static_cast<int64_t>(random_() % 100000));
    Add("other durations", "all tasks", std::move(changed));
  }

  // Bytes that a task touches: its registers, all slots, and its states.
  struct Touched {
    struct Range {
      uint32_t device, register_id;
      int64_t begin, end;
      bool written;
    };
    std::vector<Range> ranges;
    std::set<uint32_t> states;
  };
  Touched TouchedBy(uint32_t t) const {
    Touched touched;
    std::map<uint32_t, bool> registers;  // -> written
    const plan::Task& task = TaskAt(t);
    for (const plan::Port& port : task.inputs()) {
      if (port.has_state()) {
        touched.states.insert(port.state());
      } else {
        registers.try_emplace(port.register_(), false);
      }
    }
    for (const plan::Port& port : task.outputs()) {
      if (port.has_state()) {
        touched.states.insert(port.state());
      } else {
        registers[port.register_()] = true;
      }
    }
    if (task.has_workspace()) registers[task.workspace()] = true;
    for (const auto& [r, written] : registers) {
      const plan::Register& reg = Reg(r);
      touched.ranges.push_back({reg.device(), r, reg.offset(),
                                reg.offset() + reg.slot_stride() * (reg.slots() - 1) + reg.bytes(),
                                written});
    }
    return touched;
  }
  // Touching nothing in common but registers that both read.
  bool Disjoint(uint32_t a, uint32_t b) const {
    const Touched one = TouchedBy(a), two = TouchedBy(b);
    for (const Touched::Range& x : one.ranges) {
      for (const Touched::Range& y : two.ranges) {
        const bool both_read = x.register_id == y.register_id && !x.written && !y.written;
        if (!both_read && x.device == y.device && x.begin < y.end && y.begin < x.end) return false;
      }
    }
    return std::none_of(one.states.begin(), one.states.end(),
                        [&](uint32_t s) { return two.states.contains(s); });
  }

  // Neighbours of one stream that no edge, byte or state ties to each other, that have the same
  // edges to other streams, and between whose stamps nothing else stands: their order is nobody's
  // business.
  void CommutingTasks() {
    using Tie = std::tuple<bool, uint32_t, uint32_t>;  // (into the task, the other firing, steps)
    std::map<uint32_t, std::set<Tie>> ties;            // by task
    std::set<std::pair<uint32_t, uint32_t>> pairs;
    for (const FiringEdge& edge : graph_.edges()) {
      if (edge.kind == EdgeKind::kStream) continue;
      const uint32_t from = graph_.TaskOf(edge.from), to = graph_.TaskOf(edge.to);
      if (graph_.StreamOf(edge.from) != graph_.StreamOf(edge.to)) {
        ties[from].insert({false, edge.to, edge.steps});
        ties[to].insert({true, edge.from, edge.steps});
      }
      pairs.insert({std::min(from, to), std::max(from, to)});
    }
    std::map<std::array<uint32_t, 2>, int> users;  // of (slot, position)
    for (const plan::Task& task : plan_.tasks())
      ++users[{task.stamp().slot(), task.stamp().position()}];

    struct Place {
      int stream, item;
    };
    std::vector<Place> places;
    for (int s = 0; s < plan_.streams_size(); ++s) {
      const Items& items = plan_.streams(s).items();
      for (int i = 0; i + 1 < items.size(); ++i) {
        if (!items[i].has_firing() || !items[i + 1].has_firing()) continue;
        const uint32_t a = items[i].firing().task(), b = items[i + 1].firing().task();
        const plan::Task &x = TaskAt(a), &y = TaskAt(b);
        if (x.level() != plan::STEP || y.level() != plan::STEP || !x.reshard().empty() ||
            !y.reshard().empty())
          continue;
        if (ties[a] != ties[b] || pairs.contains({std::min(a, b), std::max(a, b)})) continue;
        if (x.stamp().slot() != y.stamp().slot() || !Disjoint(a, b)) continue;
        const auto from = users.find({x.stamp().slot(), x.stamp().position()});
        const auto to = users.find({y.stamp().slot(), y.stamp().position()});
        if (from == to || std::next(from) != to) continue;
        places.push_back({s, i});
      }
    }
    std::shuffle(places.begin(), places.end(), random_);
    for (int n = 0; n < per_kind_ && n < static_cast<int>(places.size()); ++n) {
      plan::Plan changed = plan_;
      Items* items = changed.mutable_streams(places[n].stream)->mutable_items();
      const uint32_t a = items->Get(places[n].item).firing().task(),
                     b = items->Get(places[n].item + 1).firing().task();
      items->SwapElements(places[n].item, places[n].item + 1);
      std::swap(*changed.mutable_tasks(static_cast<int>(a))->mutable_stamp(),
                *changed.mutable_tasks(static_cast<int>(b))->mutable_stamp());
      Add("commuting tasks swapped", absl::StrCat(TaskAt(a).name(), " and ", TaskAt(b).name()),
          std::move(changed));
    }
  }

  // An after edge that data says already.
  void RedundantEdge() {
    std::vector<uint32_t> candidates;
    for (uint32_t r = 0; r < static_cast<uint32_t>(plan_.registers_size()); ++r) {
      if (Reg(r).consumers_size() > 0) candidates.push_back(r);
    }
    std::shuffle(candidates.begin(), candidates.end(), random_);
    for (int i = 0; i < per_kind_ && i < static_cast<int>(candidates.size()); ++i) {
      const plan::Register& reg = Reg(candidates[i]);
      plan::Plan changed = plan_;
      plan::AfterEdge* edge =
          changed.mutable_tasks(static_cast<int>(reg.consumers(0)))->add_after();
      edge->set_task(reg.producer());
      edge->set_level(reg.level());
      Add("redundant after edge",
          absl::StrCat(TaskAt(reg.producer()).name(), " -> ", TaskAt(reg.consumers(0)).name()),
          std::move(changed));
    }
  }

  const plan::Plan& plan_;
  const FiringGraph graph_;
  std::mt19937_64 random_;
  const int per_kind_;
  std::vector<Mutation> made_;
};

}  // namespace

std::vector<Mutation> HarmlessMutations(const plan::Plan& plan, uint64_t seed, int per_kind) {
  return NoHarm(plan, seed, per_kind).Make();
}

}  // namespace oneflow
