#include "interpreter/resolved_op.h"

#include <unistd.h>

#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace oneflow {
namespace {

using kernels::KernelArgs;
using kernels::KernelSpec;
using kernels::KernelTable;
using kernels::Operand;

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

}  // namespace

absl::StatusOr<std::unique_ptr<ResolvedOp>> ResolvedOp::Make(
    const KernelTable& kernels, const OpDef& def, const std::vector<TensorType>& inputs,
    const Attrs& attrs, const std::vector<TensorType>& outputs, int threads) {
  std::unique_ptr<ResolvedOp> resolved(new ResolvedOp(def, outputs));
  // The same bytes under another type or layout.
  if (def.view || def.name == "reshard") return resolved;
  if (def.structural) {
    return MakeError(ErrorKind::kError,
                     absl::StrCat(def.name, " is part of a graph and cannot be called by itself"));
  }
  OF_RETURN_IF_ERROR(CheckMemory(def.name, outputs));
  KernelSpec spec;
  spec.op = def.name;
  spec.attrs = attrs;
  spec.threads = threads;
  for (const TensorType& type : inputs) spec.inputs.push_back(WholeOperand(type));
  for (const TensorType& type : outputs) {
    spec.outputs.push_back(WholeOperand(type));
    resolved->result_bytes_ += NumElements(type.shape) * SizeOf(type.dtype);
  }
  OF_ASSIGN_OR_RETURN(const kernels::Needs needs, kernels.Describe(spec));
  resolved->workspace_bytes_ = needs.workspace_bytes;
  OF_ASSIGN_OR_RETURN(resolved->kernel_, kernels.Make(spec));
  return resolved;
}

absl::StatusOr<std::vector<HostTensor>> ResolvedOp::Run(
    const std::vector<HostTensor>& inputs) const {
  std::vector<HostTensor> outputs;
  outputs.reserve(outputs_.size());
  if (kernel_ == nullptr) {
    outputs.push_back({inputs[0].dtype, outputs_[0].shape, inputs[0].data});
    return outputs;
  }
  std::vector<HostTensor> aligned;
  std::vector<const void*> in;
  aligned.reserve(inputs.size());
  in.reserve(inputs.size());
  for (const HostTensor& input : inputs) {
    aligned.push_back(Aligned(input));
    in.push_back(aligned.back().data.get());
  }
  std::vector<void*> out;
  out.reserve(outputs_.size());
  for (const TensorType& type : outputs_) {
    outputs.push_back(HostTensor::Allocate(type.dtype, type.shape));
    out.push_back(outputs.back().data.get());
  }
  HostTensor workspace;
  if (workspace_bytes_ > 0) workspace = HostTensor::Allocate(DType::kU8, {workspace_bytes_});
  kernels::StepBlock block;
  kernels::InlineStream stream;
  KernelArgs args;
  args.inputs = in.data();
  args.outputs = out.data();
  args.workspace = workspace.data.get();
  args.block = &block;
  OF_RETURN_IF_ERROR(kernel_->Run(args, &stream));
  if (block.error() != kernels::DataErrorCode::kNone) {
    return MakeError(ErrorKind::kData, absl::StrCat(def_->name, ": ", DescribeDataError(block)));
  }
  return outputs;
}

}  // namespace oneflow
