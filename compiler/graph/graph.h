// Graph: what the user's step computes, logically: values, the ops that make them, the states that
// they read and write. No device, no order beyond data.
//
// Owned by the tracer, then by the compile call; passes edit it in place. Threads: one at a time.
// Invariants (VerifyGraph): node ids and value ids are dense and never reused; a value has one
// producer and nodes only read values made before them in `order()`; every node's attrs, shapes and
// dtypes satisfy its OpDef; a state is written at most once. References to nodes and values stay
// valid while others are added, those to uses() do not. Sharding fields are empty until
// compiler/parallel fills them. Grammar of the text form: graph_text.cc. Read next:
// compiler/ops/op_def.h, compiler/compile.cc.
#ifndef ONEFLOW_COMPILER_GRAPH_GRAPH_H_
#define ONEFLOW_COMPILER_GRAPH_GRAPH_H_

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/dtype.h"
#include "base/location.h"
#include "base/shape.h"
#include "compiler/ops/tensor_type.h"
#include "plan/attrs.h"
#include "plan/sharding.h"

namespace oneflow {

using NodeId = int32_t;
using LocationId = int32_t;  // 0 is the unknown place

// The part of the step that a node belongs to. Forward nodes read forward nodes only. What follows
// the gradients (updates, what is computed from new values) and writes of states are kUpdate.
enum class NodePhase : uint8_t { kForward = 0, kBackward = 1, kUpdate = 2 };

// A tensor of the step.
struct Value {
  TensorType type;
  NodeId producer = -1;  // -1 only for a value of a removed node
  int output = 0;        // which output of the producer
  Sharding sharding;     // filled by compiler/parallel
  // What the user asked for, per axis name: {"tp": S(0)}. Axes not named are free.
  std::map<std::string, Sbp> annotation;
};

// One application of an op. `input`, `state_read`, `state_write`, `output` are ops of the table
// too:
//   input       attrs name, kind ("batch" | "whole" | "scalar") -> value
//   state_read  attrs name                                     -> value
//   state_write attrs name ; inputs: the new value             -> (none)
//   output      attrs name ; inputs: the value                 -> (none)
struct Node {
  NodeId id = -1;
  std::string op;
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  Attrs attrs;
  LocationId location = 0;
  std::string scope;         // module path, "encoder.0.attention"
  std::optional<int> stage;  // asked by flow.stage; every node has one after stages are decided
  NodeId forward = -1;       // for a gradient node: the node that it differentiates
  NodePhase phase = NodePhase::kForward;
  bool removed = false;
};

// A named logical tensor that outlives the step.
struct GraphState {
  std::string name;
  TensorType type;
  std::map<std::string, Sbp> annotation;  // from the `parallel` rules
  std::optional<Sharding> sharding;       // fixed by an earlier plan of the session
};

class Graph {
 public:
  explicit Graph(std::string name) : name_(std::move(name)), locations_(1) {}

  // Interns a location.
  LocationId AddLocation(const Location& location);
  const Location& location(LocationId id) const { return locations_[id]; }
  const std::vector<Location>& locations() const { return locations_; }

  // Declares a state. Fails if the name exists with another type.
  absl::Status AddState(const std::string& name, TensorType type,
                        std::map<std::string, Sbp> annotation = {},
                        std::optional<Sharding> sharding = std::nullopt);

  // Appends a node: checks attrs against the schema (filling defaults), infers output types. Errors
  // carry the location. `input` and `state_read` take their type from the attrs dtype/shape and
  // from the state.
  absl::StatusOr<std::vector<ValueId>> AddNode(const std::string& op, std::vector<ValueId> inputs,
                                               Attrs attrs, LocationId location,
                                               const std::string& scope = "",
                                               std::optional<int> stage = std::nullopt,
                                               NodeId forward = -1);

  // The phase of nodes that are added from now on, where `forward` and their inputs leave it open:
  // a node that reads another phase is at least of that one, kUpdate if it is no gradient.
  void set_phase(NodePhase phase) { phase_ = phase; }

  // Edits by passes. InsertBefore places a new node before `before` in the order.
  absl::StatusOr<std::vector<ValueId>> InsertNode(NodeId before, const std::string& op,
                                                  std::vector<ValueId> inputs, Attrs attrs,
                                                  const Node& like);
  // Every reader of `old_value`, but the node that makes `new_value`, reads `new_value` from now
  // on. REQUIRES: the types are equal and `new_value` is made before those readers.
  void ReplaceUses(ValueId old_value, ValueId new_value);
  void ReplaceInput(NodeId node, int index, ValueId value);
  // Gradient nodes belong to the nodes that took the place of those they differentiate, which may have been replaced
  // themselves. `places`: removed node -> the one in its place.
  void ReplaceForwards(const std::map<NodeId, NodeId>& places);
  // REQUIRES: no uses of its outputs.
  void RemoveNode(NodeId node);

  const std::string& name() const { return name_; }
  const Node& node(NodeId id) const { return nodes_[id]; }
  Node& mutable_node(NodeId id) { return nodes_[id]; }
  const Value& value(ValueId id) const { return values_[id]; }
  Value& mutable_value(ValueId id) { return values_[id]; }
  size_t num_values() const { return values_.size(); }
  size_t num_nodes() const { return nodes_.size(); }  // removed ones included
  // Live nodes in execution order (a topological order, deterministic).
  std::vector<NodeId> order() const;
  // True if live node a stands before live node b in order(). Constant time.
  bool Before(NodeId a, NodeId b) const { return keys_[a] < keys_[b]; }
  // Live consumers of a value in order; one that reads it twice stands once.
  const std::vector<NodeId>& uses(ValueId value) const { return uses_[value]; }
  const std::map<std::string, GraphState>& states() const { return states_; }
  GraphState* mutable_state(const std::string& name);

  // Deterministic dump: one node per line, "%5 = matmul(%3, %4) {..} : f32[2,3]  # mlp.py:8".
  std::string ToString() const;
  // Parses what ToString prints. Total on arbitrary bytes.
  static absl::StatusOr<Graph> Parse(const std::string& text);

 private:
  absl::StatusOr<std::vector<ValueId>> MakeNode(Node node, std::optional<NodeId> before);
  NodePhase PhaseOf(const Node& node) const;
  // Types of the outputs; fills defaults into node->attrs. All that the user can do wrong is found
  // here.
  absl::StatusOr<std::vector<TensorType>> InferNode(Node* node) const;
  void Link(NodeId id, std::optional<NodeId> before);
  void RenumberKeys();
  void AddUse(ValueId value, NodeId node);
  void RemoveUse(ValueId value, NodeId node);

  std::string name_;
  NodePhase phase_ = NodePhase::kForward;
  std::deque<Node> nodes_;  // deques: references outlive additions
  std::deque<Value> values_;
  std::vector<std::vector<NodeId>> uses_;
  std::vector<Location> locations_;
  std::map<Location, LocationId> location_ids_;
  std::map<std::string, GraphState> states_;
  // The order: a doubly linked list over the live nodes, and keys that rise along it with gaps, so
  // that two nodes compare in constant time.
  std::vector<NodeId> next_;
  std::vector<NodeId> previous_;
  std::vector<int64_t> keys_;
  NodeId first_ = -1;
  NodeId last_ = -1;
};

// Checks the invariants above. `stage_name` is the pass that just ran.
absl::Status VerifyGraph(const Graph& graph, const std::string& stage_name);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_GRAPH_GRAPH_H_
