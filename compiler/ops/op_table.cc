#include "compiler/ops/op_table.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <unordered_map>

#include "base/check.h"
#include "compiler/ops/families.h"

namespace oneflow {
namespace {

bool BindsType(const OpDef& op, const std::string& variable) {
  return std::any_of(op.inputs.begin(), op.inputs.end(), [&](const ArgDef& input) {
    return input.type == variable && !input.optional;
  });
}

// Every name of a type is a variable, or for an output an attribute; what an output or a derived
// variable needs is bound by an input that is always there.
void CheckSchemaTypes(const OpDef& op) {
  for (const ArgDef& input : op.inputs) {
    OF_CHECK(input.type.empty() || FindType(op, input.type) != nullptr)
        << op.name << ": type " << input.type << " of " << input.name << " is not declared";
  }
  for (const TypeDef& type : op.types) {
    OF_CHECK(type.derive == nullptr || BindsType(op, type.source))
        << op.name << ": no input has type " << type.source;
  }
  for (const ArgDef& output : op.outputs) {
    if (output.type.empty()) {
      OF_CHECK(output.dtypes.size() == 1)
          << op.name << ": " << output.name << " has several dtypes";
      continue;
    }
    const TypeDef* type = FindType(op, output.type);
    const bool known =
        type != nullptr
            // The graph knows what a state is.
            ? type->derive != nullptr || BindsType(op, output.type) || op.name == "state_read"
            : std::any_of(op.attrs.begin(), op.attrs.end(), [&](const AttrDef& attr) {
                return attr.name == output.type && attr.kind == "dtype";
              });
    OF_CHECK(known) << op.name << ": nothing says what type " << output.type << " of "
                    << output.name << " is";
  }
}

std::vector<OpDef> MakeTable() {
  std::vector<OpDef> table;
  for (const auto family :
       {StructuralOps, UnaryOps, ActivationOps, BinaryOps, ReductionOps, ShapeOps, MatmulOps,
        ConvolutionOps, PoolingOps, BatchNormOps, SoftmaxOps, CtcOps, AttentionOps, LayerNormOps,
        IndexingOps, RandomOps, OptimizerOps, FusedOps}) {
    std::vector<OpDef> ops = family();
    std::move(ops.begin(), ops.end(), std::back_inserter(table));
  }
  std::sort(table.begin(), table.end(),
            [](const OpDef& a, const OpDef& b) { return a.name < b.name; });
  for (size_t i = 0; i < table.size(); ++i) {
    const OpDef& op = table[i];
    OF_CHECK(i == 0 || table[i - 1].name != op.name) << "op " << op.name << " is defined twice";
    OF_CHECK(op.shape && op.rule && op.cost) << "op " << op.name << " is incomplete";
    OF_CHECK(static_cast<bool>(op.grad) == op.not_differentiable.empty())
        << "op " << op.name << " must have a gradient or say why it has none";
    CheckSchemaTypes(op);
  }
  return table;
}

}  // namespace

const std::vector<OpDef>& Ops() {
  static const std::vector<OpDef> table = MakeTable();
  return table;
}

const OpDef* FindOp(std::string_view name) {
  // Every pass asks for the op of every node, so the lookup is one hash.
  static const auto by_name = [] {
    std::unordered_map<std::string_view, const OpDef*> ops;  // only looked up
    for (const OpDef& op : Ops()) ops.emplace(op.name, &op);
    return ops;
  }();
  const auto it = by_name.find(name);
  return it == by_name.end() ? nullptr : it->second;
}

}  // namespace oneflow
