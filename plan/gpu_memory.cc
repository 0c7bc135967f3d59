#include "plan/gpu_memory.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "base/dtype.h"
#include "base/shape.h"
#include "plan/firings.h"
#include "plan/needs.h"
#include "plan/shape_of.h"

namespace oneflow {
namespace {

// As CudaStep lays out its blocks (runtime/devices/cuda/cuda_step.cc).
constexpr int64_t kAlignment = 256;
constexpr int64_t kReportBytes = 64;  // a StepBlock (kernels/step_block.h)
int64_t Aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

int64_t ElementBytes(const plan::Port& port) {
  return SizeOf(static_cast<DType>(port.type().dtype()));
}
int64_t BytesOf(const plan::Port& port) {
  return NumElements(ShapeOf(port.type().shape())) * ElementBytes(port);
}
int64_t LogicalBytes(const plan::Port& port) {
  return NumElements(ShapeOf(port.logical_shape())) * ElementBytes(port);
}

class Counter {
 public:
  Counter(const plan::Plan& plan, const GpuPlacement& placement)
      : plan_(plan), placement_(placement) {
    for (uint32_t device = 0; device < static_cast<uint32_t>(plan.devices_size()); ++device) {
      size_t at = 0;
      while (at < gpus_.size() && gpus_[at].gpu != placement.gpus[device]) ++at;
      if (at == gpus_.size()) gpus_.emplace_back().gpu = placement.gpus[device];
      gpus_[at].devices.push_back(device);
      gpu_of_.push_back(at);
    }
    blocks_.resize(gpus_.size());
  }

  std::vector<GpuMemory> Run() {
    if (gpus_.empty()) return {};
    AddHeld();
    FindCalls();
    AddInputs();
    AddOutputs();
    AddLanes();
    for (size_t g = 0; g < gpus_.size(); ++g) gpus_[g].rounding = Rounding(blocks_[g]);
    return std::move(gpus_);
  }

 private:
  void Add(size_t gpu, int64_t GpuMemory::*pool, int64_t bytes) {
    gpus_[gpu].*pool += bytes;
    blocks_[gpu].push_back(bytes);
  }

  // What stays from step to step.
  void AddHeld() {
    for (const plan::StateProto& state : plan_.states()) {
      if (placement_.states.contains(state.name())) continue;
      for (const plan::StateShard& shard : state.shards()) {
        Add(gpu_of_[shard.device()], &GpuMemory::states,
            NumElements(ShapeOf(shard.shape())) * SizeOf(static_cast<DType>(state.dtype())));
      }
    }
    for (size_t device = 0; device < gpu_of_.size(); ++device) {
      const int64_t bytes = plan_.devices(static_cast<int>(device)).arena_bytes();
      const HeldArena held =
          device < placement_.arenas.size() ? placement_.arenas[device] : HeldArena();
      if (bytes <= held.bytes) continue;
      // One that does not grow where it lies is there twice for a moment.
      Add(gpu_of_[device], &GpuMemory::arenas, held.grows ? bytes - held.bytes : bytes);
    }
  }

  // Rings that are one call bring their messages themselves, in blocks of NCCL's.
  void FindCalls() {
    in_call_.resize(static_cast<size_t>(plan_.tasks_size()));
    if (placement_.one_call == nullptr) return;
    std::set<std::vector<uint32_t>> groups;
    for (const WholeRing& ring : RingsOf(plan_)) {
      std::set<size_t> gpus;
      std::vector<uint32_t> devices;
      for (const WholeRing::Member& member : ring.members) {
        gpus.insert(gpu_of_[member.device]);
        devices.push_back(plan_.devices(static_cast<int>(member.device)).id());
      }
      if (gpus.size() != ring.members.size() || !placement_.one_call(ring)) continue;
      for (const WholeRing::Member& member : ring.members) {
        in_call_[member.send] = in_call_[member.reduce] = true;
      }
      if (placement_.communicators.contains(devices) || !groups.insert(devices).second) continue;
      for (const size_t gpu : gpus) ++gpus_[gpu].communicators;
    }
  }

  // How much further the port's shard begins in the logical tensor, from micro-batch to micro-batch.
  int64_t MicroBytes(const plan::Task& task, const plan::Port& port) const {
    const Shape logical = ShapeOf(port.logical_shape());
    if (!InMicroLoop(task) || plan_.micro_batches() < 2 || port.micro_dim() >= logical.size()) {
      return 0;
    }
    return port.micro_stride() * StridesOf(logical)[port.micro_dim()] * ElementBytes(port);
  }

  // Each GPU is brought the stretches of the logical inputs that its FEEDs read.
  void AddInputs() {
    std::vector<std::vector<std::tuple<uint32_t, int64_t, int64_t>>> read(gpus_.size());
    for (uint32_t t = 0; t < static_cast<uint32_t>(plan_.tasks_size()); ++t) {
      const plan::Task& task = plan_.tasks(static_cast<int>(t));
      if (task.kind() != plan::FEED || BytesOf(task.outputs(0)) == 0) continue;
      const plan::Port& port = task.outputs(0);
      const Shape strides = StridesOf(ShapeOf(port.logical_shape()));
      int64_t first = 0, last = 0;
      for (int d = 0; d < static_cast<int>(strides.size()); ++d) {
        first += port.begin(d) * strides[static_cast<size_t>(d)];
        last += (port.begin(d) + port.type().shape(d) - 1) * strides[static_cast<size_t>(d)];
      }
      for (int64_t i = 0; i < FiringsPerStep(plan_, t); ++i) {
        const int64_t offset = MicroBytes(task, port) * FiringAt(plan_, t, i).micro;
        read[gpu_of_[task.device()]].emplace_back(task.index(), offset + first * ElementBytes(port),
                                                  offset + (last + 1) * ElementBytes(port));
      }
    }
    for (size_t g = 0; g < gpus_.size(); ++g) {
      std::sort(read[g].begin(), read[g].end());
      int64_t bytes = 0;
      for (size_t i = 0; i < read[g].size();) {
        auto [input, begin, end] = read[g][i];
        for (++i; i < read[g].size() && std::get<0>(read[g][i]) == input &&
                  std::get<1>(read[g][i]) <= end;
             ++i) {
          end = std::max(end, std::get<2>(read[g][i]));
        }
        bytes = Aligned(bytes + begin % kAlignment + end - begin);
      }
      Add(g, &GpuMemory::inputs, InputsComeAhead(bytes) ? 2 * bytes : bytes);
    }
  }

  // The GPU that leads has the results, and room for what is fetched elsewhere; each other one has reports.
  void AddOutputs() {
    const int64_t reports = Aligned(plan_.devices_size() * kReportBytes);
    int64_t results = reports;
    std::vector<int64_t> output_bytes(static_cast<size_t>(plan_.outputs_size()));
    // Replicas are equal: the first that fires is fetched.
    std::vector<std::tuple<Stamp, int, size_t, FiringId>> fetches;
    for (int s = 0; s < plan_.streams_size(); ++s) {
      const std::vector<FiringId> firings = ExpandStream(plan_, plan_.streams(s));
      for (size_t at = 0; at < firings.size(); ++at) {
        if (plan_.tasks(static_cast<int>(firings[at].task)).kind() != plan::FETCH) continue;
        fetches.emplace_back(StampOf(plan_, firings[at]), s, at, firings[at]);
      }
    }
    std::sort(fetches.begin(), fetches.end());
    int64_t fetched = 0;
    std::set<std::tuple<uint32_t, int64_t, Shape, Shape>> seen;
    for (const auto& [stamp, stream, at, firing] : fetches) {
      const plan::Task& task = plan_.tasks(static_cast<int>(firing.task));
      const plan::Port& port = task.inputs(0);
      output_bytes[task.index()] = LogicalBytes(port);
      const bool first = seen.emplace(task.index(), MicroBytes(task, port) * firing.micro,
                                      ShapeOf(port.begin()), ShapeOf(port.type().shape()))
                             .second;
      if (first && gpu_of_[task.device()] != 0) fetched += Aligned(BytesOf(port));
    }
    for (const int64_t bytes : output_bytes) results += Aligned(bytes);
    Add(0, &GpuMemory::outputs, results);
    Add(0, &GpuMemory::outputs, fetched);
    for (size_t g = 1; g < gpus_.size(); ++g) Add(g, &GpuMemory::outputs, reports);
  }

  // A stream has room for the messages and for the detoured states of one firing at a time.
  void AddLanes() {
    bool may_fail = false;
    for (const plan::Task& task : plan_.tasks()) may_fail |= task.may_fail();
    std::map<uint32_t, std::pair<int64_t, int64_t>> lanes;
    for (int t = 0; t < plan_.tasks_size(); ++t) {
      const plan::Task& task = plan_.tasks(t);
      if (!IsDeviceWork(task) || in_call_[static_cast<size_t>(t)]) continue;
      int64_t message = 0, detour = 0;
      for (const auto* ports : {&task.inputs(), &task.outputs()}) {
        for (const plan::Port& port : *ports) {
          if (port.source_case() != plan::Port::kRegister) continue;
          const uint32_t there = plan_.registers(static_cast<int>(port.register_())).device();
          if (gpu_of_[there] != gpu_of_[task.device()]) message += Aligned(BytesOf(port));
        }
      }
      for (const plan::Port& port : task.outputs()) {
        if (port.has_state() && may_fail && !KeepsGate(task.op())) detour += Aligned(BytesOf(port));
      }
      auto& lane = lanes[task.stream()];
      lane = {std::max(lane.first, message), std::max(lane.second, detour)};
    }
    for (const auto& [stream, bytes] : lanes) {
      const size_t gpu = gpu_of_[plan_.streams(static_cast<int>(stream)).device()];
      Add(gpu, &GpuMemory::messages, bytes.first);
      Add(gpu, &GpuMemory::detours, bytes.second);
    }
  }

  // Blocks of a granule or more begin and end on one; smaller ones share them, on 512 bytes.
  int64_t Rounding(const std::vector<int64_t>& blocks) const {
    constexpr int64_t kSmall = 512;
    const int64_t granule = placement_.granule_bytes;
    if (granule <= 0) return 0;
    const auto up = [](int64_t bytes, int64_t to) { return (bytes + to - 1) / to * to; };
    int64_t asked = 0, taken = 0, small = 0;
    for (const int64_t bytes : blocks) {
      asked += bytes;
      (bytes < granule ? small : taken) += up(bytes, bytes < granule ? kSmall : granule);
    }
    return taken + up(small, granule) - asked;
  }

  const plan::Plan& plan_;
  const GpuPlacement& placement_;
  std::vector<GpuMemory> gpus_;
  std::vector<size_t> gpu_of_;                // by position in the plan
  std::vector<std::vector<int64_t>> blocks_;  // by GPU
  std::vector<bool> in_call_;                 // by task: of a ring that is one call
};

}  // namespace

std::vector<GpuMemory> GpuMemoryOf(const plan::Plan& plan, const GpuPlacement& placement) {
  return Counter(plan, placement).Run();
}

GpuPlacement PlacementOf(const plan::Plan& plan, const plan::Target& target,
                         const RingIsOneCall& one_call) {
  GpuPlacement placement;
  bool has_nccl = false;
  for (const plan::DeviceProto& device : plan.devices()) {
    const plan::TargetDevice& there = target.devices(static_cast<int>(device.id()));
    placement.gpus.push_back(there.gpu());
    placement.granule_bytes = std::max(placement.granule_bytes, there.granule_bytes());
    has_nccl |= there.nccl();
  }
  if (has_nccl) placement.one_call = one_call;
  return placement;
}

}  // namespace oneflow
