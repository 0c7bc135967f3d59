#include "compiler/lower/memory_planner.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "plan/firings.h"
#include "plan/happens_before.h"

namespace oneflow {
namespace {

// Closed interval of times at which a register is filled or read.
struct Interval {
  int64_t begin = 0;
  int64_t end = 0;
};

// Registers that share one place by declaration (in_place_of), planned as one.
struct Group {
  std::vector<uint32_t> members;
  std::vector<Interval> busy;  // sorted, disjoint
  int64_t bytes = 0;           // all slots
  bool shares = true;
  int64_t offset = -1;
};

std::vector<Interval> Merge(std::vector<Interval> intervals) {
  std::sort(intervals.begin(), intervals.end(),
            [](const Interval& a, const Interval& b) { return a.begin < b.begin; });
  std::vector<Interval> merged;
  for (const Interval& interval : intervals) {
    if (!merged.empty() && interval.begin <= merged.back().end) {
      merged.back().end = std::max(merged.back().end, interval.end);
    } else {
      merged.push_back(interval);
    }
  }
  return merged;
}

bool Overlap(const std::vector<Interval>& a, const std::vector<Interval>& b) {
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    if (a[i].end < b[j].begin) {
      ++i;
    } else if (b[j].end < a[i].begin) {
      ++j;
    } else {
      return true;
    }
  }
  return false;
}

class MemoryPlanner {
 public:
  explicit MemoryPlanner(Draft* draft) : draft_(*draft), plan_(draft->plan) {}

  absl::Status Plan() {
    MeasureTime();
    DeclareInPlace();
    MakeGroups();
    // A pair that would need an edge against the order of micro-batches must not share: place
    // again.
    while (true) {
      for (int d = 0; d < plan_.devices_size(); ++d) PlaceDevice(d);
      if (!AddEdges()) break;
    }
    return CheckLimits();
  }

 private:
  void MeasureTime() {
    std::vector<std::pair<Stamp, FiringId>> order;
    for (int t = 0; t < plan_.tasks_size(); ++t) {
      for (int64_t i = 0; i < FiringsPerStep(plan_, t); ++i) {
        const FiringId firing = FiringAt(plan_, t, i);
        order.emplace_back(StampOf(plan_, firing), firing);
      }
    }
    std::sort(order.begin(), order.end());
    time_.resize(plan_.tasks_size());
    for (size_t i = 0; i < order.size(); ++i) {
      const FiringId& firing = order[i].second;
      std::vector<int64_t>& times = time_[firing.task];
      times.resize(FiringsPerStep(plan_, firing.task));
      times[OrdinalOf(plan_, firing)] = static_cast<int64_t>(i);
    }
    step_length_ = static_cast<int64_t>(order.size());
  }

  int64_t TimeOf(const FiringId& firing) const {
    const int64_t per_step = static_cast<int64_t>(time_[firing.task].size());
    const int64_t ordinal = OrdinalOf(plan_, firing);
    return ordinal / per_step * step_length_ + time_[firing.task][ordinal % per_step];
  }

  int64_t Iterations(const plan::Register& reg) const {
    return IterationsPerStep(plan_, reg.producer(), reg.level());
  }

  // From the first firing that fills iteration q to the last that reads it.
  Interval BusyAt(const plan::Register& reg, int64_t q) const {
    Interval interval{TimeOf(FirstFiring(plan_, reg.producer(), reg.level(), q)),
                      TimeOf(LastFiring(plan_, reg.producer(), reg.level(), q))};
    for (uint32_t consumer : reg.consumers()) {
      interval.end = std::max(interval.end, TimeOf(LastFiring(plan_, consumer, reg.level(), q)));
    }
    return interval;
  }

  // The last reader of a register, if its kernel can, writes over it.
  void DeclareInPlace() {
    std::set<uint32_t> overwritten;
    for (uint32_t t : draft_.may_overwrite) {
      const plan::Task& task = plan_.tasks(t);
      if (task.inputs_size() == 0 || task.inputs(0).has_state() || task.outputs(0).has_state())
        continue;
      const uint32_t in = task.inputs(0).register_();
      const uint32_t out = task.outputs(0).register_();
      plan::Register* result = plan_.mutable_registers(out);
      const plan::Register& source = plan_.registers(in);
      if (draft_.links.contains(in) || overwritten.contains(in) ||
          source.device() != result->device() || source.bytes() != result->bytes() ||
          source.level() != result->level() || source.slots() != 1 || result->slots() != 1 ||
          plan_.tasks(source.producer()).kind() == plan::FEED) {
        continue;
      }
      int uses = 0;
      for (const plan::Port& port : task.inputs()) {
        if (!port.has_state() && port.register_() == in) ++uses;
      }
      bool last = uses == 1;
      for (uint32_t consumer : source.consumers()) {
        if (consumer == t) continue;
        last = last && plan_.tasks(consumer).stream() == task.stream() &&
               TimeOf(LastFiring(plan_, consumer, source.level(), 0)) <
                   TimeOf(FirstFiring(plan_, t, source.level(), 0));
      }
      if (!last) continue;
      overwritten.insert(in);
      result->set_in_place_of(in);
    }
  }

  void MakeGroups() {
    std::vector<int> group_of(plan_.registers_size(), -1);
    for (int r = 0; r < plan_.registers_size(); ++r) {
      const plan::Register& reg = plan_.registers(r);
      int g;
      if (reg.has_in_place_of()) {
        g = group_of[reg.in_place_of()];
        OF_CHECK(g >= 0) << "an in-place result stands after its input";
      } else {
        g = static_cast<int>(groups_.size());
        groups_.emplace_back();
        groups_[g].bytes = reg.slot_stride() * reg.slots();
        groups_[g].shares =
            !draft_.links.contains(r) && plan_.tasks(reg.producer()).kind() != plan::FEED;
      }
      group_of[r] = g;
      Group& group = groups_[g];
      group.members.push_back(r);
      for (int64_t q = 0; q < Iterations(reg); ++q) group.busy.push_back(BusyAt(reg, q));
    }
    for (Group& group : groups_) group.busy = Merge(std::move(group.busy));
    for (size_t g = 0; g < groups_.size(); ++g) {
      by_device_[plan_.registers(groups_[g].members[0]).device()].push_back(g);
    }
  }

  bool MayShare(size_t a, size_t b) const {
    return groups_[a].shares && groups_[b].shares && !Overlap(groups_[a].busy, groups_[b].busy) &&
           !forbidden_.contains({std::min(a, b), std::max(a, b)});
  }

  // First fit in the given order; returns the size of the arena.
  int64_t Place(const std::vector<size_t>& order, std::vector<int64_t>* offsets) const {
    offsets->assign(groups_.size(), -1);
    std::vector<size_t> placed;
    int64_t arena = 0;
    for (size_t g : order) {
      std::vector<std::pair<int64_t, int64_t>> taken;
      for (size_t other : placed) {
        if (!MayShare(g, other)) {
          taken.emplace_back((*offsets)[other], (*offsets)[other] + groups_[other].bytes);
        }
      }
      std::sort(taken.begin(), taken.end());
      int64_t offset = 0;
      for (const auto& [begin, end] : taken) {
        if (offset + groups_[g].bytes <= begin) break;
        offset = std::max(offset, end);
      }
      (*offsets)[g] = offset;
      arena = std::max(arena, offset + groups_[g].bytes);
      placed.push_back(g);
    }
    return arena;
  }

  void PlaceDevice(int device) {
    std::vector<size_t> by_size = by_device_[device];
    std::vector<size_t> by_time = by_size;
    std::stable_sort(by_size.begin(), by_size.end(),
                     [this](size_t a, size_t b) { return groups_[a].bytes > groups_[b].bytes; });
    std::stable_sort(by_time.begin(), by_time.end(), [this](size_t a, size_t b) {
      return groups_[a].busy.front().begin < groups_[b].busy.front().begin;
    });
    std::vector<int64_t> offsets_by_size, offsets_by_time;
    const int64_t arena_by_size = Place(by_size, &offsets_by_size);
    const int64_t arena_by_time = Place(by_time, &offsets_by_time);
    const std::vector<int64_t>& best =
        arena_by_time < arena_by_size ? offsets_by_time : offsets_by_size;
    for (size_t g : by_size) {
      groups_[g].offset = best[g];
      for (uint32_t r : groups_[g].members) plan_.mutable_registers(r)->set_offset(best[g]);
    }
    plan_.mutable_devices(device)->set_arena_bytes(std::min(arena_by_size, arena_by_time));
  }

  // Adds the edges that keep sharing registers apart. Returns true if a pair had to be forbidden
  // instead.
  bool AddEdges() {
    const HappensBefore before(plan_);
    std::set<std::tuple<uint32_t, uint32_t, int, uint32_t>> edges;  // (task, after, level, lag)
    bool forbade = false;
    for (auto& [device, list] : by_device_) {
      for (size_t i = 0; i < list.size(); ++i) {
        for (size_t j = 0; j < list.size(); ++j) {
          Group& a = groups_[list[i]];
          Group& b = groups_[list[j]];
          if (!a.shares || !b.shares) continue;
          if (i != j && (a.bytes == 0 || b.bytes == 0)) continue;
          if (i != j && (a.offset >= b.offset + b.bytes || b.offset >= a.offset + a.bytes))
            continue;
          for (uint32_t x : a.members) {
            for (uint32_t y : b.members) {
              if (x == y ||
                  (plan_.registers(y).has_in_place_of() && plan_.registers(y).in_place_of() == x)) {
                continue;
              }
              if (!Separate(before, x, y, &edges)) {
                OF_CHECK(i != j) << "an in-place result outlives its input's refill";
                forbidden_.insert({std::min(list[i], list[j]), std::max(list[i], list[j])});
                forbade = true;
              }
            }
          }
        }
      }
    }
    if (forbade) return true;
    for (const auto& [task, after, level, lag] : edges) {
      plan::AfterEdge* edge = plan_.mutable_tasks(task)->add_after();
      edge->set_task(after);
      edge->set_level(static_cast<plan::Level>(level));
      edge->set_lag(lag);
    }
    return false;
  }

  // Every access of x before the next filling of y. False if no edge can say so.
  bool Separate(const HappensBefore& before, uint32_t x, uint32_t y,
                std::set<std::tuple<uint32_t, uint32_t, int, uint32_t>>* edges) const {
    const plan::Register& from = plan_.registers(x);
    const plan::Register& to = plan_.registers(y);
    const int64_t from_count = Iterations(from);
    const int64_t to_count = Iterations(to);
    for (int64_t q = 0; q < from_count; ++q) {
      const int64_t end = BusyAt(from, q).end;
      // The next filling of y, in this step or the following one.
      int64_t next = 0;
      while (next < 2 * to_count &&
             TimeOf(FirstFiring(plan_, to.producer(), to.level(), next)) <= end) {
        ++next;
      }
      OF_CHECK(next < 2 * to_count);
      const FiringId fill = FirstFiring(plan_, to.producer(), to.level(), next);
      std::vector<uint32_t> tasks(from.consumers().begin(), from.consumers().end());
      tasks.push_back(from.producer());
      for (uint32_t task : tasks) {
        const FiringId access = LastFiring(plan_, task, from.level(), q);
        if (task == fill.task || before.Before(access, fill)) continue;
        const bool micro = plan_.micro_batches() > 1 && InMicroLoop(plan_.tasks(task)) &&
                           InMicroLoop(plan_.tasks(fill.task));
        const int64_t steps = static_cast<int64_t>(fill.step) - access.step;
        const int64_t lag = steps * (micro ? plan_.micro_batches() : 1) +
                            (micro ? static_cast<int64_t>(fill.micro) - access.micro : 0);
        if (lag < 0) return false;
        // An edge holds for all micro-batches: it must raise the stamp for each, not for this alone.
        if (micro && !RaisesForAll(task, fill.task, lag)) {
          if (steps < 1) return false;
          edges->insert({fill.task, task, plan::STEP, static_cast<uint32_t>(steps)});
          continue;
        }
        edges->insert(
            {fill.task, task, micro ? plan::MICRO : plan::STEP, static_cast<uint32_t>(lag)});
      }
    }
    return true;
  }

  // True if iteration q + lag of `fill` is stamped behind iteration q of `access` for every q.
  bool RaisesForAll(uint32_t access, uint32_t fill, int64_t lag) const {
    for (int64_t q = 0; q < plan_.micro_batches(); ++q) {
      if (!(StampOf(plan_, LastFiring(plan_, access, plan::MICRO, q)) <
            StampOf(plan_, FirstFiring(plan_, fill, plan::MICRO, q + lag)))) {
        return false;
      }
    }
    return true;
  }

  absl::Status CheckLimits() const {
    for (int d = 0; d < plan_.devices_size(); ++d) {
      const plan::DeviceProto& device = plan_.devices(d);
      const int64_t limit = draft_.target.devices(device.id()).memory_bytes();
      int64_t states = 0;
      for (const plan::StateProto& state : plan_.states()) {
        for (const plan::StateShard& shard : state.shards()) {
          if (static_cast<int>(shard.device()) != d) continue;
          int64_t bytes = SizeOf(static_cast<DType>(state.dtype()));
          for (int64_t extent : shard.shape()) bytes *= extent;
          states += bytes;
        }
      }
      if (limit == 0 || device.arena_bytes() + states <= limit) continue;
      std::vector<std::pair<int64_t, uint32_t>> largest;
      for (int r = 0; r < plan_.registers_size(); ++r) {
        const plan::Register& reg = plan_.registers(r);
        if (static_cast<int>(reg.device()) == d) {
          largest.emplace_back(-reg.slot_stride() * reg.slots(), r);
        }
      }
      std::sort(largest.begin(), largest.end());
      std::string text =
          absl::StrCat("device ", device.id(), " needs ", device.arena_bytes() + states, " bytes (",
                       states, " of parameters and optimizer, ", device.arena_bytes(),
                       " of activations) but has ", limit, ". Largest registers:");
      Location location;
      for (size_t i = 0; i < std::min<size_t>(5, largest.size()); ++i) {
        const plan::Register& reg = plan_.registers(largest[i].second);
        const plan::Task& task = plan_.tasks(reg.producer());
        const Location& line = draft_.graph.location(task.location());
        if (i == 0) location = line;
        absl::StrAppend(&text, "\n  ", -largest[i].first, " bytes  ", task.name(), "  ",
                        line.Short());
      }
      absl::StrAppend(&text,
                      "\nUse a larger mesh, more micro-batches (accumulate=), or a smaller batch");
      return MakeError(ErrorKind::kOutOfMemory, text, location);
    }
    return absl::OkStatus();
  }

  Draft& draft_;
  plan::Plan& plan_;
  std::vector<std::vector<int64_t>> time_;  // by task and ordinal in step 0
  int64_t step_length_ = 0;
  std::vector<Group> groups_;
  std::map<int, std::vector<size_t>> by_device_;
  std::set<std::pair<size_t, size_t>> forbidden_;
};

}  // namespace

absl::Status PlanMemory(Draft* draft) { return MemoryPlanner(draft).Plan(); }

}  // namespace oneflow
