// Compile with the Describe closure: the kernels are asked what the target does not say.
#include "compiler/compile.h"

#include <pybind11/stl.h>

#include <algorithm>

#include "base/status.h"
#include "compiler/parallel/link_levels.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cuda/cuda_kernels.h"
#include "plan/analyse.h"
#include "plan/target.pb.h"
#include "python/bindings/bindings.h"
#include "python/bindings/convert.h"
#include "python/bindings/errors.h"

namespace oneflow::python {
namespace py = pybind11;
namespace {

// Assumed rates of one core, until a profile of the device writes measured ones into the target
// file: 3 GHz x 16 f32 FMA lanes (AVX2) x 2 x 1/3 of peak, and one core's share of two DDR4
// channels.
constexpr int64_t kFlopsPerMicrosecondPerCore = 32'000;
constexpr int64_t kBytesPerMicrosecond = 10'000;
// Between devices of one process: a memcpy and the two messages that announce it. Between processes
// of one host: loopback TCP as measured in comm/.
constexpr int64_t kDeviceLatencyNs = 5'000;
constexpr int64_t kRankLatencyNs = 40'000;
constexpr int64_t kRankBytesPerMicrosecond = 2'000;
constexpr int64_t kTaskOverheadNs = 2'000;

// Name, consecutive devices that it joins (0: all), latency in ns, bytes per us.
using LinkLevel = std::tuple<std::string, uint32_t, int64_t, int64_t>;

void AddLink(const LinkLevel& level, plan::Target* target) {
  plan::Link* link = target->add_links();
  link->set_name(std::get<0>(level));
  link->set_group(std::get<1>(level));
  link->set_latency_ns(std::get<2>(level));
  link->set_bytes_per_us(std::get<3>(level));
}

// What all devices of a target are.
plan::Target TargetOf(const std::string& name, const plan::TargetDevice& each,
                      const std::vector<uint32_t>& ranks, int64_t cores, int64_t task_overhead_ns,
                      const std::vector<LinkLevel>& links) {
  plan::Target target;
  target.set_name(name);
  for (uint32_t rank : ranks) {
    plan::TargetDevice* device = target.add_devices();
    *device = each;
    device->set_rank(rank);
  }
  for (const LinkLevel& link : links) AddLink(link, &target);
  target.set_cores(cores);
  target.set_task_overhead_ns(task_overhead_ns);
  return target;
}

plan::TargetDevice DeviceOf(const std::string& kind, uint32_t threads, int64_t memory_bytes,
                            int64_t flops_per_us, int64_t bytes_per_us, const std::string& isa) {
  plan::TargetDevice device;
  device.set_kind(kind);
  device.set_threads(threads);
  device.set_memory_bytes(memory_bytes);
  device.set_flops_per_us(flops_per_us);
  device.set_bytes_per_us(bytes_per_us);
  device.set_isa(isa);
  return device;
}

plan::Target CpuTarget(const std::vector<uint32_t>& ranks, uint32_t threads, int64_t cores,
                       int64_t memory_bytes, const std::string& kind,
                       const std::vector<LinkLevel>& links) {
  const std::string isa = kind == "cpu" ? std::string(kernels::HostIsaName()) : "";
  plan::Target target =
      TargetOf(kind + "-" + std::to_string(ranks.size()) + "x" + std::to_string(threads),
               DeviceOf(kind, threads, memory_bytes, kFlopsPerMicrosecondPerCore * threads,
                        kBytesPerMicrosecond, isa),
               ranks, cores, kTaskOverheadNs, links);
  if (links.empty()) {
    AddLink({"memory", 1, 0, kBytesPerMicrosecond}, &target);
    AddLink({"process", DevicesPerProcess(target), kDeviceLatencyNs, kBytesPerMicrosecond},
            &target);
    AddLink({"network", 0, kRankLatencyNs, kRankBytesPerMicrosecond}, &target);
  }
  return target;
}

plan::Target DescribedTarget(const std::string& name, const std::string& kind,
                             const std::vector<uint32_t>& ranks, uint32_t threads, int64_t cores,
                             int64_t memory_bytes, int64_t flops_per_us, int64_t bytes_per_us,
                             const std::string& isa, int64_t task_overhead_ns,
                             const std::vector<LinkLevel>& links) {
  // Kernels of the CPU are asked here, so they are this host's.
  const std::string own = kind == "cpu" ? std::string(kernels::HostIsaName()) : isa;
  return TargetOf(name, DeviceOf(kind, threads, memory_bytes, flops_per_us, bytes_per_us, own),
                  ranks, cores, task_overhead_ns, links);
}

// The user's line of a task.
Location LocationOf(const plan::Task& task, const plan::Plan& plan) {
  if (task.location() >= static_cast<uint32_t>(plan.locations_size())) return {};
  const plan::LocationProto& proto = plan.locations(static_cast<int>(task.location()));
  return {proto.file(), static_cast<int>(proto.line()), proto.function()};
}

// Assumed rates of one GPU (H100 SXM: f32 without tensor cores, device memory), shared by the logical
// devices on it; a firing costs a launch.
constexpr int64_t kGpuFlopsPerMicrosecond = 50'000'000;
constexpr int64_t kGpuBytesPerMicrosecond = 3'000'000;
constexpr int64_t kGpuLaunchNs = 4'000;

plan::Target CudaTarget(const std::vector<uint32_t>& ranks, int64_t memory_bytes) {
  const int64_t sharers = std::max<int64_t>(1, static_cast<int64_t>(ranks.size()));
  const int64_t rate = kGpuBytesPerMicrosecond / 2 / sharers;
  // Devices of one GPU do not compete for the host's cores.
  return TargetOf("cuda-" + std::to_string(ranks.size()),
                  DeviceOf("cuda", 1, memory_bytes / sharers, kGpuFlopsPerMicrosecond / sharers,
                           kGpuBytesPerMicrosecond / sharers, "sm_90"),
                  ranks, sharers, kGpuLaunchNs,
                  {{"memory", 1, 0, rate}, {"gpu", 0, kGpuLaunchNs, rate}});
}

// What the kernel of a query says that it needs.
absl::StatusOr<plan::KernelRow> Describe(const kernels::KernelTable& table,
                                         const KernelQuery& query, const plan::Plan& plan) {
  const auto spec = kernels::KernelSpec::FromTask(query.task, static_cast<int>(query.threads));
  absl::StatusOr<kernels::Needs> needs = table.Describe(spec);
  if (!needs.ok()) return WithLocation(needs.status(), LocationOf(query.task, plan));
  plan::KernelRow row;
  row.set_key(query.key);
  row.set_workspace_bytes(needs->workspace_bytes);
  for (const kernels::Alias& alias : needs->aliases) {
    plan::Alias* proto = row.add_aliases();
    proto->set_output(static_cast<uint32_t>(alias.output));
    proto->set_input(static_cast<uint32_t>(alias.input));
  }
  return row;
}

}  // namespace

void BindCompile(py::module_& module) {
  py::class_<plan::Target>(module, "Target", "The machine as data (plan/target.proto).")
      .def_static("cpu", &CpuTarget, py::arg("ranks"), py::arg("threads"), py::arg("cores"),
                  py::arg("memory_bytes") = 0, py::arg("kind") = "cpu",
                  py::arg("links") = std::vector<LinkLevel>(),
                  "One device per entry of `ranks` (its rank), all alike. `links`: levels from the "
                  "innermost outwards, each (name, consecutive devices that it joins or 0 for all, "
                  "latency in ns, bytes per us); the first is a device's own memory.")
      .def_static("cuda", &CudaTarget, py::arg("ranks"), py::arg("memory_bytes") = 0,
                  "One logical device per entry of `ranks`, all on one GPU.")
      .def_static(
          "described", &DescribedTarget, py::arg("name"), py::arg("kind"), py::arg("ranks"),
          py::arg("threads"), py::arg("cores"), py::arg("memory_bytes"), py::arg("flops_per_us"),
          py::arg("bytes_per_us"), py::arg("isa"), py::arg("task_overhead_ns"), py::arg("links"),
          "A machine that need not be here (oneflow/target.py); `links` as `cpu` takes them, "
          "none left to default.")
      .def_property_readonly("name", [](const plan::Target& target) { return target.name(); })
      .def_property_readonly("num_devices",
                             [](const plan::Target& target) { return target.devices_size(); })
      .def_property_readonly(
          "links",
          [](const plan::Target& target) {
            std::vector<LinkLevel> links;
            for (const plan::Link& link : target.links()) {
              links.emplace_back(link.name(), link.group(), link.latency_ns(), link.bytes_per_us());
            }
            return links;
          },
          "The levels, as `cpu` takes them.")
      .def("links_text", &LinksText,
           "The levels as a table: devices and ranks that one group joins, latency, rate.")
      .def("__str__", [](const plan::Target& target) { return target.DebugString(); })
      .def("serialize",
           [](const plan::Target& target) { return py::bytes(target.SerializeAsString()); });

  py::class_<Compiled>(module, "Compiled", "A plan with what was decided on the way.")
      .def_readonly("plan", &Compiled::plan)
      .def_property_readonly(
          "state_shardings",
          [](const Compiled& compiled) {
            std::map<std::string, std::string> shardings;
            for (const auto& [name, sharding] : compiled.states) {
              shardings[name] = sharding.ToString();
            }
            return shardings;
          },
          "{state: layout} over all ranks, in the form that Graph.add_state takes.")
      .def_readonly("decisions", &Compiled::decisions)
      .def_readonly("held_decisions", &Compiled::held_decisions,
                    "What was decided, as text that `compile` takes.")
      .def_readonly("dumps", &Compiled::dumps);

  module.def(
      "check_decisions",
      [](const std::string& text) { ThrowIfError(HeldDecisions::Parse(text).status()); },
      py::arg("text"),
      "Raises PlanError, which names the line, unless the text reads as decisions.");

  module.def(
      "compile",
      [](const Graph& graph, plan::Target& target,
         const std::vector<std::pair<std::string, int64_t>>& axes, const std::vector<int>& devices,
         int micro_batches, int rank, int world_size, bool keep_dumps,
         const std::vector<std::string>& decisions, bool fuse) {
        CompileOptions options{ToMesh(axes, devices), micro_batches, rank, world_size, {}, fuse};
        for (const std::string& text : decisions) {
          options.decisions.push_back(ValueOrThrow(HeldDecisions::Parse(text)));
        }
        py::gil_scoped_release release;
        // A target's devices are all of one kind.
        const bool cuda = target.devices_size() > 0 && target.devices(0).kind() == "cuda";
        const kernels::KernelTable& table =
            cuda ? kernels::CudaDescriptions() : kernels::CpuKernels();
        const auto describe = [&](const KernelQuery& query, const plan::Plan& plan) {
          return Describe(table, query, plan);
        };
        absl::StatusOr<Compiled> compiled =
            CompileComplete(graph, &target, options, keep_dumps, describe);
        return ValueOrThrow(std::move(compiled));
      },
      py::arg("graph"), py::arg("target"), py::arg("axes"), py::arg("devices"),
      py::arg("micro_batches"), py::arg("rank"), py::arg("world_size"),
      py::arg("keep_dumps") = false, py::arg("decisions") = std::vector<std::string>(),
      py::arg("fuse") = true,
      "Compiles one rank's plan; kernel rows that the target lacks are added to it.");
}

}  // namespace oneflow::python
