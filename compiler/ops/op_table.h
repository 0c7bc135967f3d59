// The op table: all ops, sorted by name. Const and complete before main's first use.
//
// Owned by the process (function-local static, immutable). Threads: any. Read next: op_def.h.
#ifndef ONEFLOW_COMPILER_OPS_OP_TABLE_H_
#define ONEFLOW_COMPILER_OPS_OP_TABLE_H_

#include <string_view>
#include <vector>

#include "compiler/ops/op_def.h"

namespace oneflow {

// Sorted by name.
const std::vector<OpDef>& Ops();

// nullptr if there is no such op.
const OpDef* FindOp(std::string_view name);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_OPS_OP_TABLE_H_
