#include "kernels/kernel.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "kernels/spec_check.h"

namespace oneflow::kernels {
namespace {

std::string TypeText(const Operand& operand) {
  return std::string(NameOf(operand.dtype)) + ToString(operand.shape);
}

Operand OperandOf(const plan::Port& port) {
  Operand operand;
  if (plan::DTypeProto_IsValid(port.type().dtype())) {
    operand.dtype = static_cast<DType>(port.type().dtype());
  }
  operand.shape.assign(port.type().shape().begin(), port.type().shape().end());
  operand.logical_shape.assign(port.logical_shape().begin(), port.logical_shape().end());
  operand.begin.assign(port.begin().begin(), port.begin().end());
  // Buffers that exist only while bytes move (a chunk of a ring, say) carry no logical place.
  if (operand.logical_shape.size() != operand.shape.size()) {
    operand.logical_shape = operand.shape;
    operand.begin.assign(operand.shape.size(), 0);
    return operand;
  }
  if (operand.begin.empty()) operand.begin.assign(operand.shape.size(), 0);
  if (port.micro_dim() < operand.shape.size()) {
    operand.micro_dim = static_cast<int>(port.micro_dim());
    operand.micro_stride = port.micro_stride();
  }
  return operand;
}

}  // namespace

bool Needs::MayAlias(int output, int input) const {
  return std::find(aliases.begin(), aliases.end(), Alias{output, input}) != aliases.end();
}

std::string KernelSpec::Key() const {
  std::string key = op + attrs.ToString();
  for (const Operand& input : inputs) absl::StrAppend(&key, " ", TypeText(input));
  key += " ->";
  for (const Operand& output : outputs) absl::StrAppend(&key, " ", TypeText(output));
  return key + " x" + std::to_string(threads);
}

KernelSpec KernelSpec::FromTask(const plan::Task& task, int threads) {
  KernelSpec spec;
  spec.op = task.op();
  spec.attrs = Attrs::FromProto(task.attrs());
  for (const plan::Port& port : task.inputs()) spec.inputs.push_back(OperandOf(port));
  for (const plan::Port& port : task.outputs()) spec.outputs.push_back(OperandOf(port));
  spec.threads = threads;
  return spec;
}

KernelTable::KernelTable(std::vector<KernelDef> defs) {
  for (KernelDef& def : defs) {
    std::string op = def.op;
    OF_CHECK(def.check != nullptr) << "the kernel of " << op << " checks nothing";
    defs_.emplace(std::move(op), std::move(def));
  }
}

const KernelDef* KernelTable::Find(const std::string& op) const {
  const auto it = defs_.find(op);
  return it == defs_.end() ? nullptr : &it->second;
}

std::vector<std::string> KernelTable::ops() const {
  std::vector<std::string> names;
  for (const auto& [name, def] : defs_) names.push_back(name);
  return names;
}

absl::Status KernelTable::Check(const KernelSpec& spec) const {
  const KernelDef* def = Find(spec.op);
  if (def == nullptr) return MakeError(ErrorKind::kError, "no kernel for the op " + spec.op);
  OF_RETURN_IF_ERROR(CheckOperands(spec));
  return def->check(spec);
}

absl::StatusOr<Needs> KernelTable::Describe(const KernelSpec& spec) const {
  OF_RETURN_IF_ERROR(Check(spec));
  return Find(spec.op)->describe(spec);
}

absl::StatusOr<std::unique_ptr<Kernel>> KernelTable::Make(const KernelSpec& spec) const {
  OF_RETURN_IF_ERROR(Check(spec));
  return Find(spec.op)->make(spec);
}

}  // namespace oneflow::kernels
