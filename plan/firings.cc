#include "plan/firings.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/status.h"

namespace oneflow {
namespace {

constexpr int kMaxLoopDepth = 8;

int64_t MicroFirings(const plan::Plan& plan, const plan::Task& task) {
  return InMicroLoop(task) ? plan.micro_batches() : 1;
}

int64_t ChunkFirings(const plan::Task& task) {
  return task.level() == plan::CHUNK ? task.chunks() : 1;
}

// Writes the items of a stream out in order, checking ranges as it goes.
class Expansion {
 public:
  Expansion(const plan::Plan& plan, const std::string& stream, int64_t limit)
      : plan_(plan), stream_(stream), limit_(limit) {}

  template <typename Items>
  absl::Status Walk(const Items& items, int depth, int64_t micro, int64_t chunk, bool in_micro,
                    bool in_chunk) {
    if (depth > kMaxLoopDepth) return Error("loops nest too deep");
    for (const plan::StreamItem& item : items) {
      switch (item.item_case()) {
        case plan::StreamItem::kFiring:
          OF_RETURN_IF_ERROR(Fire(item.firing(), micro, chunk));
          break;
        case plan::StreamItem::kLoop:
          OF_RETURN_IF_ERROR(Enter(item.loop(), depth, micro, chunk, in_micro, in_chunk));
          break;
        case plan::StreamItem::ITEM_NOT_SET:
          return Error("an item is neither a firing nor a loop");
      }
    }
    return absl::OkStatus();
  }

  std::vector<FiringId> Take() { return std::move(firings_); }

 private:
  absl::Status Enter(const plan::Loop& loop, int depth, int64_t micro, int64_t chunk, bool in_micro,
                     bool in_chunk) {
    const bool is_micro = loop.level() == plan::MICRO;
    if (!is_micro && loop.level() != plan::CHUNK) return Error("a loop is neither MICRO nor CHUNK");
    if (in_chunk || (is_micro && in_micro)) return Error("loops must nest as MICRO > CHUNK");
    if (loop.body().empty()) return Error("a loop is empty");
    for (int64_t i = 0; i < loop.count(); ++i) {
      const int64_t index = int64_t{loop.begin()} + i;
      const size_t before = firings_.size();
      OF_RETURN_IF_ERROR(is_micro ? Walk(loop.body(), depth + 1, index, chunk, true, in_chunk)
                                  : Walk(loop.body(), depth + 1, micro, index, in_micro, true));
      // Else nested loops of count 0 would turn a small file into a long wait.
      if (firings_.size() == before) return Error("a loop fires nothing");
    }
    return absl::OkStatus();
  }

  absl::Status Fire(const plan::Firing& firing, int64_t micro, int64_t chunk) {
    if (firing.task() >= static_cast<uint32_t>(plan_.tasks_size())) {
      return Error(
          absl::StrCat("fires task ", firing.task(), ", but there are ", plan_.tasks_size()));
    }
    const plan::Task& task = plan_.tasks(static_cast<int>(firing.task()));
    const int64_t micros = MicroFirings(plan_, task);
    const int64_t offset = firing.micro_offset();
    if (offset < -micros || offset > micros || micro + offset < 0 || micro + offset >= micros) {
      return Error(
          absl::StrCat("fires ", task.name(), " for a micro-batch outside [0, ", micros, ")"));
    }
    if (chunk >= ChunkFirings(task)) {
      return Error(
          absl::StrCat("fires ", task.name(), " for chunk ", chunk, " of ", ChunkFirings(task)));
    }
    if (static_cast<int64_t>(firings_.size()) >= limit_) {
      return Error(absl::StrCat("has more than ", limit_, " firings per step"));
    }
    firings_.push_back(
        {firing.task(), 0, static_cast<uint32_t>(micro + offset), static_cast<uint32_t>(chunk)});
    return absl::OkStatus();
  }

  absl::Status Error(const std::string& what) const {
    return MakeError(ErrorKind::kPlan, absl::StrCat("stream ", stream_, ": ", what));
  }

  const plan::Plan& plan_;
  const std::string& stream_;
  const int64_t limit_;
  std::vector<FiringId> firings_;
};

}  // namespace

bool InMicroLoop(const plan::Task& task) {
  return task.level() == plan::MICRO ||
         (task.level() == plan::CHUNK && task.stamp().slot_per_micro() > 0);
}

int64_t FiringsPerStep(const plan::Plan& plan, uint32_t task) {
  const plan::Task& t = plan.tasks(static_cast<int>(task));
  return MicroFirings(plan, t) * ChunkFirings(t);
}

int64_t IterationsPerStep(const plan::Plan& plan, uint32_t task, plan::Level level) {
  switch (level) {
    case plan::STEP:
      return 1;
    case plan::MICRO:
      return MicroFirings(plan, plan.tasks(static_cast<int>(task)));
    default:
      return FiringsPerStep(plan, task);
  }
}

int64_t IterationOf(const plan::Plan& plan, const FiringId& firing, plan::Level level) {
  const int64_t inner =
      FiringsPerStep(plan, firing.task) / IterationsPerStep(plan, firing.task, level);
  return OrdinalOf(plan, firing) / inner;
}

int64_t OrdinalOf(const plan::Plan& plan, const FiringId& firing) {
  const plan::Task& task = plan.tasks(static_cast<int>(firing.task));
  return (int64_t{firing.step} * MicroFirings(plan, task) + firing.micro) * ChunkFirings(task) +
         firing.chunk;
}

FiringId FiringAt(const plan::Plan& plan, uint32_t task, int64_t ordinal) {
  const plan::Task& t = plan.tasks(static_cast<int>(task));
  const int64_t chunks = ChunkFirings(t);
  const int64_t micros = MicroFirings(plan, t);
  return {task, static_cast<uint32_t>(ordinal / (micros * chunks)),
          static_cast<uint32_t>(ordinal / chunks % micros),
          static_cast<uint32_t>(ordinal % chunks)};
}

FiringId FirstFiring(const plan::Plan& plan, uint32_t task, plan::Level level, int64_t iteration) {
  const int64_t inner = FiringsPerStep(plan, task) / IterationsPerStep(plan, task, level);
  return FiringAt(plan, task, iteration * inner);
}

FiringId LastFiring(const plan::Plan& plan, uint32_t task, plan::Level level, int64_t iteration) {
  const int64_t inner = FiringsPerStep(plan, task) / IterationsPerStep(plan, task, level);
  return FiringAt(plan, task, (iteration + 1) * inner - 1);
}

Stamp StampOf(const plan::Plan& plan, const FiringId& firing) {
  const plan::StampProto& stamp = plan.tasks(static_cast<int>(firing.task)).stamp();
  return {firing.step, stamp.slot() + int64_t{stamp.slot_per_micro()} * firing.micro,
          stamp.position(), firing.chunk, stamp.sub()};
}

Stamp BeginStampOf(const plan::Plan& plan, const FiringId& firing) {
  const plan::Task& task = plan.tasks(static_cast<int>(firing.task));
  if (task.kind() != plan::RECV) return StampOf(plan, firing);
  const plan::StampProto& stamp = plan.channels(static_cast<int>(task.channel())).stamp();
  return {firing.step, stamp.slot() + int64_t{stamp.slot_per_micro()} * firing.micro,
          stamp.position(), firing.chunk, stamp.sub()};
}

std::vector<FiringId> ExpandStream(const plan::Plan& plan, const plan::Stream& stream) {
  absl::StatusOr<std::vector<FiringId>> firings =
      ExpandStreamChecked(plan, stream, std::numeric_limits<int64_t>::max());
  OF_CHECK(firings.ok()) << MessageOf(firings.status());
  return *std::move(firings);
}

absl::StatusOr<std::vector<FiringId>> ExpandStreamChecked(const plan::Plan& plan,
                                                          const plan::Stream& stream,
                                                          int64_t limit) {
  Expansion expansion(plan, stream.name(), limit);
  OF_RETURN_IF_ERROR(expansion.Walk(stream.items(), 0, 0, 0, false, false));
  return expansion.Take();
}

std::string FiringName(const plan::Plan& plan, const FiringId& firing) {
  const plan::Task& task = plan.tasks(static_cast<int>(firing.task));
  std::vector<std::string> parts;
  if (InMicroLoop(task) && plan.micro_batches() > 1)
    parts.push_back(absl::StrCat("micro ", firing.micro));
  if (task.level() == plan::CHUNK) parts.push_back(absl::StrCat("chunk ", firing.chunk));
  if (firing.step > 0) {
    parts.push_back(absl::StrCat("+", firing.step, firing.step == 1 ? " step" : " steps"));
  }
  return parts.empty() ? task.name()
                       : absl::StrCat(task.name(), "[", absl::StrJoin(parts, ", "), "]");
}

std::string ToString(const Stamp& stamp) {
  return absl::StrCat("(", absl::StrJoin(stamp, ", "), ")");
}

Location LocationOfTask(const plan::Plan& plan, uint32_t task) {
  if (task >= static_cast<uint32_t>(plan.tasks_size())) return {};
  const uint32_t index = plan.tasks(static_cast<int>(task)).location();
  if (index == 0 || index >= static_cast<uint32_t>(plan.locations_size())) return {};
  const plan::LocationProto& place = plan.locations(static_cast<int>(index));
  return {place.file(), static_cast<int>(place.line()), place.function()};
}

}  // namespace oneflow
