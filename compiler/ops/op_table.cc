#include "compiler/ops/op_table.h"

#include <algorithm>
#include <iterator>

#include "base/check.h"
#include "compiler/ops/families.h"

namespace oneflow {
namespace {

std::vector<OpDef> MakeTable() {
  std::vector<OpDef> table;
  for (const auto family : {StructuralOps, UnaryOps, ActivationOps, BinaryOps, ReductionOps,
                            ShapeOps, MatmulOps, ConvolutionOps, PoolingOps, BatchNormOps,
                            SoftmaxOps, LayerNormOps, IndexingOps, RandomOps, OptimizerOps}) {
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
  }
  return table;
}

}  // namespace

const std::vector<OpDef>& Ops() {
  static const std::vector<OpDef> table = MakeTable();
  return table;
}

const OpDef* FindOp(const std::string& name) {
  const std::vector<OpDef>& table = Ops();
  const auto it =
      std::lower_bound(table.begin(), table.end(), name,
                       [](const OpDef& op, const std::string& wanted) { return op.name < wanted; });
  return it == table.end() || it->name != name ? nullptr : &*it;
}

}  // namespace oneflow
