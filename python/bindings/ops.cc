// The op table for Python, and ops and graphs run at once by the interpreter.
#include <pybind11/stl.h>

#include "base/status.h"
#include "compiler/ops/op_table.h"
#include "interpreter/interpreter.h"
#include "interpreter/op_runner.h"
#include "kernels/cpu/cpu_kernels.h"
#include "python/bindings/bindings.h"
#include "python/bindings/convert.h"
#include "python/bindings/errors.h"

namespace oneflow::python {
namespace py = pybind11;
namespace {

py::list Names(const DTypeSet& dtypes) {
  py::list names;
  for (DType dtype : dtypes) names.append(std::string(NameOf(dtype)));
  return names;
}

py::list Args(const std::vector<ArgDef>& args) {
  py::list result;
  for (const ArgDef& arg : args) {
    py::dict item;
    item["name"] = arg.name;
    item["type"] = arg.type;
    item["dtypes"] = Names(arg.dtypes);
    item["doc"] = arg.doc;
    item["variadic"] = arg.variadic;
    item["optional"] = arg.optional;
    result.append(item);
  }
  return result;
}

py::dict Describe(const OpDef& op) {
  py::list attrs;
  for (const AttrDef& attr : op.attrs) {
    py::dict item;
    item["name"] = attr.name;
    item["kind"] = attr.kind;
    item["words"] = attr.words;
    item["doc"] = attr.doc;
    item["required"] = !attr.default_value.has_value();
    item["default"] = attr.default_value ? FromAttrValue(*attr.default_value) : py::none();
    attrs.append(item);
  }
  py::list types;
  for (const TypeDef& type : op.types) {
    py::dict item;
    item["name"] = type.name;
    item["dtypes"] = Names(type.dtypes);
    item["source"] = type.source;
    types.append(item);
  }
  py::dict result;
  result["name"] = op.name;
  result["doc"] = op.doc;
  result["types"] = types;
  result["inputs"] = Args(op.inputs);
  result["outputs"] = Args(op.outputs);
  result["attrs"] = attrs;
  result["differentiable"] = static_cast<bool>(op.grad);
  result["callable"] = !op.structural && !op.internal;
  return result;
}

const OpDef& OpOrThrow(const std::string& name) {
  const OpDef* op = FindOp(name);
  if (op == nullptr)
    throw StatusError(MakeError(ErrorKind::kError, "there is no op \"" + name + "\""));
  return *op;
}

// Operands and results of less than this are worked on with the GIL held: to give it away takes
// longer than the work, and whoever took it keeps it for milliseconds.
constexpr int64_t kSmallBytes = 64 << 10;

absl::StatusOr<std::vector<HostTensor>> RunPrepared(OpRunner* runner, const OpDef& op,
                                                    const std::vector<HostTensor>& tensors,
                                                    Attrs attrs, int threads) {
  std::vector<TensorType> types;
  types.reserve(tensors.size());
  int64_t bytes = 0;
  for (const HostTensor& tensor : tensors) {
    types.push_back({tensor.dtype, tensor.shape});
    bytes += tensor.bytes();
  }
  OF_ASSIGN_OR_RETURN(const OpRunner::Call call,
                      runner->Prepare(op, types, std::move(attrs), threads));
  if (bytes + call.result_bytes() < kSmallBytes) return call.Run(tensors);
  const py::gil_scoped_release release;
  return call.Run(tensors);
}

// `location` is a place, or a function that finds it: only errors have one.
py::list RunOpOnArrays(OpRunner* runner, const std::string& name, const py::list& inputs,
                       const py::dict& attrs, const py::object& location, int threads) {
  const OpDef& op = OpOrThrow(name);
  std::vector<py::array> arrays;
  std::vector<HostTensor> tensors;
  arrays.reserve(inputs.size());
  tensors.reserve(inputs.size());
  for (const py::handle input : inputs) {
    if (!py::isinstance<py::array>(input)) throw py::type_error(name + " takes NumPy arrays here");
    arrays.push_back(Contiguous(py::reinterpret_borrow<py::array>(input)));
    tensors.push_back(LendArray(arrays.back()));
  }
  absl::StatusOr<std::vector<HostTensor>> outputs =
      RunPrepared(runner, op, tensors, ToAttrs(op, attrs), threads);
  if (!outputs.ok()) {
    const bool is_function = PyCallable_Check(location.ptr()) != 0;
    const Location place = ToLocation(is_function ? location() : location);
    throw StatusError(WithLocation(outputs.status(), place));
  }
  py::list results(outputs->size());
  for (size_t i = 0; i < outputs->size(); ++i) {
    const HostTensor& output = (*outputs)[i];
    // A view's elements are those of its first input.
    const bool is_lent = output.data.use_count() == 0;
    results[i] = is_lent ? ToArray(output, arrays[0]) : ToArray(output);
  }
  return results;
}

py::tuple RunGraphOnArrays(const Graph& graph, const std::map<std::string, py::array>& inputs,
                           const std::map<std::string, py::array>& states, int threads) {
  std::map<std::string, HostTensor> feeds;
  std::map<std::string, HostTensor> values;
  for (const auto& [name, array] : inputs) feeds[name] = BorrowArray(array);
  for (const auto& [name, array] : states) values[name] = BorrowArray(array);
  absl::StatusOr<std::map<std::string, HostTensor>> outputs;
  {
    py::gil_scoped_release release;
    outputs = RunGraph(kernels::CpuKernels(), graph, feeds, &values, threads);
  }
  py::dict results;
  for (const auto& [name, tensor] : ValueOrThrow(std::move(outputs))) {
    results[py::str(name)] = ToArray(tensor);
  }
  py::dict new_states;
  for (const auto& [name, tensor] : values) new_states[py::str(name)] = ToArray(tensor);
  return py::make_tuple(results, new_states);
}

}  // namespace

void BindOps(py::module_& module) {
  module.def("op_names", [] {
    std::vector<std::string> names;
    for (const OpDef& op : Ops()) names.push_back(op.name);
    return names;
  });
  module.def(
      "describe_op", [](const std::string& name) { return Describe(OpOrThrow(name)); },
      py::arg("name"), "Schema, doc and defaults of one op of the table.");
  // It remembers kernels as long as the module lives.
  const auto runner = std::make_shared<OpRunner>(kernels::CpuKernels());
  module.def(
      "run_op",
      [runner](const std::string& op, const py::list& inputs, const py::dict& attrs,
               const py::object& location, int threads) {
        return RunOpOnArrays(runner.get(), op, inputs, attrs, location, threads);
      },
      py::arg("op"), py::arg("inputs"), py::arg("attrs"), py::arg("location"),
      py::arg("threads") = 1, "Runs one op at once on one CPU device.");
  module.def("run_graph", &RunGraphOnArrays, py::arg("graph"), py::arg("inputs"), py::arg("states"),
             py::arg("threads") = 1, "Runs a graph op by op; returns (outputs, states after it).");
}

}  // namespace oneflow::python
