#include "compiler/passes/fuse_bias.h"

#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/status.h"
#include "compiler/passes/decided_graph.h"

namespace oneflow {
namespace {

class Fusing {
 public:
  Fusing(Graph* graph, Decisions* decisions) : graph_(*graph), edit_(graph, decisions) {}

  absl::Status Run() {
    const std::vector<NodeId> order = graph_.order();
    for (size_t i = 0; i < order.size(); ++i) {
      const std::optional<int> product = ProductOf(graph_.node(order[i]));
      if (!product.has_value() || !StandTogether(order, i, *product)) continue;
      OF_RETURN_IF_ERROR(Join(order[i], *product));
    }
    return absl::OkStatus();
  }

 private:
  const Node& MakerOf(ValueId value) const { return graph_.node(graph_.value(value).producer); }

  // Which input of an addition is a product that can take the other as its bias.
  std::optional<int> ProductOf(const Node& add) const {
    if (add.removed || add.op != "add") return std::nullopt;
    const Value& out = graph_.value(add.outputs[0]);
    for (const Sbp& sbp : out.sharding.sbps) {
      if (sbp.kind == Sbp::kPartial) return std::nullopt;
    }
    for (const int i : {0, 1}) {
      const ValueId product = add.inputs[static_cast<size_t>(i)];
      const Value& bias = graph_.value(add.inputs[static_cast<size_t>(1 - i)]);
      const Node& maker = MakerOf(product);
      if (maker.op == "matmul" && graph_.uses(product).size() == 1 && maker.stage == add.stage &&
          maker.phase == add.phase && graph_.value(product).type == out.type &&
          graph_.value(product).sharding == out.sharding &&
          bias.type == TensorType{out.type.dtype, {out.type.shape.back()}}) {
        return i;
      }
    }
    return std::nullopt;
  }

  // Between product and addition, which is order[at], stands only what the bias is made of.
  bool StandTogether(const std::vector<NodeId>& order, size_t at, int product) const {
    const Node& add = graph_.node(order[at]);
    const NodeId first = MakerOf(add.inputs[static_cast<size_t>(product)]).id;
    std::set<NodeId> needed = {MakerOf(add.inputs[static_cast<size_t>(1 - product)]).id};
    while (at-- > 0 && order[at] != first) {
      if (graph_.node(order[at]).removed) continue;
      if (!needed.contains(order[at])) return false;
      for (const ValueId input : graph_.node(order[at]).inputs) needed.insert(MakerOf(input).id);
    }
    return true;
  }

  absl::Status Join(NodeId id, int product) {
    const Node& add = graph_.node(id);
    const Node& matmul = MakerOf(add.inputs[static_cast<size_t>(product)]);
    std::vector<ValueId> inputs = matmul.inputs;
    inputs.push_back(add.inputs[static_cast<size_t>(1 - product)]);
    return edit_
        .Replace(add, "linear", std::move(inputs), matmul.attrs, add.outputs, {id, matmul.id})
        .status();
  }

  Graph& graph_;
  DecidedGraph edit_;
};

}  // namespace

absl::Status FuseBias(Graph* graph, Decisions* decisions) { return Fusing(graph, decisions).Run(); }

}  // namespace oneflow
