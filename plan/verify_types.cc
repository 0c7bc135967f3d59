// Proof 5: types. A kernel's shardings are legal for its op's rule; every typed port has the shape
// and the place that its sharding gives on that device and micro-batch; states are written once.
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "plan/firings.h"
#include "plan/proofs.h"
#include "plan/shape_of.h"
#include "plan/sharding.h"
#include "plan/sharding_rule.h"

namespace oneflow {
namespace {

const char kTypesProof[] = "types";

class Types {
 public:
  Types(const plan::Plan& plan, const OpRules& rule_of)
      : plan_(plan),
        rule_of_(rule_of),
        mesh_(Mesh::FromProto(plan.mesh())),
        axes_(mesh_.LayoutAxes(static_cast<int>(plan.micro_batches()))) {
    for (int stage = 0; stage < mesh_.stages(); ++stage) {
      const std::vector<int> devices = mesh_.StageDevices(stage);
      for (size_t i = 0; i < devices.size(); ++i) {
        places_[{stage, devices[i]}] = mesh_.StageCoordinates(static_cast<int>(i));
      }
    }
  }

  absl::Status Prove() {
    for (uint32_t s = 0; s < static_cast<uint32_t>(plan_.states_size()); ++s)
      OF_RETURN_IF_ERROR(State(s));
    for (uint32_t t = 0; t < static_cast<uint32_t>(plan_.tasks_size()); ++t) {
      const plan::Task& task = plan_.tasks(static_cast<int>(t));
      for (const plan::Port& port : task.inputs()) OF_RETURN_IF_ERROR(Port(t, port));
      for (const plan::Port& port : task.outputs()) OF_RETURN_IF_ERROR(Port(t, port));
      if (task.kind() == plan::COMPUTE) OF_RETURN_IF_ERROR(Kernel(t));
      if (!task.reshard().empty()) OF_RETURN_IF_ERROR(Reshard(t));
    }
    return WritesOfStates();
  }

 private:
  absl::Status Task(uint32_t t, const std::string& message) const {
    return ProofError(plan_, kTypesProof, t, absl::StrCat(TaskText(plan_, t), ": ", message));
  }

  // The slice that a device holds in micro-batch `micro`; nullopt if it is not of the sharding's
  // stage. REQUIRES: CheckSharding.
  std::optional<Slice> SliceAt(const Sharding& sharding, const Shape& shape, uint32_t device,
                               int64_t micro) const {
    const auto place = places_.find(
        {sharding.stage, static_cast<int>(plan_.devices(static_cast<int>(device)).id())});
    if (place == places_.end()) return std::nullopt;
    std::vector<int64_t> coordinates = {micro};
    coordinates.insert(coordinates.end(), place->second.begin(), place->second.end());
    return SliceOf(sharding, axes_, shape, coordinates);
  }

  absl::Status State(uint32_t s) const {
    const plan::StateProto& state = plan_.states(static_cast<int>(s));
    const Shape shape = ShapeOf(state.logical_shape());
    const Sharding sharding = Sharding::FromProto(state.sharding(), shape.size());
    const auto error = [&](const std::string& what) {
      return MakeError(ErrorKind::kPlan, absl::StrCat(kTypesProof, ": state ", state.name(), " ",
                                                      sharding.ToString(), ": ", what));
    };
    if (absl::Status status = CheckSharding(sharding, axes_, shape); !status.ok())
      return error(MessageOf(status));
    if (sharding.IsPartial()) return error("a state cannot be Partial");
    if (sharding.sbps[0].kind != Sbp::kBroadcast)
      return error("a state cannot differ between micro-batches");
    for (const plan::StateShard& shard : state.shards()) {
      const std::optional<Slice> slice = SliceAt(sharding, shape, shard.device(), 0);
      if (!slice.has_value())
        return error(absl::StrCat("device ", shard.device(), " is on another stage"));
      if (slice->begin != ShapeOf(shard.begin()) || slice->extent != ShapeOf(shard.shape())) {
        return error(absl::StrCat("device ", shard.device(), " holds ",
                                  ToString(ShapeOf(shard.shape())), " at ",
                                  ToString(ShapeOf(shard.begin())), ", its sharding says ",
                                  ToString(slice->extent), " at ", ToString(slice->begin)));
      }
    }
    return absl::OkStatus();
  }

  // Ports of movement tasks may be plain bytes: no sharding.
  absl::Status Port(uint32_t t, const plan::Port& port) const {
    const plan::Task& task = plan_.tasks(static_cast<int>(t));
    if (port.sharding().sbps().empty()) {
      if (task.kind() == plan::COMPUTE) return Task(t, "a kernel's port has no sharding");
      return absl::OkStatus();
    }
    const Shape shape = ShapeOf(port.logical_shape());
    const Sharding sharding = Sharding::FromProto(port.sharding(), shape.size());
    if (!CheckedNumElements(shape).has_value())
      return Task(t, "a port has an impossible logical shape");
    if (absl::Status status = CheckSharding(sharding, axes_, shape); !status.ok()) {
      return Task(t, MessageOf(status));
    }
    // In the micro loop a firing sees its own micro-batch; outside, the whole.
    const bool in_loop = InMicroLoop(task);
    if (!in_loop && sharding.sbps[0].kind != Sbp::kBroadcast) {
      return Task(t, absl::StrCat("reads or writes one micro-batch (", sharding.ToString(),
                                  ") outside the loop"));
    }
    const std::string what =
        port.has_state()
            ? absl::StrCat("state ", plan_.states(static_cast<int>(port.state())).name())
            : absl::StrCat("register ", port.register_());
    const int64_t micros = in_loop ? plan_.micro_batches() : 1;
    for (const int64_t micro : {int64_t{0}, int64_t{1}, micros - 1}) {
      if (micro >= micros) continue;
      const std::optional<Slice> slice = SliceAt(sharding, shape, task.device(), micro);
      if (!slice.has_value())
        return Task(t, absl::StrCat(what, " ", sharding.ToString(), " lies on another stage"));
      if (slice->extent != ShapeOf(port.type().shape())) {
        return Task(
            t, absl::StrCat("the port on ", what, " has shape ",
                            ToString(ShapeOf(port.type().shape())), ", but ", sharding.ToString(),
                            " of ", ToString(shape), " is ", ToString(slice->extent), " here"));
      }
      Shape begin = ShapeOf(port.begin());
      if (begin.size() != shape.size())
        return Task(t, absl::StrCat("the port on ", what, " does not say where it begins"));
      if (micro > 0 && port.micro_stride() != 0) {
        if (port.micro_dim() >= begin.size())
          return Task(t, absl::StrCat("the port on ", what, " has no such micro_dim"));
        int64_t moved = 0;
        if (__builtin_mul_overflow(port.micro_stride(), micro, &moved) ||
            __builtin_add_overflow(begin[port.micro_dim()], moved, &begin[port.micro_dim()])) {
          return Task(t, absl::StrCat("the port on ", what, " moves beyond all bounds"));
        }
      }
      if (slice->begin != begin) {
        return Task(t,
                    absl::StrCat("the port on ", what, " begins at ", ToString(begin),
                                 " in micro-batch ", micro, ", but ", sharding.ToString(), " of ",
                                 ToString(shape), " begins at ", ToString(slice->begin), " here"));
      }
    }
    return OfState(t, port, shape, sharding);
  }

  // A state read under its own shape has its own sharding; a view of it has another shape.
  absl::Status OfState(uint32_t t, const plan::Port& port, const Shape& shape,
                       const Sharding& sharding) const {
    if (!port.has_state()) return absl::OkStatus();
    const plan::StateProto& state = plan_.states(static_cast<int>(port.state()));
    if (ShapeOf(state.logical_shape()) != shape) return absl::OkStatus();
    const Sharding home = Sharding::FromProto(state.sharding(), shape.size());
    if (home == sharding) return absl::OkStatus();
    return Task(t, absl::StrCat("sees state ", state.name(), " as ", sharding.ToString(),
                                ", but it is ", home.ToString()));
  }

  absl::Status Kernel(uint32_t t) {
    const plan::Task& task = plan_.tasks(static_cast<int>(t));
    if (task.rule().empty() && rule_of_ == nullptr) return absl::OkStatus();
    // Equal tasks of several devices are proved once.
    std::string key = task.rule();
    std::vector<Shape> inputs, outputs;
    NodeShardings shardings;
    const auto add = [&](const plan::Port& port, std::vector<Shape>* shapes,
                         std::vector<Sharding>* list) {
      shapes->push_back(ShapeOf(port.logical_shape()));
      list->push_back(Sharding::FromProto(port.sharding(), shapes->back().size()));
      absl::StrAppend(&key, "|", ToString(shapes->back()), list->back().ToString(), "@",
                      list->back().stage);
    };
    for (const plan::Port& port : task.inputs()) add(port, &inputs, &shardings.inputs);
    absl::StrAppend(&key, "->");
    for (const plan::Port& port : task.outputs()) add(port, &outputs, &shardings.outputs);
    const std::string signature = key.substr(task.rule().size() + 1);
    for (const plan::AttrProto& attr : task.attrs()) {
      absl::StrAppend(&key, "|");
      attr.AppendToString(&key);
    }
    absl::StrAppend(&key, "|", task.op());
    if (legal_.contains(key)) return absl::OkStatus();
    if (rule_of_ != nullptr) {
      const absl::StatusOr<std::string> known = rule_of_(task);
      if (!known.ok()) return Task(t, MessageOf(known.status()));
      if (*known != task.rule()) {
        return Task(t, absl::StrCat("brings the rule \"", task.rule(), "\", but that of ",
                                    task.op(), " is \"", *known, "\""));
      }
    }

    if (task.rule().empty()) return absl::OkStatus();  // the table says so, too
    absl::StatusOr<BoundRule> rule = BoundRule::Bind(task.rule(), inputs, outputs);
    if (!rule.ok())
      return Task(t, absl::StrCat("rule \"", task.rule(), "\": ", MessageOf(rule.status())));
    std::string why;
    if (!rule->IsLegal(shardings, axes_, &why)) {
      return Task(t, absl::StrCat(task.op(), " cannot have ", signature, ": ", why));
    }
    legal_.insert(key);
    return absl::OkStatus();
  }

  // "P->B on dp, S(0)->S(1) on tp", "stage 0->1" or "units". Where ports carry shardings, the
  // change is theirs.
  absl::Status Reshard(uint32_t t) const {
    const plan::Task& task = plan_.tasks(static_cast<int>(t));
    const auto error = [&] {
      return Task(t, absl::StrCat("declares no possible change: \"", task.reshard(), "\""));
    };
    if (task.kind() == plan::COMPUTE || task.kind() == plan::FEED || task.kind() == plan::FETCH) {
      return Task(t, "declares a reshard but moves nothing");
    }
    if (task.reshard() == "units") return absl::OkStatus();
    const bool typed = task.inputs_size() == 1 && task.outputs_size() == 1 &&
                       task.inputs(0).sharding().sbps_size() == static_cast<int>(axes_.size()) &&
                       task.outputs(0).sharding().sbps_size() == static_cast<int>(axes_.size());
    for (const std::string& change :
         std::vector<std::string>(absl::StrSplit(task.reshard(), ", "))) {
      if (change.rfind("stage ", 0) == 0) {
        const std::pair<std::string, std::string> stages = absl::StrSplit(change.substr(6), "->");
        std::set<std::string> known;
        for (int stage = 0; stage < mesh_.stages(); ++stage) known.insert(std::to_string(stage));
        if (!known.contains(stages.first) || !known.contains(stages.second) ||
            stages.first == stages.second) {
          return error();
        }
        continue;
      }
      const std::pair<std::string, std::string> halves = absl::StrSplit(change, " on ");
      const std::pair<std::string, std::string> sides = absl::StrSplit(halves.first, "->");
      const absl::StatusOr<Sbp> from = Sbp::Parse(sides.first);
      const absl::StatusOr<Sbp> to = Sbp::Parse(sides.second);
      size_t axis = 0;
      while (axis < axes_.size() && axes_[axis].name != halves.second) ++axis;
      if (!from.ok() || !to.ok() || *from == *to || axis == axes_.size()) return error();
      if (!typed) continue;
      const Sharding input =
          Sharding::FromProto(task.inputs(0).sharding(), task.inputs(0).logical_shape_size());
      const Sharding output =
          Sharding::FromProto(task.outputs(0).sharding(), task.outputs(0).logical_shape_size());
      if (input.sbps[axis] != *from || output.sbps[axis] != *to) {
        return Task(t, absl::StrCat("declares \"", change, "\" but changes ", input.ToString(),
                                    " to ", output.ToString()));
      }
    }
    return absl::OkStatus();
  }

  absl::Status WritesOfStates() const {
    std::map<uint32_t, std::map<uint32_t, uint32_t>> writers;  // state -> device -> task
    for (uint32_t t = 0; t < static_cast<uint32_t>(plan_.tasks_size()); ++t) {
      const plan::Task& task = plan_.tasks(static_cast<int>(t));
      for (const plan::Port& port : task.outputs()) {
        if (!port.has_state()) continue;
        const std::string& name = plan_.states(static_cast<int>(port.state())).name();
        const auto [other, first] = writers[port.state()].try_emplace(task.device(), t);
        if (!first) {
          return Task(t, absl::StrCat("writes state ", name, ", which ",
                                      TaskText(plan_, other->second), " writes in the same step"));
        }
        if (FiringsPerStep(plan_, t) > 1) {
          return Task(t, absl::StrCat("writes state ", name, " ", FiringsPerStep(plan_, t),
                                      " times per step"));
        }
      }
    }
    for (const auto& [s, by_device] : writers) {
      const plan::StateProto& state = plan_.states(static_cast<int>(s));
      for (const plan::StateShard& shard : state.shards()) {
        if (by_device.contains(shard.device())) continue;
        return Task(
            by_device.begin()->second,
            absl::StrCat("writes state ", state.name(), ", but nobody writes its shard on device ",
                         plan_.devices(static_cast<int>(shard.device())).id()));
      }
    }
    return absl::OkStatus();
  }

  const plan::Plan& plan_;
  const OpRules& rule_of_;
  const Mesh mesh_;
  const std::vector<Axis> axes_;
  std::map<std::pair<int, int>, std::vector<int64_t>>
      places_;  // (stage, global device) -> coordinates
  std::set<std::string> legal_;
};

}  // namespace

absl::Status ProveTypes(const plan::Plan& plan, const OpRules& rule_of) {
  return Types(plan, rule_of).Prove();
}

}  // namespace oneflow
