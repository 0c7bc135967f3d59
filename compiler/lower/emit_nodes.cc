#include "compiler/lower/emit_nodes.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "compiler/lower/emit_reshard.h"
#include "compiler/lower/state_writes.h"
#include "compiler/ops/op_table.h"
#include "plan/needs.h"

namespace oneflow {
namespace {

class NodeEmitter {
 public:
  explicit NodeEmitter(Draft* draft)
      : draft_(*draft),
        graph_(draft->graph),
        writes_(draft->graph, draft->decisions, draft->schedule) {}

  absl::Status Emit() {
    DeclareStates();
    for (NodeId id : graph_.order()) {
      const Node& node = graph_.node(id);
      if (node.op == "input") {
        EmitInput(node);
      } else if (node.op == "state_read") {
        EmitStateRead(node);
      } else if (node.op == "state_write") {
        EmitStateWrite(node);
      } else if (node.op == "output") {
        EmitOutput(node);
      } else if (node.op == "reshard") {
        EmitReshard(node, &draft_);
      } else if (FindOp(node.op)->view) {
        EmitView(node);
      } else {
        EmitCompute(node);
        OF_RETURN_IF_ERROR(described_);
      }
    }
    OrderStateAccesses();
    GateStateWrites();
    return absl::OkStatus();
  }

 private:
  template <typename F>
  void ForEachLocal(int stage, F f) {
    const std::vector<int> devices = draft_.StageDevices(stage);
    for (size_t i = 0; i < devices.size(); ++i) {
      if (const int local = draft_.LocalIndex(devices[i]); local >= 0)
        f(static_cast<int>(i), local);
    }
  }

  const TensorType& TypeOf(ValueId value) const { return graph_.value(value).type; }
  const Sharding& ShardingOf(ValueId value) const { return graph_.value(value).sharding; }

  // Where each state lies: as it is read, or as it is written if the step only writes it.
  std::map<std::string, Sharding> StateShardings() const {
    std::map<std::string, Sharding> shardings;
    for (NodeId id : graph_.order()) {
      const Node& node = graph_.node(id);
      if (node.op == "state_read") {
        shardings.insert_or_assign(node.attrs.String("name"), ShardingOf(node.outputs[0]));
      } else if (node.op == "state_write") {
        shardings.try_emplace(node.attrs.String("name"), ShardingOf(node.inputs[0]));
      }
    }
    return shardings;
  }

  void DeclareStates() {
    for (const auto& [name, sharding] : StateShardings()) {
      const GraphState& state = graph_.states().at(name);
      plan::StateProto proto;
      proto.set_name(name);
      proto.set_dtype(static_cast<plan::DTypeProto>(state.type.dtype));
      proto.mutable_logical_shape()->Assign(state.type.shape.begin(), state.type.shape.end());
      *proto.mutable_sharding() = sharding.ToProto();
      ForEachLocal(sharding.stage, [&](int position, int device) {
        const Slice slice = SliceOf(sharding, draft_.decisions.axes, state.type.shape,
                                    draft_.Coordinates(position));
        plan::StateShard* shard = proto.add_shards();
        shard->set_device(device);
        shard->mutable_begin()->Assign(slice.begin.begin(), slice.begin.end());
        shard->mutable_shape()->Assign(slice.extent.begin(), slice.extent.end());
      });
      if (proto.shards_size() == 0) continue;  // lives on other ranks
      state_ids_[name] = draft_.plan.states_size();
      *draft_.plan.add_states() = proto;
    }
  }

  void EmitInput(const Node& node) {
    const ValueId value = node.outputs[0];
    const std::string& name = node.attrs.String("name");
    auto [it, inserted] = input_ids_.try_emplace(name, draft_.plan.inputs_size());
    if (inserted) {
      plan::InputProto* proto = draft_.plan.add_inputs();
      proto->set_name(name);
      proto->set_dtype(static_cast<plan::DTypeProto>(TypeOf(value).dtype));
      proto->mutable_logical_shape()->Assign(TypeOf(value).shape.begin(),
                                             TypeOf(value).shape.end());
    }
    const int stage = ShardingOf(value).stage;
    ForEachLocal(stage, [&](int position, int device) {
      plan::Task* task =
          draft_.AddTask(node, "feed", plan::FEED, stage, device, StreamKind::kFeed, Sub::kStage);
      task->set_index(it->second);
      *task->add_outputs() = PortOf(value, position);
      FillOutput(task, 0, value, position, device);
      const int64_t bytes = RegisterBytes(value, position);
      task->set_bytes(bytes);
      task->set_duration_ns(draft_.CopyNs(bytes));
    });
  }

  void EmitStateRead(const Node& node) {
    const auto it = state_ids_.find(node.attrs.String("name"));
    if (it == state_ids_.end()) return;  // on other ranks
    ForEachLocal(ShardingOf(node.outputs[0]).stage, [&](int position, int device) {
      draft_.SetBuffer(node.outputs[0], device, {true, it->second});
      SaveIfWritten(node, position, device);
    });
  }

  // Copies the bytes of a state out before this step writes it, if another state will take them.
  void SaveIfWritten(const Node& node, int position, int device) {
    const ValueId value = node.outputs[0];
    if (!writes_.Saved(value)) return;
    plan::Task* task = EmitCopy(node, value, position, device);
    const Buffer buffer = {
        false, draft_.AddRegister(task, plan::STEP, device, LocalTypeOf(value, position))};
    FinishCopy(task, buffer, value, position);
    draft_.SetBuffer(value, device, buffer);
  }

  void EmitStateWrite(const Node& node) {
    const ValueId value = node.inputs[0];
    const auto it = state_ids_.find(node.attrs.String("name"));
    if (it == state_ids_.end()) return;
    ForEachLocal(ShardingOf(value).stage, [&](int position, int device) {
      const Buffer source = draft_.At(value, device);
      // Its producer wrote it there, or it is what was there before.
      if (source.is_state && source.id == it->second) return;
      plan::Task* task = EmitCopy(node, value, position, device);
      FinishCopy(task, {true, it->second}, value, position);
    });
  }

  // A task at the place of `node` that copies the local shard of `value`; its output is to come.
  plan::Task* EmitCopy(const Node& node, ValueId value, int position, int device) {
    plan::Task* task = draft_.AddTask(node, "assemble", plan::MOVE, ShardingOf(value).stage, device,
                                      StreamKind::kCompute, Sub::kCombine);
    const TensorType local = LocalTypeOf(value, position);
    draft_.AddInput(task, draft_.At(value, device), AtLeast1D(local));
    const Shape extent = AtLeast1D(local).shape;
    const Shape zero(extent.size(), 0);
    Attrs({{"rank", static_cast<int64_t>(extent.size())},
           {"zero", false},
           {"src_begin", zero},
           {"dst_begin", zero},
           {"extent", extent},
           {"piece_input", std::vector<int64_t>{0}},
           {"piece_mode", std::vector<std::string>{"copy"}}})
        .ToProto(task->mutable_attrs());
    task->set_bytes(2 * local.bytes());
    task->set_duration_ns(draft_.CopyNs(local.bytes()));
    return task;
  }
  void FinishCopy(plan::Task* task, Buffer destination, ValueId value, int position) {
    draft_.AddOutput(task, destination, AtLeast1D(LocalTypeOf(value, position)));
  }

  // Each rank fetches an output from its lowest device that holds it.
  void EmitOutput(const Node& node) {
    const ValueId value = node.inputs[0];
    const std::string& name = node.attrs.String("name");
    if (fetched_.contains(name)) return;
    const int stage = ShardingOf(value).stage;
    bool done = false;
    ForEachLocal(stage, [&](int position, int device) {
      if (done) return;
      done = true;
      fetched_.insert(name);
      plan::OutputProto* proto = draft_.plan.add_outputs();
      proto->set_name(name);
      proto->set_dtype(static_cast<plan::DTypeProto>(TypeOf(value).dtype));
      proto->mutable_logical_shape()->Assign(TypeOf(value).shape.begin(),
                                             TypeOf(value).shape.end());
      plan::Task* task = draft_.AddTask(node, "fetch", plan::FETCH, stage, device,
                                        StreamKind::kFetch, Sub::kCombine);
      task->set_index(draft_.plan.outputs_size() - 1);
      *task->add_inputs() =
          draft_.ValuePort(draft_.At(value, device), TypeOf(value), ShardingOf(value), position);
      task->set_bytes(TypeOf(value).bytes());
      task->set_duration_ns(draft_.CopyNs(TypeOf(value).bytes()));
    });
  }

  void EmitView(const Node& node) {
    ForEachLocal(ShardingOf(node.outputs[0]).stage, [&](int position, int device) {
      draft_.SetBuffer(node.outputs[0], device, draft_.At(node.inputs[0], device));
      SaveIfWritten(node, position, device);
    });
  }

  void EmitCompute(const Node& node) {
    const OpDef& op = *FindOp(node.op);
    const NodeShardings& shardings = draft_.decisions.nodes[node.id].shardings;
    const int stage = *node.stage;
    std::vector<TensorType> logical_inputs, logical_outputs;
    for (ValueId value : node.inputs) logical_inputs.push_back(TypeOf(value));
    for (ValueId value : node.outputs) logical_outputs.push_back(TypeOf(value));
    const std::string rule = op.rule ? op.rule({node.attrs, logical_inputs, logical_outputs}) : "";
    ForEachLocal(stage, [&](int position, int device) {
      const std::vector<int64_t> coordinates = draft_.Coordinates(position);
      std::vector<TensorType> inputs, outputs;
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        inputs.push_back(
            LocalType(logical_inputs[i], shardings.inputs[i], draft_.decisions.axes, coordinates));
      }
      for (size_t i = 0; i < node.outputs.size(); ++i) {
        outputs.push_back(LocalType(logical_outputs[i], shardings.outputs[i], draft_.decisions.axes,
                                    coordinates));
      }
      plan::Task* task = draft_.AddTask(node, node.op, plan::COMPUTE, stage, device,
                                        StreamKind::kCompute, Sub::kCombine);
      task->set_rule(rule);
      const Attrs attrs = op.localize ? op.localize(node.attrs, inputs, outputs) : node.attrs;
      attrs.ToProto(task->mutable_attrs());
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        *task->add_inputs() = draft_.ValuePort(draft_.At(node.inputs[i], device), logical_inputs[i],
                                               shardings.inputs[i], position);
      }
      for (ValueId value : node.outputs) *task->add_outputs() = PortOf(value, position);
      const OpCost cost = op.cost ? op.cost({attrs, inputs, outputs}) : OpCost{};
      task->set_flops(cost.flops);
      task->set_bytes(cost.bytes);
      const plan::KernelRow* row = FindKernelRow(task, device);
      for (size_t o = 0; o < node.outputs.size(); ++o) {
        const int output = static_cast<int>(o);
        if (!WriteInPlace(task, output, node.outputs[o], device, row))
          FillOutput(task, output, node.outputs[o], position, device);
      }
      if (row != nullptr && row->workspace_bytes() > 0) {
        task->set_workspace(draft_.AddRegister(task, task->level(), device,
                                               {DType::kU8, {row->workspace_bytes()}}));
      }
    });
  }

  // An output port of `value` without a buffer.
  plan::Port PortOf(ValueId value, int position) const {
    return draft_.ValuePort({}, TypeOf(value), ShardingOf(value), position);
  }

  // Lets the task write `output` straight into the state that takes it, if it may: where the task
  // reads that state, its kernel must be able to write over it.
  bool WriteInPlace(plan::Task* task, int output, ValueId value, int device,
                    const plan::KernelRow* row) {
    const std::string* name = writes_.InPlace(value);
    if (name == nullptr) return false;
    const uint32_t state = state_ids_.at(*name);
    std::vector<plan::Alias> aliases;
    for (int i = 0; i < task->inputs_size(); ++i) {
      if (!task->inputs(i).has_state() || task->inputs(i).state() != state) continue;
      aliases.emplace_back();
      aliases.back().set_output(output);
      aliases.back().set_input(i);
      const bool can =
          row != nullptr &&
          std::any_of(row->aliases().begin(), row->aliases().end(), [&](const plan::Alias& alias) {
            return alias.output() == aliases.back().output() &&
                   alias.input() == aliases.back().input();
          });
      if (!can) return false;
    }
    for (const plan::Alias& alias : aliases) *task->add_aliases() = alias;
    task->mutable_outputs(output)->set_state(state);
    draft_.SetBuffer(value, device, {true, state});
    return true;
  }

  // A register behind an output port.
  void FillOutput(plan::Task* task, int output, ValueId value, int position, int device) {
    // What is whole after the loop although its task runs inside it is filled once per step.
    const plan::Level level =
        ShardingOf(value).sbps[0].kind == Sbp::kBroadcast ? plan::STEP : task->level();
    const Buffer buffer = {false,
                           draft_.AddRegister(task, level, device, LocalTypeOf(value, position))};
    task->mutable_outputs(output)->set_register_(buffer.id);
    draft_.SetBuffer(value, device, buffer);
  }

  TensorType LocalTypeOf(ValueId value, int position) const {
    return LocalType(TypeOf(value), ShardingOf(value), draft_.decisions.axes,
                     draft_.Coordinates(position));
  }
  // Movement kernels see at least one dim.
  static TensorType AtLeast1D(TensorType type) {
    if (type.shape.empty()) type.shape = {1};
    return type;
  }
  int64_t RegisterBytes(ValueId value, int position) const {
    return LocalTypeOf(value, position).bytes();
  }

  // The row of the target, or else what the kernel says of itself; nullptr if nobody knows.
  const plan::KernelRow* RowOf(const plan::Task& task, uint32_t threads) {
    const std::string key = KernelKey(task, threads);
    const auto& rows = draft_.target.kernels();
    const auto row = std::lower_bound(
        rows.begin(), rows.end(), key,
        [](const plan::KernelRow& a, const std::string& k) { return a.key() < k; });
    if (row != rows.end() && row->key() == key) return &*row;
    const auto asked = draft_.rows.find(key);
    if (asked != draft_.rows.end()) return &asked->second;
    if (draft_.describe == nullptr) {
      draft_.missing[key] = {key, task, threads};
      return nullptr;
    }
    absl::StatusOr<plan::KernelRow> answer = draft_.describe({key, task, threads}, draft_.plan);
    if (!answer.ok()) {
      described_ = answer.status();
      return nullptr;
    }
    OF_CHECK(answer->key() == key) << "a row of " << answer->key() << " instead of " << key;
    return &draft_.rows.emplace(key, *std::move(answer)).first->second;
  }

  // What the task's kernel needs, nullptr if nobody knows; predicts its duration.
  const plan::KernelRow* FindKernelRow(plan::Task* task, int device) {
    const plan::TargetDevice& spec = draft_.target.devices(draft_.plan.devices(device).id());
    const int64_t compute_ns = task->flops() * 1000 / std::max<int64_t>(1, spec.flops_per_us());
    const int64_t memory_ns = task->bytes() * 1000 / std::max<int64_t>(1, spec.bytes_per_us());
    task->set_duration_ns(std::max(compute_ns, memory_ns) + draft_.target.task_overhead_ns());
    const plan::KernelRow* row = RowOf(*task, draft_.plan.devices(device).threads());
    if (row == nullptr) return nullptr;
    if (row->aliases_size() > 0) {
      draft_.may_alias[draft_.IdOf(task)] = {row->aliases().begin(), row->aliases().end()};
    }
    if (row->duration_ns() > 0) task->set_duration_ns(row->duration_ns());
    return row;
  }

  // Readers before the writer of a step, the writer before the next step's readers.
  void OrderStateAccesses() {
    struct Access {
      uint32_t task;
      bool writes;
    };
    std::map<std::pair<uint32_t, uint32_t>, std::vector<Access>> accesses;  // (state, device)
    for (int t = 0; t < draft_.plan.tasks_size(); ++t) {
      const plan::Task& task = draft_.plan.tasks(t);
      std::map<uint32_t, bool> states;
      for (const plan::Port& port : task.inputs()) {
        if (port.has_state()) states.try_emplace(port.state(), false);
      }
      for (const plan::Port& port : task.outputs()) {
        if (port.has_state()) states[port.state()] = true;
      }
      for (const auto& [state, writes] : states) {
        accesses[{state, task.device()}].push_back({static_cast<uint32_t>(t), writes});
      }
    }
    for (const auto& [key, list] : accesses) {
      const auto writer =
          std::find_if(list.begin(), list.end(), [](const Access& a) { return a.writes; });
      if (writer == list.end()) continue;
      plan::Task* write = draft_.plan.mutable_tasks(writer->task);
      for (const Access& access : list) {
        if (access.task == writer->task) continue;
        plan::Task* read = draft_.plan.mutable_tasks(access.task);
        OF_CHECK(!access.writes && !StampAfter(*read, *write))
            << read->name() << " reads or writes a state after " << write->name() << " wrote it";
        if (read->stream() == write->stream()) continue;
        AddStepEdge(write, access.task, 0);
        AddStepEdge(read, writer->task, 1);
      }
    }
  }

  // A step whose data is wrong writes no state: on each stream the first task that writes one waits
  // for all tasks that may fail, and the others follow it. Where their device answers later it waits
  // until they are finished even if data or its stream order them, and so does a FETCH of what they
  // reach: the host must have seen what they found.
  void GateStateWrites() {
    std::vector<uint32_t> may_fail, fetches;
    std::map<uint32_t, uint32_t> first_write;  // by stream
    for (int t = 0; t < draft_.plan.tasks_size(); ++t) {
      plan::Task& task = *draft_.plan.mutable_tasks(t);
      const uint32_t id = static_cast<uint32_t>(t);
      if (const OpDef* op = FindOp(task.op()); op != nullptr && op->may_fail) {
        task.set_may_fail(true);
        may_fail.push_back(id);
      }
      if (task.kind() == plan::FETCH) fetches.push_back(id);
      if (!WritesState(task)) continue;
      const auto [first, is_new] = first_write.try_emplace(task.stream(), id);
      if (!is_new && StampAfter(draft_.plan.tasks(static_cast<int>(first->second)), task)) {
        first->second = id;
      }
    }
    if (may_fail.empty()) return;
    for (const auto& [stream, write] : first_write) {
      const std::vector<bool> before = Ancestors(write);
      plan::Task* task = draft_.plan.mutable_tasks(static_cast<int>(write));
      for (uint32_t other : may_fail) {
        const plan::Task& finder = draft_.plan.tasks(static_cast<int>(other));
        if (LaterThanHost(finder) || (!before[other] && finder.stream() != stream)) {
          AddStepEdge(task, other, 0);
        }
      }
    }
    for (uint32_t fetch : fetches) {
      plan::Task* task = draft_.plan.mutable_tasks(static_cast<int>(fetch));
      if (task->level() != plan::STEP) continue;
      const std::vector<bool> before = Ancestors(fetch);
      for (uint32_t other : may_fail) {
        if (before[other] && LaterThanHost(draft_.plan.tasks(static_cast<int>(other)))) {
          AddStepEdge(task, other, 0);
        }
      }
    }
  }

  // Tasks whose results reach `task` here. All their firings of a step are over before its own, as it
  // fires once a step.
  std::vector<bool> Ancestors(uint32_t task) const {
    std::vector<bool> seen(static_cast<size_t>(draft_.plan.tasks_size()));
    std::vector<uint32_t> open = {task};
    while (!open.empty()) {
      const plan::Task& next = draft_.plan.tasks(static_cast<int>(open.back()));
      open.pop_back();
      for (const plan::Port& port : next.inputs()) {
        if (!port.has_register_()) continue;
        const uint32_t producer =
            draft_.plan.registers(static_cast<int>(port.register_())).producer();
        if (seen[producer]) continue;
        seen[producer] = true;
        open.push_back(producer);
      }
    }
    return seen;
  }

  bool LaterThanHost(const plan::Task& task) const {
    return AnswersLater(draft_.plan.devices(static_cast<int>(task.device())));
  }

  static bool StampAfter(const plan::Task& a, const plan::Task& b) {
    return std::make_tuple(a.stamp().slot(), a.stamp().position(), a.stamp().sub()) >
           std::make_tuple(b.stamp().slot(), b.stamp().position(), b.stamp().sub());
  }

  static void AddStepEdge(plan::Task* task, uint32_t before, uint32_t lag) {
    plan::AfterEdge* edge = task->add_after();
    edge->set_task(before);
    edge->set_level(plan::STEP);
    edge->set_lag(lag);
  }

  Draft& draft_;
  absl::Status described_;  // the first kernel that could not say what it needs
  const Graph& graph_;
  std::map<std::string, uint32_t> state_ids_;
  std::map<std::string, uint32_t> input_ids_;
  std::set<std::string> fetched_;
  const StateWrites writes_;
};

}  // namespace

absl::Status EmitNodes(Draft* draft) { return NodeEmitter(draft).Emit(); }

}  // namespace oneflow
