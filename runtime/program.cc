#include "runtime/program.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "plan/attrs.h"
#include "plan/needs.h"
#include "plan/shape_of.h"

namespace oneflow {
namespace {

using kernels::StepBlock;

int64_t ElementBytes(const plan::Port& port) {
  return SizeOf(static_cast<DType>(port.type().dtype()));
}

constexpr int64_t kSlotAlignment = 64;  // of every slot (KernelArgs)

// The list, empty if there is none of that name.
std::vector<int64_t> IntsOr(const Attrs& attrs, const std::string& name) {
  const auto* list = attrs.Find<std::vector<int64_t>>(name);
  return list == nullptr ? std::vector<int64_t>() : *list;
}

// Registers that a task reads, each once, in port order.
std::vector<uint32_t> InputRegisters(const plan::Task& task) {
  std::vector<uint32_t> ids;
  for (const plan::Port& port : task.inputs()) {
    if (port.source_case() != plan::Port::kRegister) continue;
    if (std::find(ids.begin(), ids.end(), port.register_()) == ids.end()) {
      ids.push_back(port.register_());
    }
  }
  return ids;
}

absl::Status PlanError(const plan::Plan& plan, const std::string& what) {
  return MakeError(ErrorKind::kPlan, absl::StrCat("plan ", plan.name(), ": ", what));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Program>> Program::Create(const plan::Plan& plan,
                                                         DeviceSet* devices) {
  std::unique_ptr<Program> program(new Program(plan));
  OF_RETURN_IF_ERROR(program->FindDevices(devices));
  OF_RETURN_IF_ERROR(program->AddStreams());
  program->LookAtFeeds();
  program->AddActors();
  OF_RETURN_IF_ERROR(program->AddWork());
  program->AddCompletions();
  if (program->kernels_sum_in_place_) program->ring_places_ = RingPlacesOf(program->plan_);
  return program;
}

void Program::Scratch::Reserve(const Program& program) {
  for (const Task& task : program.tasks()) {
    inputs.resize(std::max(inputs.size(), task.inputs.size()));
    outputs.resize(std::max(outputs.size(), task.outputs.size()));
  }
  for (const RingPlace& place : program.ring_places()) {
    members.resize(std::max(members.size(), static_cast<size_t>(place.members)));
  }
}

absl::Status Program::FindDevices(DeviceSet* devices) {
  for (const plan::DeviceProto& proto : plan_.devices()) {
    OF_ASSIGN_OR_RETURN(Device * device, devices->Find(proto));
    devices_.push_back(device);
    if (device->holds_bytes() != devices_.front()->holds_bytes()) {
      return PlanError(plan_, "null devices and others do not mix");
    }
    if (device->runs_whole_steps() != devices_.front()->runs_whole_steps()) {
      return PlanError(plan_, absl::StrCat(device->kind(), " devices and ",
                                           devices_.front()->kind(), " devices do not mix"));
    }
  }
  holds_bytes_ = !devices_.empty() && devices_.front()->holds_bytes();
  runs_whole_steps_ = !devices_.empty() && devices_.front()->runs_whole_steps();
  kernels_sum_in_place_ = std::all_of(devices_.begin(), devices_.end(),
                                      [](const Device* device) { return device->kind() == "cpu"; });
  return absl::OkStatus();
}

absl::Status Program::AddStreams() {
  tasks_.resize(static_cast<size_t>(plan_.tasks_size()));
  for (size_t i = 0; i < tasks_.size(); ++i) {
    Task& task = tasks_[i];
    task.proto = &plan_.tasks(static_cast<int>(i));
    task.chunks = task.proto->level() == plan::CHUNK ? task.proto->chunks() : 1;
    task.micros = InMicroLoop(*task.proto) ? plan_.micro_batches() : 1;
    if (task.firings_per_step() <= 0) {
      return PlanError(plan_, absl::StrCat(task.proto->name(), " never fires"));
    }
  }
  std::vector<int64_t> next(tasks_.size(), 0);
  for (const plan::Stream& stream : plan_.streams()) {
    const Lane lane = stream.name() == "compute" ? Lane::kCompute
                      : stream.name() == "recv"  ? Lane::kReceive
                                                 : Lane::kMovement;
    StreamPlan order;
    for (const FiringId& firing : ExpandStream(plan_, stream)) {
      // Actors count firings, so a stream must name them in the order of their ordinals.
      if (OrdinalOf(plan_, firing) != next[firing.task]++) {
        return PlanError(plan_, absl::StrCat("stream ", stream.name(), " fires ",
                                             tasks_[firing.task].proto->name(), " out of order"));
      }
      tasks_[firing.task].lane = lane;
      order.tasks.push_back(firing.task);
    }
    if (!order.tasks.empty()) ++busy_streams_;
    order.reports.resize(order.tasks.size());
    order.on_device.resize(order.tasks.size());
    streams_.push_back(std::move(order));
    lanes_.push_back(lane);
  }
  for (size_t i = 0; i < tasks_.size(); ++i) {
    const Task& task = tasks_[i];
    if (next[i] != task.firings_per_step()) {
      return PlanError(plan_, absl::StrCat(task.proto->name(), " stands ", next[i],
                                           " times in its stream, but fires ",
                                           task.firings_per_step(), " times a step"));
    }
    if ((task.lane == Lane::kReceive) != (task.proto->kind() == plan::RECV)) {
      return PlanError(plan_, absl::StrCat(task.proto->name(),
                                           ": RECV tasks, and they alone, are on recv streams"));
    }
  }
  return absl::OkStatus();
}

void Program::LookAtFeeds() {
  fed_.resize(static_cast<size_t>(plan_.inputs_size()));
  for (const StreamPlan& stream : streams_) {
    size_t feeds = 0;
    for (uint32_t task : stream.tasks) {
      if (tasks_[task].proto->kind() != plan::FEED) continue;
      ++feeds;
      fed_[tasks_[task].proto->index()] = true;
      if (tasks_[task].firings_per_step() > 1) feeds_first_ = false;
    }
    if (feeds > 0 && feeds < stream.tasks.size()) feeds_first_ = false;
  }
}

int64_t Program::BytesOf(const plan::Port& port) {
  return NumElements(ShapeOf(port.type().shape())) * ElementBytes(port);
}

uint32_t Program::Inner(uint32_t task, plan::Level level) const {
  return static_cast<uint32_t>(FiringsPerStep(plan_, task) / IterationsPerStep(plan_, task, level));
}

void Program::AddActors() {
  // Outputs first, with room for their consumers; then inputs, which fill in both directions.
  const size_t registers = static_cast<size_t>(plan_.registers_size());
  std::vector<int> output_of(registers, -1);
  for (uint32_t t = 0; t < tasks_.size(); ++t) {
    ActorSpec& actor = tasks_[t].actor;
    actor.sends = tasks_[t].proto->kind() == plan::SEND;
    actor.receives = tasks_[t].proto->kind() == plan::RECV;
    for (const plan::Port& port : tasks_[t].proto->outputs()) {
      if (port.source_case() != plan::Port::kRegister) continue;
      const plan::Register& reg = plan_.registers(static_cast<int>(port.register_()));
      ActorSpec::Output output;
      output.register_id = port.register_();
      output.inner = Inner(t, reg.level());
      output.slots = reg.slots();
      output.first_credit = actor.credits;
      output.consumers.resize(static_cast<size_t>(reg.consumers_size()));
      actor.credits += static_cast<uint32_t>(reg.consumers_size());
      output_of[port.register_()] = static_cast<int>(actor.outputs.size());
      actor.outputs.push_back(std::move(output));
    }
  }
  for (uint32_t t = 0; t < tasks_.size(); ++t) {
    ActorSpec& actor = tasks_[t].actor;
    for (uint32_t id : InputRegisters(*tasks_[t].proto)) {
      const plan::Register& reg = plan_.registers(static_cast<int>(id));
      const auto consumer = std::find(reg.consumers().begin(), reg.consumers().end(), t);
      OF_CHECK(consumer != reg.consumers().end() && output_of[id] >= 0)
          << tasks_[t].proto->name() << " reads register " << id << " but is no consumer of it";
      const uint32_t place = static_cast<uint32_t>(consumer - reg.consumers().begin());
      ActorSpec::Output& output =
          tasks_[reg.producer()].actor.outputs[static_cast<size_t>(output_of[id])];
      const bool enqueued = NeedOf(reg, t) == plan::ENQUEUED;
      output.consumers[place] = {t, static_cast<uint32_t>(actor.inputs.size()), enqueued};
      actor.inputs.push_back(
          {id, Inner(t, reg.level()), {reg.producer(), output.first_credit + place, enqueued}});
    }
    for (const plan::AfterEdge& edge : tasks_[t].proto->after()) {
      tasks_[edge.task()].actor.waiters.push_back(
          {{t, static_cast<uint32_t>(actor.after.size()), edge.need() == plan::ENQUEUED},
           Inner(edge.task(), edge.level())});
      actor.after.push_back({edge.task(), Inner(t, edge.level()), edge.lag()});
    }
  }
}

absl::Status Program::AddWork() {
  for (Device* device : devices_) {
    OF_ASSIGN_OR_RETURN(Block blocks,
                        device->AllocateShared(Invocation::kWindow * int64_t{sizeof(StepBlock)}));
    step_blocks_.push_back(std::move(blocks));
  }
  for (int64_t step = 0; step < Invocation::kWindow; ++step) BeginStep(step);
  // Again after the verifier: these bounds keep every kernel inside its arena.
  for (int r = 0; r < plan_.registers_size(); ++r) {
    const plan::Register& reg = plan_.registers(r);
    int64_t end = int64_t{reg.slots()} - 1;
    if (reg.offset() < 0 || reg.offset() % kSlotAlignment != 0 || reg.slot_stride() < 0 ||
        (reg.slots() > 1 && reg.slot_stride() % kSlotAlignment != 0) || reg.slots() < 1 ||
        reg.bytes() < 0 || __builtin_mul_overflow(end, reg.slot_stride(), &end) ||
        __builtin_add_overflow(end, reg.offset(), &end) ||
        __builtin_add_overflow(end, reg.bytes(), &end) ||
        end > plan_.devices(static_cast<int>(reg.device())).arena_bytes()) {
      return PlanError(plan_, absl::StrCat("register ", r, " is not aligned inside its arena"));
    }
  }
  // Distinct regions per output and micro-batch: copies of a B output do not count twice.
  std::vector<std::set<std::pair<Shape, Shape>>> fetched(static_cast<size_t>(plan_.outputs_size()));
  std::vector<int64_t> fetched_bytes(fetched.size(), 0);
  for (Task& task : tasks_) {
    const plan::Task& proto = *task.proto;
    task.inputs.resize(static_cast<size_t>(proto.inputs_size()));
    task.outputs.resize(static_cast<size_t>(proto.outputs_size()));
    task.device = devices_[proto.device()];
    for (const plan::Port& port : proto.inputs()) task.touched_bytes += BytesOf(port);
    for (const plan::Port& port : proto.outputs()) task.touched_bytes += BytesOf(port);
    if ((proto.kind() == plan::SEND || proto.kind() == plan::RECV) && holds_bytes_ &&
        !task.device->host_memory() && !runs_whole_steps_) {
      return PlanError(plan_, absl::StrCat(task.device->kind(),
                                           " devices of several processes are not connected: run "
                                           "the mesh in one process"));
    }
    switch (proto.kind()) {
      case plan::COMPUTE:
      case plan::MOVE: {
        const plan::DeviceProto& device = plan_.devices(static_cast<int>(proto.device()));
        const int threads = task.lane == Lane::kCompute ? static_cast<int>(device.threads()) : 1;
        const int64_t workspace_bytes =
            proto.has_workspace() ? plan_.registers(static_cast<int>(proto.workspace())).bytes()
                                  : 0;
        absl::StatusOr<std::unique_ptr<kernels::Kernel>> kernel =
            devices_[proto.device()]->MakeKernel(proto, threads, workspace_bytes);
        if (!kernel.ok()) {
          return TaskError(static_cast<uint32_t>(&task - tasks_.data()), kernel.status());
        }
        task.kernel = *std::move(kernel);
        CountReceivedBytes(&task);
        break;
      }
      case plan::FEED:
      case plan::FETCH: {
        const plan::Port& port = proto.kind() == plan::FEED ? proto.outputs(0) : proto.inputs(0);
        const Shape logical = ShapeOf(port.logical_shape());
        const Shape begin = ShapeOf(port.begin());
        const Shape extent = ShapeOf(port.type().shape());
        task.region = RegionCopy(logical, begin, extent, ElementBytes(port));
        if (task.micros > 1 && port.micro_dim() < logical.size()) {
          task.micro_bytes =
              port.micro_stride() * StridesOf(logical)[port.micro_dim()] * ElementBytes(port);
        }
        if (proto.kind() == plan::FEED) {
          feeds_per_step_ += static_cast<int32_t>(task.firings_per_step());
          break;
        }
        fetches_per_step_ += static_cast<int32_t>(task.firings_per_step());
        if (fetched[proto.index()].emplace(begin, extent).second) {
          fetched_bytes[proto.index()] +=
              task.region.bytes() * (task.micro_bytes > 0 ? task.micros : 1);
        }
        break;
      }
      case plan::SEND: {
        task.message_bytes = holds_bytes_ ? BytesOf(proto.inputs(0)) : 0;
        if (!SendsPieces(proto)) break;
        absl::StatusOr<SentPieces> sent = SentPiecesOf(proto);
        if (runs_whole_steps_) {
          sent = MakeError(ErrorKind::kPlan, "sends pieces of a register, which no call of a " +
                                                 task.device->kind() + " device does");
        }
        if (!sent.ok()) {
          return TaskError(static_cast<uint32_t>(&task - tasks_.data()), sent.status());
        }
        task.sent = *std::move(sent);
        task.touched_bytes = task.sent.bytes;
        if (holds_bytes_) task.message_bytes = task.sent.bytes;
        break;
      }
      case plan::RECV:
        task.message_bytes = holds_bytes_ ? BytesOf(proto.outputs(0)) : 0;
        task.received_bytes = static_cast<uint64_t>(BytesOf(proto.outputs(0)));
        task.receiver = plan_.devices(static_cast<int>(proto.device())).id();
        break;
      default:
        return PlanError(plan_, absl::StrCat(proto.name(), " is of no known kind"));
    }
  }
  for (int i = 0; i < plan_.outputs_size(); ++i) {
    const plan::OutputProto& output = plan_.outputs(i);
    const int64_t bytes =
        NumElements(ShapeOf(output.logical_shape())) * SizeOf(static_cast<DType>(output.dtype()));
    fetches_all_.push_back(!fetched[static_cast<size_t>(i)].empty() &&
                           fetched_bytes[static_cast<size_t>(i)] >= bytes);
  }
  return absl::OkStatus();
}

absl::Status Program::TaskError(uint32_t task, const absl::Status& status) const {
  const std::string& name = plan_.tasks(static_cast<int>(task)).name();
  const Location location = LocationOfTask(plan_, task);
  // Whatever a kernel calls its refusal, here it is the plan that is wrong.
  if (KindOf(status) == ErrorKind::kOutOfMemory) {
    return WithLocation(WithContext(status, name), location);
  }
  return MakeError(ErrorKind::kPlan, absl::StrCat(name, ": ", MessageOf(status)), location);
}

void Program::AddCompletions() {
  for (Task& task : tasks_) {
    task.on_device = IsDeviceWork(*task.proto) && devices_[task.proto->device()]->answers_later();
  }
  std::vector<bool> told(tasks_.size(), false);  // someone waits until it is finished
  const auto wait = [&](uint32_t from, uint32_t their_inner, uint32_t to, uint32_t inner,
                        uint32_t lag) {
    if (!tasks_[from].on_device || tasks_[from].proto->stream() == tasks_[to].proto->stream()) {
      return;  // a stream keeps its own order
    }
    tasks_[from].recorded = true;
    tasks_[to].waits.push_back({from, their_inner, inner, lag});
  };
  for (uint32_t t = 0; t < tasks_.size(); ++t) {
    const ActorSpec& actor = tasks_[t].actor;
    for (const ActorSpec::Input& input : actor.inputs) {
      const plan::Register& reg = plan_.registers(static_cast<int>(input.register_id));
      const uint32_t producer = reg.producer();
      const uint32_t filled = Inner(producer, reg.level());
      if (input.producer.enqueued) {
        wait(producer, filled, t, input.inner, 0);
        wait(t, input.inner, producer, filled, reg.slots());
      } else {
        told[producer] = told[t] = true;
      }
    }
    for (size_t i = 0; i < actor.after.size(); ++i) {
      const plan::AfterEdge& edge = tasks_[t].proto->after(static_cast<int>(i));
      if (edge.need() == plan::ENQUEUED) {
        wait(edge.task(), Inner(edge.task(), edge.level()), t, actor.after[i].inner, edge.lag());
      } else {
        told[edge.task()] = true;
      }
    }
  }
  for (StreamPlan& stream : streams_) {
    const size_t places = stream.tasks.size();
    for (size_t i = 0; i < places; ++i) {
      const uint32_t task = stream.tasks[i];
      stream.on_device[i] = tasks_[task].on_device;
      stream.reports[i] = tasks_[task].on_device &&
                          (told[task] || i + 1 == places || !tasks_[stream.tasks[i + 1]].on_device);
    }
  }
}

bool Program::OnOtherDevice(const plan::Port& port, uint32_t device) const {
  return port.source_case() == plan::Port::kRegister &&
         plan_.registers(static_cast<int>(port.register_())).device() != device;
}

void Program::CountReceivedBytes(Task* task) const {
  const plan::Task& proto = *task->proto;
  task->receiver = plan_.devices(static_cast<int>(proto.device())).id();
  // A push: the task writes into the arena of another device.
  if (proto.outputs_size() > 0 && OnOtherDevice(proto.outputs(0), proto.device())) {
    const uint32_t to = plan_.registers(static_cast<int>(proto.outputs(0).register_())).device();
    task->receiver = plan_.devices(static_cast<int>(to)).id();
    task->received_bytes = static_cast<uint64_t>(BytesOf(proto.outputs(0)));
    return;
  }
  if (proto.op() == "assemble") {
    // Reads regions of its inputs, not all of them. Null devices make no kernel that would have
    // refused lists that do not fit.
    const Attrs attrs = Attrs::FromProto(proto.attrs());
    const std::vector<int64_t> inputs = IntsOr(attrs, "piece_input");
    const std::vector<int64_t> extents = IntsOr(attrs, "extent");
    const size_t rank = static_cast<size_t>(proto.outputs(0).type().shape_size());
    for (size_t piece = 0; (piece + 1) * rank <= extents.size() && piece < inputs.size(); ++piece) {
      if (inputs[piece] < 0 || inputs[piece] >= proto.inputs_size()) return;
      const plan::Port& port = proto.inputs(static_cast<int>(inputs[piece]));
      if (!OnOtherDevice(port, proto.device())) continue;
      int64_t bytes = ElementBytes(port);
      for (size_t d = 0; d < rank; ++d) bytes *= extents[piece * rank + d];
      task->received_bytes += static_cast<uint64_t>(bytes);
    }
    return;
  }
  for (const plan::Port& port : proto.inputs()) {
    if (!OnOtherDevice(port, proto.device())) continue;
    // pack reads as much as it writes.
    const plan::Port& read = proto.op() == "pack" ? proto.outputs(0) : port;
    task->received_bytes += static_cast<uint64_t>(BytesOf(read));
  }
}

void Program::BindPort(const plan::Port& port, uint32_t task, const DeviceSet& devices,
                       const StateStore& states, Buffer* buffer) const {
  if (port.source_case() == plan::Port::kState) {
    const uint32_t device =
        plan_.devices(static_cast<int>(plan_.tasks(static_cast<int>(task)).device())).id();
    *buffer = {states.Shard(plan_.states(static_cast<int>(port.state())).name(), device)};
    return;
  }
  const plan::Register& reg = plan_.registers(static_cast<int>(port.register_()));
  const Block& arena = devices.at(plan_.devices(static_cast<int>(reg.device())).id()).arena;
  *buffer = {arena.data() + reg.offset(), reg.slot_stride(), reg.slots(), Inner(task, reg.level())};
}

void Program::Bind(const DeviceSet& devices, const StateStore& states) {
  if (!holds_bytes_) return;
  for (uint32_t t = 0; t < tasks_.size(); ++t) {
    Task& task = tasks_[t];
    for (int i = 0; i < task.proto->inputs_size(); ++i) {
      BindPort(task.proto->inputs(i), t, devices, states, &task.inputs[static_cast<size_t>(i)]);
    }
    for (int i = 0; i < task.proto->outputs_size(); ++i) {
      BindPort(task.proto->outputs(i), t, devices, states, &task.outputs[static_cast<size_t>(i)]);
    }
    if (task.proto->has_workspace()) {
      plan::Port port;
      port.set_register_(task.proto->workspace());
      BindPort(port, t, devices, states, &task.workspace);
    }
  }
}

void Program::SumInPlace(const RingPlace& place, const std::vector<comm::Region>& buffers) {
  Task& reduce = tasks_[place.reduce];
  reduce.members.clear();
  for (const comm::Region& buffer : buffers) {
    reduce.members.push_back({buffer.base, buffer.stride, buffer.slots, buffer.per_slot});
  }
  // A share begins its way behind the member that sums it.
  if (!buffers.empty()) {
    std::rotate(reduce.members.begin(), reduce.members.begin() + 1, reduce.members.end());
  }
  reduce.place = &place;
  if (place.send != WholeRing::kNoTask) tasks_[place.send].passes_on = !buffers.empty();
}

size_t Program::rings_in_place() const {
  return static_cast<size_t>(std::count_if(
      ring_places_.begin(), ring_places_.end(),
      [this](const RingPlace& place) { return !tasks_[place.reduce].members.empty(); }));
}

size_t Program::rings_landing() const {
  return static_cast<size_t>(
      std::count_if(tasks_.begin(), tasks_.end(), [](const Task& task) { return task.lands; }));
}

void Program::BeginStep(int64_t step) {
  if (!holds_bytes_) return;
  for (uint32_t d = 0; d < step_blocks_.size(); ++d) {
    BlockOf(d, step)->Begin(static_cast<uint64_t>(step));
  }
}

absl::Status Program::RunFiring(uint32_t id, int64_t ordinal, const Invocation& invocation,
                                kernels::Stream* stream, Scratch* scratch) const {
  const Task& task = tasks_[id];
  if (!holds_bytes_) return absl::OkStatus();
  for (size_t i = 0; i < task.inputs.size(); ++i) {
    scratch->inputs[i] = task.inputs[i].At(ordinal);
  }
  for (size_t i = 0; i < task.outputs.size(); ++i) {
    scratch->outputs[i] = task.outputs[i].At(ordinal);
  }
  if (task.passes_on) return absl::OkStatus();
  if (!task.members.empty() && !task.place->Sums(ordinal % task.chunks)) return absl::OkStatus();
  if (task.lands && task.place->Gathers(ordinal % task.chunks)) return absl::OkStatus();
  for (size_t i = 0; i < task.members.size(); ++i) {
    scratch->members[i] = task.members[i].At(ordinal);
  }
  return Execute(id, ordinal, invocation,
                 {scratch->inputs.data(), scratch->outputs.data(),
                  task.workspace.base == nullptr ? nullptr : task.workspace.At(ordinal),
                  scratch->members.data(), static_cast<uint32_t>(task.members.size())},
                 stream);
}

absl::Status Program::Execute(uint32_t id, int64_t ordinal, const Invocation& invocation,
                              const Operands& operands, kernels::Stream* stream) const {
  const Task& task = tasks_[id];
  const FiringId firing = FiringAt(id, ordinal);
  if (firing.step >= failed_step()) {
    if (task.proto->kind() == plan::FETCH && invocation.fetch != nullptr) {
      invocation.fetch->skipped.store(true);
    }
    return absl::OkStatus();
  }
  switch (task.proto->kind()) {
    case plan::FEED:
      return task.device->ToLocal(
          task.region,
          invocation.input_bytes[task.proto->index()] + task.micro_bytes * firing.micro,
          static_cast<std::byte*>(operands.outputs[0]));
    case plan::FETCH: {
      std::byte* output = invocation.output_bytes[task.proto->index()];
      if (output == nullptr) return absl::OkStatus();
      return task.device->FromLocal(task.region, output + task.micro_bytes * firing.micro,
                                    static_cast<const std::byte*>(operands.inputs[0]));
    }
    default:
      break;
  }
  kernels::KernelArgs args;
  args.inputs = operands.inputs;
  args.outputs = operands.outputs;
  args.workspace = operands.workspace;
  args.members = operands.members;
  args.member_count = operands.member_count;
  args.block = BlockOf(task.proto->device(), firing.step);
  args.task = id;
  args.micro = firing.micro;
  args.chunk = firing.chunk;
  return task.kernel->Run(args, stream);
}

absl::Status Program::MakeStreams(DeviceSet* devices) {
  device_streams_.resize(streams_.size());
  for (size_t s = 0; s < streams_.size(); ++s) {
    const std::vector<bool>& on_device = streams_[s].on_device;
    if (std::find(on_device.begin(), on_device.end(), true) == on_device.end()) continue;
    const plan::Stream& stream = plan_.streams(static_cast<int>(s));
    OF_ASSIGN_OR_RETURN(
        device_streams_[s],
        devices->StreamOf(plan_.devices(static_cast<int>(stream.device())).id(), stream.name()));
  }
  events_.resize(tasks_.size());
  for (uint32_t t = 0; t < tasks_.size(); ++t) {
    for (int64_t i = 0; tasks_[t].recorded && i < kEvents; ++i) {
      OF_ASSIGN_OR_RETURN(std::unique_ptr<kernels::Event> event,
                          devices_[tasks_[t].proto->device()]->MakeEvent());
      events_[t].push_back(std::move(event));
    }
  }
  return absl::OkStatus();
}

absl::Status Program::EnqueueFiring(uint32_t id, int64_t ordinal, const Invocation& invocation,
                                    Scratch* scratch) const {
  const Task& task = tasks_[id];
  kernels::Stream* stream = device_streams_[task.proto->stream()];
  for (const EventWait& wait : task.waits) {
    const int64_t other = wait.OrdinalFor(ordinal);
    if (other < 0) continue;
    OF_RETURN_IF_ERROR(stream->Wait(*events_[wait.task][static_cast<size_t>(other % kEvents)]));
  }
  OF_RETURN_IF_ERROR(RunFiring(id, ordinal, invocation, stream, scratch));
  if (!task.recorded) return absl::OkStatus();
  return stream->Record(events_[id][static_cast<size_t>(ordinal % kEvents)].get());
}

bool Program::FindDataError(uint32_t id, int64_t ordinal) {
  const Task& task = tasks_[id];
  // Kernels of compute streams alone look at data; one thread runs those of a device.
  if (task.kernel == nullptr || task.lane != Lane::kCompute || !holds_bytes_) return false;
  const int64_t step = StepOf(id, ordinal);
  if (BlockOf(task.proto->device(), step)->error() == kernels::DataErrorCode::kNone) return false;
  int64_t first = failed_step();
  while (step < first && !failed_step_.compare_exchange_weak(first, step)) {
  }
  return step < first;
}

bool Program::NoteDataErrors(int64_t step, const std::vector<StepBlock>& blocks) {
  bool found = false;
  for (uint32_t d = 0; d < blocks.size(); ++d) {
    found |= blocks[d].error() != kernels::DataErrorCode::kNone;
  }
  // Steps end in order, so the first to tell is the first that failed.
  if (!found || step >= failed_step()) return false;
  for (uint32_t d = 0; d < blocks.size(); ++d) *BlockOf(d, step) = blocks[d];
  failed_step_.store(step, std::memory_order_release);
  return true;
}

absl::Status Program::DataErrorOf(uint32_t id, int64_t step) const {
  const StepBlock& block = *BlockOf(tasks_[id].proto->device(), step);
  return WithLocation(MakeError(ErrorKind::kData, absl::StrCat(tasks_[id].proto->op(), ": ",
                                                               DescribeDataError(block))),
                      LocationOfTask(plan_, id));
}

absl::Status Program::DataErrorOfFailedStep() const {
  const int64_t step = failed_step();
  std::vector<uint32_t> found;  // several devices may have found something
  for (uint32_t d = 0; d < step_blocks_.size(); ++d) {
    const StepBlock* block = BlockOf(d, step);
    if (block->error() != kernels::DataErrorCode::kNone) found.push_back(block->error_task);
  }
  OF_CHECK(!found.empty()) << "step " << step << " failed, but no kernel says why";
  return DataErrorOf(*std::min_element(found.begin(), found.end()), step);
}

std::byte* Program::SendSource(uint32_t task, int64_t ordinal) const {
  if (!holds_bytes_) return nullptr;
  const std::vector<int64_t>& offsets = tasks_[task].sent.offsets;
  std::byte* base = tasks_[task].inputs[0].At(ordinal);
  return offsets.empty() ? base : base + offsets[static_cast<size_t>(ordinal) % offsets.size()];
}

std::byte* Program::ReceiveSlot(uint32_t task, int64_t ordinal) const {
  return holds_bytes_ ? tasks_[task].outputs[0].At(ordinal) : nullptr;
}

FiringId Program::FiringAt(uint32_t id, int64_t ordinal) const {
  const Task& task = tasks_[id];
  const int64_t per_step = task.firings_per_step();
  const int64_t in_step = ordinal % per_step;
  return {id, static_cast<uint32_t>(ordinal / per_step),
          static_cast<uint32_t>(in_step / task.chunks),
          static_cast<uint32_t>(in_step % task.chunks)};
}

std::string Program::NameOf(uint32_t task) const {
  const Location location = LocationOfTask(plan_, task);
  return absl::StrCat("rank ", plan_.rank(), " ", plan_.tasks(static_cast<int>(task)).name(),
                      location.known() ? absl::StrCat(" (", location.Short(), ")") : "");
}

}  // namespace oneflow
