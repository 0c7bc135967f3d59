// The op table for Python, and ops and graphs run at once by the interpreter.
#include <pybind11/stl.h>

#include "base/status.h"
#include "compiler/ops/op_table.h"
#include "interpreter/interpreter.h"
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
  result["structural"] = op.structural;
  return result;
}

const OpDef& OpOrThrow(const std::string& name) {
  const OpDef* op = FindOp(name);
  if (op == nullptr)
    throw StatusError(MakeError(ErrorKind::kError, "there is no op \"" + name + "\""));
  return *op;
}

// The inputs borrow the arrays: they die before this returns, with the GIL held.
std::vector<py::array> RunOpOnArrays(const std::string& name, const std::vector<py::array>& inputs,
                                     const py::dict& attrs, const py::object& location,
                                     int threads) {
  const Attrs values = ToAttrs(OpOrThrow(name), attrs);
  const Location place = ToLocation(location);
  std::vector<HostTensor> tensors;
  for (const py::array& input : inputs) tensors.push_back(BorrowArray(input));
  absl::StatusOr<std::vector<HostTensor>> outputs;
  {
    py::gil_scoped_release release;
    outputs = RunOp(kernels::CpuKernels(), name, tensors, values, place, threads);
  }
  std::vector<py::array> arrays;
  for (const HostTensor& output : ValueOrThrow(std::move(outputs)))
    arrays.push_back(ToArray(output));
  return arrays;
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
  module.def("run_op", &RunOpOnArrays, py::arg("op"), py::arg("inputs"), py::arg("attrs"),
             py::arg("location"), py::arg("threads") = 1, "Runs one op at once on one CPU device.");
  module.def("run_graph", &RunGraphOnArrays, py::arg("graph"), py::arg("inputs"), py::arg("states"),
             py::arg("threads") = 1, "Runs a graph op by op; returns (outputs, states after it).");
}

}  // namespace oneflow::python
