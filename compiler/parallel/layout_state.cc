#include "compiler/parallel/layout_state.h"

#include <algorithm>
#include <set>

#include "base/check.h"
#include "compiler/parallel/node_kind.h"

namespace oneflow {
namespace {

// All partial axes of one value reduce alike, and every micro-batch gets as many units as the
// others.
bool LegalSharding(const Sharding& sharding, int64_t micro_batches) {
  std::optional<Sbp::Reduce> reduce;
  for (const Sbp& sbp : sharding.sbps) {
    if (sbp.kind != Sbp::kPartial) continue;
    if (reduce.has_value() && *reduce != sbp.reduce) return false;
    reduce = sbp.reduce;
  }
  const Sbp& micro = sharding.sbps[0];
  return micro.kind != Sbp::kSplit || sharding.units[micro.dim] % micro_batches == 0;
}

}  // namespace

LayoutState::LayoutState(const BoundGraph* bound, const CostModel* cost, ReshardPaths* paths,
                         std::vector<int> micro_choice, int64_t state_weight)
    : bound_(*bound),
      graph_(*bound->graph),
      cost_(*cost),
      paths_(*paths),
      state_weight_(state_weight),
      nodes_(graph_.num_nodes(), nullptr),
      have_(graph_.num_values(), kUndecided),
      version_(graph_.num_values(), 0),
      needs_(graph_.num_values()),
      value_cost_(graph_.num_values(), 0),
      groups_(bound->groups.size(), kUndecided),
      group_cost_(bound->groups.size(), 0),
      position_(graph_.num_nodes(), -1),
      kinds_(bound->kinds),
      rows_(graph_.num_nodes(), nullptr) {
  for (size_t i = 0; i < bound_.order.size(); ++i) position_[bound_.order[i]] = static_cast<int>(i);
  for (size_t axis = 1; axis < bound_.axes.size(); ++axis) {
    if (bound_.axes[axis].name == "dp") dp_axis_ = static_cast<int>(axis);
  }
  std::map<std::pair<DType, Shape>, int> types;
  for (size_t value = 0; value < graph_.num_values(); ++value) {
    const TensorType& type = graph_.value(static_cast<ValueId>(value)).type;
    type_of_.push_back(
        types.try_emplace({type.dtype, type.shape}, static_cast<int>(types.size())).first->second);
  }
  const NodeLayout* nothing = Keep({});
  for (NodeId id : bound_.order) {
    const Node& node = graph_.node(id);
    const BoundNode& bound_node = bound_.nodes[id];
    const NodeLayout* layout = nullptr;
    switch (bound_node.role) {
      case NodeRole::kFixed:
        layout = Keep({.outputs = {Intern(bound_node.fixed)}});
        break;
      case NodeRole::kOutput:
        layout = Keep({.inputs = {Intern(
                           Sharding::Broadcast(*node.stage, bound_.axes.size(),
                                               graph_.value(node.inputs[0]).type.shape.size()))}});
        break;
      case NodeRole::kStateRead:
        layout = Keep({.outputs = {kUndecided}});
        break;
      case NodeRole::kStateWrite:
        layout = Keep({.inputs = {kUndecided}});
        break;
      case NodeRole::kSearched:
      case NodeRole::kPin: {
        std::vector<int> choice(bound_.axes.size(), 0);
        choice[0] = micro_choice[id];
        for (size_t axis = 1; axis < choice.size(); ++axis)
          choice[axis] = bound_node.allowed[axis][0];
        layout = Evaluate(id, choice);
        OF_CHECK(layout != nullptr) << node.op << ": B on all mesh axes must be legal";
        break;
      }
    }
    nodes_[id] = nothing;
    Install(id, layout);
  }
  for (size_t g = 0; g < bound_.groups.size(); ++g) {
    const StateGroup& group = bound_.groups[g];
    if (group.fixed.has_value()) {
      ChooseGroup(static_cast<int>(g), *group.fixed);
      continue;
    }
    if (!std::all_of(group.asked.begin(), group.asked.end(),
                     [](const auto& sbp) { return sbp.has_value(); })) {
      continue;
    }
    std::vector<Sbp> sbps;
    for (const std::optional<Sbp>& sbp : group.asked) sbps.push_back(*sbp);
    ChooseGroup(static_cast<int>(g), GroupSharding(static_cast<int>(g), sbps));
  }
  Commit();
}

Sharding LayoutState::GroupSharding(int group, const std::vector<Sbp>& sbps) const {
  const StateGroup& states = bound_.groups[group];
  Sharding sharding = Sharding::Broadcast(states.stage, bound_.axes.size(), states.shape.size());
  sharding.sbps = sbps;
  return Canonical(std::move(sharding), bound_.axes, states.shape);
}

int LayoutState::Intern(const Sharding& sharding) {
  const auto [it, added] =
      interned_.try_emplace(ShardingKey(sharding), static_cast<int>(shardings_.size()));
  if (added) shardings_.push_back(sharding);
  return it->second;
}

const NodeLayout* LayoutState::Keep(NodeLayout layout) {
  layouts_.push_back(std::move(layout));
  return &layouts_.back();
}

const NodeLayout* LayoutState::StateLayout(bool read, int sharding) {
  std::vector<const NodeLayout*>& known = state_layouts_[read ? 1 : 0];
  if (known.size() < shardings_.size()) known.resize(shardings_.size(), nullptr);
  if (known[sharding] == nullptr) {
    NodeLayout layout;
    (read ? layout.outputs : layout.inputs) = {sharding};
    known[sharding] = Keep(std::move(layout));
  }
  return known[sharding];
}

int LayoutState::Number(NodeId id, const std::vector<int>& choice) {
  Kind& kind = kinds_[bound_.nodes[id].kind];
  const auto [it, added] = kind.numbers.try_emplace(choice, static_cast<int>(kind.choices.size()));
  if (added) kind.choices.push_back(choice);
  return it->second;
}

LayoutState::Row& LayoutState::RowOf(NodeId id) {
  const std::vector<ValueId>& inputs = graph_.node(id).inputs;
  const auto lie_as_now = [&](const Row& row) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (row.inputs[i] != have_[inputs[i]]) return false;
    }
    return true;
  };
  Row*& row = rows_[id];
  if (row != nullptr && lie_as_now(*row)) return *row;
  std::vector<int> now;
  for (ValueId input : inputs) now.push_back(have_[input]);
  const auto [it, added] = kinds_[bound_.nodes[id].kind].rows.try_emplace(now);
  if (added) it->second.inputs = std::move(now);
  row = &it->second;
  return *row;
}

const NodeLayout* LayoutState::Evaluate(NodeId id, int number) {
  Row& row = RowOf(id);
  if (static_cast<size_t>(number) >= row.layouts.size()) {
    row.layouts.resize(kinds_[bound_.nodes[id].kind].choices.size());
  }
  std::optional<const NodeLayout*>& known = row.layouts[number];
  if (!known.has_value()) known = Apply(id, number);
  return *known;
}

const NodeLayout* LayoutState::Apply(NodeId id, int number) {
  const Node& node = graph_.node(id);
  const BoundNode& bound = bound_.nodes[id];
  const std::vector<int>& choice = Choice(id, number);
  if (!bound.rule->IsLegalChoice(choice, bound_.axes)) return nullptr;
  std::vector<const Sharding*> known;
  for (ValueId input : node.inputs) {
    known.push_back(have_[input] == kUndecided ? nullptr : &shardings_[have_[input]]);
  }
  const NodeShardings shardings = bound.rule->Apply(choice, bound_.axes, known, *node.stage);
  NodeLayout layout;
  layout.choice = choice;
  layout.number = number;
  bool in_loop = false;
  std::vector<TensorType> inputs, outputs;
  for (size_t i = 0; i < node.inputs.size() + node.outputs.size(); ++i) {
    const bool is_input = i < node.inputs.size();
    const size_t j = is_input ? i : i - node.inputs.size();
    const Sharding& sharding = is_input ? shardings.inputs[j] : shardings.outputs[j];
    if (!LegalSharding(sharding, cost_.micro_batches())) return nullptr;
    in_loop = in_loop || sharding.sbps[0].kind != Sbp::kBroadcast;
    const TensorType& type = graph_.value(is_input ? node.inputs[j] : node.outputs[j]).type;
    (is_input ? inputs : outputs).push_back(LargestShard(type, sharding, bound_.axes));
    (is_input ? layout.inputs : layout.outputs).push_back(Intern(sharding));
  }
  if (bound.role != NodeRole::kPin && !bound.def->view) {
    layout.compute_ns =
        (in_loop ? cost_.micro_batches() : 1) *
        cost_.ComputeNs(oneflow::LocalCost(*bound.def, node.attrs, inputs, outputs));
  }
  return Keep(std::move(layout));
}

int64_t LayoutState::ReshardNs(ValueId value, int from, int to) {
  if (from == to || from == kUndecided || to == kUndecided) return 0;
  OF_CHECK(from < (1 << 20) && to < (1 << 20) && type_of_[value] < (1 << 24)) << "too many layouts";
  const uint64_t key = static_cast<uint64_t>(type_of_[value]) << 40 |
                       static_cast<uint64_t>(from) << 20 | static_cast<uint64_t>(to);
  const auto [it, added] = reshard_ns_.try_emplace(key, 0);
  if (added) {
    const ReshardPath& path =
        paths_.Find(graph_.value(value).type, shardings_[from], shardings_[to]);
    it->second = path.possible ? path.cost_ns : kImpossible;
  }
  return it->second;
}

bool LayoutState::LeavesDp(ValueId value, int from, int to) const {
  if (dp_axis_ < 0 || from == to) return false;
  const Sbp& a = shardings_[from].sbps[dp_axis_];
  const Sbp& b = shardings_[to].sbps[dp_axis_];
  const bool stays =
      a == b
          // Dealt out in fewer units than there are devices (groups of batch norm), some have none.
          ? a.kind != Sbp::kSplit || HasShares(from, a.dim) == HasShares(to, a.dim)
          : a.kind == Sbp::kBroadcast || (a.kind == Sbp::kPartial && b.kind != Sbp::kSplit);
  return !stays && bound_.nodes[graph_.value(value).producer].role != NodeRole::kStateRead;
}

bool LayoutState::HasShares(int sharding, int dim) const {
  const Sharding& of = shardings_[sharding];
  int64_t parts = 1;
  for (size_t axis = 0; axis < of.sbps.size(); ++axis) {
    if (of.sbps[axis].kind == Sbp::kSplit && of.sbps[axis].dim == dim) {
      parts *= bound_.axes[axis].size;
    }
  }
  return of.units[static_cast<size_t>(dim)] >= parts;
}

int64_t LayoutState::NeedCost(ValueId value, int from, const Need& need, int* last) {
  const int to = need.sharding;
  int64_t total = to == *last ? 0 : ReshardNs(value, from, to);
  *last = to;
  if (to == kUndecided) return total;
  if (need.reader == NodeRole::kStateWrite) {
    total += to == from ? 0 : kGatherPenalty;
  } else if (need.reader != NodeRole::kOutput && LeavesDp(value, from, to)) {
    total += kGatherPenalty;
  }
  return total;
}

int64_t LayoutState::NeedsCost(ValueId value, int from, const Needs& needs) {
  if (from == kUndecided) return 0;
  int64_t total = 0;
  int last = kUndecided;
  for (const Need& need : needs) total += NeedCost(value, from, need, &last);
  return total;
}

int64_t LayoutState::ValueCost(ValueId value) {
  return NeedsCost(value, have_[value], needs_[value]);
}

int64_t LayoutState::ValueCostWith(ValueId value, NodeId id, const NodeLayout& layout) {
  const Node& node = graph_.node(id);
  const NodeLayout& old = *nodes_[id];
  const NodeRole role = bound_.nodes[id].role;
  int from = have_[value];
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    if (node.outputs[i] == value) from = layout.outputs[i];
  }
  bool reads_otherwise = false;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (node.inputs[i] != value || layout.inputs[i] == old.inputs[i]) continue;
    if (!reads_otherwise) changed_ = needs_[value];
    reads_otherwise = true;
    AddReaders(&changed_, old.inputs[i], role, -1);
    AddReaders(&changed_, layout.inputs[i], role, 1);
  }
  return NeedsCost(value, from, reads_otherwise ? changed_ : needs_[value]);
}

void LayoutState::AddReaders(Needs* needs, int sharding, NodeRole reader, int count) {
  auto at = needs->begin();
  while (at != needs->end() &&
         (at->sharding < sharding || (at->sharding == sharding && at->reader < reader))) {
    ++at;
  }
  if (at == needs->end() || at->sharding != sharding || at->reader != reader) {
    needs->insert(at, {sharding, reader, count});
  } else if ((at->readers += count) == 0) {
    needs->erase(at);
  }
}

int64_t LayoutState::Delta(NodeId id, const NodeLayout& layout) {
  const Node& node = graph_.node(id);
  const NodeLayout& old = *nodes_[id];
  int64_t delta = layout.compute_ns - old.compute_ns;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const auto first = std::find(node.inputs.begin(), node.inputs.end(), node.inputs[i]);
    if (first - node.inputs.begin() != static_cast<std::ptrdiff_t>(i)) continue;
    delta += ValueCostWith(node.inputs[i], id, layout) - value_cost_[node.inputs[i]];
  }
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    if (layout.outputs[i] == old.outputs[i]) continue;
    delta += ValueCostWith(node.outputs[i], id, layout) - value_cost_[node.outputs[i]];
  }
  return delta;
}

int64_t LayoutState::LocalCost(NodeId id, const NodeLayout& layout) {
  const Node& node = graph_.node(id);
  int64_t total = layout.compute_ns;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const ValueId value = node.inputs[i];
    const int from = have_[value];
    const Sharding& to = shardings_[layout.inputs[i]];
    if (from != kUndecided) {
      total += ReshardNs(value, from, layout.inputs[i]);
      if (LeavesDp(value, from, layout.inputs[i])) total += kGatherPenalty;
      continue;
    }
    // A state that is still free: it can be had in any layout that a state may have.
    const int64_t shard = LargestShard(graph_.value(value).type, to, bound_.axes).bytes();
    total += state_weight_ * kTouches * cost_.MemoryNs(shard);
    if (to.IsPartial()) total += kImpossible;
  }
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    Sharding whole = shardings_[layout.outputs[i]];
    for (size_t axis = 1; axis < whole.sbps.size(); ++axis) {
      if (whole.sbps[axis].kind == Sbp::kPartial) whole.sbps[axis] = Sbp::B();
    }
    total += ReshardNs(node.outputs[i], layout.outputs[i], Intern(whole));
  }
  return total;
}

void LayoutState::Replace(NodeId id, const NodeLayout* layout) {
  const Node& node = graph_.node(id);
  const NodeLayout& old = *nodes_[id];
  const NodeRole role = bound_.nodes[id].role;
  touched_.clear();
  const auto touch = [&](ValueId value) {
    if (std::find(touched_.begin(), touched_.end(), value) == touched_.end())
      touched_.push_back(value);
  };
  for (size_t i = 0; i < old.inputs.size(); ++i)
    AddReaders(&needs_[node.inputs[i]], old.inputs[i], role, -1);
  for (size_t i = 0; i < layout->inputs.size(); ++i)
    AddReaders(&needs_[node.inputs[i]], layout->inputs[i], role, 1);
  for (size_t i = 0; i < layout->outputs.size(); ++i) have_[node.outputs[i]] = layout->outputs[i];
  total_ += layout->compute_ns - old.compute_ns;
  nodes_[id] = layout;
  for (ValueId value : node.inputs) touch(value);
  for (ValueId value : node.outputs) touch(value);
  for (ValueId value : touched_) {
    total_ -= value_cost_[value];
    value_cost_[value] = ValueCost(value);
    total_ += value_cost_[value];
  }
}

int64_t LayoutState::Version(NodeId id) const {
  // The latest suffices: changes are taken back in the reverse order, so whatever had a number when
  // the latest was given has it whenever that one is there again.
  int64_t latest = 0;
  for (ValueId value : graph_.node(id).inputs) latest = std::max(latest, version_[value]);
  for (ValueId value : graph_.node(id).outputs) latest = std::max(latest, version_[value]);
  return latest;
}

void LayoutState::Install(NodeId id, const NodeLayout* layout) {
  log_.push_back({id, nodes_[id]});
  ++changes_;
  const Node& node = graph_.node(id);
  for (const auto* side : {&node.inputs, &node.outputs}) {
    for (ValueId value : *side) {
      old_versions_.push_back(version_[value]);
      version_[value] = changes_;
    }
  }
  Replace(id, layout);
}

void LayoutState::Propagate(NodeId id) {
  std::set<std::pair<int, NodeId>> open;
  const auto add_readers = [&](NodeId from) {
    for (ValueId output : graph_.node(from).outputs) {
      for (NodeId reader : graph_.uses(output)) {
        if (bound_.nodes[reader].rule != nullptr) open.insert({position_[reader], reader});
      }
    }
  };
  add_readers(id);
  while (!open.empty()) {
    const NodeId reader = open.begin()->second;
    open.erase(open.begin());
    const NodeLayout& old = *nodes_[reader];
    const NodeLayout* layout = Evaluate(reader, old.number);
    // Units can only make a choice illegal on micro, whose cuts do not change here.
    if (layout == nullptr || layout == &old || *layout == old) continue;
    const bool outputs_changed = layout->outputs != old.outputs;
    Install(reader, layout);
    if (outputs_changed) add_readers(reader);
  }
}

bool LayoutState::Choose(NodeId id, int number) {
  const NodeLayout* layout = Evaluate(id, number);
  if (layout == nullptr) return false;
  const NodeLayout& old = *nodes_[id];
  if (layout == &old || *layout == old) return true;
  const bool outputs_changed = layout->outputs != old.outputs;
  Install(id, layout);
  if (outputs_changed) Propagate(id);
  return true;
}

int64_t LayoutState::GroupCost(int group) const {
  if (groups_[group] == kUndecided) return 0;
  const StateGroup& states = bound_.groups[group];
  const Slice local = SliceOf(shardings_[groups_[group]], bound_.axes, states.shape,
                              std::vector<int64_t>(bound_.axes.size(), 0));
  const int64_t elements = NumElements(states.shape);
  const int64_t bytes = elements == 0 ? 0 : states.bytes / elements * NumElements(local.extent);
  return state_weight_ * kTouches * cost_.MemoryNs(bytes);
}

void LayoutState::SetGroup(int group, int sharding) {
  total_ -= group_cost_[group];
  groups_[group] = sharding;
  group_cost_[group] = GroupCost(group);
  total_ += group_cost_[group];
}

void LayoutState::ChooseGroup(int group, const Sharding& sharding) {
  const int index = Intern(sharding);
  if (groups_[group] == index) return;
  log_.push_back({-1, nullptr, group, groups_[group]});
  SetGroup(group, index);
  for (NodeId read : bound_.groups[group].reads) Install(read, StateLayout(/*read=*/true, index));
  for (NodeId write : bound_.groups[group].writes) {
    Install(write, StateLayout(/*read=*/false, index));
  }
  for (NodeId read : bound_.groups[group].reads) Propagate(read);
}

void LayoutState::Rollback(size_t mark) {
  while (log_.size() > mark) {
    const Change change = log_.back();
    log_.pop_back();
    if (change.node < 0) {
      SetGroup(change.group, change.sharding);
      continue;
    }
    Replace(change.node, change.layout);
    const Node& node = graph_.node(change.node);
    for (const auto* side : {&node.outputs, &node.inputs}) {
      for (size_t i = side->size(); i-- > 0;) {
        version_[(*side)[i]] = old_versions_.back();
        old_versions_.pop_back();
      }
    }
  }
}

}  // namespace oneflow
