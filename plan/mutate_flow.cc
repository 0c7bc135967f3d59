#include "plan/mutate_flow.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/shape.h"
#include "plan/attrs.h"

namespace oneflow {
namespace {

class WrongNumbers {
 public:
  WrongNumbers(const plan::Plan& plan, uint64_t seed, int per_kind)
      : plan_(plan), random_(seed), per_kind_(per_kind) {}

  std::vector<Mutation> Make(bool rules) {
    ForTasks("alias not declared", [this](uint32_t t, plan::Plan* changed) {
      plan::Task* task = changed->mutable_tasks(static_cast<int>(t));
      if (task->aliases_size() == 0) return false;
      task->mutable_aliases()->RemoveLast();
      return true;
    });
    ForTasks(kUnreducedRead,
             [this](uint32_t t, plan::Plan* changed) { return ReadsUnreduced(t, changed); });
    ForTasks("other reduction",
             [this](uint32_t t, plan::Plan* changed) { return OtherReduction(t, changed); });
    ForTasks("too few chunks reduced", [this](uint32_t t, plan::Plan* changed) {
      return ChangeRing(t, changed, "reduce_chunks",
                        [&](const Attrs& attrs) -> std::optional<int64_t> {
                          if (!ReducesAnything(TaskAt(t), attrs)) return std::nullopt;
                          return 0;
                        });
    });
    ForTasks("ring base shifted", [this](uint32_t t, plan::Plan* changed) {
      return ChangeRing(t, changed, "base", [](const Attrs& attrs) -> std::optional<int64_t> {
        if (attrs.Int("parts") < 2) return std::nullopt;
        return (attrs.Int("base") + 1) % attrs.Int("parts");
      });
    });
    ForTasks("piece moved",
             [this](uint32_t t, plan::Plan* changed) { return MovesPiece(t, changed); });
    if (rules) {
      ForTasks("rule changed", [this](uint32_t t, plan::Plan* changed) {
        if (TaskAt(t).kind() != plan::COMPUTE || TaskAt(t).rule().empty() ||
            TaskAt(t).rule().find("linear") != std::string::npos) {
          return false;
        }
        changed->mutable_tasks(static_cast<int>(t))->mutable_rule()->append(" ; linear");
        return true;
      });
    }
    return std::move(made_);
  }

 private:
  static constexpr char kUnreducedRead[] = "unreduced register read";

  // The movement between what is read now and what was read, with the other members of its ring: they
  // hold bytes that are kept too short.
  void AddMoversBefore(uint32_t t, std::vector<std::string>* names) const {
    for (const plan::Port& port : TaskAt(t).inputs()) {
      if (port.has_state()) continue;
      uint32_t producer = Reg(port.register_()).producer();
      while (TaskAt(producer).kind() == plan::MOVE) {
        const std::vector<std::string> members = NamesBehind(plan_, producer);
        names->insert(names->end(), members.begin(), members.end());
        if (TaskAt(producer).inputs_size() == 0 || TaskAt(producer).inputs(0).has_state()) break;
        producer = Reg(TaskAt(producer).inputs(0).register_()).producer();
      }
    }
  }

  const plan::Task& TaskAt(uint32_t t) const { return plan_.tasks(static_cast<int>(t)); }
  const plan::Register& Reg(uint32_t r) const { return plan_.registers(static_cast<int>(r)); }

  // Offers the tasks in random order to `change`, which says false where it does not fit.
  void ForTasks(const std::string& kind, const std::function<bool(uint32_t, plan::Plan*)>& change) {
    std::vector<uint32_t> tasks(static_cast<size_t>(plan_.tasks_size()));
    std::iota(tasks.begin(), tasks.end(), 0u);
    std::shuffle(tasks.begin(), tasks.end(), random_);
    int made = 0;
    plan::Plan changed = plan_;
    for (const uint32_t t : tasks) {
      if (made >= per_kind_) return;
      if (!change(t, &changed)) continue;
      ++made;
      std::vector<std::string> names = NamesBehind(plan_, t);
      if (kind == kUnreducedRead) AddMoversBefore(t, &names);
      made_.push_back({kind, true, TaskAt(t).name(), std::move(names), changed});
      changed = plan_;
    }
  }

  // A kernel reads what went into a reduction instead of what came out of it.
  bool ReadsUnreduced(uint32_t t, plan::Plan* changed) const {
    const plan::Task& task = TaskAt(t);
    if (task.kind() != plan::COMPUTE) return false;
    for (int i = 0; i < task.inputs_size(); ++i) {
      if (task.inputs(i).has_state()) continue;
      const uint32_t result = task.inputs(i).register_();
      const std::optional<uint32_t> source = SourceOf(result);
      if (!source.has_value() || Reg(*source).bytes() != Reg(result).bytes()) continue;
      if (Reg(*source).bytes() == 0 || Reg(*source).level() != Reg(result).level() ||
          Reg(*source).device() != Reg(result).device() || Reg(result).consumers_size() < 1) {
        continue;
      }
      int reads = 0;
      for (const plan::Port& port : task.inputs())
        reads += !port.has_state() && port.register_() == result;
      if (reads != 1) continue;
      changed->mutable_tasks(static_cast<int>(t))->mutable_inputs(i)->set_register_(*source);
      auto* from = changed->mutable_registers(static_cast<int>(result))->mutable_consumers();
      from->erase(std::find(from->begin(), from->end(), t));
      auto* to = changed->mutable_registers(static_cast<int>(*source))->mutable_consumers();
      if (std::find(to->begin(), to->end(), t) == to->end()) to->Add(t);
      std::sort(to->begin(), to->end());
      return true;
    }
    return false;
  }

  // A ring of more members than units has empty shares: a member may have nothing to reduce.
  static bool ReducesAnything(const plan::Task& task, const Attrs& attrs) {
    const int64_t units = attrs.Int("units") > 0
                              ? attrs.Int("units")
                              : task.outputs(0).type().shape(static_cast<int>(attrs.Int("dim")));
    return attrs.Int("reduce_chunks") > 0 && units >= attrs.Int("parts");
  }

  // The Partial register from which a chain of movements made `r`.
  std::optional<uint32_t> SourceOf(uint32_t r) const {
    for (int hops = 0; hops < plan_.registers_size(); ++hops) {
      const plan::Task& producer = TaskAt(Reg(r).producer());
      if (producer.kind() == plan::COMPUTE) {
        for (const plan::Port& port : producer.outputs()) {
          if (port.has_state() || port.register_() != r) continue;
          for (const plan::SbpProto& sbp : port.sharding().sbps()) {
            if (sbp.kind() == plan::SbpProto::P) return r;
          }
        }
        return std::nullopt;
      }
      if (producer.kind() != plan::MOVE || producer.inputs_size() == 0 ||
          producer.inputs(0).has_state()) {
        return std::nullopt;
      }
      r = producer.inputs(0).register_();
    }
    return std::nullopt;
  }

  static void SetAttrs(uint32_t t, const Attrs& attrs, plan::Plan* changed) {
    plan::Task* task = changed->mutable_tasks(static_cast<int>(t));
    task->clear_attrs();
    attrs.ToProto(task->mutable_attrs());
  }

  bool OtherReduction(uint32_t t, plan::Plan* changed) const {
    const plan::Task& task = TaskAt(t);
    if (task.kind() != plan::MOVE || task.outputs_size() == 0 || !FromHere(t)) return false;
    Attrs attrs = Attrs::FromProto(task.attrs());
    if (task.op() == "assemble") {
      std::vector<std::string> modes = attrs.Strings("piece_mode");
      const auto sum = std::find(modes.begin(), modes.end(), "sum");
      if (sum == modes.end()) return false;
      *sum = "max";
      attrs.Set("piece_mode", modes);
    } else if (attrs.Has("mode") && attrs.String("mode") == "sum" &&
               (task.op() != "ring_reduce" || ReducesAnything(task, attrs))) {
      attrs.Set("mode", std::string("max"));
    } else {
      return false;
    }
    SetAttrs(t, attrs, changed);
    return true;
  }

  // True if everything that a movement task reads comes from this rank: what another one sends is
  // not known.
  bool FromHere(uint32_t t) const {
    return plan_.world_size() == 1 &&
           std::none_of(TaskAt(t).inputs().begin(), TaskAt(t).inputs().end(),
                        [&](const plan::Port& port) {
                          return !port.has_state() &&
                                 TaskAt(Reg(port.register_()).producer()).kind() == plan::RECV;
                        });
  }

  bool ChangeRing(uint32_t t, plan::Plan* changed, const std::string& name,
                  const std::function<std::optional<int64_t>(const Attrs&)>& value) const {
    if (TaskAt(t).op() != "ring_reduce" || !FromHere(t)) return false;
    Attrs attrs = Attrs::FromProto(TaskAt(t).attrs());
    const std::optional<int64_t> other = value(attrs);
    if (!other.has_value()) return false;
    attrs.Set(name, *other);
    SetAttrs(t, attrs, changed);
    return true;
  }

  // A pack takes its region one element further along a dim where there is one more.
  bool MovesPiece(uint32_t t, plan::Plan* changed) const {
    const plan::Task& task = TaskAt(t);
    if (task.op() != "pack" || plan_.world_size() != 1) return false;
    Attrs attrs = Attrs::FromProto(task.attrs());
    Shape begin = attrs.Ints("begin");
    const Shape& extent = attrs.Ints("extent");
    const auto& frame = task.inputs(0).type().shape();
    for (size_t d = 0; d < begin.size(); ++d) {
      if (extent[d] == 0) return false;
      const bool fits = begin[d] + extent[d] < frame.Get(static_cast<int>(d));
      if (!fits && begin[d] == 0) continue;
      begin[d] += fits ? 1 : -1;
      attrs.Set("begin", begin);
      SetAttrs(t, attrs, changed);
      return true;
    }
    return false;
  }

  const plan::Plan& plan_;
  std::mt19937_64 random_;
  const int per_kind_;
  std::vector<Mutation> made_;
};

}  // namespace

std::vector<std::string> NamesBehind(const plan::Plan& plan, uint32_t t) {
  const auto task = [&](uint32_t id) -> const plan::Task& {
    return plan.tasks(static_cast<int>(id));
  };
  std::vector<uint32_t> open = {t};
  std::set<uint32_t> seen = {t};
  while (!open.empty()) {
    const plan::Task& at = task(open.back());
    open.pop_back();
    if (at.kind() != plan::MOVE) continue;
    for (uint32_t other = 0; other < static_cast<uint32_t>(plan.tasks_size()); ++other) {
      const bool member =
          !at.reshard().empty() && task(other).stamp().position() == at.stamp().position();
      if (member && seen.insert(other).second) open.push_back(other);
    }
    for (const plan::Port& port : at.outputs()) {
      if (port.has_state()) continue;
      for (const uint32_t reader : plan.registers(static_cast<int>(port.register_())).consumers()) {
        if (seen.insert(reader).second) open.push_back(reader);
      }
    }
  }
  std::vector<std::string> names;
  for (const uint32_t id : seen) names.push_back(task(id).name());
  return names;
}

std::vector<Mutation> FlowMutations(const plan::Plan& plan, uint64_t seed, int per_kind,
                                    bool rules) {
  return WrongNumbers(plan, seed, per_kind).Make(rules);
}

}  // namespace oneflow
