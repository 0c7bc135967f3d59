// The op families: one function per file, each returning its definitions. op_table.cc joins them.
//
// Called once, by Ops(). Threads: any. Read next: unary.cc, docs/adding_an_op.md.
#ifndef ONEFLOW_COMPILER_OPS_FAMILIES_H_
#define ONEFLOW_COMPILER_OPS_FAMILIES_H_

#include <vector>

#include "compiler/ops/op_def.h"

namespace oneflow {

std::vector<OpDef> StructuralOps();
std::vector<OpDef> UnaryOps();
std::vector<OpDef> ActivationOps();
std::vector<OpDef> BinaryOps();
std::vector<OpDef> ReductionOps();
std::vector<OpDef> ShapeOps();
std::vector<OpDef> MatmulOps();
std::vector<OpDef> ConvolutionOps();
std::vector<OpDef> PoolingOps();
std::vector<OpDef> BatchNormOps();
std::vector<OpDef> SoftmaxOps();
std::vector<OpDef> CtcOps();
std::vector<OpDef> AttentionOps();
std::vector<OpDef> LayerNormOps();
std::vector<OpDef> IndexingOps();
std::vector<OpDef> RandomOps();
std::vector<OpDef> OptimizerOps();
std::vector<OpDef> FusedOps();

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_OPS_FAMILIES_H_
