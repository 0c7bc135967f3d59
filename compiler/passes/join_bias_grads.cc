#include "compiler/passes/join_bias_grads.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "base/status.h"
#include "compiler/passes/decided_graph.h"

namespace oneflow {
namespace {

class Joining {
 public:
  Joining(Graph* graph, Decisions* decisions) : graph_(*graph), edit_(graph, decisions) {}

  absl::Status Run() {
    for (const NodeId id : graph_.order()) {
      if (graph_.node(id).removed || graph_.node(id).op != "matmul") continue;
      const std::optional<Sums> sums = SumsFor(graph_.node(id));
      if (sums.has_value()) OF_RETURN_IF_ERROR(Join(id, *sums));
    }
    return absl::OkStatus();
  }

 private:
  struct Sums {
    NodeId node;
    bool of_a;
    NodeId place;  // the joined node stands before it
  };

  // The sum that the product can make, of either operand.
  std::optional<Sums> SumsFor(const Node& product) const {
    for (const ValueId input : product.inputs) {
      const TensorType& type = graph_.value(input).type;
      if (type.shape.size() != 2 || SizeOf(type.dtype) != 2) return std::nullopt;
    }
    for (const bool of_a : {true, false}) {
      // As [k, ..] lie a transposed a, and a b that is not.
      if (product.attrs.Bool(of_a ? "transpose_a" : "transpose_b") != of_a) continue;
      const ValueId operand = product.inputs[of_a ? 0 : 1];
      Sums sums = {-1, of_a, product.id};
      for (ValueId view = operand;;) {
        for (const NodeId id : graph_.uses(view)) {
          sums.node = id;
          sums.place = PlaceOf(product, id);
          if (SumsRows(graph_.node(id), graph_.value(operand).type) &&
              StandTogether(product, sums) &&
              edit_.Allows("matmul_sums", AttrsOf(product, of_a), product.inputs,
                           {product.outputs[0], graph_.node(id).outputs[0]})) {
            return sums;
          }
        }
        const Node& maker = MakerOf(view);
        if (maker.op != "reshape") break;
        view = maker.inputs[0];
      }
    }
    return std::nullopt;
  }

  // Of a view of `matrix`, all dims but the last are summed, which is the matrix's own.
  bool SumsRows(const Node& node, const TensorType& matrix) const {
    if (node.op != "sum") return false;
    const TensorType& in = graph_.value(node.inputs[0]).type;
    const TensorType& out = graph_.value(node.outputs[0]).type;
    const size_t rank = in.shape.size();
    if (rank < 2 || in.shape.back() != matrix.shape.back() ||
        out != TensorType{matrix.dtype, {matrix.shape.back()}}) {
      return false;
    }
    std::vector<bool> summed(rank, false);
    for (const int64_t dim : node.attrs.Ints("dims")) {
      summed[static_cast<size_t>(dim < 0 ? dim + static_cast<int64_t>(rank) : dim)] = true;
    }
    const bool last = summed.back();
    summed.back() = true;
    return !last && summed == std::vector<bool>(rank, true);
  }

  // The product, or the first reader of the sums if that stands before it.
  NodeId PlaceOf(const Node& product, NodeId sum) const {
    NodeId place = product.id;
    if (graph_.node(sum).outputs.size() != 1) return place;
    for (const NodeId reader : graph_.uses(graph_.node(sum).outputs[0])) {
      if (graph_.Before(reader, place)) place = reader;
    }
    return place;
  }

  bool StandTogether(const Node& product, const Sums& sums) const {
    const Node& sum = graph_.node(sums.node);
    return sum.stage == product.stage && sum.phase == product.phase &&
           ViewsBehind(product.inputs[0], sums.place).has_value() &&
           ViewsBehind(product.inputs[1], sums.place).has_value();
  }

  // The views, last first, that lead to the value from one that is there at that place; nothing: none is.
  std::optional<std::vector<NodeId>> ViewsBehind(ValueId value, NodeId place) const {
    std::vector<NodeId> views;
    while (!graph_.Before(MakerOf(value).id, place)) {
      if (MakerOf(value).op != "reshape") return std::nullopt;
      views.push_back(MakerOf(value).id);
      value = MakerOf(value).inputs[0];
    }
    return views;
  }

  static Attrs AttrsOf(const Node& product, bool of_a) {
    Attrs attrs = product.attrs;
    attrs.Set("of", std::string(of_a ? "a" : "b"));
    return attrs;
  }

  absl::Status Join(NodeId id, const Sums& sums) {
    const Node& product = graph_.node(id);
    std::vector<ValueId> inputs = product.inputs;
    std::vector<NodeId>
        late;  // views of the product's, which cost nothing, are made again where they stand too late
    for (ValueId& input : inputs) {
      const std::vector<NodeId> views = *ViewsBehind(input, sums.place);
      late.insert(late.end(), views.begin(), views.end());
      if (!views.empty()) input = graph_.node(views.back()).inputs[0];
      for (size_t i = views.size(); i-- > 0;) {
        const Node& view = graph_.node(views[i]);
        OF_ASSIGN_OR_RETURN(const std::vector<ValueId> made,
                            edit_.Insert(product, "reshape", {input}, view.attrs,
                                         {graph_.value(view.outputs[0]).sharding}, sums.place));
        input = made[0];
      }
    }
    OF_RETURN_IF_ERROR(edit_
                           .Replace(product, "matmul_sums", std::move(inputs),
                                    AttrsOf(product, sums.of_a),
                                    {product.outputs[0], graph_.node(sums.node).outputs[0]},
                                    {id, sums.node}, sums.place)
                           .status());
    for (const NodeId view : late) {
      if (!graph_.node(view).removed && graph_.uses(graph_.node(view).outputs[0]).empty()) {
        edit_.Remove(view);
      }
    }
    return absl::OkStatus();
  }

  const Node& MakerOf(ValueId value) const { return graph_.node(graph_.value(value).producer); }

  Graph& graph_;
  DecidedGraph edit_;
};

}  // namespace

absl::Status JoinBiasGrads(Graph* graph, Decisions* decisions) {
  return Joining(graph, decisions).Run();
}

}  // namespace oneflow
