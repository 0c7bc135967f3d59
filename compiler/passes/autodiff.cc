#include "compiler/passes/autodiff.h"

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "compiler/ops/op_def.h"
#include "compiler/ops/op_table.h"

namespace oneflow {
namespace {

// The gradients of values that are known so far: contributions in the order in which they came.
using Contributions = std::map<ValueId, std::vector<ValueId>>;

// Adds the nodes of gradients to a graph.
struct Adder {
  Graph* graph;
  GradientsAre are;

  // For a forward node. A failure would be our bug: gradient functions build what the shapes of the
  // forward node allow.
  std::vector<ValueId> Add(const Node& forward, const std::string& op, std::vector<ValueId> inputs,
                           Attrs attrs) const {
    const bool backward = are == GradientsAre::kBackward;
    auto outputs =
        graph->AddNode(op, std::move(inputs), std::move(attrs), forward.location, forward.scope,
                       backward ? forward.stage : std::nullopt, backward ? forward.id : -1);
    OF_CHECK(outputs.ok()) << "in the gradient of " << forward.op << ": "
                           << MessageOf(outputs.status());
    return *std::move(outputs);
  }
};

// The builder of one forward node.
class NodeGradBuilder final : public GradBuilder {
 public:
  NodeGradBuilder(const Adder& adder, const Node& forward, const std::vector<bool>& needs_grad,
                  std::vector<ValueId> output_grads, Contributions* contributions)
      : adder_(adder),
        forward_(forward),
        needs_grad_(needs_grad),
        output_grads_(std::move(output_grads)),
        contributions_(contributions) {}

  int input_count() const override { return static_cast<int>(forward_.inputs.size()); }
  ValueId in(int i) const override { return forward_.inputs.at(i); }
  ValueId out(int i) const override { return forward_.outputs.at(i); }
  ValueId dout(int i) const override { return output_grads_.at(i); }
  const TensorType& type(ValueId value) const override { return adder_.graph->value(value).type; }
  const Attrs& attrs() const override { return forward_.attrs; }
  bool NeedsGrad(int input) const override {
    return input < static_cast<int>(forward_.inputs.size()) && needs_grad_[forward_.inputs[input]];
  }
  ValueId Op(const std::string& op, std::vector<ValueId> inputs, Attrs attrs) override {
    const std::vector<ValueId> outputs = OpN(op, std::move(inputs), std::move(attrs));
    OF_CHECK(outputs.size() == 1) << op << " has " << outputs.size() << " outputs";
    return outputs[0];
  }
  std::vector<ValueId> OpN(const std::string& op, std::vector<ValueId> inputs,
                           Attrs attrs) override {
    return adder_.Add(forward_, op, std::move(inputs), std::move(attrs));
  }
  void SetGrad(int input, ValueId gradient) override {
    const ValueId value = forward_.inputs.at(input);
    if (!needs_grad_[value]) return;
    OF_CHECK(type(gradient) == type(value))
        << "the gradient of " << forward_.op << "'s input " << input << " is "
        << type(gradient).ToString() << " instead of " << type(value).ToString();
    (*contributions_)[value].push_back(gradient);
  }

 private:
  const Adder adder_;
  const Node& forward_;
  const std::vector<bool>& needs_grad_;
  std::vector<ValueId> output_grads_;
  Contributions* contributions_;
};

// The values on a path from `wrt`: floating, and computed from one of them.
std::vector<bool> ValuesThatNeedGrad(const Graph& graph, const std::vector<NodeId>& order,
                                     const std::vector<ValueId>& wrt) {
  std::vector<bool> needs(graph.num_values(), false);
  for (ValueId value : wrt) needs[value] = true;
  for (NodeId id : order) {
    const Node& node = graph.node(id);
    bool any = false;
    for (ValueId input : node.inputs) any = any || needs[input];
    if (!any || FindOp(node.op)->stops_gradient) continue;
    for (ValueId output : node.outputs) {
      if (IsFloating(graph.value(output).type.dtype)) needs[output] = true;
    }
  }
  return needs;
}

// The sum of a value's contributions, -1 if there are none. The sum replaces them.
ValueId SumContributions(const Adder& adder, ValueId value, Contributions* contributions) {
  const auto found = contributions->find(value);
  if (found == contributions->end()) return -1;
  std::vector<ValueId>& parts = found->second;
  const Node& producer = adder.graph->node(adder.graph->value(value).producer);
  ValueId sum = parts[0];
  for (size_t i = 1; i < parts.size(); ++i) {
    sum = adder.Add(producer, "add", {sum, parts[i]}, {})[0];
  }
  parts = {sum};
  return sum;
}

ValueId Filled(const Adder& adder, ValueId like, double number) {
  const Value& value = adder.graph->value(like);
  return adder.Add(adder.graph->node(value.producer), "constant", {},
                   {{"value", number},
                    {"dtype", std::string(NameOf(value.type.dtype))},
                    {"shape", value.type.shape}})[0];
}

absl::Status CheckArguments(const Graph& graph, ValueId loss, const std::vector<ValueId>& wrt) {
  const auto location = [&](ValueId value) -> const Location& {
    return graph.location(graph.node(graph.value(value).producer).location);
  };
  const TensorType& type = graph.value(loss).type;
  if (!type.shape.empty()) {
    return MakeError(ErrorKind::kShape,
                     absl::StrCat("the loss is ", type.ToString(),
                                  " but must be a single number: reduce it with .mean() or .sum()"),
                     location(loss));
  }
  if (!IsFloating(type.dtype)) {
    return MakeError(ErrorKind::kDType,
                     absl::StrCat("the loss is ", type.ToString(),
                                  " but must be floating: integers have no gradient"),
                     location(loss));
  }
  for (ValueId value : wrt) {
    if (!IsFloating(graph.value(value).type.dtype)) {
      return MakeError(
          ErrorKind::kDType,
          absl::StrCat("no gradient with respect to ", graph.value(value).type.ToString(),
                       ": only floating tensors have one"),
          location(value));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<ValueId>> AddGradients(Graph* graph, ValueId loss,
                                                  const std::vector<ValueId>& wrt,
                                                  GradientsAre are) {
  OF_RETURN_IF_ERROR(CheckArguments(*graph, loss, wrt));
  const std::vector<NodeId> order = graph->order();
  const std::vector<bool> needs_grad = ValuesThatNeedGrad(*graph, order, wrt);
  const Adder adder{graph, are};
  Contributions contributions;
  if (needs_grad[loss]) contributions[loss].push_back(Filled(adder, loss, 1.0));

  for (auto id = order.rbegin(); id != order.rend(); ++id) {
    const Node& node = graph->node(*id);
    bool input_needs = false;
    for (ValueId input : node.inputs) input_needs = input_needs || needs_grad[input];
    if (!input_needs) continue;
    std::vector<ValueId> output_grads;
    bool any = false;
    for (ValueId output : node.outputs) {
      output_grads.push_back(SumContributions(adder, output, &contributions));
      any = any || output_grads.back() >= 0;
    }
    if (!any) continue;
    const OpDef* def = FindOp(node.op);
    OF_CHECK(def != nullptr) << "no op " << node.op;
    if (!def->grad) {
      return MakeError(ErrorKind::kError,
                       absl::StrCat("the loss depends on ", node.op,
                                    ", which has no gradient: ", def->not_differentiable,
                                    ". Use .detach() on its input if none is wanted"),
                       graph->location(node.location));
    }
    NodeGradBuilder builder(adder, node, needs_grad, std::move(output_grads), &contributions);
    const absl::Status status = def->grad(builder);
    if (!status.ok()) return WithLocation(status, graph->location(node.location));
  }

  std::vector<ValueId> gradients;
  for (ValueId value : wrt) {
    const ValueId sum = SumContributions(adder, value, &contributions);
    gradients.push_back(sum >= 0 ? sum : Filled(adder, value, 0.0));
  }
  if (are == GradientsAre::kBackward) graph->set_phase(NodePhase::kUpdate);
  return gradients;
}

}  // namespace oneflow
