#include "compiler/lower/memory_planner.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "compiler/lower/first_fit.h"
#include "compiler/lower/schedule.h"
#include "plan/firings.h"
#include "plan/happens_before.h"

namespace oneflow {
namespace {

// A stretch of iterations in which a group is busy without a break.
struct Use {
  Interval busy;
  int64_t first = 0;  // iterations of step 0
  int64_t last = 0;
};

// Registers that share one place by declaration (in_place_of), planned as one.
struct Group {
  std::vector<uint32_t> members;  // each in place of the one before
  std::vector<uint32_t> tasks;    // that touch any of them
  std::vector<Use> uses;          // sorted, disjoint
  int64_t bytes = 0;              // all slots
  bool shares = true;
  int64_t offset = -1;
};

class MemoryPlanner {
 public:
  explicit MemoryPlanner(Draft* draft) : draft_(*draft), plan_(draft->plan) {}

  void Plan() {
    MeasureTime();
    DeclareInPlace();
    MakeGroups();
    // A pair that would need an edge against the order of micro-batches must not share: place
    // again.
    while (true) {
      for (int d = 0; d < plan_.devices_size(); ++d) PlaceDevice(d);
      if (!AddEdges()) break;
    }
  }

 private:
  // Time is the place in the order of stamps, twice: a RECV begins between two places, where its
  // SEND stands in the order of all ranks.
  void MeasureTime() {
    time_.resize(plan_.tasks_size());
    begin_.resize(plan_.tasks_size());
    first_.reserve(plan_.tasks_size());
    for (int t = 0; t < plan_.tasks_size(); ++t) {
      time_[t].resize(FiringsPerStep(plan_, t));
      first_.push_back(firings_);
      firings_ += time_[t].size();
    }
    std::vector<std::pair<Stamp, FiringId>> order;
    order.reserve(firings_);
    for (int t = 0; t < plan_.tasks_size(); ++t) {
      for (size_t i = 0; i < time_[t].size(); ++i) {
        const FiringId firing = FiringAt(plan_, t, static_cast<int64_t>(i));
        order.emplace_back(StampOf(plan_, firing), firing);
      }
    }
    std::sort(order.begin(), order.end());
    for (size_t i = 0; i < order.size(); ++i) {
      const FiringId& firing = order[i].second;
      const int64_t ordinal = OrdinalOf(plan_, firing);
      time_[firing.task][ordinal] = 2 * static_cast<int64_t>(i) + 1;
      if (plan_.tasks(firing.task).kind() != plan::RECV) continue;
      begin_[firing.task].resize(time_[firing.task].size());
      // With the first piece of its exchange: what is received into memory of what is sent beside it would wait.
      Stamp post = BeginStampOf(plan_, firing);
      post.back() -= post.back() % int64_t{kPiecesPerSub};
      const auto posted = std::lower_bound(
          order.begin(), order.end(), post,
          [](const auto& entry, const Stamp& stamp) { return entry.first < stamp; });
      begin_[firing.task][ordinal] = 2 * (posted - order.begin());
    }
    step_length_ = 2 * static_cast<int64_t>(order.size());
  }

  int64_t TimeIn(const std::vector<std::vector<int64_t>>& times, const FiringId& firing) const {
    const int64_t per_step = static_cast<int64_t>(times[firing.task].size());
    const int64_t ordinal = OrdinalOf(plan_, firing);
    return ordinal / per_step * step_length_ + times[firing.task][ordinal % per_step];
  }
  int64_t TimeOf(const FiringId& firing) const { return TimeIn(time_, firing); }
  // When a firing begins to hold what it fills.
  int64_t BeginOf(const FiringId& firing) const {
    return TimeIn(begin_[firing.task].empty() ? time_ : begin_, firing);
  }

  // As FiringGraph numbers the firings of step 0.
  size_t IndexOf(const FiringId& firing) const {
    return first_[firing.task] + static_cast<size_t>(OrdinalOf(plan_, firing));
  }

  int64_t Iterations(const plan::Register& reg) const {
    return IterationsPerStep(plan_, reg.producer(), reg.level());
  }

  // From the first firing that fills iteration q to the last that reads it.
  Interval BusyAt(const plan::Register& reg, int64_t q) const {
    Interval interval{BeginOf(FirstFiring(plan_, reg.producer(), reg.level(), q)),
                      TimeOf(LastFiring(plan_, reg.producer(), reg.level(), q))};
    for (uint32_t consumer : reg.consumers()) {
      interval.end = std::max(interval.end, TimeOf(LastFiring(plan_, consumer, reg.level(), q)));
    }
    return interval;
  }

  // The last reader of a register, if its kernel can, writes over it.
  void DeclareInPlace() {
    std::set<uint32_t> overwritten;
    for (const auto& [t, aliases] : draft_.may_alias) {
      plan::Task* task = plan_.mutable_tasks(t);
      for (const plan::Alias& alias : aliases) {
        const plan::Port& input = task->inputs(alias.input());
        const plan::Port& output = task->outputs(alias.output());
        if (input.has_state() || output.has_state() || overwritten.contains(input.register_()) ||
            plan_.registers(output.register_()).has_in_place_of() ||
            !CanOverwrite(t, input.register_(), output.register_())) {
          continue;
        }
        std::vector<plan::Alias> used;  // one for each time that it reads the register
        for (const plan::Alias& other : aliases) {
          const plan::Port& port = task->inputs(other.input());
          if (other.output() == alias.output() && !port.has_state() &&
              port.register_() == input.register_()) {
            used.push_back(other);
          }
        }
        if (static_cast<int64_t>(used.size()) != ReadsOf(*task, input.register_())) continue;
        overwritten.insert(input.register_());
        plan_.mutable_registers(output.register_())->set_in_place_of(input.register_());
        for (const plan::Alias& each : used) *task->add_aliases() = each;
      }
      std::sort(task->mutable_aliases()->begin(), task->mutable_aliases()->end(),
                [](const plan::Alias& a, const plan::Alias& b) {
                  return std::make_tuple(a.output(), a.input()) <
                         std::make_tuple(b.output(), b.input());
                });
    }
  }

  static int64_t ReadsOf(const plan::Task& task, uint32_t reg) {
    return std::count_if(task.inputs().begin(), task.inputs().end(), [&](const plan::Port& port) {
      return !port.has_state() && port.register_() == reg;
    });
  }

  // True if task `t` reads `in` last, and `out` fits its place.
  bool CanOverwrite(uint32_t t, uint32_t in, uint32_t out) const {
    const plan::Register& source = plan_.registers(in);
    const plan::Register& result = plan_.registers(out);
    if (draft_.links.contains(in) || source.device() != result.device() ||
        source.bytes() != result.bytes() || source.level() != result.level() ||
        source.slots() != 1 || result.slots() != 1 ||
        plan_.tasks(source.producer()).kind() == plan::FEED) {
      return false;
    }
    return std::all_of(
        source.consumers().begin(), source.consumers().end(), [&](uint32_t consumer) {
          return consumer == t || (plan_.tasks(consumer).stream() == plan_.tasks(t).stream() &&
                                   TimeOf(LastFiring(plan_, consumer, source.level(), 0)) <
                                       TimeOf(FirstFiring(plan_, t, source.level(), 0)));
        });
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
        // A feed runs ahead of its stamp.
        groups_[g].shares = plan_.tasks(reg.producer()).kind() != plan::FEED;
      }
      group_of[r] = g;
      Group& group = groups_[g];
      group.members.push_back(r);
      group.tasks.push_back(reg.producer());
      group.tasks.insert(group.tasks.end(), reg.consumers().begin(), reg.consumers().end());
    }
    for (size_t g = 0; g < groups_.size(); ++g) {
      Group& group = groups_[g];
      std::sort(group.tasks.begin(), group.tasks.end());
      group.tasks.erase(std::unique(group.tasks.begin(), group.tasks.end()), group.tasks.end());
      const plan::Register& head = plan_.registers(group.members[0]);
      for (int64_t q = 0; q < Iterations(head); ++q) {
        Interval busy = BusyAt(head, q);
        for (uint32_t r : group.members) {
          busy.end = std::max(busy.end, BusyAt(plan_.registers(r), q).end);
        }
        if (group.uses.empty() || group.uses.back().busy.end < busy.begin) {
          group.uses.push_back({busy, q, q});
        } else {
          group.uses.back().busy.end = std::max(group.uses.back().busy.end, busy.end);
          group.uses.back().last = q;
        }
      }
      by_device_[head.device()].push_back(g);
    }
  }

  // First fit in the given order: each group as low as it may lie. Returns the size of the arena.
  int64_t Place(const std::vector<size_t>& order, std::vector<int64_t>* offsets) const {
    constexpr Interval kAlways{std::numeric_limits<int64_t>::min(),
                               std::numeric_limits<int64_t>::max()};
    offsets->assign(groups_.size(), -1);
    std::vector<int64_t> times;
    for (size_t g : order) {
      for (const Use& use : groups_[g].uses) {
        times.push_back(use.busy.begin);
        times.push_back(use.busy.end);
      }
    }
    FirstFit fit(std::move(times));
    int64_t arena = 0;
    for (size_t g : order) {
      const Group& group = groups_[g];
      if (group.bytes == 0) {
        (*offsets)[g] = 0;
        continue;
      }
      std::vector<Interval> busy;
      for (const Use& use : group.uses) busy.push_back(use.busy);
      if (!group.shares) busy = {kAlways};
      ByteSet avoided;
      for (auto pair = forbidden_.lower_bound({g, 0}); pair != forbidden_.end() && pair->first == g;
           ++pair) {
        const int64_t offset = (*offsets)[pair->second];
        if (offset >= 0) avoided.Add({offset, offset + groups_[pair->second].bytes});
      }
      (*offsets)[g] = fit.Place(busy, group.bytes, avoided);
      arena = std::max(arena, (*offsets)[g] + group.bytes);
    }
    return arena;
  }

  void PlaceDevice(int device) {
    std::vector<size_t> by_size = by_device_[device];
    std::vector<size_t> by_time = by_size;
    std::stable_sort(by_size.begin(), by_size.end(),
                     [this](size_t a, size_t b) { return groups_[a].bytes > groups_[b].bytes; });
    // What shares nothing comes first: it would have to avoid what is over as well.
    std::stable_sort(by_time.begin(), by_time.end(), [this](size_t a, size_t b) {
      return std::make_pair(groups_[a].shares, groups_[a].uses.front().busy.begin) <
             std::make_pair(groups_[b].shares, groups_[b].uses.front().busy.begin);
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

  // Adds the edges that keep sharing registers apart. Uses are laid over the arenas in stamp order,
  // for two steps: each must begin when what it covers is over. That is transitive, so neighbours in
  // a byte's history suffice; what they need is told to the clocks at once, so that an edge which
  // follows from others is not added. Returns true if a pair had to be forbidden instead.
  bool AddEdges() {
    // By the firing's index in a FiringGraph.
    std::vector<std::vector<std::pair<size_t, size_t>>> begins(firings_);  // (group, use)
    std::vector<std::vector<size_t>> refills(
        firings_);  // what another member's users must be over for
    for (size_t g = 0; g < groups_.size(); ++g) {
      const Group& group = groups_[g];
      const plan::Register& head = plan_.registers(group.members[0]);
      if (group.shares && group.bytes > 0) {
        for (size_t u = 0; u < group.uses.size(); ++u) {
          begins[IndexOf(FirstFiring(plan_, head.producer(), head.level(), group.uses[u].first))]
              .emplace_back(g, u);
        }
      }
      if (group.members.size() == 1) continue;
      for (uint32_t r : group.members) {
        for (int64_t q = 0; q < Iterations(head); ++q) {
          refills[IndexOf(FirstFiring(plan_, plan_.registers(r).producer(), head.level(), q))]
              .push_back(g);
        }
      }
    }

    edges_.clear();
    bool forbade = false;
    std::map<uint32_t, std::map<int64_t, Held>> arenas;  // device -> first byte -> what holds it
    const HappensBefore clocks(
        plan_, /*steps=*/0, [&](HappensBefore* order, uint32_t step, uint32_t index) {
          if (step > 1) return;
          if (refills[index].empty() && begins[index].empty()) return;
          FiringId fill = order->graph().At(plan_, index);
          for (size_t g : refills[index]) OrderInside(groups_[g], fill, step, order);
          if (begins[index].empty()) return;
          fill.step = step;
          std::vector<Access> before;
          for (const auto& [g, u] : begins[index]) {
            const Group& group = groups_[g];
            std::map<int64_t, Held>& arena = arenas[plan_.registers(group.members[0]).device()];
            const Held now{group.offset + group.bytes, g, u, step};
            for (const Held& held : Cover(group.offset, now, &arena)) {
              if (held.group != g) AddAccesses(held, g, &before);
            }
          }
          // The latest first: what orders it often orders the others as well.
          std::sort(before.begin(), before.end(), [](const Access& a, const Access& b) {
            return std::tie(b.time, b.firing, b.pair) < std::tie(a.time, a.firing, a.pair);
          });
          for (const Access& access : before) {
            if (Order(access.firing, fill, order)) continue;
            forbidden_.insert(access.pair);
            forbidden_.insert({access.pair.second, access.pair.first});
            forbade = true;
          }
        });
    if (forbade) return true;
    for (const auto& [task, after, level, lag] : edges_) {
      plan::AfterEdge* edge = plan_.mutable_tasks(task)->add_after();
      edge->set_task(after);
      edge->set_level(static_cast<plan::Level>(level));
      edge->set_lag(lag);
    }
    return false;
  }

  // What a byte was last used for.
  struct Held {
    int64_t end = 0;  // of the bytes
    size_t group = 0;
    size_t use = 0;
    uint32_t step = 0;
  };

  // Lays [begin, now.end) over the arena; returns what it covers.
  static std::vector<Held> Cover(int64_t begin, const Held& now, std::map<int64_t, Held>* arena) {
    std::vector<Held> covered;
    auto at = arena->upper_bound(begin);
    if (at != arena->begin() && std::prev(at)->second.end > begin) --at;
    std::vector<std::pair<int64_t, Held>> rest;  // of what is covered in part
    while (at != arena->end() && at->first < now.end) {
      Held held = at->second;
      covered.push_back(held);
      if (held.end > now.end) rest.emplace_back(now.end, held);
      if (at->first < begin) {
        held.end = begin;
        rest.emplace_back(at->first, held);
      }
      at = arena->erase(at);
    }
    arena->insert(rest.begin(), rest.end());
    arena->emplace(begin, now);
    return covered;
  }

  // The end of one task's access to what a use covers.
  struct Access {
    int64_t time = 0;
    FiringId firing;
    std::pair<size_t, size_t> pair;  // the groups that share bytes
  };

  void AddAccesses(const Held& held, size_t covering, std::vector<Access>* accesses) const {
    const Group& group = groups_[held.group];
    const plan::Register& head = plan_.registers(group.members[0]);
    const int64_t q = held.step * Iterations(head) + group.uses[held.use].last;
    for (uint32_t task : group.tasks) {
      const FiringId last = LastFiring(plan_, task, head.level(), q);
      accesses->push_back(
          {TimeOf(last), last, {std::min(held.group, covering), std::max(held.group, covering)}});
    }
  }

  // Credits order a register's own readers before its refill; those of in-place results and of what
  // they overwrite need it too.
  void OrderInside(const Group& group, const FiringId& fill, uint32_t step, HappensBefore* order) {
    const plan::Register& head = plan_.registers(group.members[0]);
    const int64_t q = IterationOf(plan_, fill, head.level()) + step * Iterations(head);
    FiringId first = fill;
    first.step = step;
    for (size_t m = 0; m < group.members.size(); ++m) {
      if (plan_.registers(group.members[m]).producer() != fill.task) continue;
      const bool refills = m == 0;
      if (refills && q < head.slots()) continue;
      const int64_t before = refills ? q - head.slots() : q;
      // Whoever used the members below was over before the one before this was written.
      const size_t begin = refills ? 0 : std::max<size_t>(m, 2) - 2;
      const size_t end = refills ? group.members.size() : m - 1;
      for (size_t i = begin; i < end; ++i) {
        const plan::Register& reg = plan_.registers(group.members[i]);
        std::vector<uint32_t> tasks(reg.consumers().begin(), reg.consumers().end());
        tasks.push_back(reg.producer());
        for (uint32_t task : tasks) {
          OF_CHECK(Order(LastFiring(plan_, task, head.level(), before), first, order))
              << "an in-place result outlives its input's refill";
        }
      }
    }
  }

  // `access` is over before `fill` begins, by an edge if nothing else says so. False if none can.
  bool Order(const FiringId& access, const FiringId& fill, HappensBefore* order) {
    const FiringGraph& graph = order->graph();
    if (access.task == fill.task ||
        order->BeforeInExpansion(access.step, graph.IndexOf(plan_, access), fill.step,
                                 graph.IndexOf(plan_, fill))) {
      return true;
    }
    const bool micro = plan_.micro_batches() > 1 && InMicroLoop(plan_.tasks(access.task)) &&
                       InMicroLoop(plan_.tasks(fill.task));
    const int64_t steps = static_cast<int64_t>(fill.step) - access.step;
    const int64_t lag = steps * (micro ? plan_.micro_batches() : 1) +
                        (micro ? static_cast<int64_t>(fill.micro) - access.micro : 0);
    if (lag < 0) return false;
    plan::AfterEdge edge;
    edge.set_task(access.task);
    edge.set_level(micro ? plan::MICRO : plan::STEP);
    edge.set_lag(static_cast<uint32_t>(lag));
    // An edge holds for all micro-batches: it must raise the stamp for each, not for this alone.
    if (micro && !RaisesForAll(access.task, fill.task, lag)) {
      if (steps < 1) return false;
      edge.set_level(plan::STEP);
      edge.set_lag(static_cast<uint32_t>(steps));
    }
    if (edges_.insert({fill.task, edge.task(), edge.level(), edge.lag()}).second) {
      order->AddAfterEdge(fill.task, edge);
    }
    return true;
  }

  // True if iteration q + lag of `fill` is stamped behind iteration q of `access` for every q.
  bool RaisesForAll(uint32_t access, uint32_t fill, int64_t lag) const {
    for (int64_t q = 0; q < plan_.micro_batches(); ++q) {
      if (!(StampOf(plan_, LastFiring(plan_, access, plan::MICRO, q)) <
            BeginStampOf(plan_, FirstFiring(plan_, fill, plan::MICRO, q + lag)))) {
        return false;
      }
    }
    return true;
  }

  Draft& draft_;
  plan::Plan& plan_;
  std::vector<std::vector<int64_t>> time_;   // by task and ordinal in step 0
  std::vector<std::vector<int64_t>> begin_;  // of RECVs: when their slots are posted at the latest
  int64_t step_length_ = 0;
  std::vector<size_t> first_;  // by task: its first firing's index
  size_t firings_ = 0;
  std::vector<Group> groups_;
  std::map<int, std::vector<size_t>> by_device_;
  std::set<std::pair<size_t, size_t>> forbidden_;  // of groups on the same bytes; both ways round
  std::set<std::tuple<uint32_t, uint32_t, int, uint32_t>> edges_;  // (task, after, level, lag)
};

}  // namespace

void PlanMemory(Draft* draft) { MemoryPlanner(draft).Plan(); }

}  // namespace oneflow
