// Graph for the tracer: states, nodes with the user's line, gradients, text.
#include "compiler/graph/graph.h"

#include <pybind11/stl.h>

#include "base/status.h"
#include "compiler/ops/op_table.h"
#include "compiler/passes/autodiff.h"
#include "python/bindings/bindings.h"
#include "python/bindings/convert.h"
#include "python/bindings/errors.h"

namespace oneflow::python {
namespace py = pybind11;
namespace {

const OpDef& OpOrThrow(const std::string& op) {
  const OpDef* def = FindOp(op);
  if (def == nullptr)
    throw StatusError(MakeError(ErrorKind::kError, "there is no op \"" + op + "\""));
  return *def;
}

std::vector<ValueId> AddNode(Graph& graph, const std::string& op,
                             const std::vector<ValueId>& inputs, const py::dict& attrs,
                             const py::object& location, const std::string& scope,
                             std::optional<int> stage, NodeId forward) {
  for (ValueId input : inputs) {
    if (input < 0 || static_cast<size_t>(input) >= graph.num_values()) {
      throw StatusError(
          MakeError(ErrorKind::kError, "value id out of range", ToLocation(location)));
    }
  }
  if (forward < -1 || (forward >= 0 && static_cast<size_t>(forward) >= graph.num_nodes())) {
    throw StatusError(MakeError(ErrorKind::kError, "node id out of range", ToLocation(location)));
  }
  const LocationId id = location.is_none() ? 0 : graph.AddLocation(ToLocation(location));
  return ValueOrThrow(
      graph.AddNode(op, inputs, ToAttrs(OpOrThrow(op), attrs), id, scope, stage, forward));
}

void AddState(Graph& graph, const std::string& name, const std::string& dtype, const Shape& shape,
              const std::map<std::string, std::string>& annotation, const std::string& sharding,
              size_t layout_axes) {
  std::optional<Sharding> fixed;
  if (!sharding.empty()) fixed = ValueOrThrow(Sharding::Parse(sharding, layout_axes, shape.size()));
  ThrowIfError(
      graph.AddState(name, {DTypeFromName(dtype), shape}, ToAnnotation(annotation), fixed));
}

void Annotate(Graph& graph, ValueId value, const std::map<std::string, std::string>& annotation) {
  for (const auto& [axis, sbp] : ToAnnotation(annotation)) {
    graph.mutable_value(value).annotation[axis] = sbp;
  }
}

bool IsZeros(const Graph& graph, ValueId value) {
  const Node& node = graph.node(graph.value(value).producer);
  return node.op == "constant" && node.attrs.Float("value") == 0.0;
}

NodeId ProducerOf(const Graph& graph, ValueId value) { return graph.value(value).producer; }

py::tuple Describe(const Graph& graph, ValueId value) {
  const Node& node = graph.node(graph.value(value).producer);
  py::object place = py::none();
  const Location& location = graph.location(node.location);
  if (!location.file.empty()) {
    place = py::make_tuple(location.file, location.line, location.function);
  }
  return py::make_tuple(node.op, node.phase == NodePhase::kBackward, place);
}

py::tuple TypeOf(const Graph& graph, ValueId value) {
  const TensorType& type = graph.value(value).type;
  return py::make_tuple(std::string(NameOf(type.dtype)), py::tuple(py::cast(type.shape)));
}

}  // namespace

void BindGraph(py::module_& module) {
  py::class_<Graph>(module, "Graph", "What a step computes, logically (compiler/graph/graph.h).")
      .def(py::init<std::string>(), py::arg("name"))
      .def("add_state", &AddState, py::arg("name"), py::arg("dtype"), py::arg("shape"),
           py::arg("annotation"), py::arg("sharding"), py::arg("layout_axes"))
      .def("add_node", &AddNode, py::arg("op"), py::arg("inputs"), py::arg("attrs"),
           py::arg("location"), py::arg("scope"), py::arg("stage"), py::arg("forward") = -1)
      .def("describe", &Describe, py::arg("value"),
           "(op, whether it is part of a gradient, location) of the node that makes a value.")
      .def("num_values", &Graph::num_values)
      .def("producer_of", &ProducerOf, py::arg("value"), "The node that makes a value.")
      .def("is_zeros", &IsZeros, py::arg("value"), "True for a constant of zeros.")
      .def("annotate", &Annotate, py::arg("value"), py::arg("annotation"))
      .def("type_of", &TypeOf, py::arg("value"), "(dtype name, shape) of a value.")
      .def(
          "add_gradients",
          [](Graph& graph, ValueId loss, const std::vector<ValueId>& wrt, bool forward) {
            const GradientsAre are = forward ? GradientsAre::kForward : GradientsAre::kBackward;
            return ValueOrThrow(AddGradients(&graph, loss, wrt, are));
          },
          py::arg("loss"), py::arg("wrt"), py::arg("forward") = false,
          "`forward`: the gradients are part of what the step computes.")
      .def("num_nodes", [](const Graph& graph) { return graph.order().size(); })
      .def("states",
           [](const Graph& graph) {
             std::vector<std::string> names;
             for (const auto& [name, state] : graph.states()) names.push_back(name);
             return names;
           })
      .def("verify", [](const Graph& graph) { ThrowIfError(VerifyGraph(graph, "trace")); })
      .def("copy", [](const Graph& graph) { return Graph(graph); })
      .def("__str__", &Graph::ToString);
}

}  // namespace oneflow::python
