#include <algorithm>
#include <utility>

#include "kernels/cuda/cudnn_engines.h"

namespace oneflow::kernels::cudnn {
namespace {

// By what cuDNN says of it: the same bits in every run, sums in f32 of products of the operands themselves.
bool IsExact(const Owned& engine, DType dtype) {
  int notes[kNumericalNotes] = {};
  const int64_t count =
      engine.Get(kEngineNumericalNotes, kTypeNumericalNote, notes, kNumericalNotes);
  for (int64_t i = 0; i < count; ++i) {
    switch (notes[i]) {
      case kNondeterministic:
      case kDownConvertInputs:
      case kReducedPrecisionReduction:
      case kFft:
      case kWinograd:
      case kWinograd4x4:
      case kWinograd6x6:
      case kWinograd13x13:
        return false;
      case kTensorCore:
        if (dtype == DType::kF32) return false;  // TF32
        break;
      default:
        break;
    }
  }
  return true;
}
// Made by a compiler at run time, which takes a second each.
bool IsCompiledLater(const Owned& engine) {
  int notes[kBehaviorNotes] = {};
  const int64_t count = engine.Get(kEngineBehaviorNotes, kTypeBehaviorNote, notes, kBehaviorNotes);
  return std::find(notes, notes + count, static_cast<int>(kRuntimeCompilation)) != notes + count;
}

// A graph whose engines fail to compile is given up after so many.
constexpr int kMostCompiled = 4;

// Engines with their settings, the best first.
std::vector<Owned> ConfigsOf(const Owned& graph, Heuristics mode, const GraphPlace& place) {
  std::vector<Owned> configs;
  Owned heuristics(kEngineHeuristics);
  heuristics.Set(kHeuristicsGraph, graph)
      .Set(kHeuristicsMode, kTypeHeuristicsMode, static_cast<int>(mode));
  if (place.device != nullptr) heuristics.Set(kHeuristicsDevice, kTypeDescriptor, place.device);
  heuristics.Finalize();
  if (!heuristics.ok()) return configs;
  constexpr int64_t kMost = 64;
  std::vector<Descriptor> places;
  for (int64_t i = 0; i < kMost; ++i) {
    configs.emplace_back(kEngineConfig);
    places.push_back(configs.back().get());
  }
  const int64_t count = heuristics.Get(kHeuristicsResults, kTypeDescriptor, places.data(), kMost);
  while (static_cast<int64_t>(configs.size()) > count) configs.pop_back();
  return configs;
}

// "engine 62 14=3 27=1": its number, and its settings.
std::string NameOf(const Owned& engine, const Owned& config) {
  constexpr int64_t kMost = 64;
  int64_t number = -1;
  engine.Get(kEngineGlobalIndex, kTypeInt64, &number, 1);
  std::string name = "engine " + std::to_string(number);
  std::vector<Owned> knobs;
  std::vector<Descriptor> places;
  for (int64_t i = 0; i < kMost; ++i) {
    knobs.emplace_back(kKnobChoice);
    places.push_back(knobs.back().get());
  }
  const int64_t count = config.Get(kEngineConfigKnobs, kTypeDescriptor, places.data(), kMost);
  for (int64_t i = 0; i < count; ++i) {
    int type = -1;
    int64_t value = -1;
    knobs[static_cast<size_t>(i)].Get(kKnobType, kTypeKnob, &type, 1);
    knobs[static_cast<size_t>(i)].Get(kKnobValue, kTypeInt64, &value, 1);
    name += " " + std::to_string(type) + "=" + std::to_string(value);
  }
  return name;
}

// visit(engine, config) of those that are exact, in the order of the heuristics, until it says that it is enough.
template <typename Visit>
void ForEachExact(const EngineSearch& search, const Visit& visit) {
  if (!search.operations.ok()) return;
  const GraphPlace& place = search.place;
  std::vector<Descriptor> list;
  for (const Owned& operation : search.operations.list) list.push_back(operation.get());
  Owned graph(kOperationGraph);
  graph.Set(kGraphOperations, kTypeDescriptor, list.data(), static_cast<int64_t>(list.size()));
  if (place.handle != nullptr) graph.Set(kGraphHandle, kTypeHandle, place.handle);
  graph.Finalize();
  if (!graph.ok()) return;
  bool proposed = false;
  for (const Heuristics mode : {kHeuristicsA, kHeuristicsFallback}) {
    // What only the second has may be slower than our own kernels: for where the first knows nothing.
    if (proposed) return;
    for (Owned& config : ConfigsOf(graph, mode, place)) {
      Owned engine(kEngine);
      Descriptor found = engine.get();
      if (config.Get(kEngineConfigEngine, kTypeDescriptor, &found, 1) != 1) continue;
      if (!IsExact(engine, search.dtype) || IsCompiledLater(engine) != search.compiled) continue;
      proposed = true;
      if (visit(engine, config)) return;
    }
  }
}

// Before it is made of a plan, which may be compiled, for a second each.
bool Fits(const Owned& config, int64_t workspace_bytes) {
  int64_t bytes = -1;
  return config.Get(kEngineConfigWorkspaceSize, kTypeInt64, &bytes, 1) != 1 ||
         bytes <= workspace_bytes;
}

}  // namespace

std::optional<EnginePlan> FirstPlan(const EngineSearch& search, const std::string& name) {
  std::optional<EnginePlan> made;
  int attempts = 0;
  ForEachExact(search, [&](const Owned& engine, Owned& config) {
    const std::string own = NameOf(engine, config);
    if (!name.empty() && own != name) return false;
    if (search.compiled) {
      if (!Fits(config, search.workspace_bytes)) return false;
      if (++attempts > kMostCompiled) return true;
    }
    Owned plan(kExecutionPlan);
    const GraphPlace& place = search.place;
    if (place.handle != nullptr) plan.Set(kPlanHandle, kTypeHandle, place.handle);
    if (place.device != nullptr) plan.Set(kPlanDevice, kTypeDescriptor, place.device);
    plan.Set(kPlanEngineConfig, config).Finalize();
    int64_t bytes = -1, number = 0;
    if (!plan.ok() || plan.Get(kPlanWorkspaceSize, kTypeInt64, &bytes, 1) != 1 ||
        bytes > search.workspace_bytes) {
      return false;
    }
    engine.Get(kEngineGlobalIndex, kTypeInt64, &number, 1);
    made.emplace(EnginePlan{std::move(plan), std::move(config), number, bytes, own});
    return true;
  });
  return made;
}

std::vector<std::string> EngineNames(const EngineSearch& search, size_t most) {
  std::vector<std::string> names;
  ForEachExact(search, [&](const Owned& engine, const Owned& config) {
    if (names.size() >= most) return true;
    if (!Fits(config, search.workspace_bytes)) return false;
    std::string name = NameOf(engine, config);
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(std::move(name));
    }
    return false;
  });
  return names;
}

}  // namespace oneflow::kernels::cudnn
