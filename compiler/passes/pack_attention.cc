#include "compiler/passes/pack_attention.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "base/status.h"
#include "compiler/passes/decided_graph.h"
#include "plan/packed_heads.h"

namespace oneflow {
namespace {

// [batch, tokens, columns], and as heads [batch, tokens, heads, width].
constexpr int kColumns = 2;
using Three = std::array<ValueId, 3>;

// A call and what it takes its operands from.
struct Packing {
  NodeId forward = -1, backward = -1;  // -1: there is no gradient
  ValueId all = -1;                    // [batch, tokens, columns]
  std::vector<NodeId> slices;          // and their reshapes: readers before what they read
  NodeId cat = -1;
  std::vector<NodeId> gradients;  // the reshapes of the gradients
  std::vector<int64_t> packed;
};

class Packer {
 public:
  Packer(Graph* graph, Decisions* decisions) : graph_(*graph), edit_(graph, decisions) {}

  absl::Status Run() {
    for (const NodeId id : graph_.order()) {
      const Node& node = graph_.node(id);
      if (node.removed || node.op != "attention" || IsPacked(node.attrs)) continue;
      if (const std::optional<Packing> packing = Find(node)) OF_RETURN_IF_ERROR(Pack(*packing));
    }
    return absl::OkStatus();
  }

 private:
  const Node& MakerOf(ValueId value) const { return graph_.node(graph_.value(value).producer); }
  const Shape& ShapeOf(ValueId value) const { return graph_.value(value).type.shape; }

  // Both lie alike, split over the batch alone. Ranks may differ.
  bool AlikeByBatch(ValueId a, ValueId b) const {
    const Sharding& left = graph_.value(a).sharding;
    const Sharding& right = graph_.value(b).sharding;
    return left.stage == right.stage && left.sbps == right.sbps &&
           left.units[0] == right.units[0] &&
           std::all_of(left.sbps.begin(), left.sbps.end(), [](const Sbp& sbp) {
             return sbp.kind == Sbp::kBroadcast || (sbp.kind == Sbp::kSplit && sbp.dim == 0);
           });
  }

  // The one reader of the value, or nullptr.
  const Node* ReaderOf(ValueId value) const {
    const std::vector<NodeId>& uses = graph_.uses(value);
    return uses.size() == 1 ? &graph_.node(uses[0]) : nullptr;
  }

  std::optional<Packing> Find(const Node& forward) const {
    Packing packing;
    packing.forward = forward.id;
    const Three parts = {forward.inputs[0], forward.inputs[1], forward.inputs[2]};
    for (size_t i = 0; i < 3; ++i) {
      if (!FindSlice(forward, parts, i, &packing)) return std::nullopt;
    }
    // Where the heads of each begin.
    const int64_t heads = ShapeOf(parts[0])[2], key_heads = ShapeOf(parts[1])[2];
    packing.packed.insert(packing.packed.end(), {heads, key_heads});
    const int64_t width = ShapeOf(parts[0])[3];
    const std::optional<PackedHeads> packed =
        PackedHeadsOf({{"packed", AttrValue(packing.packed)}});
    if (!packed.has_value() || ShapeOf(parts[2])[3] != width ||
        ShapeOf(packing.all)[kColumns] != packed->all() * width) {
      return std::nullopt;
    }
    if (packing.backward >= 0 && !FindCat(*packed, &packing)) return std::nullopt;
    return packing;
  }

  // Operand i is a slice of the tensor that belongs to this call and its gradient.
  bool FindSlice(const Node& forward, const Three& parts, size_t i, Packing* packing) const {
    const ValueId part = parts[i];
    if (std::count(parts.begin(), parts.end(), part) != 1) return false;
    for (const NodeId use : graph_.uses(part)) {
      if (use == forward.id) continue;
      const Node& reader = graph_.node(use);
      if (reader.op != "attention_grad" || (packing->backward >= 0 && packing->backward != use) ||
          !std::equal(parts.begin(), parts.end(), reader.inputs.begin()) ||
          std::count(reader.inputs.begin(), reader.inputs.end(), part) != 1) {
        return false;
      }
      packing->backward = use;
    }
    const Node& reshape = MakerOf(part);
    if (reshape.op != "reshape" || ReaderOf(reshape.inputs[0]) != &reshape) return false;
    const Node& slice = MakerOf(reshape.inputs[0]);
    if (slice.op != "slice" || slice.attrs.Int("dim") != kColumns || slice.attrs.Int("step") != 1) {
      return false;
    }
    const ValueId all = slice.inputs[0];
    const Shape& from = ShapeOf(all);
    const Shape& to = ShapeOf(part);
    const int64_t start = slice.attrs.Int("start");
    if ((packing->all >= 0 && packing->all != all) || from.size() != 3 || from[0] != to[0] ||
        from[1] != to[1] || start % to[3] != 0 || !Together(slice, forward) ||
        !Together(reshape, forward)) {
      return false;
    }
    if (!AlikeByBatch(all, slice.outputs[0]) || !AlikeByBatch(all, part)) return false;
    packing->all = all;
    packing->slices.insert(packing->slices.end(), {reshape.id, slice.id});
    packing->packed.push_back(start / to[3]);
    return true;
  }
  bool Together(const Node& a, const Node& b) const { return a.stage == b.stage; }

  // The gradients have no reader but a `cat` in the order of the heads.
  bool FindCat(const PackedHeads& packed, Packing* packing) const {
    const Node& backward = graph_.node(packing->backward);
    std::array<size_t, 3> order = {0, 1, 2};
    std::sort(order.begin(), order.end(),
              [&](size_t a, size_t b) { return packed.first[a] < packed.first[b]; });
    const Node* cat = nullptr;
    for (size_t place = 0; place < 3; ++place) {
      const ValueId gradient = backward.outputs[order[place]];
      const Node* reshape = ReaderOf(gradient);
      if (reshape == nullptr || reshape->op != "reshape") return false;
      const Node* reader = ReaderOf(reshape->outputs[0]);
      if (reader == nullptr || reader->op != "cat" || reader->inputs.size() != 3 ||
          reader->inputs[place] != reshape->outputs[0] || (cat != nullptr && cat != reader)) {
        return false;
      }
      cat = reader;
      packing->gradients.push_back(reshape->id);
      for (const ValueId value : {gradient, reshape->outputs[0], cat->outputs[0]}) {
        if (!AlikeByBatch(packing->all, value)) return false;
      }
      if (!Together(*reshape, backward)) return false;
    }
    packing->cat = cat->id;
    return cat->attrs.Int("dim") == kColumns && ShapeOf(cat->outputs[0]) == ShapeOf(packing->all) &&
           Together(*cat, backward);
  }

  // The call again, of the tensor as heads.
  absl::StatusOr<std::vector<ValueId>> Call(const Node& node, ValueId heads,
                                            const Packing& packing) {
    std::vector<ValueId> inputs = node.inputs;
    std::fill_n(inputs.begin(), 3, heads);
    Attrs attrs = node.attrs;
    attrs.Set("packed", packing.packed);
    std::vector<Sharding> shardings;
    for (const ValueId output : node.outputs) shardings.push_back(graph_.value(output).sharding);
    if (node.op == "attention_grad") shardings = {graph_.value(heads).sharding};
    return edit_.Insert(node, node.op, std::move(inputs), std::move(attrs), shardings);
  }

  absl::Status Pack(const Packing& packing) {
    const Node forward = graph_.node(packing.forward);
    const Sharding by_heads = graph_.value(forward.inputs[0]).sharding;
    const Shape all = ShapeOf(packing.all);
    const int64_t width = ShapeOf(forward.inputs[0])[3];
    const Shape as_heads = {all[0], all[1], all[2] / width, width};
    OF_ASSIGN_OR_RETURN(
        const std::vector<ValueId> heads,
        edit_.Insert(forward, "reshape", {packing.all},
                     {{"shape", AttrValue(std::vector<int64_t>(as_heads))}}, {by_heads}));
    OF_ASSIGN_OR_RETURN(const std::vector<ValueId> results, Call(forward, heads[0], packing));
    for (size_t i = 0; i < results.size(); ++i) {
      graph_.ReplaceUses(forward.outputs[i], results[i]);
    }
    edit_.Remove(forward.id);
    if (packing.backward >= 0) {
      const Node backward = graph_.node(packing.backward);
      const Node cat = graph_.node(packing.cat);
      OF_ASSIGN_OR_RETURN(const std::vector<ValueId> gradient, Call(backward, heads[0], packing));
      OF_ASSIGN_OR_RETURN(const std::vector<ValueId> columns,
                          edit_.Insert(cat, "reshape", {gradient[0]},
                                       {{"shape", AttrValue(std::vector<int64_t>(all))}},
                                       {graph_.value(cat.outputs[0]).sharding}));
      graph_.ReplaceUses(cat.outputs[0], columns[0]);
      edit_.Remove(cat.id);
      for (const NodeId reshape : packing.gradients) edit_.Remove(reshape);
      edit_.Remove(backward.id);
    }
    for (const NodeId id : packing.slices) edit_.Remove(id);
    return absl::OkStatus();
  }

  Graph& graph_;
  DecidedGraph edit_;
};

}  // namespace

absl::Status PackAttention(Graph* graph, Decisions* decisions) {
  return Packer(graph, decisions).Run();
}

}  // namespace oneflow
