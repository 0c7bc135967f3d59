#include "interpreter/interpreter.h"

#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "compiler/ops/infer.h"
#include "compiler/ops/op_table.h"

namespace oneflow {
namespace {

using kernels::KernelArgs;
using kernels::KernelSpec;
using kernels::KernelTable;
using kernels::Operand;

TensorType TypeOf(const HostTensor& tensor) { return {tensor.dtype, tensor.shape}; }

// The tensor itself, or an aligned copy: foreign arrays lie anywhere, kernels get 64-byte
// alignment.
HostTensor Aligned(const HostTensor& tensor) {
  if (reinterpret_cast<uintptr_t>(tensor.data.get()) % 64 == 0) return tensor;
  HostTensor copy = HostTensor::Allocate(tensor.dtype, tensor.shape);
  if (tensor.bytes() > 0) std::memcpy(copy.data.get(), tensor.data.get(), tensor.bytes());
  return copy;
}

// The whole logical tensor as one shard.
Operand WholeOperand(const TensorType& type) {
  Operand operand;
  operand.dtype = type.dtype;
  operand.shape = type.shape;
  operand.logical_shape = type.shape;
  operand.begin = Shape(type.shape.size(), 0);
  return operand;
}

// A result larger than the memory of the host is refused before it is asked for: the kernel would
// grant it and end the process when the pages are touched.
absl::Status CheckMemory(const std::string& op, const std::vector<TensorType>& types) {
  const int64_t there = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGE_SIZE);
  for (const TensorType& type : types) {
    const std::optional<int64_t> elements = CheckedNumElements(type.shape);
    const int64_t size = SizeOf(type.dtype);
    if (elements.has_value() && *elements <= there / size) continue;
    return MakeError(
        ErrorKind::kOutOfMemory,
        absl::StrCat(op, ": the result ", type.ToString(), " needs more memory than the ",
                     there >> 20,
                     " MiB that this host has; use a smaller shape, or compute it in a "
                     "step, where a mesh shards it"));
  }
  return absl::OkStatus();
}

// Runs the kernel of an op whose types and attributes are checked.
absl::StatusOr<std::vector<HostTensor>> RunKernel(const KernelTable& kernels, const OpDef& def,
                                                  const std::vector<HostTensor>& inputs,
                                                  const Attrs& attrs,
                                                  const std::vector<TensorType>& output_types,
                                                  int threads) {
  if (def.view || def.name == "reshard") {  // the same bytes under another type or layout
    HostTensor same = inputs[0];
    same.shape = output_types[0].shape;
    return std::vector<HostTensor>{std::move(same)};
  }
  if (def.structural) {
    return MakeError(ErrorKind::kError,
                     absl::StrCat(def.name, " is part of a graph and cannot be called by itself"));
  }
  KernelSpec spec;
  spec.op = def.name;
  spec.attrs = attrs;
  spec.threads = threads;
  OF_RETURN_IF_ERROR(CheckMemory(def.name, output_types));
  std::vector<HostTensor> aligned;
  std::vector<const void*> in;
  for (const HostTensor& input : inputs) {
    spec.inputs.push_back(WholeOperand(TypeOf(input)));
    aligned.push_back(Aligned(input));
    in.push_back(aligned.back().data.get());
  }
  std::vector<HostTensor> outputs;
  std::vector<void*> out;
  for (const TensorType& type : output_types) {
    spec.outputs.push_back(WholeOperand(type));
    outputs.push_back(HostTensor::Allocate(type.dtype, type.shape));
    out.push_back(outputs.back().data.get());
  }
  OF_ASSIGN_OR_RETURN(const kernels::Needs needs, kernels.Describe(spec));
  OF_ASSIGN_OR_RETURN(const std::unique_ptr<kernels::Kernel> kernel, kernels.Make(spec));
  const HostTensor workspace = HostTensor::Allocate(DType::kU8, {needs.workspace_bytes});
  KernelArgs args;
  args.inputs = in.data();
  args.outputs = out.data();
  args.workspace = workspace.data.get();
  kernels::StepBlock block;
  kernels::InlineStream stream;
  args.block = &block;
  OF_RETURN_IF_ERROR(kernel->Run(args, &stream));
  if (block.error() != kernels::DataErrorCode::kNone) {
    return MakeError(ErrorKind::kData, absl::StrCat(def.name, ": ", DescribeDataError(block)));
  }
  return outputs;
}

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
    for (const ValueId input : node.inputs) in.push_back(values_[input]);
    std::vector<TensorType> types;
    for (const ValueId output : node.outputs) types.push_back(graph_.value(output).type);
    OF_ASSIGN_OR_RETURN(std::vector<HostTensor> out,
                        RunKernel(kernels_, *def, in, node.attrs, types, threads_));
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

absl::StatusOr<std::vector<HostTensor>> InferAndRun(const KernelTable& kernels,
                                                    const std::string& op,
                                                    const std::vector<HostTensor>& inputs,
                                                    Attrs attrs, int threads) {
  const OpDef* def = FindOp(op);
  if (def == nullptr) return MakeError(ErrorKind::kError, absl::StrCat("there is no op ", op));
  std::vector<TensorType> types;
  for (const HostTensor& input : inputs) types.push_back(TypeOf(input));
  OF_ASSIGN_OR_RETURN(const std::vector<TensorType> outputs, InferOutputs(*def, types, &attrs));
  return RunKernel(kernels, *def, inputs, attrs, outputs, threads);
}

}  // namespace

absl::StatusOr<std::vector<HostTensor>> RunOp(const KernelTable& kernels, const std::string& op,
                                              const std::vector<HostTensor>& inputs, Attrs attrs,
                                              const Location& location, int threads) {
  absl::StatusOr<std::vector<HostTensor>> result =
      InferAndRun(kernels, op, inputs, std::move(attrs), threads);
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
