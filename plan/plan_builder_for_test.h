// PlanBuilder: small plans by hand for unit tests, well formed unless the test breaks them
// afterwards.
//
// A value. Threads: one. Build() orders every stream by stamps, gives every slot its own bytes and
// fills in ports, sizes and consumers, so that a test states only what it is about. Read next:
// plan/verify_test.cc.
#ifndef ONEFLOW_PLAN_PLAN_BUILDER_FOR_TEST_H_
#define ONEFLOW_PLAN_PLAN_BUILDER_FOR_TEST_H_

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "base/shape.h"
#include "plan/attrs.h"
#include "plan/firings.h"
#include "plan/plan.pb.h"
#include "plan/shape_of.h"

namespace oneflow {

// What a test may say of a task; the rest has a sensible value.
struct TaskSpec {
  plan::TaskKind kind = plan::COMPUTE;
  plan::Level level = plan::STEP;
  uint32_t slot = 0;
  uint32_t slot_per_micro = 0;
  uint32_t chunks = 0;
  int position = -1;  // -1: the number of tasks so far
  uint32_t sub = 0;
  int64_t duration_ns = 1000;
  std::string op;  // empty: the name up to the first '.'
  std::string rule;
};

// What a test may say of a register.
struct RegisterSpec {
  plan::Level level = plan::STEP;
  uint32_t slots = 1;
  Shape shape = {4, 4};
  int in_place_of = -1;
  int device = -1;  // -1: the producer's
};

class PlanBuilder {
 public:
  explicit PlanBuilder(uint32_t micro_batches = 1, uint32_t devices = 1) {
    plan_.set_name("test");
    plan_.set_micro_batches(micro_batches);
    plan_.set_world_size(1);
    plan_.set_target("cpu-test");
    plan::AxisProto* axis = plan_.mutable_mesh()->add_axes();
    axis->set_name("dp");
    axis->set_size(devices);
    plan_.add_locations();
    for (uint32_t d = 0; d < devices; ++d) {
      plan_.mutable_mesh()->add_devices(d);
      plan::DeviceProto* device = plan_.add_devices();
      device->set_id(d);
      device->set_kind("cpu");
      device->set_threads(1);
    }
  }

  uint32_t Stream(const std::string& name, uint32_t device = 0) {
    plan::Stream* stream = plan_.add_streams();
    stream->set_name(name);
    stream->set_device(device);
    return static_cast<uint32_t>(plan_.streams_size() - 1);
  }

  // Stands at line 10 * (its number + 1) of model.py.
  uint32_t Task(const std::string& name, uint32_t stream, TaskSpec spec = {}) {
    const auto id = static_cast<uint32_t>(plan_.tasks_size());
    plan::LocationProto* place = plan_.add_locations();
    place->set_file("model.py");
    place->set_line(10 * (id + 1));
    plan::Task* task = plan_.add_tasks();
    task->set_name(name);
    task->set_op(spec.op.empty() ? name.substr(0, name.find('.')) : spec.op);
    task->set_kind(spec.kind);
    task->set_stream(stream);
    task->set_device(plan_.streams(static_cast<int>(stream)).device());
    task->set_level(spec.level);
    task->set_chunks(spec.chunks);
    task->set_rule(spec.rule);
    task->set_location(id + 1);
    task->set_duration_ns(spec.duration_ns);
    plan::StampProto* stamp = task->mutable_stamp();
    stamp->set_slot(spec.slot);
    stamp->set_slot_per_micro(spec.slot_per_micro);
    stamp->set_position(spec.position < 0 ? id : static_cast<uint32_t>(spec.position));
    stamp->set_sub(spec.sub);
    return id;
  }

  uint32_t Register(uint32_t producer, const std::vector<uint32_t>& consumers,
                    RegisterSpec spec = {}) {
    const auto id = static_cast<uint32_t>(plan_.registers_size());
    plan::Register* reg = plan_.add_registers();
    reg->set_producer(producer);
    reg->set_level(spec.level);
    reg->set_slots(spec.slots);
    reg->set_device(spec.device < 0 ? plan_.tasks(static_cast<int>(producer)).device()
                                    : static_cast<uint32_t>(spec.device));
    FillType(plan::F32, spec.shape, reg->mutable_type());
    reg->set_bytes(4 * NumElements(spec.shape));
    FillPort(producer, id, spec.shape,
             plan_.mutable_tasks(static_cast<int>(producer))->add_outputs());
    for (const uint32_t consumer : consumers) Read(consumer, id);
    if (spec.in_place_of >= 0) {
      const plan::Register& input = plan_.registers(spec.in_place_of);
      reg->set_in_place_of(static_cast<uint32_t>(spec.in_place_of));
      reg->set_offset(input.offset());
      reg->set_slot_stride(input.slot_stride());
    } else {
      Place(reg);
    }
    return id;
  }

  // One more consumer of a register.
  void Read(uint32_t task, uint32_t reg) {
    plan::Register* r = plan_.mutable_registers(static_cast<int>(reg));
    FillPort(task, reg, ShapeOf(r->type().shape()),
             plan_.mutable_tasks(static_cast<int>(task))->add_inputs());
    r->add_consumers(task);
    std::sort(r->mutable_consumers()->begin(), r->mutable_consumers()->end());
    r->mutable_consumers()->erase(
        std::unique(r->mutable_consumers()->begin(), r->mutable_consumers()->end()),
        r->mutable_consumers()->end());
  }

  uint32_t Workspace(uint32_t task, int64_t bytes) {
    const auto id = static_cast<uint32_t>(plan_.registers_size());
    plan::Task* t = plan_.mutable_tasks(static_cast<int>(task));
    plan::Register* reg = plan_.add_registers();
    reg->set_producer(task);
    reg->set_level(t->level());
    reg->set_slots(1);
    reg->set_device(t->device());
    reg->set_bytes(bytes);
    FillType(plan::U8, {bytes}, reg->mutable_type());
    Place(reg);
    t->set_workspace(id);
    return id;
  }

  // Held whole by every device, or with UseStages by the one of `stage`.
  uint32_t State(const std::string& name, const Shape& shape, uint32_t stage = 0) {
    plan::StateProto* state = plan_.add_states();
    state->set_name(name);
    state->set_dtype(plan::F32);
    state->mutable_logical_shape()->Assign(shape.begin(), shape.end());
    FillSharding(stage, state->mutable_sharding());
    for (int d = 0; d < plan_.devices_size(); ++d) {
      if (staged_ && d != static_cast<int>(stage)) continue;
      plan::StateShard* shard = state->add_shards();
      shard->set_device(static_cast<uint32_t>(d));
      for (const int64_t extent : shape) {
        shard->add_begin(0);
        shard->add_shape(extent);
      }
    }
    return static_cast<uint32_t>(plan_.states_size() - 1);
  }
  void Input(const std::string& name, const Shape& shape) {
    plan::InputProto* input = plan_.add_inputs();
    input->set_name(name);
    input->set_dtype(plan::F32);
    input->mutable_logical_shape()->Assign(shape.begin(), shape.end());
  }
  void Output(const std::string& name, const Shape& shape) {
    plan::OutputProto* output = plan_.add_outputs();
    output->set_name(name);
    output->set_dtype(plan::F32);
    output->mutable_logical_shape()->Assign(shape.begin(), shape.end());
  }
  // The devices are stages (axis `pp`) instead of replicas (axis `dp`). Call it first.
  void UseStages() {
    staged_ = true;
    plan_.mutable_mesh()->mutable_axes(0)->set_name("pp");
  }
  void ReadState(uint32_t task, uint32_t state) {
    FillStatePort(task, state, plan_.mutable_tasks(static_cast<int>(task))->add_inputs());
  }
  void WriteState(uint32_t task, uint32_t state) {
    FillStatePort(task, state, plan_.mutable_tasks(static_cast<int>(task))->add_outputs());
  }

  void After(uint32_t task, uint32_t other, plan::Level level = plan::STEP, uint32_t lag = 0) {
    plan::AfterEdge* edge = plan_.mutable_tasks(static_cast<int>(task))->add_after();
    edge->set_task(other);
    edge->set_level(level);
    edge->set_lag(lag);
  }

  // Binds a SEND or RECV task to a new channel; its stamp is the task's with the SEND's `sub`.
  uint32_t Channel(uint32_t task, const std::string& name, uint32_t source, uint32_t destination,
                   int64_t bytes, uint32_t slots, uint32_t sub) {
    const auto id = static_cast<uint32_t>(plan_.channels_size());
    plan::ChannelProto* channel = plan_.add_channels();
    channel->set_name(name);
    channel->set_source(source);
    channel->set_destination(destination);
    channel->set_bytes(bytes);
    channel->set_slots(slots);
    plan::Task* t = plan_.mutable_tasks(static_cast<int>(task));
    *channel->mutable_stamp() = t->stamp();
    channel->mutable_stamp()->set_sub(sub);
    t->set_channel(id);
    return id;
  }

  // What a movement task does.
  void SetAttrs(uint32_t task, const Attrs& attrs) {
    plan_.mutable_tasks(static_cast<int>(task))->clear_attrs();
    attrs.ToProto(plan_.mutable_tasks(static_cast<int>(task))->mutable_attrs());
  }
  // `pack` of a whole buffer.
  void PackAll(uint32_t task, const Shape& shape) {
    SetAttrs(task, {{"begin", Shape(shape.size(), 0)}, {"extent", shape}});
  }
  // The ports of a task on a register are Partial on layout axis `axis`, if it has more than one place.
  void MakePartial(uint32_t task, uint32_t reg, int axis) {
    if (axis == 0 && plan_.micro_batches() == 1) return;
    plan::Task* t = plan_.mutable_tasks(static_cast<int>(task));
    for (auto* ports : {t->mutable_inputs(), t->mutable_outputs()}) {
      for (plan::Port& port : *ports) {
        if (port.has_state() || port.register_() != reg) continue;
        port.mutable_sharding()->mutable_sbps(axis)->set_kind(plan::SbpProto::P);
      }
    }
  }

  plan::Plan& plan() { return plan_; }

  // Orders every stream by stamps, and lets kernels write over what they read where the plan does.
  plan::Plan Build() {
    for (plan::Task& task : *plan_.mutable_tasks()) DeclareAliases(&task);
    std::map<uint32_t, std::vector<std::pair<Stamp, FiringId>>> firings;
    for (uint32_t task = 0; task < static_cast<uint32_t>(plan_.tasks_size()); ++task) {
      for (int64_t i = 0; i < FiringsPerStep(plan_, task); ++i) {
        const FiringId firing = FiringAt(plan_, task, i);
        firings[plan_.tasks(static_cast<int>(task)).stream()].emplace_back(StampOf(plan_, firing),
                                                                           firing);
      }
    }
    for (auto& [stream, order] : firings) {
      std::sort(order.begin(), order.end());
      plan::Stream* s = plan_.mutable_streams(static_cast<int>(stream));
      s->clear_items();
      for (const auto& [stamp, firing] : order) {
        auto* items = s->mutable_items();
        if (plan_.tasks(static_cast<int>(firing.task)).level() == plan::CHUNK) {
          plan::Loop* loop = items->Add()->mutable_loop();
          loop->set_level(plan::CHUNK);
          loop->set_begin(firing.chunk);
          loop->set_count(1);
          items = loop->mutable_body();
        }
        items->Add()->mutable_firing()->set_task(firing.task);
        items->rbegin()->mutable_firing()->set_micro_offset(firing.micro);
      }
    }
    return plan_;
  }

 private:
  void DeclareAliases(plan::Task* task) const {
    task->clear_aliases();
    for (int o = 0; o < task->outputs_size(); ++o) {
      const plan::Port& output = task->outputs(o);
      for (int i = 0; i < task->inputs_size(); ++i) {
        const plan::Port& input = task->inputs(i);
        if (output.has_state() != input.has_state()) continue;
        if (output.has_state()
                ? output.state() != input.state()
                : !plan_.registers(static_cast<int>(output.register_())).has_in_place_of() ||
                      plan_.registers(static_cast<int>(output.register_())).in_place_of() !=
                          input.register_()) {
          continue;
        }
        plan::Alias* alias = task->add_aliases();
        alias->set_output(static_cast<uint32_t>(o));
        alias->set_input(static_cast<uint32_t>(i));
      }
    }
  }
  static void FillType(plan::DTypeProto dtype, const Shape& shape, plan::TensorTypeProto* type) {
    type->set_dtype(dtype);
    type->mutable_shape()->Assign(shape.begin(), shape.end());
  }
  void FillSharding(uint32_t stage, plan::ShardingProto* sharding) {
    sharding->set_stage(staged_ ? stage : 0);
    const int axes = 1 + plan_.mesh().axes_size() - (staged_ ? 1 : 0);
    for (int axis = 0; axis < axes; ++axis) sharding->add_sbps();
  }
  void FillPort(uint32_t task, uint32_t reg, const Shape& shape, plan::Port* port) {
    port->set_register_(reg);
    FillType(plan::F32, shape, port->mutable_type());
    FillLogical(task, shape, port);
  }
  void FillStatePort(uint32_t task, uint32_t state, plan::Port* port) {
    const plan::StateProto& s = plan_.states(static_cast<int>(state));
    const Shape shape = ShapeOf(s.logical_shape());
    port->set_state(state);
    FillType(s.dtype(), shape, port->mutable_type());
    FillLogical(task, shape, port);
  }
  // Ports of movement are plain bytes.
  void FillLogical(uint32_t task, const Shape& shape, plan::Port* port) {
    const plan::Task& t = plan_.tasks(static_cast<int>(task));
    if (t.kind() == plan::MOVE || t.kind() == plan::SEND || t.kind() == plan::RECV) return;
    port->mutable_logical_shape()->Assign(shape.begin(), shape.end());
    FillSharding(t.device(), port->mutable_sharding());
    for (size_t i = 0; i < shape.size(); ++i) port->add_begin(0);
  }
  void Place(plan::Register* reg) {
    plan::DeviceProto* device = plan_.mutable_devices(static_cast<int>(reg->device()));
    const int64_t stride = (reg->bytes() + 63) / 64 * 64;
    reg->set_offset(device->arena_bytes());
    reg->set_slot_stride(stride);
    device->set_arena_bytes(device->arena_bytes() + stride * reg->slots());
  }

  plan::Plan plan_;
  bool staged_ = false;
};

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_PLAN_BUILDER_FOR_TEST_H_
