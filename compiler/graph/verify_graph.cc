// VerifyGraph: the invariants of graph.h, checked after each pass. A failure is our bug, so the
// message is for us: pass, node, user's line.
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "compiler/graph/graph.h"
#include "compiler/ops/infer.h"
#include "compiler/ops/op_table.h"

namespace oneflow {
namespace {

absl::Status VerifyTypes(const Graph& graph, const Node& node) {
  const OpDef* def = FindOp(node.op);
  if (def == nullptr) return absl::InternalError("is not in the op table");
  std::vector<TensorType> inputs;
  inputs.reserve(node.inputs.size());
  for (ValueId input : node.inputs) inputs.push_back(graph.value(input).type);
  std::vector<TensorType> outputs;
  if (node.op == "state_read" || node.op == "state_write") {
    OF_RETURN_IF_ERROR(CheckAttrs(*def, node.attrs));
    OF_RETURN_IF_ERROR(CheckInputs(*def, inputs));
    const auto state = graph.states().find(node.attrs.String("name"));
    if (state == graph.states().end()) {
      return absl::InternalError(absl::StrCat("names no state: ", node.attrs.String("name")));
    }
    if (node.op == "state_read") outputs.push_back(state->second.type);
    if (node.op == "state_write" && !(inputs[0] == state->second.type)) {
      return absl::InternalError(
          absl::StrCat("writes ", inputs[0].ToString(), " into ", state->second.type.ToString()));
    }
  } else {
    OF_ASSIGN_OR_RETURN(outputs, InferOutputs(*def, inputs, node.attrs));
  }
  if (outputs.size() != node.outputs.size()) {
    return absl::InternalError(
        absl::StrCat("has ", node.outputs.size(), " outputs instead of ", outputs.size()));
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    const TensorType& type = graph.value(node.outputs[i]).type;
    if (!(type == outputs[i])) {
      return absl::InternalError(absl::StrCat("%", node.outputs[i], " is ", type.ToString(),
                                              " instead of ", outputs[i].ToString()));
    }
  }
  return absl::OkStatus();
}

absl::Status VerifyNode(const Graph& graph, NodeId id, const std::vector<bool>& made) {
  const Node& node = graph.node(id);
  if (node.id != id || node.removed) return absl::InternalError("stands wrongly in the order");
  if (node.forward >= static_cast<NodeId>(graph.num_nodes())) {
    return absl::InternalError("differentiates a node that does not exist");
  }
  for (ValueId input : node.inputs) {
    if (input < 0 || input >= static_cast<ValueId>(graph.num_values()) || !made[input]) {
      return absl::InternalError(absl::StrCat("reads %", input, " before it is made"));
    }
    if (node.phase == NodePhase::kForward &&
        graph.node(graph.value(input).producer).phase != NodePhase::kForward) {
      return absl::InternalError(absl::StrCat("is forward but reads %", input, ", which is not"));
    }
  }
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    const ValueId output = node.outputs[i];
    if (output < 0 || output >= static_cast<ValueId>(graph.num_values()) ||
        graph.value(output).producer != id || graph.value(output).output != static_cast<int>(i)) {
      return absl::InternalError(absl::StrCat("%", output, " has another producer"));
    }
  }
  return VerifyTypes(graph, node);
}

}  // namespace

absl::Status VerifyGraph(const Graph& graph, const std::string& stage_name) {
  std::vector<bool> made(graph.num_values(), false);
  std::vector<size_t> readers(graph.num_values(), 0);  // met so far: the first of its uses
  std::unordered_set<std::string_view> written;        // only looked up
  size_t live = 0;
  const auto fail_graph = [&](const std::string& what) {
    return MakeError(ErrorKind::kError, absl::StrCat("after ", stage_name, ": ", what));
  };
  const auto fail_uses = [&](int64_t value) {
    return fail_graph(absl::StrCat("the uses of %", value, " are not those of the nodes"));
  };
  for (NodeId id : graph.order()) {
    const Node& node = graph.node(id);
    const auto fail = [&](const std::string& what) {
      return MakeError(ErrorKind::kError,
                       absl::StrCat("after ", stage_name, ": node ", id, " (", node.op, ") ", what),
                       graph.location(node.location));
    };
    ++live;
    const absl::Status status = VerifyNode(graph, id, made);
    if (!status.ok()) return fail(MessageOf(status));
    for (ValueId output : node.outputs) made[output] = true;
    for (ValueId input : node.inputs) {
      const std::vector<NodeId>& uses = graph.uses(input);
      size_t& met = readers[input];
      if (met > 0 && uses[met - 1] == id) continue;  // it reads the value twice
      if (met == uses.size() || uses[met] != id) return fail_uses(input);
      ++met;
    }
    if (node.op == "state_write") {
      const std::string& name = node.attrs.String("name");
      if (!written.insert(name).second) {
        return fail(absl::StrCat("writes state ", name, " a second time"));
      }
    }
  }
  size_t expected = 0;
  for (size_t id = 0; id < graph.num_nodes(); ++id) expected += graph.node(id).removed ? 0 : 1;
  if (live != expected) return fail_graph("live nodes are missing from the order");
  for (size_t value = 0; value < graph.num_values(); ++value) {
    if (readers[value] != graph.uses(value).size()) return fail_uses(value);
    const bool live_value = graph.value(value).producer >= 0;
    if (live_value != made[value])
      return fail_graph(absl::StrCat("%", value, " has no live producer"));
  }
  return absl::OkStatus();
}

}  // namespace oneflow
