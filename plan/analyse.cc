#include "plan/analyse.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/dtype.h"
#include "base/shape.h"
#include "plan/cycle_ratio.h"
#include "plan/firing_graph.h"
#include "plan/firings.h"
#include "plan/shape_of.h"

namespace oneflow {
namespace {

// A duration beyond this is nonsense; sums of it still fit.
constexpr int64_t kMaxDuration = int64_t{1} << 40;

int64_t TimesSaturated(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<int64_t>::max() : product;
}
void AddSaturated(int64_t more, int64_t* sum) {
  if (__builtin_add_overflow(*sum, more, sum)) *sum = std::numeric_limits<int64_t>::max();
}

const plan::Task& TaskOf(const plan::Plan& plan, uint32_t task) {
  return plan.tasks(static_cast<int>(task));
}
const plan::Register& RegisterOf(const plan::Plan& plan, uint32_t r) {
  return plan.registers(static_cast<int>(r));
}

// One filling of a register, with what is written in place of it.
struct Life {
  uint32_t register_id = 0;
  uint32_t begin = 0;  // places in stamp order, both inclusive
  uint32_t end = 0;
  int64_t bytes = 0;
};

std::vector<Life> LivesOn(const plan::Plan& plan, const FiringGraph& graph, uint32_t device) {
  const auto place = [&](const FiringId& firing) {
    return graph.StampRank(graph.IndexOf(plan, firing));
  };
  const auto registers = static_cast<uint32_t>(plan.registers_size());
  std::vector<uint32_t> root(registers);
  std::iota(root.begin(), root.end(), 0u);
  const auto find = [&](uint32_t r) {
    while (RegisterOf(plan, r).has_in_place_of()) r = RegisterOf(plan, r).in_place_of();
    return r;
  };
  for (uint32_t r = 0; r < registers; ++r) root[r] = find(r);

  std::map<std::pair<uint32_t, int64_t>, Life> lives;  // (root, iteration)
  for (uint32_t r = 0; r < registers; ++r) {
    const plan::Register& reg = RegisterOf(plan, r);
    if (reg.device() != device) continue;
    const int64_t iterations = IterationsPerStep(plan, reg.producer(), reg.level());
    for (int64_t q = 0; q < iterations; ++q) {
      const uint32_t begin = place(FirstFiring(plan, reg.producer(), reg.level(), q));
      uint32_t end = place(LastFiring(plan, reg.producer(), reg.level(), q));
      for (const uint32_t consumer : reg.consumers()) {
        end = std::max(end, place(LastFiring(plan, consumer, reg.level(), q)));
      }
      const auto [life, first] =
          lives.try_emplace({root[r], q}, Life{root[r], begin, end, reg.bytes()});
      if (first) continue;
      life->second.begin = std::min(life->second.begin, begin);
      life->second.end = std::max(life->second.end, end);
    }
  }
  std::vector<Life> list;
  for (const auto& [key, life] : lives) list.push_back(life);
  return list;
}

DeviceMemory MemoryOf(const plan::Plan& plan, const FiringGraph& graph, uint32_t device) {
  DeviceMemory memory;
  memory.device = device;
  memory.arena_bytes = plan.devices(static_cast<int>(device)).arena_bytes();
  for (const plan::StateProto& state : plan.states()) {
    for (const plan::StateShard& shard : state.shards()) {
      if (shard.device() != device) continue;
      memory.state_bytes +=
          NumElements(ShapeOf(shard.shape())) * SizeOf(static_cast<DType>(state.dtype()));
    }
  }

  const std::vector<Life> lives = LivesOn(plan, graph, device);
  std::vector<int64_t> change(graph.size() + 1, 0);
  for (const Life& life : lives) {
    change[life.begin] += life.bytes;
    change[life.end + 1] -= life.bytes;
  }
  int64_t live = 0;
  uint32_t peak = 0;
  for (uint32_t place = 0; place < graph.size(); ++place) {
    live += change[place];
    if (live <= memory.lower_bound) continue;
    memory.lower_bound = live;
    peak = place;
  }
  if (memory.lower_bound == 0) return memory;
  memory.peak_task = FiringName(plan, graph.At(plan, graph.ByStamp()[peak]));
  for (const Life& life : lives) {
    if (life.begin > peak || life.end < peak || life.bytes == 0) continue;
    const uint32_t producer = RegisterOf(plan, life.register_id).producer();
    const plan::Task& task = TaskOf(plan, producer);
    const bool workspace = task.has_workspace() && task.workspace() == life.register_id;
    if (workspace) memory.workspace_bytes += life.bytes;
    memory.live_at_peak.push_back({life.register_id, life.bytes, task.name(),
                                   LocationOfTask(plan, producer).Short(), workspace});
  }
  std::stable_sort(memory.live_at_peak.begin(), memory.live_at_peak.end(),
                   [](const LiveRegister& a, const LiveRegister& b) { return a.bytes > b.bytes; });
  return memory;
}

std::vector<DeviceMemory> MemoryOfDevices(const plan::Plan& plan, const FiringGraph& graph) {
  std::vector<DeviceMemory> memory;
  for (uint32_t device = 0; device < static_cast<uint32_t>(plan.devices_size()); ++device) {
    memory.push_back(MemoryOf(plan, graph, device));
  }
  return memory;
}

// The timed graph: a node is the begin of a firing; a RECV has a second one, its arrival.
void PredictStep(const plan::Plan& plan, const FiringGraph& graph, PlanAnalysis* analysis) {
  const uint32_t firings = graph.size();
  const auto receives = [&](uint32_t i) {
    return TaskOf(plan, graph.TaskOf(i)).kind() == plan::RECV;
  };
  const auto duration = [&](uint32_t i) {
    return std::min(TaskOf(plan, graph.TaskOf(i)).duration_ns(), kMaxDuration);
  };
  std::vector<TimedEdge> edges;
  std::vector<uint32_t> firing_of;  // whose duration the edge takes
  const auto add = [&](uint32_t from, uint32_t to, int64_t ns, uint32_t tokens, uint32_t firing) {
    edges.push_back({from, to, ns, tokens});
    firing_of.push_back(firing);
  };
  for (uint32_t i = 0; i < firings; ++i) {
    if (receives(i)) add(i, firings + i, duration(i), 0, i);
  }
  for (const FiringEdge& edge : graph.edges()) {
    if (!receives(edge.from)) {
      add(edge.from, edge.to, duration(edge.from), edge.steps, edge.from);
    } else if (edge.kind == EdgeKind::kStream) {  // one link: messages follow each other
      add(edge.from, edge.to, 0, edge.steps, edge.from);
      add(firings + edge.from, firings + edge.to, duration(edge.to), edge.steps, edge.to);
    } else {
      add(firings + edge.from, edge.to, 0, edge.steps, edge.from);
    }
  }
  std::vector<uint32_t> nodes;
  for (const uint32_t i : graph.ByStamp()) {
    nodes.push_back(i);
    nodes.push_back(firings + i);
  }
  const CycleRatio ratio = MaximumCycleRatio(edges, nodes);
  analysis->step_ns = (ratio.ns + ratio.tokens - 1) / ratio.tokens;
  analysis->cycle_steps = ratio.tokens;
  for (const uint32_t e : ratio.edges) {
    if (edges[e].ns == 0) continue;
    const uint32_t task = graph.TaskOf(firing_of[e]);
    std::vector<CycleHop>& hops = analysis->critical_cycle;
    if (hops.empty() || hops.back().task != task) hops.push_back({task, 0});
    hops.back().duration_ns += edges[e].ns;
  }
}

void CountWork(const plan::Plan& plan, PlanAnalysis* analysis) {
  std::map<std::string, MovedBytes> moved;
  for (uint32_t device = 0; device < static_cast<uint32_t>(plan.devices_size()); ++device) {
    analysis->work.push_back({device});
  }
  for (uint32_t t = 0; t < static_cast<uint32_t>(plan.tasks_size()); ++t) {
    const plan::Task& task = TaskOf(plan, t);
    const int64_t firings = FiringsPerStep(plan, t);
    const int64_t flops = TimesSaturated(task.flops(), firings);
    AddSaturated(flops, &analysis->flops_per_step);
    if (task.kind() == plan::COMPUTE) {
      DeviceWork& work = analysis->work[task.device()];
      AddSaturated(flops, &work.flops);
      AddSaturated(TimesSaturated(task.duration_ns(), firings), &work.compute_ns);
    }
    int64_t arrives = 0;
    if (task.kind() == plan::RECV) {
      arrives = task.bytes();
    } else if (task.kind() == plan::MOVE) {
      for (const plan::Port& port : task.outputs()) {
        if (port.has_state()) continue;
        const plan::Register& reg = RegisterOf(plan, port.register_());
        if (reg.device() != task.device()) AddSaturated(reg.bytes(), &arrives);
      }
    }
    arrives = TimesSaturated(arrives, firings);
    AddSaturated(arrives, &analysis->moved_bytes_per_step);
    if (task.reshard().empty()) continue;
    MovedBytes& entry = moved[task.reshard()];
    entry.change = task.reshard();
    ++entry.tasks;
    AddSaturated(arrives, &entry.bytes);
  }
  for (auto& [change, entry] : moved) analysis->moved.push_back(std::move(entry));
  std::stable_sort(analysis->moved.begin(), analysis->moved.end(),
                   [](const MovedBytes& a, const MovedBytes& b) { return a.bytes > b.bytes; });
}

}  // namespace

int64_t PeriodOf(const plan::Plan& plan) {
  int64_t period = 1;
  for (const plan::Register& reg : plan.registers()) {
    const int64_t iterations = IterationsPerStep(plan, reg.producer(), reg.level());
    period = std::lcm(period, reg.slots() / std::gcd(int64_t{reg.slots()}, iterations));
    if (period > kMaxPeriod) return 0;
  }
  return period;
}

std::vector<DeviceMemory> AnalyseMemory(const plan::Plan& plan) {
  return MemoryOfDevices(plan, FiringGraph(plan));
}

PlanAnalysis AnalysePlan(const plan::Plan& plan) {
  PlanAnalysis analysis;
  const FiringGraph graph(plan);
  analysis.memory = MemoryOfDevices(plan, graph);
  PredictStep(plan, graph, &analysis);
  CountWork(plan, &analysis);
  analysis.period = PeriodOf(plan);
  return analysis;
}

}  // namespace oneflow
