// Schema check and type inference of one op call: everything that a user can do wrong with an op.
//
// Pure functions; threads: any. Errors are ShapeError or DTypeError texts of the form "op: what is
// wrong, with the types: what to do"; the caller attaches the user's line (base/status.h). Used by
// Graph::AddNode and by the interpreter's single-op calls. Read next: compiler/ops/op_def.h.
#ifndef ONEFLOW_COMPILER_OPS_INFER_H_
#define ONEFLOW_COMPILER_OPS_INFER_H_

#include <vector>

#include "absl/status/statusor.h"
#include "compiler/ops/op_def.h"

namespace oneflow {

// Every attribute of the schema is there and no other; each has its type, an enum one of its words.
absl::Status CheckAttrs(const OpDef& def, const Attrs& attrs);

// Fills in the defaults, and makes an int a float where the schema says float; then checks.
absl::Status CompleteAttrs(const OpDef& def, Attrs* attrs);

// The number of inputs and their dtypes are as the schema says; those of one type variable agree.
absl::Status CheckInputs(const OpDef& def, const std::vector<TensorType>& inputs);

// Both checks, then the types of the outputs: shapes from the op's function, dtypes from its schema.
absl::StatusOr<std::vector<TensorType>> InferOutputs(const OpDef& def,
                                                     const std::vector<TensorType>& inputs,
                                                     const Attrs& attrs);
// Completes the attributes first.
absl::StatusOr<std::vector<TensorType>> InferOutputs(const OpDef& def,
                                                     const std::vector<TensorType>& inputs,
                                                     Attrs* attrs);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_OPS_INFER_H_
