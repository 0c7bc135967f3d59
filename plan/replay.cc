#include "plan/replay.h"

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "plan/firing_graph.h"
#include "plan/firings.h"

namespace oneflow {
namespace {

// One filling of a register: from its producer's first begin until everyone who touches it is done.
struct Filling {
  uint32_t register_id = 0;
  int64_t iteration = 0;
  std::set<uint32_t> users;    // tasks that have still to finish with it
  std::set<uint32_t> running;  // tasks that have a firing on it at this moment
};

class Run {
 public:
  Run(const plan::Plan& plan, uint64_t seed, uint32_t steps, const std::vector<uint32_t>& late)
      : plan_(plan), graph_(plan), steps_(steps), random_(seed), late_(late.begin(), late.end()) {
    alive_.resize(plan.devices_size());
    ended_.assign(plan.tasks_size(), 0);
    for (uint32_t t = 0; t < Count(plan.tasks()); ++t) CollectStates(t);
    uses_.resize(plan.tasks_size());
    for (uint32_t r = 0; r < Count(plan.registers()); ++r) {
      uses_[Reg(r).producer()].insert(r);
      for (const uint32_t consumer : Reg(r).consumers()) uses_[consumer].insert(r);
    }
    // Each stream and task has a rank in the draw; a few draws ignore it.
    for (int s = 0; s < plan.streams_size(); ++s)
      eagerness_.push_back(static_cast<uint32_t>(random_() % 1000));
    Connect();
  }

  ReplayResult Do() {
    for (uint32_t node = 0; node < waits_.size(); ++node) {
      if (waits_[node] == 0) Offer(node);
    }
    size_t done = 0;
    while (!ready_.empty() && result_.clean()) {
      const uint32_t node = Draw();
      ++done;
      (node % 2 == 0) ? Begin(node) : End(node);
      for (const uint32_t to : out_[node]) {
        if (--waits_[to] == 0) Offer(to);
      }
    }
    if (result_.clean() && done < waits_.size()) {
      result_.deadlock = true;
      result_.what = absl::StrCat(waits_.size() - done, " events never become possible");
    }
    return result_;
  }

 private:
  template <typename Items>
  static uint32_t Count(const Items& items) {
    return static_cast<uint32_t>(items.size());
  }
  const plan::Register& Reg(uint32_t r) const { return plan_.registers(static_cast<int>(r)); }
  const plan::Task& TaskAt(uint32_t t) const { return plan_.tasks(static_cast<int>(t)); }

  void CollectStates(uint32_t t) {
    const plan::Task& task = TaskAt(t);
    for (const plan::Port& port : task.inputs()) {
      if (port.has_state()) readers_[{port.state(), task.device()}].insert(t);
    }
    for (const plan::Port& port : task.outputs()) {
      if (port.has_state()) writers_[{port.state(), task.device()}].insert(t);
    }
  }

  // Events: 2 * firing begins, + 1 ends.
  uint32_t Node(uint32_t step, uint32_t index, bool end) const {
    return 2 * (step * graph_.size() + index) + (end ? 1 : 0);
  }
  void Connect() {
    out_.resize(size_t{2} * steps_ * graph_.size());
    waits_.assign(out_.size(), 0);
    const auto add = [&](uint32_t from, uint32_t to) {
      out_[from].push_back(to);
      ++waits_[to];
    };
    for (uint32_t step = 0; step < steps_; ++step) {
      for (uint32_t i = 0; i < graph_.size(); ++i) add(Node(step, i, false), Node(step, i, true));
      for (const FiringEdge& edge : graph_.edges()) {
        const uint64_t later = uint64_t{step} + edge.steps;
        if (later >= steps_) continue;
        const auto to = static_cast<uint32_t>(later);
        const bool receives =
            TaskAt(graph_.TaskOf(edge.from)).kind() == plan::RECV && edge.kind == EdgeKind::kStream;
        add(Node(step, edge.from, !receives), Node(to, edge.to, false));
        if (receives) add(Node(step, edge.from, true), Node(to, edge.to, true));
      }
    }
  }

  FiringId FiringOf(uint32_t node) const {
    return graph_.At(plan_, node / 2 % graph_.size(), node / 2 / graph_.size());
  }

  void Offer(uint32_t node) {
    const uint32_t task = graph_.TaskOf(node / 2 % graph_.size());
    const bool delayed = node % 2 == 1 && late_.contains(task);
    const uint32_t rank = delayed ? 0 : 1 + eagerness_[TaskAt(task).stream()];
    ready_.insert({rank, node});
  }
  uint32_t Draw() {
    auto pick = std::prev(ready_.end());
    if (random_() % 8 == 0 && late_.empty()) {
      pick = ready_.begin();
      std::advance(pick, random_() % std::min<size_t>(ready_.size(), 16));
    }
    const uint32_t node = pick->second;
    ready_.erase(pick);
    return node;
  }

  void Find(const std::string& what) {
    if (!result_.clean()) return;
    result_.clobbered = true;
    result_.what = what;
  }

  static bool Meet(int64_t a, int64_t a_bytes, int64_t b, int64_t b_bytes) {
    return a < b + b_bytes && b < a + a_bytes;
  }
  int64_t FirstByte(const Filling& f) const {
    const plan::Register& reg = Reg(f.register_id);
    return reg.offset() + (reg.slots() > 1 ? reg.slot_stride() * (f.iteration % reg.slots()) : 0);
  }

  void Begin(uint32_t node) {
    const FiringId firing = FiringOf(node);
    CheckStates(firing);
    for (const uint32_t r : uses_[firing.task]) {
      const plan::Register& reg = Reg(r);
      const int64_t iteration = IterationOf(plan_, firing, reg.level());
      std::vector<Filling>& alive = alive_[reg.device()];
      auto filling = std::find_if(alive.begin(), alive.end(), [&](const Filling& f) {
        return f.register_id == r && f.iteration == iteration;
      });
      if (filling == alive.end()) {
        Filling fresh{r, iteration, {}, {}};
        fresh.users.insert(reg.producer());
        fresh.users.insert(reg.consumers().begin(), reg.consumers().end());
        if (firing.task != reg.producer())
          Find(absl::StrCat(FiringName(plan_, firing), " reads an empty register ", r));
        Fill(firing, fresh);
        filling = alive.insert(alive.end(), std::move(fresh));
      }
      filling->running.insert(firing.task);
    }
    for (const uint32_t r : uses_[firing.task]) CheckInPlace(firing, r);
  }

  // Nobody may still need what these bytes hold, but the task itself the input that it overwrites.
  void Fill(const FiringId& firing, const Filling& fresh) {
    const plan::Register& reg = Reg(fresh.register_id);
    for (const Filling& other : alive_[reg.device()]) {
      if (!Meet(FirstByte(fresh), reg.bytes(), FirstByte(other), Reg(other.register_id).bytes()))
        continue;
      if (IsSource(fresh, other)) continue;
      Find(absl::StrCat(FiringName(plan_, firing), " fills register ", fresh.register_id,
                        " over register ", other.register_id, ", which ",
                        TaskAt(*other.users.begin()).name(), " has still to use"));
    }
  }
  // True if `other` is what `fresh` is in place of, directly or through others.
  bool IsSource(const Filling& fresh, const Filling& other) const {
    if (other.iteration != fresh.iteration) return false;
    uint32_t r = fresh.register_id;
    for (int hops = 0; Reg(r).has_in_place_of() && hops < plan_.registers_size(); ++hops) {
      r = Reg(r).in_place_of();
      if (r == other.register_id) return true;
    }
    return false;
  }

  // While someone writes over its input, nobody else may be at it; a kernel must be its last
  // reader.
  void CheckInPlace(const FiringId& firing, uint32_t r) {
    for (const Filling& written : alive_[Reg(r).device()]) {
      const plan::Register& result = Reg(written.register_id);
      if (!result.has_in_place_of() || !written.running.contains(result.producer())) continue;
      for (const Filling& input : alive_[result.device()]) {
        if (!IsSource(written, input)) continue;
        const bool kernel = TaskAt(result.producer()).kind() == plan::COMPUTE;
        for (const uint32_t user : kernel ? input.users : input.running) {
          if (user == result.producer()) continue;
          Find(absl::StrCat(FiringName(plan_, firing), ": ", TaskAt(result.producer()).name(),
                            " writes over register ", input.register_id, ", which ",
                            TaskAt(user).name(), " has still to use"));
        }
      }
    }
  }

  void End(uint32_t node) {
    const FiringId firing = FiringOf(node);
    ++ended_[firing.task];
    for (const uint32_t r : uses_[firing.task]) {
      const plan::Register& reg = Reg(r);
      const int64_t iteration = IterationOf(plan_, firing, reg.level());
      std::vector<Filling>& alive = alive_[reg.device()];
      const auto filling = std::find_if(alive.begin(), alive.end(), [&](const Filling& f) {
        return f.register_id == r && f.iteration == iteration;
      });
      if (filling == alive.end()) continue;
      filling->running.erase(firing.task);
      if (LastFiring(plan_, firing.task, reg.level(), iteration) == firing)
        filling->users.erase(firing.task);
      if (filling->users.empty()) alive.erase(filling);
    }
  }

  // A write waits for all readers of its step; a reader for the writes of the steps before.
  void CheckStates(const FiringId& firing) {
    const plan::Task& task = TaskAt(firing.task);
    const auto check = [&](const plan::Port& port, bool writes) {
      if (!port.has_state()) return;
      const std::pair<uint32_t, uint32_t> key = {port.state(), task.device()};
      for (const uint32_t writer : writers_[key]) {
        if (writer != firing.task && !writes &&
            ended_[writer] < int64_t{firing.step} * graph_.FiringsOf(writer)) {
          Find(absl::StrCat(FiringName(plan_, firing), " reads a state before ",
                            TaskAt(writer).name(), " wrote it"));
        }
        if (writer != firing.task && writes)
          Find(absl::StrCat(task.name(), " and ", TaskAt(writer).name(), " write one state"));
      }
      for (const uint32_t reader : readers_[key]) {
        if (reader != firing.task && writes &&
            ended_[reader] < int64_t{firing.step + 1} * graph_.FiringsOf(reader)) {
          Find(absl::StrCat(FiringName(plan_, firing), " writes a state that ",
                            TaskAt(reader).name(), " has still to read"));
        }
      }
    };
    for (const plan::Port& port : task.inputs()) check(port, false);
    for (const plan::Port& port : task.outputs()) check(port, true);
  }

  const plan::Plan& plan_;
  const FiringGraph graph_;
  const uint32_t steps_;
  std::mt19937_64 random_;
  const std::set<uint32_t> late_;
  std::vector<uint32_t> eagerness_;       // by stream
  std::vector<std::set<uint32_t>> uses_;  // by task: registers that it fills or reads
  std::map<std::pair<uint32_t, uint32_t>, std::set<uint32_t>> readers_,
      writers_;                             // by (state, device)
  std::vector<std::vector<uint32_t>> out_;  // by event
  std::vector<uint32_t> waits_;
  std::set<std::pair<uint32_t, uint32_t>> ready_;  // (rank in the draw, event)
  std::vector<std::vector<Filling>> alive_;        // by device
  std::vector<int64_t> ended_;                     // firings, by task
  ReplayResult result_;
};

}  // namespace

ReplayResult Replay(const plan::Plan& plan, uint64_t seed, uint32_t steps,
                    const std::vector<uint32_t>& late) {
  return Run(plan, seed, steps, late).Do();
}

}  // namespace oneflow
