// Any bytes as the text of a graph: Graph::Parse is total, what it accepts satisfies the invariants of a
// graph, prints and parses back, and every node has a sharding rule that binds.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/status.h"
#include "compiler/graph/graph.h"
#include "compiler/ops/op_table.h"
#include "plan/sharding_rule.h"

namespace {

void CheckNode(const oneflow::Graph& graph, const oneflow::Node& node) {
  oneflow::OpContext context{node.attrs, {}, {}};
  std::vector<oneflow::Shape> inputs;
  std::vector<oneflow::Shape> outputs;
  for (oneflow::ValueId value : node.inputs) {
    context.inputs.push_back(graph.value(value).type);
    inputs.push_back(context.inputs.back().shape);
  }
  for (oneflow::ValueId value : node.outputs) {
    context.outputs.push_back(graph.value(value).type);
    outputs.push_back(context.outputs.back().shape);
  }
  const oneflow::OpDef& def = *oneflow::FindOp(node.op);
  const auto rule = oneflow::BoundRule::Bind(def.rule(context), inputs, outputs);
  OF_CHECK(rule.ok()) << node.op << ": " << rule.status().ToString();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto graph = oneflow::Graph::Parse(std::string(reinterpret_cast<const char*>(data), size));
  if (!graph.ok()) return 0;
  const absl::Status sound = oneflow::VerifyGraph(*graph, "parse");
  // The one invariant that a text may break: a state is written twice.
  OF_CHECK(sound.ok() || oneflow::MessageOf(sound).find("a second time") != std::string::npos)
      << sound.ToString();
  for (oneflow::NodeId id : graph->order()) CheckNode(*graph, graph->node(id));
  const std::string printed = graph->ToString();
  const auto again = oneflow::Graph::Parse(printed);
  OF_CHECK(again.ok()) << again.status().ToString() << "\n" << printed;
  OF_CHECK(again->ToString() == printed) << printed;
  return 0;
}
