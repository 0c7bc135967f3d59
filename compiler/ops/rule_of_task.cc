#include "compiler/ops/rule_of_task.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "compiler/ops/infer.h"
#include "compiler/ops/op_table.h"
#include "plan/attrs.h"
#include "plan/shape_of.h"

namespace oneflow {
namespace {

using Ports = google::protobuf::RepeatedPtrField<plan::Port>;

std::vector<TensorType> LogicalTypes(const Ports& ports) {
  std::vector<TensorType> types;
  for (const plan::Port& port : ports) {
    types.push_back({static_cast<DType>(port.type().dtype()), ShapeOf(port.logical_shape())});
  }
  return types;
}

// True if a Localize function may look at these types: it is made for those that shape inference has
// passed, a plan may bring others.
bool RanksFit(const std::string& op, const Attrs& attrs, const std::vector<TensorType>& inputs,
              const std::vector<TensorType>& outputs) {
  const bool convolution = op.rfind("conv2d", 0) == 0;
  const bool batch_norm = op.rfind("bn_", 0) == 0 || op == "running_update";
  const size_t least = convolution ? 4 : batch_norm ? 1 : 0;
  int64_t dims = std::numeric_limits<int64_t>::max();
  for (const auto* side : {&inputs, &outputs}) {
    // What a convolution sums beside its result has a row for each part.
    const bool sums = op == "conv2d_sums" && side == &outputs;
    for (const TensorType& type : *side) {
      if (type.shape.size() < (sums ? 2 : least) || (convolution && NumElements(type.shape) == 0))
        return false;
      dims = std::min(dims, static_cast<int64_t>(type.shape.size()));
    }
  }
  return !attrs.Has("dim") || (attrs.Int("dim") >= 0 && attrs.Int("dim") < dims);
}

}  // namespace

absl::StatusOr<std::string> RuleOfTask(const plan::Task& task) {
  const OpDef* op = FindOp(task.op());
  if (op == nullptr || op->structural || op->view || !op->rule) {
    return MakeError(ErrorKind::kPlan,
                     absl::StrCat("`", task.op(), "` is no op of the table that has a kernel"));
  }
  Attrs attrs = Attrs::FromProto(task.attrs());
  const std::vector<TensorType> inputs = LogicalTypes(task.inputs());
  const std::vector<TensorType> outputs = LogicalTypes(task.outputs());
  if (op->localize) {
    // The task's attributes are those of its shard; a shard that is the whole has the logical ones.
    OF_RETURN_IF_ERROR(CompleteAttrs(*op, &attrs));
    OF_RETURN_IF_ERROR(CheckInputs(*op, inputs));
    if (outputs.size() != op->outputs.size() || !RanksFit(task.op(), attrs, inputs, outputs)) {
      return MakeError(ErrorKind::kPlan,
                       absl::StrCat("the ports of `", task.op(), "` are none that it can have"));
    }
    attrs = op->localize(attrs, inputs, outputs);
  }
  OF_ASSIGN_OR_RETURN(const std::vector<TensorType> inferred, InferOutputs(*op, inputs, &attrs));
  if (inferred != outputs) {
    std::vector<std::string> text;
    for (const TensorType& type : inferred) text.push_back(type.ToString());
    return MakeError(ErrorKind::kPlan,
                     absl::StrCat("`", task.op(), "` makes ", text.empty() ? "nothing" : text[0],
                                  ", not what its ports say"));
  }
  return op->rule({attrs, inputs, outputs});
}

}  // namespace oneflow
