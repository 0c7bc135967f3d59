// Proof 1. Nothing here may index, multiply or expand before it has checked: a plan file is
// untrusted.
#include <algorithm>
#include <functional>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/dtype.h"
#include "base/shape.h"
#include "base/status.h"
#include "plan/firings.h"
#include "plan/proofs.h"
#include "plan/sent_pieces.h"

namespace oneflow {
namespace {

const char kWellFormedProof[] = "well formed";

// Far above any real plan, far below what would exhaust memory.
constexpr int kMaxItems = 1 << 22;               // tasks, registers, ...
constexpr int64_t kMaxFirings = 1 << 24;         // of one step
constexpr int64_t kMaxEdges = int64_t{1} << 26;  // of one step
constexpr int64_t kMaxClock = int64_t{1} << 25;  // firings x streams
constexpr int64_t kMaxBytes = int64_t{1} << 50;
constexpr uint32_t kMaxMicroBatches = 1 << 16;
constexpr uint32_t kMaxSlots = 1 << 16;
constexpr uint32_t kMaxChunks = 1 << 20;
constexpr int kMaxRank = 16;
constexpr uint32_t kMaxThreads = 1024;

template <typename Shape64>
std::optional<int64_t> BytesOf(plan::DTypeProto dtype, const Shape64& extents) {
  if (!plan::DTypeProto_IsValid(dtype) || dtype == plan::INVALID) return std::nullopt;
  if (extents.size() > kMaxRank) return std::nullopt;
  const auto elements = CheckedNumElements(Shape(extents.begin(), extents.end()));
  if (!elements.has_value() || *elements > kMaxBytes / 8) return std::nullopt;
  return *elements * SizeOf(static_cast<DType>(dtype));
}

class WellFormed {
 public:
  explicit WellFormed(const plan::Plan& plan) : plan_(plan) {}

  absl::Status Prove() {
    OF_RETURN_IF_ERROR(Header());
    OF_RETURN_IF_ERROR(Devices());
    OF_RETURN_IF_ERROR(States());
    OF_RETURN_IF_ERROR(Interface());
    std::unordered_set<std::string_view> names;  // only looked up
    for (uint32_t t = 0; t < Count(plan_.tasks()); ++t) {
      OF_RETURN_IF_ERROR(TaskAlone(t));
      if (!names.insert(TaskAt(t).name()).second) {
        return Task(t, absl::StrCat("the name ", TaskAt(t).name(), " stands twice"));
      }
    }
    OF_RETURN_IF_ERROR(Totals());
    // Expands the streams, so that everything below may count firings.
    OF_RETURN_IF_ERROR(Streams());
    OF_RETURN_IF_ERROR(FindReaders());
    for (uint32_t r = 0; r < Count(plan_.registers()); ++r) OF_RETURN_IF_ERROR(RegisterAt(r));
    for (uint32_t t = 0; t < Count(plan_.tasks()); ++t) OF_RETURN_IF_ERROR(TaskPorts(t));
    for (uint32_t r = 0; r < Count(plan_.registers()); ++r) OF_RETURN_IF_ERROR(InPlace(r));
    OF_RETURN_IF_ERROR(InPlaceChains());
    for (uint32_t t = 0; t < Count(plan_.tasks()); ++t) OF_RETURN_IF_ERROR(Aliases(t));
    OF_RETURN_IF_ERROR(AfterEdges());
    return Channels();
  }

 private:
  template <typename Items>
  static uint32_t Count(const Items& items) {
    return static_cast<uint32_t>(items.size());
  }
  const plan::Task& TaskAt(uint32_t t) const { return plan_.tasks(static_cast<int>(t)); }
  const plan::Register& Reg(uint32_t r) const { return plan_.registers(static_cast<int>(r)); }

  absl::Status Plain(const std::string& message) const {
    return MakeError(ErrorKind::kPlan, absl::StrCat(kWellFormedProof, ": ", message));
  }
  absl::Status Task(uint32_t task, const std::string& message) const {
    return ProofError(plan_, kWellFormedProof, task,
                      absl::StrCat("task ", task, ", ", TaskText(plan_, task), ": ", message));
  }
  absl::Status Register(uint32_t r, const std::string& message) const {
    const uint32_t producer = Reg(r).producer();
    return ProofError(plan_, kWellFormedProof, producer,
                      absl::StrCat(RegisterText(plan_, r), ": ", message));
  }

  absl::Status Header() const {
    if (plan_.micro_batches() < 1 || plan_.micro_batches() > kMaxMicroBatches) {
      return Plain(absl::StrCat("micro_batches is ", plan_.micro_batches()));
    }
    if (plan_.rank() >= plan_.world_size()) {
      return Plain(absl::StrCat("rank ", plan_.rank(), " of ", plan_.world_size()));
    }
    for (const int size : {plan_.tasks_size(), plan_.registers_size(), plan_.streams_size(),
                           plan_.states_size(), plan_.devices_size(), plan_.channels_size()}) {
      if (size > kMaxItems) return Plain(absl::StrCat("too large: ", size, " items of one kind"));
    }
    int64_t devices = 1;
    std::set<std::string> axes;
    for (const plan::AxisProto& axis : plan_.mesh().axes()) {
      if (axis.size() < 1 || axis.size() > kMaxItems || devices > kMaxItems) {
        return Plain(absl::StrCat("mesh axis ", axis.name(), " has size ", axis.size()));
      }
      if (axis.name().empty() || axis.name() == "micro" || !axes.insert(axis.name()).second) {
        return Plain(
            absl::StrCat("mesh axis \"", axis.name(), "\" is empty, reserved or stands twice"));
      }
      devices *= axis.size();
    }
    if (devices != plan_.mesh().devices_size()) {
      return Plain(absl::StrCat("the mesh has ", devices, " places and ",
                                plan_.mesh().devices_size(), " devices"));
    }
    const std::set<uint32_t> distinct(plan_.mesh().devices().begin(), plan_.mesh().devices().end());
    if (static_cast<int64_t>(distinct.size()) != devices)
      return Plain("a device stands twice in the mesh");
    for (int n = 0; n < plan_.node_fingerprints_size(); ++n) {
      const uint32_t location = plan_.node_fingerprints(n).location();
      if (location > 0 && location >= Count(plan_.locations())) {
        return Plain(absl::StrCat("node ", n, ": its location ", location, " is out of range"));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Devices() const {
    int64_t last = -1;
    for (const plan::DeviceProto& device : plan_.devices()) {
      if (int64_t{device.id()} <= last)
        return Plain("devices are not in ascending order of their ids");
      last = device.id();
      if (device.threads() > kMaxThreads) {
        return Plain(
            absl::StrCat("device ", device.id(), " has a team of ", device.threads(), " threads"));
      }
      if (device.arena_bytes() < 0 || device.arena_bytes() > kMaxBytes) {
        return Plain(absl::StrCat("device ", device.id(), " has an arena of ", device.arena_bytes(),
                                  " bytes"));
      }
    }
    for (const plan::Stream& stream : plan_.streams()) {
      if (stream.device() >= Count(plan_.devices())) {
        return Plain(absl::StrCat("stream ", stream.name(), " is on device ", stream.device(),
                                  " of ", plan_.devices_size()));
      }
    }
    return absl::OkStatus();
  }

  absl::Status States() const {
    std::unordered_set<std::string_view> names;  // only looked up
    for (const plan::StateProto& state : plan_.states()) {
      const auto what = [&state] { return absl::StrCat("state ", state.name()); };
      if (state.name().empty() || !names.insert(state.name()).second) {
        return Plain(absl::StrCat(what(), ": the name is empty or stands twice"));
      }
      if (!BytesOf(state.dtype(), state.logical_shape()).has_value()) {
        return Plain(absl::StrCat(what(), ": impossible dtype or shape"));
      }
      int64_t last = -1;
      for (const plan::StateShard& shard : state.shards()) {
        if (int64_t{shard.device()} <= last || shard.device() >= Count(plan_.devices())) {
          return Plain(
              absl::StrCat(what(), ": shards must name devices of this rank in ascending order"));
        }
        last = shard.device();
        if (shard.begin_size() != state.logical_shape_size() ||
            shard.shape_size() != state.logical_shape_size()) {
          return Plain(absl::StrCat(what(), ": a shard has another rank"));
        }
        for (int d = 0; d < shard.shape_size(); ++d) {
          const int64_t extent = state.logical_shape(d);
          if (shard.begin(d) < 0 || shard.shape(d) < 0 || shard.begin(d) > extent ||
              shard.shape(d) > extent - shard.begin(d)) {
            return Plain(absl::StrCat(what(), ": the shard of device ", shard.device(),
                                      " reaches beyond dim ", d));
          }
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status Interface() const {
    for (const plan::InputProto& input : plan_.inputs()) {
      if (!BytesOf(input.dtype(), input.logical_shape()).has_value()) {
        return Plain(absl::StrCat("input ", input.name(), ": impossible dtype or shape"));
      }
    }
    for (const plan::OutputProto& output : plan_.outputs()) {
      if (!BytesOf(output.dtype(), output.logical_shape()).has_value()) {
        return Plain(absl::StrCat("output ", output.name(), ": impossible dtype or shape"));
      }
    }
    std::unordered_set<std::string_view> names;  // only looked up
    for (const plan::ChannelProto& channel : plan_.channels()) {
      const auto what = [&channel] { return absl::StrCat("channel ", channel.name()); };
      if (channel.name().empty() || !names.insert(channel.name()).second) {
        return Plain(absl::StrCat(what(), ": the name is empty or stands twice"));
      }
      if (channel.source() >= plan_.world_size() || channel.destination() >= plan_.world_size() ||
          channel.source() == channel.destination() ||
          (channel.source() != plan_.rank() && channel.destination() != plan_.rank())) {
        return Plain(absl::StrCat(what(), ": goes from rank ", channel.source(), " to ",
                                  channel.destination(), ", seen from rank ", plan_.rank(), " of ",
                                  plan_.world_size()));
      }
      if (channel.bytes() < 0 || channel.bytes() > kMaxBytes || channel.slots() < 1 ||
          channel.slots() > kMaxSlots) {
        return Plain(
            absl::StrCat(what(), ": ", channel.bytes(), " bytes, ", channel.slots(), " slots"));
      }
    }
    return absl::OkStatus();
  }

  // What can be said of a task before anything is expanded.
  absl::Status TaskAlone(uint32_t t) const {
    const plan::Task& task = TaskAt(t);
    if (task.name().empty()) return Task(t, "has no name");
    if (!plan::TaskKind_IsValid(task.kind()))
      return Task(t, absl::StrCat("unknown kind ", task.kind()));
    if (!plan::Level_IsValid(task.level()))
      return Task(t, absl::StrCat("unknown level ", task.level()));
    if ((task.kind() == plan::COMPUTE || task.kind() == plan::MOVE) && task.op().empty()) {
      return Task(t, "has no op");
    }
    if (task.device() >= Count(plan_.devices())) {
      return Task(t, absl::StrCat("is on device ", task.device(), " of ", plan_.devices_size()));
    }
    if (task.stream() >= Count(plan_.streams())) {
      return Task(t, absl::StrCat("is on stream ", task.stream(), " of ", plan_.streams_size()));
    }
    if (plan_.streams(static_cast<int>(task.stream())).device() != task.device()) {
      return Task(t, "is on a stream of another device");
    }
    const bool chunked = task.level() == plan::CHUNK;
    if (chunked != (task.chunks() > 0) || task.chunks() > kMaxChunks) {
      return Task(t, absl::StrCat("has ", task.chunks(), " chunks at level ",
                                  plan::Level_Name(task.level())));
    }
    if (task.location() > 0 && task.location() >= Count(plan_.locations())) {
      return Task(t, "its location is out of range");
    }
    for (int i = 0; i < task.attrs_size(); ++i) {
      if (task.attrs(i).name().empty() ||
          task.attrs(i).value_case() == plan::AttrProto::VALUE_NOT_SET) {
        return Task(t, "an attr has no name or no value");
      }
      if (i > 0 && task.attrs(i - 1).name() >= task.attrs(i).name()) {
        return Task(t, absl::StrCat("attr ", task.attrs(i).name(), " is out of order"));
      }
    }
    if (task.flops() < 0 || task.bytes() < 0 || task.duration_ns() < 0)
      return Task(t, "a cost is negative");
    return absl::OkStatus();
  }

  absl::Status Totals() const {
    int64_t firings = 0;
    int64_t edges = 0;
    for (uint32_t t = 0; t < Count(plan_.tasks()); ++t) {
      firings += FiringsPerStep(plan_, t);
      if (firings > kMaxFirings)
        return Task(t, absl::StrCat("more than ", kMaxFirings, " firings per step"));
      edges += FiringsPerStep(plan_, t) * (TaskAt(t).after_size() + TaskAt(t).inputs_size() + 1);
      if (edges > kMaxEdges)
        return Task(t, absl::StrCat("more than ", kMaxEdges, " edges per step"));
    }
    if (firings * plan_.streams_size() > kMaxClock) {
      return Plain(absl::StrCat("too large to prove: ", firings, " firings per step on ",
                                plan_.streams_size(), " streams are more than ", kMaxClock,
                                " clocks; use fewer micro-batches (accumulate=) or more stages "
                                "(pp=)"));
    }
    return absl::OkStatus();
  }

  // Each firing of a task stands exactly once, in ascending order, in the items of its stream.
  absl::Status Streams() const {
    std::vector<int64_t> fired(plan_.tasks_size(), 0);
    std::vector<int64_t> tasks_of_stream(plan_.streams_size(), 0);
    std::vector<int64_t> receives_of_stream(plan_.streams_size(), 0);
    for (uint32_t s = 0; s < Count(plan_.streams()); ++s) {
      const plan::Stream& stream = plan_.streams(static_cast<int>(s));
      absl::StatusOr<std::vector<FiringId>> firings =
          ExpandStreamChecked(plan_, stream, kMaxFirings);
      if (!firings.ok()) return WithContext(firings.status(), kWellFormedProof);
      for (const FiringId& firing : *firings) {
        if (TaskAt(firing.task).stream() != s) {
          return Task(firing.task,
                      absl::StrCat("fires in stream ", s, " (", stream.name(),
                                   ") but belongs to stream ", TaskAt(firing.task).stream()));
        }
        if (OrdinalOf(plan_, firing) != fired[firing.task]) {
          return Task(firing.task, absl::StrCat("stream ", s, " (", stream.name(), ") fires ",
                                                FiringName(plan_, firing), " out of turn"));
        }
        ++fired[firing.task];
      }
    }
    for (uint32_t t = 0; t < Count(plan_.tasks()); ++t) {
      if (fired[t] != FiringsPerStep(plan_, t)) {
        return Task(t, absl::StrCat("fires ", fired[t], " times in its stream, must fire ",
                                    FiringsPerStep(plan_, t), " times per step"));
      }
      ++tasks_of_stream[TaskAt(t).stream()];
      if (TaskAt(t).kind() == plan::RECV) ++receives_of_stream[TaskAt(t).stream()];
    }
    for (uint32_t t = 0; t < Count(plan_.tasks()); ++t) {
      const int64_t receives = receives_of_stream[TaskAt(t).stream()];
      if (receives > 0 && receives != tasks_of_stream[TaskAt(t).stream()]) {
        return Task(t, absl::StrCat("shares a stream of RECVs with other tasks: stream ",
                                    TaskAt(t).stream()));
      }
    }
    return absl::OkStatus();
  }

  // The tables below, which RegisterAt and all that follows it fill or read.
  absl::Status FindReaders() {
    readers_.resize(plan_.registers_size());
    produced_.assign(plan_.registers_size(), false);
    result_of_.assign(plan_.registers_size(), kNone);
    ends_.assign(plan_.channels_size(), kNone);
    for (uint32_t t = 0; t < Count(plan_.tasks()); ++t) {
      for (const plan::Port& port : TaskAt(t).inputs()) {
        if (port.source_case() != plan::Port::kRegister) continue;
        if (port.register_() >= Count(plan_.registers())) {
          return Task(
              t, absl::StrCat("uses register ", port.register_(), " of ", plan_.registers_size()));
        }
        std::vector<uint32_t>& readers = readers_[port.register_()];
        if (readers.empty() || readers.back() != t) readers.push_back(t);
      }
    }
    return absl::OkStatus();
  }

  absl::Status RegisterAt(uint32_t r) const {
    const plan::Register& reg = Reg(r);
    if (reg.producer() >= Count(plan_.tasks())) {
      return Register(
          r, absl::StrCat("its producer is task ", reg.producer(), " of ", plan_.tasks_size()));
    }
    if (!plan::Level_IsValid(reg.level()))
      return Register(r, absl::StrCat("unknown level ", reg.level()));
    if (reg.slots() < 1 || reg.slots() > kMaxSlots)
      return Register(r, absl::StrCat("has ", reg.slots(), " slots"));
    if (reg.device() >= Count(plan_.devices()))
      return Register(r, absl::StrCat("is on device ", reg.device()));

    const std::vector<uint32_t>& readers = readers_[r];
    if (!std::equal(readers.begin(), readers.end(), reg.consumers().begin(),
                    reg.consumers().end())) {
      for (const uint32_t reader : readers) {
        if (std::count(reg.consumers().begin(), reg.consumers().end(), reader) == 0) {
          return Register(r,
                          absl::StrCat(TaskText(plan_, reader), " reads it but is not a consumer"));
        }
      }
      for (const uint32_t consumer : reg.consumers()) {
        if (!std::binary_search(readers.begin(), readers.end(), consumer)) {
          return Register(
              r, absl::StrCat(TaskText(plan_, consumer), " is a consumer but does not read it"));
        }
      }
      return Register(r, "its consumers are not in ascending order");
    }
    if (!std::is_sorted(reg.enqueued().begin(), reg.enqueued().end(),
                        std::less_equal<uint32_t>()) ||
        !std::includes(reg.consumers().begin(), reg.consumers().end(), reg.enqueued().begin(),
                       reg.enqueued().end())) {
      return Register(r, "says enqueued of tasks that are not consumers, ascending");
    }
    if (TaskAt(reg.producer()).level() < reg.level()) {
      return Register(r, absl::StrCat("has level ", plan::Level_Name(reg.level()),
                                      ", deeper than its producer's"));
    }
    const int64_t iterations = IterationsPerStep(plan_, reg.producer(), reg.level());
    for (const uint32_t consumer : reg.consumers()) {
      if (TaskAt(consumer).level() < reg.level()) {
        return Register(r, absl::StrCat("has level ", plan::Level_Name(reg.level()),
                                        ", deeper than that of ", TaskText(plan_, consumer)));
      }
      const int64_t reads = IterationsPerStep(plan_, consumer, reg.level());
      if (reads != iterations) {
        return Register(r, absl::StrCat("is filled ", iterations, " times per step but ",
                                        TaskText(plan_, consumer), " reads ", reads));
      }
    }

    const auto needed = BytesOf(reg.type().dtype(), reg.type().shape());
    if (!needed.has_value()) return Register(r, "impossible dtype or shape");
    if (reg.bytes() < *needed || reg.bytes() > kMaxBytes) {
      return Register(r, absl::StrCat("has ", reg.bytes(), " bytes, its type needs ", *needed));
    }
    if (reg.offset() < 0 || reg.offset() % 64 != 0 || reg.offset() > kMaxBytes) {
      return Register(
          r, absl::StrCat("offset ", reg.offset(), " is not a multiple of 64 in the arena"));
    }
    if (reg.slots() > 1 && (reg.slot_stride() < reg.bytes() || reg.slot_stride() % 64 != 0 ||
                            reg.slot_stride() > kMaxBytes / kMaxSlots)) {
      return Register(
          r, absl::StrCat("slots of ", reg.bytes(), " bytes stand ", reg.slot_stride(), " apart"));
    }
    const int64_t end =
        reg.offset() + (reg.slots() > 1 ? reg.slot_stride() * (reg.slots() - 1) : 0) + reg.bytes();
    const int64_t arena = plan_.devices(static_cast<int>(reg.device())).arena_bytes();
    if (end > arena) {
      return Register(
          r, absl::StrCat(reg.slots(), reg.slots() == 1 ? " slot at " : " slots at ", reg.offset(),
                          " end at ", end, ", beyond the arena of ", arena, " bytes"));
    }
    return absl::OkStatus();
  }

  absl::Status PortOf(uint32_t t, const plan::Port& port, bool output) const {
    const plan::Task& task = TaskAt(t);
    const auto bytes = BytesOf(port.type().dtype(), port.type().shape());
    if (!bytes.has_value()) return Task(t, "a port has an impossible dtype or shape");
    if (port.source_case() == plan::Port::kRegister) {
      if (port.register_() >= Count(plan_.registers())) {
        return Task(
            t, absl::StrCat("uses register ", port.register_(), " of ", plan_.registers_size()));
      }
      const plan::Register& reg = Reg(port.register_());
      if (output && reg.producer() != t) {
        return Task(t, absl::StrCat("writes ", RegisterText(plan_, port.register_()),
                                    ", which it does not produce"));
      }
      if (*bytes > reg.bytes()) {
        return Task(t, absl::StrCat("a port of ", *bytes, " bytes on ",
                                    RegisterText(plan_, port.register_()), " of ", reg.bytes()));
      }
      if (port.type().dtype() != reg.type().dtype()) {
        return Task(t, absl::StrCat("a port of dtype ", plan::DTypeProto_Name(port.type().dtype()),
                                    " on ", RegisterText(plan_, port.register_()), " of ",
                                    plan::DTypeProto_Name(reg.type().dtype())));
      }
      if (reg.device() != task.device() && task.kind() != plan::MOVE) {
        return Task(
            t, absl::StrCat("uses ", RegisterText(plan_, port.register_()), " of another device"));
      }
      return absl::OkStatus();
    }
    if (port.source_case() != plan::Port::kState)
      return Task(t, "a port has neither register nor state");
    if (port.state() >= Count(plan_.states())) {
      return Task(t, absl::StrCat("uses state ", port.state(), " of ", plan_.states_size()));
    }
    const plan::StateProto& state = plan_.states(static_cast<int>(port.state()));
    const auto shard =
        std::find_if(state.shards().begin(), state.shards().end(),
                     [&](const plan::StateShard& s) { return s.device() == task.device(); });
    if (shard == state.shards().end()) {
      return Task(t, absl::StrCat("uses state ", state.name(), ", which its device does not hold"));
    }
    const auto held = BytesOf(state.dtype(), shard->shape());
    if (port.type().dtype() != state.dtype() || *held != *bytes) {
      return Task(t, absl::StrCat("a port of ", *bytes, " bytes on state ", state.name(),
                                  ", whose shard has ", *held, " or another dtype"));
    }
    return absl::OkStatus();
  }

  absl::Status TaskPorts(uint32_t t) {
    const plan::Task& task = TaskAt(t);
    for (const plan::Port& port : task.inputs()) OF_RETURN_IF_ERROR(PortOf(t, port, false));
    std::vector<uint32_t> written, states;
    for (const plan::Port& port : task.outputs()) {
      OF_RETURN_IF_ERROR(PortOf(t, port, true));
      if (port.source_case() == plan::Port::kRegister) {
        written.push_back(port.register_());
      } else {
        states.push_back(port.state());
      }
    }
    for (std::vector<uint32_t>* ids : {&written, &states}) {
      std::sort(ids->begin(), ids->end());
      if (std::adjacent_find(ids->begin(), ids->end()) != ids->end())
        return Task(t, "two outputs go to one register or state");
    }
    if (task.has_workspace()) {
      const uint32_t w = task.workspace();
      if (w >= Count(plan_.registers()) || Reg(w).producer() != t || Reg(w).consumers_size() > 0 ||
          Reg(w).device() != task.device() ||
          std::binary_search(written.begin(), written.end(), w)) {
        return Task(t, "its workspace must be a register of this task alone");
      }
      produced_[w] = true;
    }
    for (const uint32_t r : written) produced_[r] = true;

    const auto shape = [&](int inputs, int outputs) {
      return task.inputs_size() == inputs && task.outputs_size() == outputs;
    };
    const auto on_registers = [&] {
      const auto is_register = [](const plan::Port& p) {
        return p.source_case() == plan::Port::kRegister;
      };
      return std::all_of(task.outputs().begin(), task.outputs().end(), is_register);
    };
    switch (task.kind()) {
      case plan::FEED:
        if (task.index() >= Count(plan_.inputs()))
          return Task(t, absl::StrCat("feeds from input ", task.index()));
        if (!shape(0, 1) || !on_registers()) return Task(t, "a FEED fills one register");
        return RegionOf(t, task.outputs(0), plan_.inputs(static_cast<int>(task.index())));
      case plan::FETCH:
        if (task.index() >= Count(plan_.outputs()))
          return Task(t, absl::StrCat("fetches to output ", task.index()));
        if (!shape(1, 0)) return Task(t, "a FETCH has one input");
        return RegionOf(t, task.inputs(0), plan_.outputs(static_cast<int>(task.index())));
      case plan::SEND:
        if (!shape(1, 0)) return Task(t, "a SEND has one input");
        return End(t, /*sends=*/true);
      case plan::RECV:
        if (!shape(0, 1) || !on_registers()) return Task(t, "a RECV fills one register");
        return End(t, /*sends=*/false);
      default:
        if (task.outputs_size() == 0) return Task(t, "has no output");
    }
    return absl::OkStatus();
  }

  // A FEED or FETCH copies the region of its port out of, or into, `whole`: in every micro-batch it
  // lies inside.
  template <typename Whole>
  absl::Status RegionOf(uint32_t t, const plan::Port& port, const Whole& whole) const {
    const plan::Task& task = TaskAt(t);
    const auto& shape = whole.logical_shape();
    const auto error = [&](const std::string& what) {
      return Task(t, absl::StrCat("the region of ", whole.name(), ": ", what));
    };
    if (port.type().dtype() != whole.dtype() ||
        !std::equal(shape.begin(), shape.end(), port.logical_shape().begin(),
                    port.logical_shape().end())) {
      return error("another dtype or logical shape");
    }
    const int rank = shape.size();
    if (port.type().shape_size() != rank || port.begin_size() != rank) {
      return error("another number of dims");
    }
    const int64_t micros = InMicroLoop(task) ? plan_.micro_batches() : 1;
    if (port.micro_stride() != 0 && micros > 1 &&
        (port.micro_dim() >= Count(shape) || port.micro_stride() < 0 ||
         port.micro_stride() > shape[static_cast<int>(port.micro_dim())])) {
      return error("micro-batches do not follow each other in it");
    }
    for (int d = 0; d < rank; ++d) {
      const bool moves = micros > 1 && port.micro_dim() == static_cast<uint32_t>(d);
      const int64_t moved = moves ? port.micro_stride() * (micros - 1) : 0;
      if (port.begin(d) < 0 || port.begin(d) > shape[d] ||
          port.type().shape(d) > shape[d] - port.begin(d) - moved) {
        return error(absl::StrCat("ends beyond dim ", d));
      }
    }
    return absl::OkStatus();
  }

  absl::Status End(uint32_t t, bool sends) {
    const plan::Task& task = TaskAt(t);
    if (task.channel() >= Count(plan_.channels()))
      return Task(t, absl::StrCat("uses channel ", task.channel()));
    const plan::ChannelProto& channel = plan_.channels(static_cast<int>(task.channel()));
    if ((sends ? channel.source() : channel.destination()) != plan_.rank()) {
      return Task(t, absl::StrCat("is at the wrong end of channel ", channel.name()));
    }
    uint32_t& end = ends_[task.channel()];
    if (end != kNone) {
      return Task(t, absl::StrCat("channel ", channel.name(), " has another task already, ",
                                  TaskText(plan_, end)));
    }
    end = t;
    const plan::Port& port = sends ? task.inputs(0) : task.outputs(0);
    std::optional<int64_t> bytes = BytesOf(port.type().dtype(), port.type().shape());
    if (sends && SendsPieces(task)) {
      const absl::StatusOr<SentPieces> pieces = SentPiecesOf(task);
      if (!pieces.ok()) return Task(t, MessageOf(pieces.status()));
      bytes = pieces->bytes;
    }
    if (*bytes != channel.bytes()) {
      return Task(t, absl::StrCat("moves ", *bytes, " bytes through channel ", channel.name(),
                                  " of ", channel.bytes()));
    }
    if (!sends) {
      const plan::Register& reg = Reg(port.register_());
      if (reg.slots() != channel.slots()) {
        return Task(t, absl::StrCat("fills ", reg.slots(), " slots from channel ", channel.name(),
                                    " of ", channel.slots()));
      }
      if (reg.level() != task.level())
        return Task(t, "a RECV fills its register with every firing");
    }
    return absl::OkStatus();
  }

  absl::Status InPlace(uint32_t r) {
    const plan::Register& reg = Reg(r);
    if (!produced_[r]) return Register(r, "its producer has no such output");
    if (!reg.has_in_place_of()) return absl::OkStatus();
    const uint32_t source = reg.in_place_of();
    if (source >= Count(plan_.registers()) || source == r) {
      return Register(r, absl::StrCat("is in place of register ", source));
    }
    const plan::Register& input = Reg(source);
    if (!std::binary_search(readers_[source].begin(), readers_[source].end(), reg.producer())) {
      return Register(r, absl::StrCat("is in place of ", RegisterText(plan_, source),
                                      ", which its producer does not read"));
    }
    if (input.device() != reg.device() || input.offset() != reg.offset() ||
        input.slots() != reg.slots() || input.bytes() != reg.bytes() ||
        input.level() != reg.level() ||
        (reg.slots() > 1 && input.slot_stride() != reg.slot_stride())) {
      return Register(r, absl::StrCat("is in place of ", RegisterText(plan_, source),
                                      " but has not exactly its slots, bytes and level"));
    }
    if (result_of_[source] != kNone) {
      return Register(r,
                      absl::StrCat("a second result is in place of ", RegisterText(plan_, source)));
    }
    result_of_[source] = r;
    return absl::OkStatus();
  }

  // A chain of in-place results that comes back to itself has no first register.
  absl::Status InPlaceChains() const {
    std::vector<bool> reached(result_of_.size(), false);
    for (uint32_t r = 0; r < Count(plan_.registers()); ++r) {
      if (Reg(r).has_in_place_of()) continue;
      for (uint32_t at = result_of_[r]; at != kNone; at = result_of_[at]) reached[at] = true;
    }
    for (const uint32_t r : result_of_) {
      if (r != kNone && !reached[r]) return Register(r, "is in place of itself");
    }
    return absl::OkStatus();
  }

  absl::Status Aliases(uint32_t t) const {
    const plan::Task& task = TaskAt(t);
    std::pair<int64_t, int64_t> last = {-1, -1};
    for (const plan::Alias& alias : task.aliases()) {
      const std::pair<int64_t, int64_t> pair = {alias.output(), alias.input()};
      if (alias.output() >= Count(task.outputs()) || alias.input() >= Count(task.inputs()) ||
          pair <= last) {
        return Task(t, absl::StrCat("writes output ", alias.output(), " over input ", alias.input(),
                                    ", which it has not, or says so twice"));
      }
      last = pair;
    }
    return absl::OkStatus();
  }

  absl::Status AfterEdges() const {
    for (uint32_t t = 0; t < Count(plan_.tasks()); ++t) {
      for (const plan::AfterEdge& edge : TaskAt(t).after()) {
        if (edge.task() >= Count(plan_.tasks()))
          return Task(t, absl::StrCat("runs after task ", edge.task()));
        if (!plan::Level_IsValid(edge.level()) || edge.level() > TaskAt(t).level() ||
            edge.level() > TaskAt(edge.task()).level()) {
          return Task(t, absl::StrCat("its after edge from ", TaskText(plan_, edge.task()),
                                      " has a deeper level than one of them"));
        }
        if (!plan::Need_IsValid(edge.need()))
          return Task(t, absl::StrCat("its after edge has need ", edge.need()));
        if (edge.lag() > kMaxSlots)
          return Task(t, absl::StrCat("its after edge has lag ", edge.lag()));
        const int64_t mine = IterationsPerStep(plan_, t, edge.level());
        const int64_t other = IterationsPerStep(plan_, edge.task(), edge.level());
        if (mine != other) {
          return Task(t, absl::StrCat("runs after ", TaskText(plan_, edge.task()), ", but one has ",
                                      mine, " iterations per step and the other ", other));
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status Channels() const {
    for (uint32_t c = 0; c < Count(plan_.channels()); ++c) {
      if (ends_[c] == kNone) {
        return Plain(
            absl::StrCat("channel ", plan_.channels(static_cast<int>(c)).name(), " has no task"));
      }
    }
    return absl::OkStatus();
  }

  static constexpr uint32_t kNone = 0xffffffffu;
  const plan::Plan& plan_;
  std::vector<std::vector<uint32_t>> readers_;  // by register, ascending
  std::vector<bool> produced_;                  // by register: an output or a workspace
  std::vector<uint32_t> result_of_;             // by register: what is in place of it, or kNone
  std::vector<uint32_t> ends_;                  // by channel: its task, or kNone
};

}  // namespace

absl::Status ProveWellFormed(const plan::Plan& plan) { return WellFormed(plan).Prove(); }

}  // namespace oneflow
