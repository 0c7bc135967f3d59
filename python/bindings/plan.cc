// Plan as Python sees it: text, proofs, analysis, and what a session needs to know of it.
#include <pybind11/stl.h>

#include "base/status.h"
#include "compiler/ops/rule_of_task.h"
#include "plan/analyse.h"
#include "plan/firings.h"
#include "plan/plan.pb.h"
#include "plan/shape_of.h"
#include "plan/text.h"
#include "plan/verify.h"
#include "python/bindings/bindings.h"
#include "python/bindings/convert.h"
#include "python/bindings/errors.h"

namespace oneflow::python {
namespace py = pybind11;
namespace {

plan::Plan Parse(const py::bytes& bytes) {
  plan::Plan plan;
  if (!plan.ParseFromString(static_cast<std::string>(bytes))) {
    throw StatusError(MakeError(ErrorKind::kPlan, "these bytes are no plan"));
  }
  return plan;
}

py::list Memory(const plan::Plan& plan) {
  py::list devices;
  for (const DeviceMemory& memory : AnalyseMemory(plan)) {
    py::list live;
    for (const LiveRegister& item : memory.live_at_peak) {
      live.append(py::make_tuple(item.name, item.bytes, item.location));
    }
    py::dict device;
    device["device"] = plan.devices(static_cast<int>(memory.device)).id();
    device["arena_bytes"] = memory.arena_bytes;
    device["lower_bound"] = memory.lower_bound;
    device["state_bytes"] = memory.state_bytes;
    device["workspace_bytes"] = memory.workspace_bytes;
    device["peak_task"] = memory.peak_task;
    device["live_at_peak"] = live;
    devices.append(device);
  }
  return devices;
}

py::dict Figures(const plan::Plan& plan) {
  const PlanAnalysis analysis = AnalysePlan(plan);
  py::dict figures;
  figures["step_ns"] = analysis.step_ns;
  figures["flops_per_step"] = analysis.flops_per_step;
  figures["moved_bytes_per_step"] = analysis.moved_bytes_per_step;
  return figures;
}

py::list Work(const plan::Plan& plan) {
  py::list devices;
  for (const DeviceWork& work : AnalysePlan(plan).work) {
    py::dict device;
    device["device"] = plan.devices(static_cast<int>(work.device)).id();
    device["compute_ns"] = work.compute_ns;
    device["flops"] = work.flops;
    devices.append(device);
  }
  return devices;
}

py::list TypesOf(const google::protobuf::RepeatedPtrField<plan::Port>& ports) {
  py::list types;
  for (const plan::Port& port : ports) {
    const Shape shape = ShapeOf(port.type().shape());
    types.append(py::make_tuple(std::string(NameOf(static_cast<DType>(port.type().dtype()))),
                                py::tuple(py::cast(shape))));
  }
  return types;
}

// Every task that runs a kernel, in the order of the plan.
py::list KernelsOf(const plan::Plan& plan) {
  py::list kernels;
  for (int t = 0; t < plan.tasks_size(); ++t) {
    const plan::Task& task = plan.tasks(t);
    if (task.kind() != plan::COMPUTE && task.kind() != plan::MOVE) continue;
    py::dict kernel;
    kernel["name"] = task.name();
    kernel["op"] = task.op();
    kernel["moves"] = task.kind() == plan::MOVE;
    kernel["device"] = plan.devices(static_cast<int>(task.device())).id();
    kernel["inputs"] = TypesOf(task.inputs());
    kernel["outputs"] = TypesOf(task.outputs());
    kernel["firings"] = FiringsPerStep(plan, static_cast<uint32_t>(t));
    kernel["flops"] = task.flops();
    kernel["bytes"] = task.bytes();
    kernel["predicted_ns"] = task.duration_ns();
    kernels.append(kernel);
  }
  return kernels;
}

// How large the plan is; costs no analysis.
py::dict Counts(const plan::Plan& plan) {
  int64_t firings = 0;
  int64_t after_edges = 0;
  for (int t = 0; t < plan.tasks_size(); ++t) {
    firings += FiringsPerStep(plan, static_cast<uint32_t>(t));
    after_edges += plan.tasks(t).after_size();
  }
  py::dict counts;
  counts["tasks"] = plan.tasks_size();
  counts["firings"] = firings;
  counts["registers"] = plan.registers_size();
  counts["channels"] = plan.channels_size();
  counts["streams"] = plan.streams_size();
  counts["after_edges"] = after_edges;
  return counts;
}

template <typename Items>
py::list NamesAndTypes(const Items& items) {
  py::list result;
  for (const auto& item : items) {
    const auto dtype = static_cast<DType>(item.dtype());
    const Shape shape = ShapeOf(item.logical_shape());
    result.append(
        py::make_tuple(item.name(), std::string(NameOf(dtype)), py::tuple(py::cast(shape))));
  }
  return result;
}

// Per input with dims: the [first, end) ranges of its dim 0 that this rank's feeds copy.
py::dict FedRows(const plan::Plan& plan) {
  py::dict result;
  for (const auto& input : plan.inputs()) result[py::str(input.name())] = py::list();
  for (const plan::Task& task : plan.tasks()) {
    if (task.kind() != plan::FEED || task.outputs(0).begin_size() == 0) continue;
    const plan::Port& port = task.outputs(0);
    const bool moves = task.level() == plan::MICRO && port.micro_dim() == 0;
    const int64_t last = moves ? port.micro_stride() * (plan.micro_batches() - 1) : 0;
    const int64_t stride = std::max<int64_t>(port.micro_stride(), 1);
    const std::string& name = plan.inputs(static_cast<int>(task.index())).name();
    for (int64_t moved = 0; moved <= last; moved += stride) {
      const int64_t first = port.begin(0) + moved;
      result[py::str(name)].cast<py::list>().append(
          py::make_tuple(first, first + port.type().shape(0)));
    }
  }
  return result;
}

}  // namespace

void BindPlan(py::module_& module) {
  py::class_<plan::Plan, std::shared_ptr<plan::Plan>>(
      module, "Plan", "Everything one rank does in a step, as data (plan/plan.proto).")
      .def_static("parse", &Parse, py::arg("bytes"))
      .def_static(
          "parse_text", [](const std::string& text) { return ValueOrThrow(ParsePlan(text)); },
          py::arg("text"))
      .def("serialize", [](const plan::Plan& plan) { return py::bytes(plan.SerializeAsString()); })
      .def("text", &PrintPlan)
      .def("fingerprint", &Fingerprint)
      .def("summary", [](const plan::Plan& plan) { return Summary(plan, AnalysePlan(plan)); })
      .def("memory", &Memory)
      .def("figures", &Figures)
      .def("work", &Work)
      .def("kernels", &KernelsOf)
      .def("counts", &Counts,
           "Tasks, firings per step, registers, channels, streams and after edges.")
      .def("fed_rows", &FedRows)
      .def("verify", [](const plan::Plan& plan) { ThrowIfError(VerifyPlan(plan, RuleOfTask)); })
      .def_property_readonly("name", [](const plan::Plan& plan) { return plan.name(); })
      .def_property_readonly("rank", [](const plan::Plan& plan) { return plan.rank(); })
      .def_property_readonly("num_tasks", [](const plan::Plan& plan) { return plan.tasks_size(); })
      .def_property_readonly("inputs",
                             [](const plan::Plan& plan) { return NamesAndTypes(plan.inputs()); })
      .def_property_readonly("outputs",
                             [](const plan::Plan& plan) { return NamesAndTypes(plan.outputs()); })
      .def_property_readonly("states",
                             [](const plan::Plan& plan) { return NamesAndTypes(plan.states()); });
  module.def(
      "verify_plans",
      [](const std::vector<plan::Plan>& plans) {
        std::vector<const plan::Plan*> pointers;
        for (const plan::Plan& plan : plans) pointers.push_back(&plan);
        ThrowIfError(VerifyPlans(pointers, RuleOfTask));
      },
      py::arg("plans"), "Proofs over the plans of all ranks together.");
}

}  // namespace oneflow::python
