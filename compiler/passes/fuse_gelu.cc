#include "compiler/passes/fuse_gelu.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "base/status.h"
#include "compiler/passes/decided_graph.h"
#include "plan/fused.h"

namespace oneflow {
namespace {

class Fusing {
 public:
  Fusing(Graph* graph, Decisions* decisions) : graph_(*graph), edit_(graph, decisions) {}

  absl::Status Run() {
    for (const NodeId id : graph_.order()) {
      if (graph_.node(id).removed) continue;
      if (graph_.node(id).op == "gelu_tanh") OF_RETURN_IF_ERROR(JoinForward(id));
      if (graph_.node(id).op == "gelu_tanh_grad") OF_RETURN_IF_ERROR(JoinBackward(id));
    }
    return absl::OkStatus();
  }

 private:
  // The product whose result is `value`, or what `value` is a view of.
  struct Found {
    NodeId product;
    std::optional<NodeId> view;
  };

  const Node& MakerOf(ValueId value) const { return graph_.node(graph_.value(value).producer); }
  bool ReadOnce(ValueId value) const { return graph_.uses(value).size() == 1; }

  // What of the activation can be one node with it.
  std::optional<Found> ProductOf(const Node& activation, ValueId value,
                                 const std::string& op) const {
    const Value& out = graph_.value(activation.outputs[0]);
    if (SizeOf(out.type.dtype) != 2 || graph_.value(value).sharding != out.sharding ||
        JoinsAChain(activation)) {
      return std::nullopt;
    }
    Found found;
    const Node* maker = &MakerOf(value);
    if (maker->op == "reshape") {
      found.view = maker->id;
      maker = &MakerOf(maker->inputs[0]);
    }
    found.product = maker->id;
    if (maker->op != op || maker->stage != activation.stage || maker->phase != activation.phase) {
      return std::nullopt;
    }
    // With a matrix b all rows of a are one product's, unless they are its columns.
    const bool batched =
        graph_.value(maker->inputs[1]).type.shape.size() > 2 ||
        (graph_.value(maker->inputs[0]).type.shape.size() > 2 && maker->attrs.Bool("transpose_a"));
    return batched ? std::nullopt : std::optional<Found>(found);
  }

  // FuseElementwise would make one node of the activation and its reader. Over views it carries ops of one operand.
  bool JoinsAChain(const Node& activation) const {
    ValueId value = activation.outputs[0];
    while (ReadOnce(value)) {
      const Node& reader = graph_.node(graph_.uses(value)[0]);
      if (reader.op == "reshape" && activation.inputs.size() == 1) {
        value = reader.outputs[0];
        continue;
      }
      return FusedRoleOf(reader.op).has_value() && reader.stage == activation.stage &&
             reader.phase == activation.phase;
    }
    return false;
  }

  absl::Status JoinForward(NodeId id) {
    const Node& gelu = graph_.node(id);
    const std::optional<Found> found = ProductOf(gelu, gelu.inputs[0], "linear");
    if (!found.has_value() || !OnlyViewsBetween(found->product, id)) return absl::OkStatus();
    const Node& linear = graph_.node(found->product);
    const ValueId x = linear.outputs[0];
    const bool saves = !ReadOnce(x) || !ReadOnce(gelu.inputs[0]);
    Attrs attrs = linear.attrs;
    attrs.Set("saves", saves);
    const std::vector<ValueId> results(saves ? 2 : 1, x);  // both lie as x does
    if (!edit_.Allows("linear_gelu", attrs, linear.inputs, results)) return absl::OkStatus();
    const std::vector<Sharding> layouts(results.size(), graph_.value(x).sharding);
    OF_ASSIGN_OR_RETURN(const std::vector<ValueId> made,
                        edit_.Insert(linear, "linear_gelu", linear.inputs, attrs, layouts));
    OF_RETURN_IF_ERROR(TakePlace(gelu, found->view, made[0]));
    // The view of x is gone if nobody else reads it.
    if (saves) graph_.ReplaceUses(x, made[1]);
    edit_.Remove(linear.id);
    return absl::OkStatus();
  }

  bool OnlyViewsBetween(NodeId first, NodeId last) const {
    for (const NodeId id : graph_.order()) {
      if (graph_.Before(first, id) && graph_.Before(id, last) && graph_.node(id).op != "reshape") {
        return false;
      }
    }
    return true;
  }

  absl::Status JoinBackward(NodeId id) {
    const Node& grad = graph_.node(id);
    const ValueId dy = grad.inputs[1];
    const std::optional<Found> found = ProductOf(grad, dy, "matmul");
    if (!found.has_value() || grad.inputs[0] == dy) return absl::OkStatus();
    const Node& product = graph_.node(found->product);
    const ValueId whole = product.outputs[0];
    if (!ReadOnce(whole) || !ReadOnce(dy)) return absl::OkStatus();
    std::vector<ValueId> inputs = product.inputs;
    inputs.push_back(whole);  // x is and lies as the result
    if (!edit_.Allows("matmul_gelu_grad", product.attrs, inputs, {whole})) return absl::OkStatus();
    OF_ASSIGN_OR_RETURN(const std::optional<ValueId> x, SeenAs(grad.inputs[0], product));
    if (!x.has_value()) return absl::OkStatus();
    inputs.back() = *x;
    OF_ASSIGN_OR_RETURN(const std::vector<ValueId> made,
                        edit_.Insert(product, "matmul_gelu_grad", std::move(inputs), product.attrs,
                                     {graph_.value(whole).sharding}));
    OF_RETURN_IF_ERROR(TakePlace(grad, found->view, made[0]));
    edit_.Remove(product.id);
    RemoveUnreadViews(grad.inputs[0]);
    return absl::OkStatus();
  }

  // x as the product's result is seen, where the product stands: what it is a view of, or a new view; nothing: it is
  // not there yet, or lies otherwise.
  absl::StatusOr<std::optional<ValueId>> SeenAs(ValueId x, const Node& product) {
    const Value& result = graph_.value(product.outputs[0]);
    const auto is_there = [&](ValueId value) {
      return graph_.Before(graph_.value(value).producer, product.id);
    };
    std::optional<ValueId> first;
    for (ValueId value = x;; value = MakerOf(value).inputs[0]) {
      if (is_there(value)) {
        const Value& seen = graph_.value(value);
        if (seen.type == result.type && seen.sharding == result.sharding) return value;
        if (!first.has_value()) first = value;
      }
      if (MakerOf(value).op != "reshape") break;
    }
    const Attrs shape = {{"shape", result.type.shape}};
    if (!first.has_value() || !edit_.Allows("reshape", shape, {*first}, {product.outputs[0]})) {
      return std::optional<ValueId>();
    }
    OF_ASSIGN_OR_RETURN(const std::vector<ValueId> made,
                        edit_.Insert(product, "reshape", {*first}, shape, {result.sharding}));
    return std::optional<ValueId>(made[0]);
  }

  // `made`, seen as the activation's result is, takes its place. The view goes if nobody else reads it.
  absl::Status TakePlace(const Node& activation, std::optional<NodeId> view, ValueId made) {
    if (view.has_value()) {
      OF_RETURN_IF_ERROR(edit_
                             .Replace(activation, "reshape", {made}, graph_.node(*view).attrs,
                                      activation.outputs, {activation.id})
                             .status());
      RemoveUnreadViews(graph_.node(*view).outputs[0]);
    } else {
      graph_.ReplaceUses(activation.outputs[0], made);
      edit_.Remove(activation.id);
    }
    return absl::OkStatus();
  }

  void RemoveUnreadViews(ValueId value) {
    while (graph_.uses(value).empty() && MakerOf(value).op == "reshape") {
      const NodeId view = MakerOf(value).id;
      value = MakerOf(value).inputs[0];
      edit_.Remove(view);
    }
  }

  Graph& graph_;
  DecidedGraph edit_;
};

}  // namespace

absl::Status FuseGelu(Graph* graph, Decisions* decisions) { return Fusing(graph, decisions).Run(); }

}  // namespace oneflow
