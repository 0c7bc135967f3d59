// Pieces of gradient functions that op families share.
//
// Pure; threads: any. Read next: compiler/passes/autodiff.h, compiler/ops/unary.cc.
#ifndef ONEFLOW_COMPILER_OPS_GRADIENT_H_
#define ONEFLOW_COMPILER_OPS_GRADIENT_H_

#include <functional>
#include <vector>

#include "compiler/ops/op_def.h"

namespace oneflow {

// The gradient of one input.
using InputGradFn = std::function<ValueId(GradBuilder&)>;

// One function per input, called where the input needs a gradient; a null function is an input
// without one. What it returns is reduced to the input's shape: the gradient of broadcasting is a
// sum.
GradFn Grads(std::vector<InputGradFn> per_input);

// Sums `gradient` over the dims along which `shape` was broadcast to the gradient's shape.
ValueId ReduceToShape(GradBuilder& g, ValueId gradient, const Shape& shape);

// A 0-d or filled constant of the dtype of `like`.
ValueId ConstantLike(GradBuilder& g, double value, ValueId like, Shape shape = {});

// The gradient function of an op that passes its gradient on as it is.
ValueId PassGradient(GradBuilder& g);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_OPS_GRADIENT_H_
