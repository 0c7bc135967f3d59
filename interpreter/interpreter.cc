#include "interpreter/interpreter.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "compiler/ops/infer.h"
#include "compiler/ops/op_table.h"
#include "interpreter/resolved_op.h"

namespace oneflow {
namespace {

using kernels::KernelTable;

TensorType TypeOf(const HostTensor& tensor) { return {tensor.dtype, tensor.shape}; }

// A tensor given by name must be what the graph was traced with.
absl::StatusOr<HostTensor> Given(const std::map<std::string, HostTensor>& tensors,
                                 const std::string& what, const std::string& name,
                                 const TensorType& type) {
  const auto it = tensors.find(name);
  if (it == tensors.end()) {
    return MakeError(ErrorKind::kError, absl::StrCat("the ", what, " \"", name, "\" is missing"));
  }
  const TensorType given = TypeOf(it->second);
  if (given.dtype != type.dtype) {
    return MakeError(ErrorKind::kDType,
                     absl::StrCat("the ", what, " \"", name, "\" is ", given.ToString(),
                                  ", the graph was traced with ", type.ToString()));
  }
  if (given.shape != type.shape) {
    return MakeError(ErrorKind::kShape,
                     absl::StrCat("the ", what, " \"", name, "\" is ", given.ToString(),
                                  ", the graph was traced with ", type.ToString()));
  }
  return it->second;
}

// One run of a graph: its values, each freed behind its last reader.
class GraphRun {
 public:
  GraphRun(const KernelTable& kernels, const Graph& graph,
           const std::map<std::string, HostTensor>& inputs,
           const std::map<std::string, HostTensor>* states, int threads)
      : kernels_(kernels),
        graph_(graph),
        inputs_(inputs),
        states_(states),
        threads_(threads),
        values_(graph.num_values()),
        readers_(graph.num_values(), 0) {}

  absl::Status Run() {
    const std::vector<NodeId> order = graph_.order();
    for (const NodeId id : order) {
      for (const ValueId input : graph_.node(id).inputs) ++readers_[input];
    }
    for (const NodeId id : order) {
      const Node& node = graph_.node(id);
      OF_RETURN_IF_ERROR(WithLocation(RunNode(node), graph_.location(node.location)));
      for (const ValueId input : node.inputs) {
        if (--readers_[input] == 0) values_[input] = {};
      }
      for (const ValueId output : node.outputs) {
        if (readers_[output] == 0) values_[output] = {};
      }
    }
    return absl::OkStatus();
  }

  std::map<std::string, HostTensor> outputs;
  std::map<std::string, HostTensor> written;  // states, complete only when the run has succeeded

 private:
  absl::Status RunNode(const Node& node) {
    if (node.op == "input") {
      const ValueId value = node.outputs[0];
      OF_ASSIGN_OR_RETURN(values_[value], Given(inputs_, "input", node.attrs.String("name"),
                                                graph_.value(value).type));
      return absl::OkStatus();
    }
    if (node.op == "state_read") {
      const ValueId value = node.outputs[0];
      static const std::map<std::string, HostTensor> kNone;
      OF_ASSIGN_OR_RETURN(values_[value],
                          Given(states_ == nullptr ? kNone : *states_, "state",
                                node.attrs.String("name"), graph_.value(value).type));
      return absl::OkStatus();
    }
    if (node.op == "state_write") {
      written[node.attrs.String("name")] = values_[node.inputs[0]];
      return absl::OkStatus();
    }
    if (node.op == "output") {
      outputs[node.attrs.String("name")] = values_[node.inputs[0]];
      return absl::OkStatus();
    }
    const OpDef* def = FindOp(node.op);
    OF_CHECK(def != nullptr) << "a graph holds only ops of the table, not " << node.op;
    std::vector<HostTensor> in;
    std::vector<TensorType> in_types, out_types;
    for (const ValueId input : node.inputs) {
      in.push_back(values_[input]);
      in_types.push_back(graph_.value(input).type);
    }
    for (const ValueId output : node.outputs) out_types.push_back(graph_.value(output).type);
    OF_ASSIGN_OR_RETURN(
        const std::unique_ptr<ResolvedOp> op,
        ResolvedOp::Make(kernels_, *def, in_types, node.attrs, out_types, threads_));
    OF_ASSIGN_OR_RETURN(std::vector<HostTensor> out, op->Run(in));
    for (size_t i = 0; i < out.size(); ++i) values_[node.outputs[i]] = std::move(out[i]);
    return absl::OkStatus();
  }

  const KernelTable& kernels_;
  const Graph& graph_;
  const std::map<std::string, HostTensor>& inputs_;
  const std::map<std::string, HostTensor>* states_;
  const int threads_;
  std::vector<HostTensor> values_;
  std::vector<int> readers_;
};

}  // namespace

absl::StatusOr<std::vector<HostTensor>> RunOp(const KernelTable& kernels, const std::string& op,
                                              const std::vector<HostTensor>& inputs, Attrs attrs,
                                              const Location& location, int threads) {
  const auto run = [&]() -> absl::StatusOr<std::vector<HostTensor>> {
    const OpDef* def = FindOp(op);
    if (def == nullptr) return MakeError(ErrorKind::kError, absl::StrCat("there is no op ", op));
    std::vector<TensorType> types;
    for (const HostTensor& input : inputs) types.push_back(TypeOf(input));
    OF_ASSIGN_OR_RETURN(const std::vector<TensorType> outputs, InferOutputs(*def, types, &attrs));
    OF_ASSIGN_OR_RETURN(const std::unique_ptr<ResolvedOp> resolved,
                        ResolvedOp::Make(kernels, *def, types, attrs, outputs, threads));
    return resolved->Run(inputs);
  };
  absl::StatusOr<std::vector<HostTensor>> result = run();
  if (!result.ok()) return WithLocation(result.status(), location);
  return result;
}

absl::StatusOr<std::map<std::string, HostTensor>> RunGraph(
    const KernelTable& kernels, const Graph& graph, const std::map<std::string, HostTensor>& inputs,
    std::map<std::string, HostTensor>* states, int threads) {
  GraphRun run(kernels, graph, inputs, states, threads);
  OF_RETURN_IF_ERROR(run.Run());
  // Reads see the values at the beginning of the step; a failed step changes nothing.
  for (auto& [name, value] : run.written) {
    if (states == nullptr) {
      return MakeError(ErrorKind::kError,
                       absl::StrCat("the graph writes the state \"", name, "\", none are given"));
    }
    (*states)[name] = std::move(value);
  }
  return std::move(run.outputs);
}

}  // namespace oneflow
