#include "compiler/passes/cancel_permutes.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "compiler/ops/op_table.h"

namespace oneflow {
namespace {

using Permutation = std::vector<int64_t>;  // out dim i is in dim p[i]

// An operand this many times smaller than the result is permuted itself, to let the others pass.
constexpr int64_t kSmallOperand = 8;

bool IsIdentity(const Permutation& p) {
  for (size_t i = 0; i < p.size(); ++i) {
    if (p[i] != static_cast<int64_t>(i)) return false;
  }
  return true;
}

Permutation Inverse(const Permutation& p) {
  Permutation inverse(p.size());
  for (size_t i = 0; i < p.size(); ++i) inverse[p[i]] = static_cast<int64_t>(i);
  return inverse;
}

// True if the dims of extent other than 1 keep their order.
bool MovesOnlyOnes(const Permutation& p, const Shape& input) {
  int64_t last = -1;
  for (int64_t dim : p) {
    if (input[dim] == 1) continue;
    if (dim < last) return false;
    last = dim;
  }
  return true;
}

// "..., ... -> ... ; linear": no dim of its own.
bool NamesNoDim(absl::string_view rule) {
  rule = rule.substr(0, rule.find(';'));
  for (absl::string_view term :
       absl::StrSplit(rule, absl::ByAnyChar(",->"), absl::SkipWhitespace())) {
    if (absl::StripAsciiWhitespace(term) != "...") return false;
  }
  return true;
}

class PermuteCanceller {
 public:
  explicit PermuteCanceller(Graph* graph) : graph_(*graph) {}

  absl::Status Run() {
    for (NodeId id : graph_.order()) OF_RETURN_IF_ERROR(Visit(id));
    graph_.ReplaceForwards(replaced_);
    return absl::OkStatus();
  }

 private:
  const Shape& ShapeOf(ValueId value) const { return graph_.value(value).type.shape; }
  bool Annotated(ValueId value) const { return !graph_.value(value).annotation.empty(); }

  // The permutation by which a value was made from another, if so and if it may be looked through.
  std::optional<Permutation> PermutedBy(ValueId value) const {
    const Node& producer = graph_.node(graph_.value(value).producer);
    if (producer.op != "permute" || Annotated(value)) return std::nullopt;
    return producer.attrs.Ints("dims");
  }
  ValueId BeforePermute(ValueId value) const {
    return graph_.node(graph_.value(value).producer).inputs[0];
  }

  // Any order of the dims gives the same elements, as its rule and its attributes say. What is keyed by
  // where an element lies (dropout) needs its slice, or has an operand of other dims.
  bool IsElementwise(NodeId id) const {
    const Node& node = graph_.node(id);
    const bool any = std::any_of(node.inputs.begin(), node.inputs.end(),
                                 [&](ValueId input) { return PermutedBy(input).has_value(); });
    const OpDef* op = any ? FindOp(node.op) : nullptr;
    if (op == nullptr || op->structural || op->needs_slice || !op->rule ||
        node.outputs.size() != 1) {
      return false;
    }
    for (const AttrDef& attr : op->attrs) {
      if (attr.kind == "int" || attr.kind == "ints") return false;  // it may name dims
    }
    OpContext context{node.attrs, {}, {}};
    for (ValueId input : node.inputs) context.inputs.push_back(graph_.value(input).type);
    context.outputs.push_back(graph_.value(node.outputs[0]).type);
    return NamesNoDim(op->rule(context));
  }

  absl::Status Visit(NodeId id) {
    const std::string op = graph_.node(id).op;
    for (ValueId output : graph_.node(id).outputs) {
      if (Annotated(output)) return absl::OkStatus();
    }
    if (op == "permute") return VisitPermute(id);
    if (IsElementwise(id)) return VisitElementwise(id);
    if (op == "sum" || op == "amax" || op == "argmax") return VisitReduction(id);
    if (op == "cat" || op == "slice" || op == "slice_grad") return VisitDimOp(id);
    return absl::OkStatus();
  }

  absl::StatusOr<ValueId> Insert(NodeId before, const std::string& op, std::vector<ValueId> inputs,
                                 Attrs attrs, NodeId like_id) {
    const Node like = graph_.node(like_id);
    OF_ASSIGN_OR_RETURN(const std::vector<ValueId> made,
                        graph_.InsertNode(before, op, std::move(inputs), std::move(attrs), like));
    return made[0];
  }

  // `id` is replaced by the node that makes `value`; readers of its result read the permuted value.
  absl::Status ReplaceBy(NodeId id, ValueId value, const Permutation& p) {
    ValueId result = value;
    if (!IsIdentity(p)) {
      OF_ASSIGN_OR_RETURN(result,
                          Insert(id, "permute", {value}, Attrs{{"dims", AttrValue(p)}}, id));
    }
    graph_.ReplaceUses(graph_.node(id).outputs[0], result);
    replaced_[id] = graph_.value(value).producer;
    graph_.RemoveNode(id);
    if (result != value) return VisitPermute(graph_.value(result).producer);
    return absl::OkStatus();
  }

  absl::Status VisitPermute(NodeId id) {
    const Permutation p = graph_.node(id).attrs.Ints("dims");
    const ValueId input = graph_.node(id).inputs[0];
    const NodeId producer = graph_.value(input).producer;
    if (const std::optional<Permutation> first = PermutedBy(input); first.has_value()) {
      Permutation both;
      for (int64_t dim : p) both.push_back((*first)[dim]);
      return ReplaceBy(id, BeforePermute(input), both);
    }
    if (IsIdentity(p)) return ReplaceBy(id, input, p);
    if (MovesOnlyOnes(p, ShapeOf(input))) {
      const Shape shape = ShapeOf(graph_.node(id).outputs[0]);
      OF_ASSIGN_OR_RETURN(const ValueId view,
                          Insert(id, "reshape", {input}, Attrs{{"shape", AttrValue(shape)}}, id));
      Permutation none(shape.size());
      std::iota(none.begin(), none.end(), 0);
      return ReplaceBy(id, view, none);
    }
    if (graph_.node(producer).op == "broadcast_to" && !Annotated(input)) {
      const ValueId small = graph_.node(producer).inputs[0];
      if (ShapeOf(small).size() != p.size()) return absl::OkStatus();
      OF_ASSIGN_OR_RETURN(const ValueId permuted, Permuted(small, p, id));
      const Shape shape = ShapeOf(graph_.node(id).outputs[0]);
      OF_ASSIGN_OR_RETURN(const ValueId large, Insert(id, "broadcast_to", {permuted},
                                                      Attrs{{"shape", AttrValue(shape)}}, id));
      Permutation none(shape.size());
      std::iota(none.begin(), none.end(), 0);
      return ReplaceBy(id, large, none);
    }
    return absl::OkStatus();
  }

  // permute(value), simplified, placed before `before`.
  absl::StatusOr<ValueId> Permuted(ValueId value, const Permutation& p, NodeId before) {
    OF_ASSIGN_OR_RETURN(const ValueId permuted,
                        Insert(before, "permute", {value}, Attrs{{"dims", AttrValue(p)}}, before));
    // Kept alive by a reader that the simplification redirects.
    OF_ASSIGN_OR_RETURN(
        const ValueId anchor,
        Insert(before, "permute", {permuted}, Attrs{{"dims", AttrValue(Inverse(p))}}, before));
    OF_RETURN_IF_ERROR(VisitPermute(graph_.value(permuted).producer));
    const NodeId reader = graph_.value(anchor).producer;
    const ValueId simplified = graph_.node(reader).inputs[0];
    graph_.RemoveNode(reader);
    return simplified;
  }

  // Small beside the result, or the broadcast of something small.
  bool IsCheapToPermute(ValueId value, const Shape& result) const {
    const Node& producer = graph_.node(graph_.value(value).producer);
    if (producer.op == "broadcast_to" && !Annotated(value) &&
        ShapeOf(producer.inputs[0]).size() == ShapeOf(value).size()) {
      value = producer.inputs[0];
    }
    return ShapeOf(value).size() == result.size() &&
           NumElements(ShapeOf(value)) * kSmallOperand <= NumElements(result);
  }

  absl::Status VisitElementwise(NodeId id) {
    const Node node = graph_.node(id);
    const Shape shape = ShapeOf(node.outputs[0]);
    std::optional<Permutation> p;
    for (ValueId input : node.inputs) {
      const std::optional<Permutation> by = PermutedBy(input);
      if (!by.has_value() || ShapeOf(input).size() != shape.size()) continue;
      if (p.has_value() && *p != *by) return absl::OkStatus();
      p = by;
    }
    if (!p.has_value()) return absl::OkStatus();
    for (ValueId input : node.inputs) {
      if (PermutedBy(input) == p || NumElements(ShapeOf(input)) == 1) continue;
      if (!IsCheapToPermute(input, shape)) return absl::OkStatus();
    }
    std::vector<ValueId> inputs;
    for (ValueId input : node.inputs) {
      if (PermutedBy(input) == p) {
        inputs.push_back(BeforePermute(input));
      } else if (ShapeOf(input).size() != shape.size() || NumElements(ShapeOf(input)) == 1) {
        inputs.push_back(input);  // one element broadcasts to any order of dims
      } else {
        OF_ASSIGN_OR_RETURN(const ValueId small, Permuted(input, Inverse(*p), id));
        inputs.push_back(small);
      }
    }
    OF_ASSIGN_OR_RETURN(const ValueId result,
                        Insert(id, node.op, std::move(inputs), node.attrs, id));
    return ReplaceBy(id, result, *p);
  }

  absl::Status VisitReduction(NodeId id) {
    const Node node = graph_.node(id);
    const std::optional<Permutation> p = PermutedBy(node.inputs[0]);
    if (!p.has_value()) return absl::OkStatus();
    const bool one_dim = node.op == "argmax";
    const std::vector<int64_t> dims =
        one_dim ? std::vector<int64_t>{node.attrs.Int("dim")} : node.attrs.Ints("dims");
    const int64_t rank = static_cast<int64_t>(p->size());
    std::vector<int64_t> moved;
    std::set<int64_t> reduced;
    for (int64_t dim : dims) {
      moved.push_back((*p)[dim < 0 ? dim + rank : dim]);
      reduced.insert(moved.back());
    }
    Attrs attrs = node.attrs;
    if (one_dim) {
      attrs.Set("dim", moved[0]);
    } else {
      std::sort(moved.begin(), moved.end());
      attrs.Set("dims", moved);
    }
    Permutation rest = *p;
    if (!node.attrs.Bool("keepdim")) {
      // Of the dims that remain, each by its rank among them.
      std::vector<int64_t> kept;
      for (int64_t dim = 0; dim < rank; ++dim) {
        if (!reduced.contains(dim)) kept.push_back(dim);
      }
      rest.clear();
      for (int64_t dim : *p) {
        if (reduced.contains(dim)) continue;
        rest.push_back(std::lower_bound(kept.begin(), kept.end(), dim) - kept.begin());
      }
    }
    OF_ASSIGN_OR_RETURN(const ValueId result,
                        Insert(id, node.op, {BeforePermute(node.inputs[0])}, std::move(attrs), id));
    return ReplaceBy(id, result, rest);
  }

  absl::Status VisitDimOp(NodeId id) {
    const Node node = graph_.node(id);
    const std::optional<Permutation> p = PermutedBy(node.inputs[0]);
    if (!p.has_value()) return absl::OkStatus();
    std::vector<ValueId> inputs;
    for (ValueId input : node.inputs) {
      if (PermutedBy(input) != p) return absl::OkStatus();
      inputs.push_back(BeforePermute(input));
    }
    Attrs attrs = node.attrs;
    const int64_t dim = node.attrs.Int("dim");
    attrs.Set("dim", (*p)[dim < 0 ? dim + static_cast<int64_t>(p->size()) : dim]);
    OF_ASSIGN_OR_RETURN(const ValueId result,
                        Insert(id, node.op, std::move(inputs), std::move(attrs), id));
    return ReplaceBy(id, result, *p);
  }

  Graph& graph_;
  std::map<NodeId, NodeId> replaced_;  // removed node -> the node that took its place
};

}  // namespace

absl::Status CancelPermutes(Graph* graph) { return PermuteCanceller(graph).Run(); }

}  // namespace oneflow
