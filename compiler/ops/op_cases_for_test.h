// One or more calls of every op of the table, written by hand: what the tests of shapes, rules,
// gradients and costs run over. Small, with extents that tell dims apart and divide unevenly.
//
// Values. Threads: any. Read next: op_table_test.cc, rules_test.cc.
#ifndef ONEFLOW_COMPILER_OPS_OP_CASES_FOR_TEST_H_
#define ONEFLOW_COMPILER_OPS_OP_CASES_FOR_TEST_H_

#include <string>
#include <vector>

#include "compiler/ops/infer.h"
#include "compiler/ops/op_table.h"
#include "plan/sharding_rule.h"

namespace oneflow {

// A call of an op, and the signatures that its rule must and must not allow.
struct OpCase {
  std::string op;
  std::vector<TensorType> inputs;
  Attrs attrs;
  std::vector<std::string> must;
  std::vector<std::string> must_not;
};

// All cases, but for the ops that only a graph can infer (state_read, state_write).
std::vector<OpCase> OpCases();

inline TensorType F32(Shape shape) { return {DType::kF32, std::move(shape)}; }
inline TensorType I64(Shape shape) { return {DType::kI64, std::move(shape)}; }
inline TensorType BoolOf(Shape shape) { return {DType::kBool, std::move(shape)}; }
using Ints = std::vector<int64_t>;

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_OPS_OP_CASES_FOR_TEST_H_
