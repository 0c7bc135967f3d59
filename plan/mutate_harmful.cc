#include <algorithm>
#include <cctype>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "plan/firings.h"
#include "plan/mutate.h"
#include "plan/mutate_flow.h"
#include "plan/proofs.h"
#include "plan/replay.h"

namespace oneflow {
namespace {

using Items = google::protobuf::RepeatedPtrField<plan::StreamItem>;

constexpr int kRuns = 6;        // per suspect
constexpr uint32_t kSteps = 3;  // of a run
constexpr int kSuspects = 40;   // per kind, before giving up

class Harm {
 public:
  Harm(const plan::Plan& plan, uint64_t seed, int per_kind)
      : plan_(plan), random_(seed), per_kind_(per_kind) {}

  std::vector<Mutation> Make() {
    CreditWithoutRoom();
    CreditTooFew();
    OffsetShifted();
    MissingAfterEdge();
    SwappedStreamOrder();
    SwappedCollectives();
    StampChanged();
    TypeChanged();
    ShardingChanged();
    StateWrittenTwice();
    ConsumerRemoved();
    InPlaceWithoutOrder();
    MissingFiring();
    return std::move(made_);
  }

 private:
  using Pair = std::pair<uint32_t, uint32_t>;

  uint32_t Tasks() const { return static_cast<uint32_t>(plan_.tasks_size()); }
  uint32_t Registers() const { return static_cast<uint32_t>(plan_.registers_size()); }
  const plan::Task& TaskAt(uint32_t t) const { return plan_.tasks(static_cast<int>(t)); }
  const plan::Register& Reg(uint32_t r) const { return plan_.registers(static_cast<int>(r)); }
  const std::string& NameOf(uint32_t task) const { return TaskAt(task).name(); }
  static plan::Task* MutableTask(plan::Plan* plan, uint32_t t) {
    return plan->mutable_tasks(static_cast<int>(t));
  }
  static plan::Register* MutableReg(plan::Plan* plan, uint32_t r) {
    return plan->mutable_registers(static_cast<int>(r));
  }

  // Any, or part of a chain of in-place results: those change together.
  bool Alone(uint32_t r) const {
    if (Reg(r).has_in_place_of()) return false;
    return std::none_of(plan_.registers().begin(), plan_.registers().end(),
                        [&](const plan::Register& other) {
                          return other.has_in_place_of() && other.in_place_of() == r;
                        });
  }

  template <typename Candidate>
  void Shuffle(std::vector<Candidate>* candidates) {
    std::shuffle(candidates->begin(), candidates->end(), random_);
  }
  std::vector<uint32_t> ShuffledRegisters() {
    std::vector<uint32_t> all(Registers());
    for (uint32_t r = 0; r < Registers(); ++r) all[r] = r;
    Shuffle(&all);
    return all;
  }
  std::vector<uint32_t> ShuffledTasks() {
    std::vector<uint32_t> all(Tasks());
    for (uint32_t t = 0; t < Tasks(); ++t) all[t] = t;
    Shuffle(&all);
    return all;
  }
  // (task, register that it reads from another task).
  std::vector<Pair> ShuffledReads() {
    std::vector<Pair> reads;
    for (uint32_t r = 0; r < Registers(); ++r) {
      for (const uint32_t consumer : Reg(r).consumers()) reads.emplace_back(consumer, r);
    }
    Shuffle(&reads);
    return reads;
  }

  // Tries the candidates until `per_kind` mutations are made. `change` says false where a candidate
  // does not fit; what needs a run to be seen gives the tasks to delay there.
  struct Draft {
    const plan::Plan* original = nullptr;
    std::optional<plan::Plan> changed;  // copied when the change is known to fit
    plan::Plan* Edit() {
      if (!changed.has_value()) changed = *original;
      return &*changed;
    }
    std::string item;
    std::vector<std::string> names;
    bool evident = true;  // else only if a run shows it
    std::vector<uint32_t> late;
  };
  template <typename Candidate>
  void Try(const std::string& kind, const std::vector<Candidate>& candidates,
           const std::function<bool(const Candidate&, Draft*)>& change) {
    int made = 0, suspects = 0;
    for (const Candidate& candidate : candidates) {
      if (made >= per_kind_ || suspects >= kSuspects) return;
      Draft draft;
      draft.original = &plan_;
      if (!change(candidate, &draft)) continue;
      ++suspects;
      if (!draft.evident && !ShowsHarm(draft)) continue;
      ++made;
      made_.push_back({kind, true, draft.item, draft.names, std::move(*draft.changed)});
    }
  }

  bool ShowsHarm(const Draft& draft) {
    for (int run = 0; run < kRuns; ++run) {
      const std::vector<uint32_t> late = run % 2 == 0 ? draft.late : std::vector<uint32_t>{};
      if (!Replay(*draft.changed, random_(), kSteps, late).clean()) return true;
    }
    return false;
  }

  void CreditWithoutRoom() {
    Try<uint32_t>("credit without room", ShuffledRegisters(), [&](const uint32_t& r, Draft* draft) {
      const plan::Register& reg = Reg(r);
      const uint32_t producer = reg.producer();
      if (!Alone(r) || reg.bytes() == 0 || TaskAt(producer).kind() == plan::RECV) return false;
      plan::Register* changed = MutableReg(draft->Edit(), r);
      changed->set_slots(reg.slots() + 1);
      changed->set_slot_stride((reg.bytes() + 63) / 64 * 64);
      const int64_t end = reg.offset() + changed->slot_stride() * reg.slots() + reg.bytes();
      draft->evident = end > plan_.devices(static_cast<int>(reg.device())).arena_bytes();
      draft->late = {reg.consumers().begin(), reg.consumers().end()};
      draft->item =
          absl::StrCat("register ", r, " of ", NameOf(producer), ": ", changed->slots(), " slots");
      draft->names = {absl::StrCat("register ", r), NameOf(producer)};
      return true;
    });
  }

  void CreditTooFew() {
    Try<uint32_t>("credit too few", ShuffledRegisters(), [&](const uint32_t& r, Draft* draft) {
      const int64_t least = LeastSlots(plan_, r);
      if (!Alone(r) || least < 2 || TaskAt(Reg(r).producer()).kind() == plan::RECV) return false;
      MutableReg(draft->Edit(), r)->set_slots(static_cast<uint32_t>(least - 1));
      draft->evident = false;
      draft->item = absl::StrCat("register ", r, " of ", NameOf(Reg(r).producer()), ": ", least - 1,
                                 " slots");
      draft->names = {absl::StrCat("register ", r), NameOf(Reg(r).producer())};
      return true;
    });
  }

  void OffsetShifted() {
    Try<Pair>("offset shifted", ShuffledReads(), [&](const Pair& read, Draft* draft) {
      const auto [task, input] = read;
      for (const plan::Port& port : TaskAt(task).outputs()) {
        if (port.has_state() || !Alone(port.register_()) ||
            Reg(port.register_()).device() != Reg(input).device())
          continue;
        const plan::Register& reg = Reg(port.register_());
        const int64_t arena = plan_.devices(static_cast<int>(reg.device())).arena_bytes();
        if (reg.bytes() == 0 || Reg(input).bytes() == 0 || reg.offset() == Reg(input).offset())
          continue;
        if (Reg(input).offset() + reg.slot_stride() * reg.slots() > arena) continue;
        plan::Register* changed = MutableReg(draft->Edit(), port.register_());
        changed->set_offset(Reg(input).offset());
        draft->evident = false;
        draft->item = absl::StrCat("register ", port.register_(), " of ", NameOf(task),
                                   " at its input's bytes");
        draft->names = {absl::StrCat("register ", port.register_()), NameOf(task)};
        return true;
      }
      return false;
    });
  }

  void MissingAfterEdge() {
    std::vector<Pair> edges;  // (task, index)
    for (uint32_t t = 0; t < Tasks(); ++t) {
      for (int i = 0; i < TaskAt(t).after_size(); ++i)
        edges.emplace_back(t, static_cast<uint32_t>(i));
    }
    Shuffle(&edges);
    Try<Pair>("missing after edge", edges, [&](const Pair& edge, Draft* draft) {
      const auto [task, index] = edge;
      const uint32_t other = TaskAt(task).after(static_cast<int>(index)).task();
      MutableTask(draft->Edit(), task)->mutable_after()->DeleteSubrange(static_cast<int>(index), 1);
      draft->evident = false;
      draft->late = {other};
      draft->item = absl::StrCat(NameOf(other), " -> ", NameOf(task));
      draft->names = {NameOf(task), NameOf(other)};
      return true;
    });
  }

  // Lists of items that follow each other directly, outermost first.
  static void Lists(Items* items, std::vector<Items*>* lists) {
    lists->push_back(items);
    for (plan::StreamItem& item : *items) {
      if (item.has_loop()) Lists(item.mutable_loop()->mutable_body(), lists);
    }
  }
  static std::vector<Items*> ListsOf(plan::Plan* plan) {
    std::vector<Items*> lists;
    for (plan::Stream& stream : *plan->mutable_streams()) Lists(stream.mutable_items(), &lists);
    return lists;
  }

  bool Reads(uint32_t reader, uint32_t producer) const {
    return std::any_of(TaskAt(reader).inputs().begin(), TaskAt(reader).inputs().end(),
                       [&](const plan::Port& port) {
                         return !port.has_state() && Reg(port.register_()).producer() == producer;
                       });
  }

  void SwappedStreamOrder() {
    plan::Plan copy = plan_;
    const std::vector<Items*> lists = ListsOf(&copy);
    std::vector<Pair> places;  // (list, position)
    for (uint32_t l = 0; l < lists.size(); ++l) {
      for (int i = 0; i + 1 < lists[l]->size(); ++i) {
        const plan::StreamItem &a = lists[l]->Get(i), &b = lists[l]->Get(i + 1);
        if (!a.has_firing() || !b.has_firing() ||
            a.firing().micro_offset() != b.firing().micro_offset())
          continue;
        if (Reads(b.firing().task(), a.firing().task()))
          places.emplace_back(l, static_cast<uint32_t>(i));
      }
    }
    Shuffle(&places);
    Try<Pair>("swapped stream order", places, [&](const Pair& place, Draft* draft) {
      Items* list = ListsOf(draft->Edit())[place.first];
      const auto i = static_cast<int>(place.second);
      const uint32_t a = list->Get(i).firing().task(), b = list->Get(i + 1).firing().task();
      list->SwapElements(i, i + 1);
      draft->item = absl::StrCat(NameOf(b), " before ", NameOf(a));
      draft->names = {NameOf(a), NameOf(b)};
      return true;
    });
  }

  // The reshard's place in the order if all firings of an item are movement tasks of one reshard.
  std::optional<uint32_t> CollectiveOf(const plan::StreamItem& item) const {
    if (item.has_firing()) {
      const plan::Task& task = TaskAt(item.firing().task());
      if (task.reshard().empty()) return std::nullopt;
      return task.stamp().position();
    }
    std::optional<uint32_t> position;
    for (const plan::StreamItem& inner : item.loop().body()) {
      const std::optional<uint32_t> one = CollectiveOf(inner);
      if (!one.has_value() || (position.has_value() && *position != *one)) return std::nullopt;
      position = one;
    }
    return position;
  }
  static void TasksOf(const plan::StreamItem& item, std::set<uint32_t>* tasks) {
    if (item.has_firing()) tasks->insert(item.firing().task());
    for (const plan::StreamItem& inner : item.loop().body()) TasksOf(inner, tasks);
  }
  // True if one of the tasks reaches another device or rank.
  bool Links(const std::set<uint32_t>& tasks) const {
    return std::any_of(tasks.begin(), tasks.end(), [&](uint32_t t) {
      const plan::Task& task = TaskAt(t);
      if (task.kind() == plan::SEND) return true;
      return std::any_of(task.outputs().begin(), task.outputs().end(), [&](const plan::Port& port) {
        return !port.has_state() && Reg(port.register_()).device() != task.device();
      });
    });
  }

  // One device does two collectives in the other order, with stamps to match.
  void SwappedCollectives() {
    struct Place {
      uint32_t list;
      int a, b, end;  // items [a, b) and [b, end)
    };
    plan::Plan copy = plan_;
    const std::vector<Items*> lists = ListsOf(&copy);
    std::vector<Place> places;
    for (uint32_t l = 0; l < lists.size(); ++l) {
      std::vector<int> starts;
      std::vector<std::optional<uint32_t>> positions;
      for (int i = 0; i < lists[l]->size(); ++i) {
        const std::optional<uint32_t> position = CollectiveOf(lists[l]->Get(i));
        if (!positions.empty() && positions.back() == position) continue;
        starts.push_back(i);
        positions.push_back(position);
      }
      starts.push_back(lists[l]->size());
      for (size_t i = 0; i + 1 < positions.size(); ++i) {
        if (positions[i].has_value() && positions[i + 1].has_value()) {
          places.push_back({l, starts[i], starts[i + 1], starts[i + 2]});
        }
      }
    }
    Shuffle(&places);
    Try<Place>("swapped collectives", places, [&](const Place& place, Draft* draft) {
      std::set<uint32_t> first, second;
      for (int i = place.a; i < place.b; ++i) TasksOf(lists[place.list]->Get(i), &first);
      for (int i = place.b; i < place.end; ++i) TasksOf(lists[place.list]->Get(i), &second);
      if (!Links(first) || !Links(second)) return false;
      const plan::StampProto one = TaskAt(*first.begin()).stamp(),
                             two = TaskAt(*second.begin()).stamp();
      if (one.slot() != two.slot() || one.slot_per_micro() != two.slot_per_micro()) return false;
      Items* list = ListsOf(draft->Edit())[place.list];
      Items swapped;
      for (int i = place.b; i < place.end; ++i) *swapped.Add() = list->Get(i);
      for (int i = place.a; i < place.b; ++i) *swapped.Add() = list->Get(i);
      for (int i = place.a; i < place.end; ++i) *list->Mutable(i) = swapped.Get(i - place.a);
      for (const uint32_t t : first)
        MutableTask(draft->Edit(), t)->mutable_stamp()->set_position(two.position());
      for (const uint32_t t : second)
        MutableTask(draft->Edit(), t)->mutable_stamp()->set_position(one.position());
      for (const std::set<uint32_t>* tasks : {&first, &second}) {
        for (const uint32_t t : *tasks) draft->names.push_back(NameOf(t));
      }
      draft->item = absl::StrCat(NameOf(*second.begin()), " before ", NameOf(*first.begin()));
      return true;
    });
  }

  void StampChanged() {
    Try<Pair>("stamp changed", ShuffledReads(), [&](const Pair& read, Draft* draft) {
      const auto [task, r] = read;
      const uint32_t producer = Reg(r).producer();
      if (TaskAt(producer).level() != TaskAt(task).level()) return false;
      *MutableTask(draft->Edit(), task)->mutable_stamp() = TaskAt(producer).stamp();
      draft->item = absl::StrCat(NameOf(task), " at the stamp of ", NameOf(producer));
      draft->names = {NameOf(task)};
      return true;
    });
  }

  void TypeChanged() {
    Try<uint32_t>("type changed", ShuffledTasks(), [&](const uint32_t& t, Draft* draft) {
      if (TaskAt(t).kind() != plan::COMPUTE || TaskAt(t).outputs_size() == 0) return false;
      plan::Task* task = MutableTask(draft->Edit(), t);
      plan::TensorTypeProto* type = task->mutable_outputs(0)->mutable_type();
      type->set_dtype(type->dtype() == plan::F32 ? plan::I32 : plan::F32);
      draft->item =
          absl::StrCat(NameOf(t), ": output of dtype ", plan::DTypeProto_Name(type->dtype()));
      draft->names = {NameOf(t)};
      return true;
    });
  }

  void ShardingChanged() {
    Try<uint32_t>("sharding changed", ShuffledTasks(), [&](const uint32_t& t, Draft* draft) {
      if (TaskAt(t).kind() != plan::COMPUTE || TaskAt(t).inputs_size() == 0) return false;
      plan::Task* task = MutableTask(draft->Edit(), t);
      plan::Port* port = task->mutable_inputs(0);
      plan::ShardingProto* sharding = port->mutable_sharding();
      if (sharding->sbps_size() < 2) {  // only `pp`: the wrong stage
        sharding->set_stage(sharding->stage() + 1);
      } else {
        plan::SbpProto* sbp = sharding->mutable_sbps(sharding->sbps_size() - 1);
        if (sbp->kind() != plan::SbpProto::B) {
          sbp->set_kind(plan::SbpProto::B);
        } else if (port->logical_shape_size() > 0) {
          sbp->set_kind(plan::SbpProto::S);
          sbp->set_dim(0);
        } else {
          return false;
        }
      }
      draft->item = absl::StrCat(NameOf(t), ": sharding of input 0");
      draft->names = {NameOf(t)};
      return true;
    });
  }

  void StateWrittenTwice() {
    std::map<std::pair<uint32_t, std::string>, std::vector<Pair>>
        writes;  // (device, type) -> (task, output)
    for (uint32_t t = 0; t < Tasks(); ++t) {
      for (int i = 0; i < TaskAt(t).outputs_size(); ++i) {
        const plan::Port& port = TaskAt(t).outputs(i);
        if (!port.has_state()) continue;
        writes[{TaskAt(t).device(), port.type().SerializeAsString()}].emplace_back(
            t, static_cast<uint32_t>(i));
      }
    }
    std::vector<std::pair<Pair, Pair>> pairs;
    for (const auto& [key, list] : writes) {
      for (size_t i = 0; i + 1 < list.size(); ++i) {
        if (list[i].first != list[i + 1].first) pairs.emplace_back(list[i], list[i + 1]);
      }
    }
    Shuffle(&pairs);
    Try<std::pair<Pair, Pair>>(
        "state written twice", pairs, [&](const std::pair<Pair, Pair>& pair, Draft* draft) {
          const auto& [one, two] = pair;
          const plan::Port& kept = TaskAt(one.first).outputs(static_cast<int>(one.second));
          plan::Port* port =
              MutableTask(draft->Edit(), two.first)->mutable_outputs(static_cast<int>(two.second));
          if (port->state() == kept.state()) return false;
          *port = kept;
          const std::string& state = plan_.states(static_cast<int>(kept.state())).name();
          draft->item = absl::StrCat(state, " by ", NameOf(one.first), " and ", NameOf(two.first));
          draft->names = {NameOf(one.first), NameOf(two.first), state};
          return true;
        });
  }

  void ConsumerRemoved() {
    Try<Pair>("consumer removed", ShuffledReads(), [&](const Pair& read, Draft* draft) {
      const auto [task, r] = read;
      auto* consumers = MutableReg(draft->Edit(), r)->mutable_consumers();
      consumers->erase(std::find(consumers->begin(), consumers->end(), task));
      draft->item = absl::StrCat(NameOf(task), " of register ", r);
      draft->names = {NameOf(task)};
      return true;
    });
  }

  void InPlaceWithoutOrder() {
    Try<Pair>("in place without order", ShuffledReads(), [&](const Pair& read, Draft* draft) {
      const auto [task, r] = read;
      const plan::Register& input = Reg(r);
      if (!Alone(r) || input.consumers_size() < 2 || TaskAt(task).kind() != plan::COMPUTE)
        return false;
      for (const plan::Port& port : TaskAt(task).outputs()) {
        if (port.has_state() || !Alone(port.register_())) continue;
        const plan::Register& output = Reg(port.register_());
        if (output.bytes() != input.bytes() || output.slots() != input.slots() ||
            output.level() != input.level() || output.device() != input.device() ||
            input.bytes() == 0) {
          continue;
        }
        plan::Register* result = MutableReg(draft->Edit(), port.register_());
        result->set_in_place_of(r);
        result->set_offset(input.offset());
        result->set_slot_stride(input.slot_stride());
        draft->evident = false;
        for (const uint32_t other : input.consumers()) {
          if (other != task) draft->late.push_back(other);
        }
        draft->item =
            absl::StrCat("register ", port.register_(), " of ", NameOf(task), " over register ", r);
        draft->names = {NameOf(task), absl::StrCat("register ", port.register_()),
                        absl::StrCat("register ", r)};
        return true;
      }
      return false;
    });
  }

  void MissingFiring() {
    std::vector<Pair> places;
    plan::Plan copy = plan_;
    const std::vector<Items*> lists = ListsOf(&copy);
    for (uint32_t l = 0; l < lists.size(); ++l) {
      for (int i = 0; i < lists[l]->size(); ++i) {
        if (lists[l]->Get(i).has_firing() && lists[l]->size() > 1)
          places.emplace_back(l, static_cast<uint32_t>(i));
      }
    }
    Shuffle(&places);
    Try<Pair>("missing firing", places, [&](const Pair& place, Draft* draft) {
      Items* list = ListsOf(draft->Edit())[place.first];
      const uint32_t task = list->Get(static_cast<int>(place.second)).firing().task();
      list->DeleteSubrange(static_cast<int>(place.second), 1);
      draft->item = NameOf(task);
      draft->names = {NameOf(task)};
      return true;
    });
  }

  const plan::Plan& plan_;
  std::mt19937_64 random_;
  const int per_kind_;
  std::vector<Mutation> made_;
};

}  // namespace

std::vector<Mutation> HarmfulMutations(const plan::Plan& plan, uint64_t seed, int per_kind,
                                       bool knows_rules) {
  std::vector<Mutation> mutations = Harm(plan, seed, per_kind).Make();
  for (Mutation& mutation : FlowMutations(plan, seed, per_kind, knows_rules))
    mutations.push_back(std::move(mutation));
  return mutations;
}

bool NamesItem(const std::string& message, const Mutation& mutation) {
  const auto part_of_name = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '@';
  };
  for (const std::string& name : mutation.names) {
    for (size_t at = message.find(name); at != std::string::npos; at = message.find(name, at + 1)) {
      const size_t end = at + name.size();
      const bool begins = at == 0 || !part_of_name(message[at - 1]);
      const bool ends = end >= message.size() || !part_of_name(message[end]);
      if (begins && ends) return true;
    }
  }
  return false;
}

}  // namespace oneflow
