#include "compiler/lower/draft.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "google/protobuf/arena.h"

namespace oneflow {
namespace {

constexpr const char* kStreamNames[] = {"compute", "feed", "comm", "fetch"};
constexpr int kStreamsPerDevice = 4;

void SetType(plan::TensorTypeProto* proto, const TensorType& type) {
  proto->set_dtype(static_cast<plan::DTypeProto>(type.dtype));
  proto->mutable_shape()->Assign(type.shape.begin(), type.shape.end());
}

// A plan has a hundred thousand small parts. They lie side by side in the order in which they are
// made, and go away at once.
std::shared_ptr<plan::Plan> PlanInArena() {
  google::protobuf::ArenaOptions options;
  options.start_block_size = size_t{1} << 16;
  options.max_block_size = size_t{1} << 20;
  const auto arena = std::make_shared<google::protobuf::Arena>(options);
  return {arena, google::protobuf::Arena::CreateMessage<plan::Plan>(arena.get())};
}

void SetSource(plan::Port* port, Buffer buffer) {
  if (buffer.is_state) {
    port->set_state(buffer.id);
  } else {
    port->set_register_(buffer.id);
  }
}

}  // namespace

TensorType LocalType(const TensorType& logical, const Sharding& sharding,
                     const std::vector<Axis>& axes, const std::vector<int64_t>& coordinates) {
  return {logical.dtype, SliceOf(sharding, axes, logical.shape, coordinates).extent};
}

std::string KernelKey(const plan::Task& task, uint32_t threads) {
  std::string key = task.op();
  absl::StrAppend(&key, Attrs::FromProto(task.attrs()).ToString());
  const auto append = [&key](const plan::Port& port) {
    absl::StrAppend(&key, " ", std::string(NameOf(static_cast<DType>(port.type().dtype()))), "[");
    for (int i = 0; i < port.type().shape_size(); ++i) {
      absl::StrAppend(&key, i > 0 ? "," : "", port.type().shape(i));
    }
    absl::StrAppend(&key, "]");
  };
  for (const plan::Port& port : task.inputs()) append(port);
  absl::StrAppend(&key, " ->");
  for (const plan::Port& port : task.outputs()) append(port);
  absl::StrAppend(&key, " x", threads);
  return key;
}

Draft::Draft(const Graph& graph, const Decisions& decisions, const plan::Target& target,
             const Schedule& schedule, int rank, int world_size)
    : graph(graph),
      decisions(decisions),
      target(target),
      schedule(schedule),
      rank(rank),
      world_size(world_size),
      owner(PlanInArena()),
      plan(*owner),
      levels_(target) {
  plan.set_name(graph.name());
  *plan.mutable_mesh() = decisions.mesh.ToProto();
  plan.set_micro_batches(decisions.micro_batches);
  plan.set_rank(rank);
  plan.set_world_size(world_size);
  plan.set_target(target.name());
  for (const Location& location : graph.locations()) {
    plan::LocationProto* proto = plan.add_locations();
    proto->set_file(location.file);
    proto->set_line(location.line);
    proto->set_function(location.function);
  }
  std::vector<int> devices = decisions.mesh.devices;
  std::sort(devices.begin(), devices.end());
  for (int device : devices) {
    if (RankOf(device) != rank) continue;
    const int index = plan.devices_size();
    local_index_[device] = index;
    const plan::TargetDevice& spec = target.devices(device);
    plan::DeviceProto* proto = plan.add_devices();
    proto->set_id(device);
    proto->set_kind(spec.kind());
    proto->set_threads(std::max(1u, spec.threads()));
    proto->set_isa(spec.isa());
    for (const char* name : kStreamNames) {
      plan::Stream* stream = plan.add_streams();
      stream->set_name(name);
      stream->set_device(index);
    }
  }
}

int Draft::LocalIndex(int global_device) const {
  const auto it = local_index_.find(global_device);
  return it == local_index_.end() ? -1 : it->second;
}

std::vector<int64_t> Draft::Coordinates(int position) const {
  std::vector<int64_t> coordinates = {0};
  for (int64_t c : decisions.mesh.StageCoordinates(position)) coordinates.push_back(c);
  return coordinates;
}

plan::Task* Draft::AddTask(const Node& node, const std::string& op, plan::TaskKind kind, int stage,
                           int device, StreamKind stream, Sub sub, uint32_t piece, uint32_t round) {
  plan::Task* task = plan.add_tasks();
  task_ids_[task] = plan.tasks_size() - 1;
  std::string name = absl::StrCat(node.op, ".", node.id);
  if (op != node.op) absl::StrAppend(&name, ".", op);
  absl::StrAppend(&name, "@", plan.devices(device).id());
  if (const uint32_t count = name_counts_[name]++; count > 0) absl::StrAppend(&name, "#", count);
  task->set_name(name);
  task->set_op(op);
  task->set_kind(kind);
  task->set_device(device);
  task->set_stream(device * kStreamsPerDevice + static_cast<int>(stream));
  task->set_level(schedule.node(node.id).level());
  *task->mutable_stamp() = schedule.Stamp(node.id, stage, sub, piece, round);
  task->set_location(node.location);
  return task;
}

void Draft::SetChunks(plan::Task* task, int chunks) {
  task->set_level(plan::CHUNK);
  task->set_chunks(chunks);
}

void Draft::MoveToReceiveStream(plan::Task* task, int source) {
  const auto [found, first] =
      receive_streams_.try_emplace({task->device(), source}, plan.streams_size());
  task->set_stream(found->second);
  if (!first) return;
  plan::Stream* stream = plan.add_streams();
  stream->set_name("recv");
  stream->set_device(task->device());
}

uint32_t Draft::IdOf(const plan::Task* task) const {
  const auto it = task_ids_.find(task);
  OF_CHECK(it != task_ids_.end());
  return it->second;
}

uint32_t Draft::AddRegister(const plan::Task* producer, plan::Level level, int device,
                            const TensorType& local, int64_t bytes) {
  plan::Register* reg = plan.add_registers();
  reg->set_producer(IdOf(producer));
  reg->set_level(level);
  reg->set_slots(1);
  reg->set_bytes(bytes >= 0 ? bytes : local.bytes());
  reg->set_device(device);
  SetType(reg->mutable_type(), local);
  return plan.registers_size() - 1;
}

uint32_t Draft::AddChannel(const std::string& name, int source_rank, int destination_rank,
                           int64_t bytes, int64_t slots, const plan::StampProto& stamp) {
  plan::ChannelProto* channel = plan.add_channels();
  channel->set_name(name);
  channel->set_source(source_rank);
  channel->set_destination(destination_rank);
  channel->set_bytes(bytes);
  channel->set_slots(slots);
  *channel->mutable_stamp() = stamp;
  return plan.channels_size() - 1;
}

int64_t Draft::LinkSlots(NodeId node, int from_stage, int to_stage, int chunks) const {
  const bool in_loop = schedule.node(node).in_micro_loop();
  if (chunks > 0) return std::min(2, in_loop ? 2 : chunks);
  if (!in_loop) return 1;
  const int64_t distance =
      schedule.Stamp(node, to_stage, Sub::kCombine).slot() -
      static_cast<int64_t>(schedule.Stamp(node, from_stage, Sub::kPack).slot());
  OF_CHECK(distance >= 0) << "a value moves against the order of the stages";
  return distance / 2 + 2;
}

void Draft::AddInput(plan::Task* task, Buffer buffer, const TensorType& local) {
  plan::Port* port = task->add_inputs();
  SetSource(port, buffer);
  SetType(port->mutable_type(), local);
}

void Draft::AddOutput(plan::Task* task, Buffer buffer, const TensorType& local) {
  plan::Port* port = task->add_outputs();
  SetSource(port, buffer);
  SetType(port->mutable_type(), local);
}

plan::Port Draft::ValuePort(Buffer buffer, const TensorType& logical, const Sharding& sharding,
                            int position) const {
  plan::Port port;
  SetSource(&port, buffer);
  std::vector<int64_t> coordinates = Coordinates(position);
  const Slice slice = SliceOf(sharding, decisions.axes, logical.shape, coordinates);
  SetType(port.mutable_type(), {logical.dtype, slice.extent});
  port.mutable_logical_shape()->Assign(logical.shape.begin(), logical.shape.end());
  *port.mutable_sharding() = sharding.ToProto();
  port.mutable_begin()->Assign(slice.begin.begin(), slice.begin.end());
  if (sharding.sbps[0].kind == Sbp::kSplit && decisions.micro_batches > 1) {
    const int dim = sharding.sbps[0].dim;
    coordinates[0] = 1;
    const Slice next = SliceOf(sharding, decisions.axes, logical.shape, coordinates);
    port.set_micro_dim(dim);
    port.set_micro_stride(next.begin[dim] - slice.begin[dim]);
  }
  return port;
}

Buffer Draft::At(ValueId value, int device) const {
  const auto it = buffers_.find({value, device});
  OF_CHECK(it != buffers_.end()) << "value %" << value << " is not on device " << device;
  return it->second;
}

}  // namespace oneflow
