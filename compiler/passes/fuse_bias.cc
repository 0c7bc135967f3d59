#include "compiler/passes/fuse_bias.h"

#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/status.h"
#include "compiler/passes/decided_graph.h"

namespace oneflow {
namespace {

// A product, the view of it that an addition reads (the product's own result, if none), and the other addend.
struct Biased {
  NodeId product;
  ValueId view, bias;
};

class Fusing {
 public:
  Fusing(Graph* graph, Decisions* decisions) : graph_(*graph), edit_(graph, decisions) {}

  absl::Status Run() {
    const std::vector<NodeId> order = graph_.order();
    for (size_t i = 0; i < order.size(); ++i) {
      const std::optional<Biased> found = ProductOf(graph_.node(order[i]));
      if (!found.has_value() || !StandTogether(order, i, *found)) continue;
      OF_RETURN_IF_ERROR(Join(order[i], *found));
    }
    return absl::OkStatus();
  }

 private:
  const Node& MakerOf(ValueId value) const { return graph_.node(graph_.value(value).producer); }

  // What of an addition is a product that can take the other as its bias.
  std::optional<Biased> ProductOf(const Node& add) const {
    if (add.removed || add.op != "add") return std::nullopt;
    const Value& out = graph_.value(add.outputs[0]);
    for (const Sbp& sbp : out.sharding.sbps) {
      if (sbp.kind == Sbp::kPartial) return std::nullopt;
    }
    for (const size_t i : {size_t{0}, size_t{1}}) {
      const ValueId view = add.inputs[i], bias = add.inputs[1 - i];
      const Node* maker = &MakerOf(view);
      if (!JoinsWith(*maker, view, add) || graph_.value(view).type != out.type ||
          graph_.value(view).sharding != out.sharding) {
        continue;
      }
      if (maker->op == "reshape") {
        const ValueId product = maker->inputs[0];
        maker = &MakerOf(product);
        if (!JoinsWith(*maker, product, add)) continue;
      }
      if (maker->op != "matmul") continue;
      const TensorType& type = graph_.value(maker->outputs[0]).type;
      std::vector<ValueId> inputs = maker->inputs;
      inputs.push_back(bias);
      if (type.shape.back() == out.type.shape.back() &&
          graph_.value(bias).type == TensorType{type.dtype, {type.shape.back()}} &&
          edit_.Allows("linear", maker->attrs, inputs, maker->outputs)) {
        return Biased{maker->id, view, bias};
      }
    }
    return std::nullopt;
  }

  bool JoinsWith(const Node& maker, ValueId value, const Node& add) const {
    return graph_.uses(value).size() == 1 && maker.stage == add.stage && maker.phase == add.phase;
  }

  // Between product and addition, which is order[at], stands only the view and what the bias is made of.
  bool StandTogether(const std::vector<NodeId>& order, size_t at, const Biased& found) const {
    std::set<NodeId> needed = {MakerOf(found.bias).id, MakerOf(found.view).id};
    while (at-- > 0 && order[at] != found.product) {
      if (graph_.node(order[at]).removed) continue;
      if (!needed.contains(order[at])) return false;
      for (const ValueId input : graph_.node(order[at]).inputs) needed.insert(MakerOf(input).id);
    }
    return true;
  }

  absl::Status Join(NodeId id, const Biased& found) {
    const Node& add = graph_.node(id);
    const Node& product = graph_.node(found.product);
    std::vector<ValueId> inputs = product.inputs;
    inputs.push_back(found.bias);
    if (found.view == product.outputs[0]) {
      return edit_
          .Replace(add, "linear", std::move(inputs), product.attrs, add.outputs, {id, product.id})
          .status();
    }
    const Node& view = MakerOf(found.view);
    OF_ASSIGN_OR_RETURN(const std::vector<ValueId> sum,
                        edit_.Insert(add, "linear", std::move(inputs), product.attrs,
                                     {graph_.value(product.outputs[0]).sharding}));
    return edit_.Replace(add, "reshape", sum, view.attrs, add.outputs, {id, view.id, product.id})
        .status();
  }

  Graph& graph_;
  DecidedGraph edit_;
};

}  // namespace

absl::Status FuseBias(Graph* graph, Decisions* decisions) { return Fusing(graph, decisions).Run(); }

}  // namespace oneflow
