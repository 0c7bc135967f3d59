// Proof 3: whatever shares bytes is ordered. A use is one iteration of a register (with its
// in-place results): it begins with its producer's first firing and ends with the last firing of
// everyone who touches it. Uses are laid over the arena in stamp order; each must begin after all
// that it covers has ended, under any timing. That order is transitive, so neighbours suffice:
// linear in the uses of a period.
#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "plan/firings.h"
#include "plan/proofs.h"

namespace oneflow {
namespace {

const char kNoOverlapProof[] = "no overlap";
constexpr int64_t kMaxUses = int64_t{1} << 24;

// A register with all that is written in place of it: the same bytes, one lifetime.
struct Place {
  std::vector<uint32_t> members;  // each in place of the one before
  std::vector<uint32_t> tasks;    // that touch any of them
  uint32_t first = 0;             // producer of members[0]
  plan::Level level = plan::STEP;
  int64_t iterations = 1;  // per step
  int64_t slots = 1;
  int64_t offset = 0;
  int64_t stride = 0;
  int64_t bytes = 0;
  int64_t end() const { return offset + stride * (slots - 1) + bytes; }
  // Steps after which iterations fall on the same slots again.
  int64_t period() const { return slots / std::gcd(iterations, slots); }
};

// One iteration of a place.
struct Use {
  const Place* place;
  int64_t iteration;
};

class Overlaps {
 public:
  Overlaps(const plan::Plan& plan, const HappensBefore& order) : plan_(plan), order_(order) {}

  absl::Status Prove() {
    MakePlaces();
    for (uint32_t t = 0; t < static_cast<uint32_t>(plan_.tasks_size()); ++t)
      OF_RETURN_IF_ERROR(Aliases(t));
    for (const auto& [device, places] : places_) {
      for (const Place& place : places) {
        OF_RETURN_IF_ERROR(InPlace(place));
        OF_RETURN_IF_ERROR(Refill(place));
      }
      OF_RETURN_IF_ERROR(Arena(device, places));
    }
    return States();
  }

 private:
  const plan::Register& Reg(uint32_t r) const { return plan_.registers(static_cast<int>(r)); }

  void MakePlaces() {
    constexpr uint32_t kNone = 0xffffffffu;
    const auto registers = static_cast<uint32_t>(plan_.registers_size());
    std::vector<uint32_t> result_of(registers, kNone);  // what is in place of a register
    for (uint32_t r = 0; r < registers; ++r) {
      if (Reg(r).has_in_place_of()) result_of[Reg(r).in_place_of()] = r;
    }
    root_.assign(registers, 0);
    for (uint32_t r = 0; r < registers; ++r) {
      const plan::Register& reg = Reg(r);
      if (reg.has_in_place_of()) continue;
      Place place;
      place.first = reg.producer();
      place.level = reg.level();
      place.iterations = IterationsPerStep(plan_, reg.producer(), reg.level());
      place.slots = reg.slots();
      place.offset = reg.offset();
      place.stride = reg.slots() > 1 ? reg.slot_stride() : 0;
      place.bytes = reg.bytes();
      for (uint32_t at = r;;) {
        place.members.push_back(at);
        root_[at] = r;
        place.tasks.push_back(Reg(at).producer());
        place.tasks.insert(place.tasks.end(), Reg(at).consumers().begin(),
                           Reg(at).consumers().end());
        if (result_of[at] == kNone) break;
        at = result_of[at];
      }
      std::sort(place.tasks.begin(), place.tasks.end());
      place.tasks.erase(std::unique(place.tasks.begin(), place.tasks.end()), place.tasks.end());
      places_[reg.device()].push_back(std::move(place));
    }
  }

  // A task that writes what it reads has a kernel that can: it says so for each such pair.
  absl::Status Aliases(uint32_t t) const {
    const plan::Task& task = plan_.tasks(static_cast<int>(t));
    int declared = 0;  // aliases are sorted
    for (int o = 0; o < task.outputs_size(); ++o) {
      for (int i = 0; i < task.inputs_size(); ++i) {
        const plan::Port &output = task.outputs(o), &input = task.inputs(i);
        const bool says = declared < task.aliases_size() &&
                          task.aliases(declared).output() == static_cast<uint32_t>(o) &&
                          task.aliases(declared).input() == static_cast<uint32_t>(i);
        declared += says ? 1 : 0;
        if (says == SameBytes(output, input)) continue;
        const std::string what =
            output.has_state()
                ? absl::StrCat("state ", plan_.states(static_cast<int>(output.state())).name())
                : RegisterText(plan_, output.register_());
        return ProofError(
            plan_, kNoOverlapProof, t,
            says
                ? absl::StrCat(TaskText(plan_, t), " says that it writes ", what, " over input ", i,
                               ", but that lies elsewhere")
                : absl::StrCat(TaskText(plan_, t), " writes ", what, " while it reads it as input ",
                               i, ", and does not say that its kernel can; write a register and ",
                               "copy it afterwards"));
      }
    }
    return absl::OkStatus();
  }
  bool SameBytes(const plan::Port& output, const plan::Port& input) const {
    if (output.has_state() || input.has_state()) {
      return output.has_state() && input.has_state() && output.state() == input.state();
    }
    return Reg(output.register_()).has_in_place_of() &&
           root_[output.register_()] == root_[input.register_()];
  }

  // Whoever touches the place before an in-place result, its writer apart, is done before a kernel
  // writes over it; a movement task (a ring) may alternate with them, firing by firing.
  absl::Status InPlace(const Place& place) const {
    std::set<uint32_t> touched = {place.first};
    // Those who touched it since a kernel wrote over it last, and that kernel: whoever came before is
    // over before that kernel begins, and so before all that begin behind it.
    std::set<uint32_t> recent = touched;
    for (size_t m = 1; m < place.members.size(); ++m) {
      const plan::Register& input = Reg(place.members[m - 1]);
      touched.insert(input.consumers().begin(), input.consumers().end());
      recent.insert(input.consumers().begin(), input.consumers().end());
      const uint32_t writer = Reg(place.members[m]).producer();
      const bool kernel = plan_.tasks(static_cast<int>(writer)).kind() == plan::COMPUTE;
      for (const uint32_t other : kernel ? recent : touched) {
        if (other == writer) continue;
        for (int64_t q = 0; q < place.iterations; ++q) {
          if (kernel ? order_.Before(LastFiring(plan_, other, place.level, q),
                                     FirstFiring(plan_, writer, place.level, q))
                     : Alternate(place, other, writer, q)) {
            continue;
          }
          return ProofError(
              plan_, kNoOverlapProof, writer,
              absl::StrCat(TaskText(plan_, writer), " writes register ", place.members[m], " over ",
                           RegisterText(plan_, place.members[m - 1]), ", but ",
                           TaskText(plan_, other), " may touch it at the same time; order ",
                           plan_.tasks(static_cast<int>(other)).name(),
                           " before it or give register ", place.members[m], " its own bytes"));
        }
      }
      touched.insert(writer);
      if (kernel) recent.clear();
      recent.insert(writer);
    }
    return absl::OkStatus();
  }

  // True if no firing of `other` in the iteration is concurrent with one of `writer`.
  bool Alternate(const Place& place, uint32_t other, uint32_t writer, int64_t q) const {
    const int64_t inner = FiringsPerStep(plan_, writer) / place.iterations;
    const int64_t begin = q * inner;
    const int64_t others = FiringsPerStep(plan_, other) / place.iterations;
    for (int64_t i = q * others; i < (q + 1) * others; ++i) {
      const FiringId firing = FiringAt(plan_, other, i);
      // The writer's firings are in order: those over before `firing` come first, then those that
      // it is before; nothing may lie between.
      int64_t low = begin, high = begin + inner;
      while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (order_.Before(FiringAt(plan_, writer, middle), firing)) {
          low = middle + 1;
        } else {
          high = middle;
        }
      }
      if (low < begin + inner && !order_.Before(firing, FiringAt(plan_, writer, low))) return false;
    }
    return true;
  }

  // Credits order a register's own readers before its refill; an in-place result's readers need it
  // too.
  absl::Status Refill(const Place& place) const {
    for (int64_t q = 0; q < place.iterations && place.members.size() > 1; ++q) {
      OF_RETURN_IF_ERROR(Ordered({&place, q}, {&place, q + place.slots}));
    }
    return absl::OkStatus();
  }

  absl::Status Arena(uint32_t device, const std::vector<Place>& places) const {
    std::vector<const Place*> sorted;
    for (const Place& place : places) {
      if (place.bytes > 0) sorted.push_back(&place);
    }
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const Place* a, const Place* b) { return a->offset < b->offset; });
    // Places that touch, directly or through others, are laid out together.
    for (size_t begin = 0; begin < sorted.size();) {
      int64_t end_byte = sorted[begin]->end();
      size_t end = begin + 1;
      while (end < sorted.size() && sorted[end]->offset < end_byte) {
        end_byte = std::max(end_byte, sorted[end]->end());
        ++end;
      }
      if (end - begin > 1)
        OF_RETURN_IF_ERROR(Lay(device, {sorted.begin() + begin, sorted.begin() + end}));
      begin = end;
    }
    return absl::OkStatus();
  }

  absl::Status Lay(uint32_t device, const std::vector<const Place*>& places) const {
    int64_t period = 1;
    int64_t uses_per_step = 0;
    for (const Place* place : places) {
      uses_per_step += place->iterations;
      period = std::lcm(period, place->period());
      if (2 * period > kMaxUses / uses_per_step) {
        return ProofError(
            plan_, kNoOverlapProof, place->first,
            absl::StrCat("slots repeat only after ", period, " steps, too many to prove; give ",
                         RegisterText(plan_, place->members[0]), " bytes of its own"));
      }
    }
    const FiringGraph& graph = order_.graph();
    // Every slot is used in the first period, and meets in the second what it meets ever after.
    std::vector<std::pair<int64_t, Use>> uses;  // by place in stamp order
    for (const Place* place : places) {
      for (int64_t q = 0; q < place->iterations * 2 * period; ++q) {
        const FiringId begin = FirstFiring(plan_, place->first, place->level, q);
        const uint32_t rank = graph.StampRank(graph.IndexOf(plan_, begin));
        uses.push_back({int64_t{begin.step} * graph.size() + rank, {place, q}});
      }
    }
    std::stable_sort(uses.begin(), uses.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });

    struct Held {
      int64_t end;
      Use use;
    };
    std::map<int64_t, Held> arena;  // by first byte; disjoint
    for (const auto& [time, use] : uses) {
      const int64_t begin =
          use.place->offset + use.place->stride * (use.iteration % use.place->slots);
      const int64_t end = begin + use.place->bytes;
      auto at = arena.upper_bound(begin);
      if (at != arena.begin() && std::prev(at)->second.end > begin) --at;
      std::vector<std::pair<int64_t, Held>> rest;  // of what is covered in part
      while (at != arena.end() && at->first < end) {
        const Held held = at->second;
        absl::Status status = Ordered(held.use, use);
        if (!status.ok()) {
          return WithContext(status, absl::StrCat("bytes [", std::max(at->first, begin), ", ",
                                                  std::min(held.end, end), ") of device ",
                                                  plan_.devices(static_cast<int>(device)).id()));
        }
        if (at->first < begin) rest.push_back({at->first, {begin, held.use}});
        if (held.end > end) rest.push_back({end, held});
        at = arena.erase(at);
      }
      for (const auto& [from, held] : rest) arena.emplace(from, held);
      arena.emplace(begin, Held{end, use});
    }
    return absl::OkStatus();
  }

  absl::Status Ordered(const Use& earlier, const Use& later) const {
    const FiringId begin =
        FirstFiring(plan_, later.place->first, later.place->level, later.iteration);
    for (const uint32_t task : earlier.place->tasks) {
      const FiringId last = LastFiring(plan_, task, earlier.place->level, earlier.iteration);
      if (order_.Before(last, begin)) continue;
      // The steps count from the earlier of the two.
      FiringId a = last, b = begin;
      const uint32_t step = std::min(a.step, b.step);
      a.step -= step;
      b.step -= step;
      std::string members = RegisterText(plan_, earlier.place->members[0]);
      for (size_t m = 1; m < earlier.place->members.size(); ++m) {
        absl::StrAppend(&members, " with ", RegisterText(plan_, earlier.place->members[m]),
                        " in place");
      }
      return ProofError(
          plan_, kNoOverlapProof, task,
          absl::StrCat(FiringName(plan_, a), " (", LocationOfTask(plan_, task).Short(),
                       ") may still use ", members, " when ", FiringName(plan_, b), " (",
                       LocationOfTask(plan_, begin.task).Short(), ") fills ",
                       RegisterText(plan_, later.place->members[0]),
                       " at the same bytes; an after edge from ",
                       plan_.tasks(static_cast<int>(task)).name(), " to ",
                       plan_.tasks(static_cast<int>(begin.task)).name(), " would order them"));
    }
    return absl::OkStatus();
  }

  // Within a step whoever else touches a shard is done before its writer begins, and begins the
  // next step after the writer has ended.
  absl::Status States() const {
    struct Access {
      uint32_t state, device, task;
      bool writes;
      auto operator<=>(const Access&) const = default;
    };
    std::vector<Access> accesses;
    for (uint32_t t = 0; t < static_cast<uint32_t>(plan_.tasks_size()); ++t) {
      const plan::Task& task = plan_.tasks(static_cast<int>(t));
      for (const plan::Port& port : task.inputs()) {
        if (port.has_state()) accesses.push_back({port.state(), task.device(), t, false});
      }
      for (const plan::Port& port : task.outputs()) {
        if (port.has_state()) accesses.push_back({port.state(), task.device(), t, true});
      }
    }
    std::sort(accesses.begin(), accesses.end());
    for (size_t begin = 0, end = 0; begin < accesses.size(); begin = end) {
      std::set<uint32_t> tasks, writers;  // of one shard
      for (; end < accesses.size() && accesses[end].state == accesses[begin].state &&
             accesses[end].device == accesses[begin].device;
           ++end) {
        tasks.insert(accesses[end].task);
        if (accesses[end].writes) writers.insert(accesses[end].task);
      }
      const std::string& name = plan_.states(static_cast<int>(accesses[begin].state)).name();
      for (const uint32_t writer : writers) {
        for (const uint32_t other : tasks) {
          if (writers.contains(other)) continue;  // itself; a second writer is proof 5's
          if (!order_.Before(LastFiring(plan_, other, plan::STEP, 0),
                             FirstFiring(plan_, writer, plan::STEP, 0))) {
            return ProofError(
                plan_, kNoOverlapProof, other,
                absl::StrCat(TaskText(plan_, other), " may still use state ", name, " when ",
                             TaskText(plan_, writer), " writes it; order it before the write"));
          }
          if (!order_.Before(LastFiring(plan_, writer, plan::STEP, 0),
                             FirstFiring(plan_, other, plan::STEP, 1))) {
            return ProofError(
                plan_, kNoOverlapProof, other,
                absl::StrCat(TaskText(plan_, other), " of the next step may use state ", name,
                             " before ", TaskText(plan_, writer), " has written it; let it wait"));
          }
        }
      }
    }
    return absl::OkStatus();
  }

  const plan::Plan& plan_;
  const HappensBefore& order_;
  std::vector<uint32_t> root_;                     // register -> members[0] of its place
  std::map<uint32_t, std::vector<Place>> places_;  // by device
};

}  // namespace

absl::Status ProveNoOverlap(const plan::Plan& plan, const HappensBefore& order) {
  return Overlaps(plan, order).Prove();
}

}  // namespace oneflow
