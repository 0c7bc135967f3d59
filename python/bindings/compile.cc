// Compile with the Describe closure: the kernels are asked what the target does not say.
#include "compiler/compile.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "base/status.h"
#include "compiler/parallel/link_levels.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/memory_figures.h"
#include "plan/analyse.h"
#include "plan/memory_limit.h"
#include "plan/target.pb.h"
#include "python/bindings/bindings.h"
#include "python/bindings/convert.h"
#include "python/bindings/errors.h"
#include "runtime/devices/cuda/cuda_comms.h"

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
    target.mutable_links(1)->set_of_processes(true);
    AddLink({"network", 0, kRankLatencyNs, kRankBytesPerMicrosecond}, &target);
  }
  return target;
}

// A GPU as a device of a target sees it: its number, total bytes of memory, those that no plan has, the granule of
// blocks, whether NCCL is there, what it takes for a communicator.
using GpuOfDevice = std::tuple<uint32_t, int64_t, int64_t, int64_t, bool, int64_t>;

void SetGpu(const GpuOfDevice& gpu, plan::TargetDevice* device) {
  device->set_gpu(std::get<0>(gpu));
  device->set_memory_bytes(std::get<1>(gpu));
  device->set_reserved_bytes(std::get<2>(gpu));
  device->set_granule_bytes(std::get<3>(gpu));
  device->set_nccl(std::get<4>(gpu));
  device->set_communicator_bytes(std::get<5>(gpu));
}

plan::Target DescribedTarget(const std::string& name, const std::string& kind,
                             const std::vector<uint32_t>& ranks, uint32_t threads, int64_t cores,
                             int64_t memory_bytes, int64_t flops_per_us, int64_t bytes_per_us,
                             const std::string& isa, int64_t task_overhead_ns,
                             const std::vector<LinkLevel>& links, int64_t reserved_bytes) {
  // Kernels of the CPU are asked here, so they are this host's.
  const std::string own = kind == "cpu" ? std::string(kernels::HostIsaName()) : isa;
  plan::Target target =
      TargetOf(name, DeviceOf(kind, threads, memory_bytes, flops_per_us, bytes_per_us, own), ranks,
               cores, task_overhead_ns, links);
  if (kind != "cuda") return target;
  // A device is a GPU there.
  std::map<uint32_t, uint32_t> counts;  // by rank
  for (plan::TargetDevice& device : *target.mutable_devices()) {
    SetGpu({counts[device.rank()]++, memory_bytes, reserved_bytes, kernels::kGranuleBytes, true,
            kernels::kCommunicatorBytes},
           &device);
  }
  return target;
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

// By device, those of them that are on one GPU alike; empty where CUDA is not there, or a GPU that is named.
std::vector<GpuOfDevice> FindGpus(const std::string& library, const std::string& cublaslt,
                                  const std::string& nccl, const std::string& cudnn,
                                  const std::vector<int>& placement, uint32_t devices) {
  const absl::StatusOr<const kernels::CudaApi*> opened =
      kernels::OpenCuda(library, cublaslt, nccl, cudnn);
  if (!opened.ok()) return {};
  const kernels::CudaApi& api = **opened;
  int visible = 0;
  if (api.device_count(&visible) != 0 || visible < 1) return {};
  bool has_nccl = false;
  api.nccl_library(nccl.c_str(), &has_nccl);
  std::map<int, kernels::CudaMemory> asked;
  std::vector<GpuOfDevice> gpus;
  for (uint32_t device = 0; device < devices; ++device) {
    const int gpu = placement.empty() ? static_cast<int>(device) % visible
                                      : placement[device % placement.size()];
    if (gpu < 0 || gpu >= visible) return {};
    const auto [memory, first] = asked.try_emplace(gpu);
    if (first && api.device_memory(gpu, &memory->second) != 0) return {};
    const kernels::CudaMemory& found = memory->second;
    gpus.emplace_back(static_cast<uint32_t>(gpu), found.total,
                      found.total - found.free + found.later, found.granule, has_nccl,
                      found.communicator);
  }
  return gpus;
}

plan::Target CudaTarget(const std::vector<uint32_t>& ranks, const std::vector<GpuOfDevice>& gpus,
                        int64_t limit_bytes) {
  const int64_t sharers = std::max<int64_t>(1, static_cast<int64_t>(ranks.size()));
  const int64_t rate = kGpuBytesPerMicrosecond / 2 / sharers;
  // Devices of one GPU do not compete for the host's cores.
  plan::Target target = TargetOf("cuda-" + std::to_string(ranks.size()),
                                 DeviceOf("cuda", 1, 0, kGpuFlopsPerMicrosecond / sharers,
                                          kGpuBytesPerMicrosecond / sharers, "sm_90"),
                                 ranks, sharers, kGpuLaunchNs,
                                 {{"memory", 1, 0, rate}, {"gpu", 0, kGpuLaunchNs, rate}});
  for (int d = 0; d < target.devices_size(); ++d) {
    plan::TargetDevice* device = target.mutable_devices(d);
    if (static_cast<size_t>(d) < gpus.size()) SetGpu(gpus[static_cast<size_t>(d)], device);
    if (limit_bytes == 0) continue;
    // Of the plan's own blocks: nothing predicted is held against what the user has said.
    device->set_memory_bytes(limit_bytes);
    device->set_reserved_bytes(0);
    device->set_granule_bytes(0);
    device->set_communicator_bytes(0);
  }
  return target;
}

py::list GpuMemoryOfPlan(const plan::Target& target, const plan::Plan& plan) {
  py::list gpus;
  if (plan.devices_size() == 0 || plan.devices(0).kind() != "cuda") return gpus;
  for (const GpuMemory& memory : GpuMemoryOf(plan, PlacementOf(plan, target, &CudaComms::Does))) {
    py::list devices;
    for (const uint32_t device : memory.devices) {
      devices.append(plan.devices(static_cast<int>(device)).id());
    }
    const uint32_t first = plan.devices(static_cast<int>(memory.devices.front())).id();
    const GpuLimit limit = LimitOf(target.devices(static_cast<int>(first)));
    py::dict gpu;
    gpu["gpu"] = memory.gpu;
    gpu["devices"] = devices;
    gpu["states"] = memory.states;
    gpu["arenas"] = memory.arenas;
    gpu["inputs"] = memory.inputs;
    gpu["outputs"] = memory.outputs;
    gpu["messages"] = memory.messages;
    gpu["detours"] = memory.detours;
    gpu["bytes"] = memory.Bytes();
    gpu["rounding"] = memory.rounding;
    gpu["nccl"] = memory.communicators * limit.communicator_bytes;
    gpu["reserved"] = limit.reserved_bytes;
    gpu["needed_bytes"] = NeededBytes(memory, limit);
    gpu["memory_bytes"] = limit.memory_bytes;
    gpus.append(gpu);
  }
  return gpus;
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
      .def_static("cuda", &CudaTarget, py::arg("ranks"),
                  py::arg("gpus") = std::vector<GpuOfDevice>(), py::arg("limit_bytes") = 0,
                  "One logical device per entry of `ranks`; `gpus` as `cuda_gpus` gives them, "
                  "empty: one GPU whose "
                  "memory is not known. `limit_bytes`: the most that a plan's own blocks may "
                  "take of each; 0: what is free, less what is predicted of others.")
      .def_static(
          "described", &DescribedTarget, py::arg("name"), py::arg("kind"), py::arg("ranks"),
          py::arg("threads"), py::arg("cores"), py::arg("memory_bytes"), py::arg("flops_per_us"),
          py::arg("bytes_per_us"), py::arg("isa"), py::arg("task_overhead_ns"), py::arg("links"),
          py::arg("reserved_bytes") = 0,
          "A machine that need not be here (oneflow/target.py); `links` as `cpu` takes them, "
          "none left to default. `reserved_bytes`: of a CUDA device's memory, what no plan has.")
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
      .def(
          "gpu_memory_text",
          [](const plan::Target& target, const plan::Plan& plan) {
            return GpuMemoryText(plan, target, &CudaComms::Does);
          },
          py::arg("plan"),
          "What a plan for it takes of each GPU, by pool; empty for other kinds of devices.")
      .def("gpu_memory", &GpuMemoryOfPlan, py::arg("plan"),
           "The same as figures: by GPU, its `devices`, the bytes of each pool, `bytes` of all "
           "blocks that are "
           "allocated, `needed_bytes` with what the driver and NCCL take, `memory_bytes` that are "
           "there (0: not known).")
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

  module.def("cuda_gpus", &FindGpus, py::arg("library"), py::arg("cublaslt"), py::arg("nccl"),
             py::arg("cudnn"), py::arg("placement"), py::arg("devices"),
             py::call_guard<py::gil_scoped_release>(),
             "The GPU of each of so many devices, for `Target.cuda`: number, total bytes, bytes "
             "that no plan has, granule "
             "of blocks, whether NCCL is there, bytes of a communicator. Empty where CUDA is not "
             "there, or one of "
             "`placement`. Takes a context on these GPUs.");
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
        CompileOptions options{ToMesh(axes, devices), micro_batches, rank, world_size, {}, fuse,
                               &CudaComms::Does};
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
