// LayoutState: one complete choice of layouts for a graph, what it costs, and how to try a change
// and take it back. The moves of layout_search are made of these.
//
// The cost of a choice is the sum of
// - over nodes: the time of the node on its largest shard;
// - over values: the time of each distinct reshard that its readers need (readers that want one
//   layout share);
// - over states: the time to touch each device's part kTouches times (this is what makes sharding a
//   parameter and its optimizer state worth something), times `state_weight`;
// - kGatherPenalty for each value that changes its split on `dp`, or is dealt out in so few units that
//   devices have none, other than for an output, and for each sum that becomes split there (`dp` splits the
//   batch from the first op to the last and nothing else, or it would not be used), and for each new value of
//   a state that is not made in the state's own layout (updates happen in place).
//
// Owner: one search. Threads: one. Invariant: total() equals the sum above at any time; a node's
// layouts are what its rule gives for its choice and its inputs' current layouts (changed units run
// downstream). Choices are numbered and answers kept per kind of node (BoundNode::kind), so the
// hundredth layer asks no rule. Read next: compiler/parallel/layout_search.h.
#ifndef ONEFLOW_COMPILER_PARALLEL_LAYOUT_STATE_H_
#define ONEFLOW_COMPILER_PARALLEL_LAYOUT_STATE_H_

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "compiler/parallel/bound_graph.h"
#include "compiler/parallel/cost_model.h"
#include "compiler/parallel/reshard_path.h"

namespace oneflow {

// Layouts of one node, interned (LayoutState::sharding).
struct NodeLayout {
  std::vector<int>
      choice;       // per layout axis, index into the rule's signatures; empty without a rule
  int number = -1;  // of the choice, among those of the node's kind
  std::vector<int> inputs;
  std::vector<int> outputs;
  int64_t compute_ns = 0;
  bool operator==(const NodeLayout&) const = default;
};

class LayoutState {
 public:
  static constexpr int kUndecided = -1;
  static constexpr int64_t kGatherPenalty = int64_t{1} << 40;
  static constexpr int64_t kImpossible = int64_t{1} << 50;
  static constexpr int64_t kTouches = 4;

  // Starts with all nodes on their micro choice and B on the mesh axes; groups that are free are
  // undecided.
  LayoutState(const BoundGraph* bound, const CostModel* cost, ReshardPaths* paths,
              std::vector<int> micro_choice, int64_t state_weight);

  const BoundGraph& bound() const { return bound_; }
  const NodeLayout& node(NodeId id) const { return *nodes_[id]; }
  const Sharding& sharding(int index) const { return shardings_[index]; }
  int have(ValueId value) const { return have_[value]; }  // kUndecided: any layout is at hand
  int group(int index) const { return groups_[index]; }
  int64_t total() const { return total_; }
  // A number that tells whether anything that Evaluate and Delta of the node look at has changed:
  // equal numbers at two moments mean equal answers. Taking changes back takes the numbers back.
  int64_t Version(NodeId id) const;

  // The number of a choice, and the choice with a number: one numbering for all nodes of a kind.
  int Number(NodeId id, const std::vector<int>& choice);
  const std::vector<int>& Choice(NodeId id, int number) const {
    return kinds_[bound_.nodes[id].kind].choices[number];
  }
  // What the choice with that number would give the node now; nullptr if its layouts are not legal
  // together. Stays valid.
  const NodeLayout* Evaluate(NodeId id, int number);
  const NodeLayout* Evaluate(NodeId id, const std::vector<int>& choice) {
    return Evaluate(id, Number(id, choice));
  }
  // By how much total() would change with that layout of the node, if all splits are even (uneven
  // units may also change the readers' layouts).
  int64_t Delta(NodeId id, const NodeLayout& layout);
  // Time of the inputs' reshards and the node itself, as if it were alone, and the sums that its
  // partial outputs will cost: what a forward sweep knows.
  int64_t LocalCost(NodeId id, const NodeLayout& layout);

  // Changes. Each is logged; Rollback undoes those since the mark.
  size_t Mark() const { return log_.size(); }
  void Rollback(size_t mark);
  // Forgets the log. Marks become invalid.
  void Commit() {
    log_.clear();
    old_versions_.clear();
  }
  bool Choose(NodeId id, int number);  // false (and no change) if not legal
  bool Choose(NodeId id, const std::vector<int>& choice) { return Choose(id, Number(id, choice)); }
  void ChooseGroup(int group, const Sharding& sharding);

  // Canonical layout of a group's states with these Sbps.
  Sharding GroupSharding(int group, const std::vector<Sbp>& sbps) const;

 private:
  struct Change {
    NodeId node = -1;  // -1: a group
    const NodeLayout* layout = nullptr;
    int group = -1;
    int sharding = kUndecided;
  };
  // Readers of a value that want it alike: in one sharding, as one kind of reader.
  struct Need {
    int sharding = kUndecided;
    NodeRole reader = NodeRole::kSearched;
    int readers = 0;
  };
  using Needs = std::vector<Need>;  // by (sharding, reader), none with 0 readers
  // Answers of Evaluate for one kind of node whose inputs lie so.
  struct Row {
    std::vector<int> inputs;
    std::vector<std::optional<const NodeLayout*>> layouts;  // by number of the choice
  };
  struct Kind {
    std::map<std::vector<int>, int> numbers;
    std::vector<std::vector<int>> choices;  // by number
    std::map<std::vector<int>, Row> rows;   // by layouts of the inputs
  };

  int Intern(const Sharding& sharding);
  const NodeLayout* Keep(NodeLayout layout);
  // The layout of a read, or a write, of a state that lies so.
  const NodeLayout* StateLayout(bool read, int sharding);
  Row& RowOf(NodeId id);
  const NodeLayout* Apply(NodeId id, int number);  // Evaluate, without the memory
  // Installs a layout and logs the old one; keeps total_.
  void Install(NodeId id, const NodeLayout* layout);
  void Replace(NodeId id, const NodeLayout* layout);
  static void AddReaders(Needs* needs, int sharding, NodeRole reader, int count);
  // Recomputes the readers of a node whose outputs changed, in order.
  void Propagate(NodeId id);
  void SetGroup(int group, int sharding);
  int64_t ReshardNs(ValueId value, int from, int to);
  // One reader's layout of a value, and whether what it costs to bring it there is shared with
  // `last`.
  int64_t NeedCost(ValueId value, int from, const Need& need, int* last);
  int64_t NeedsCost(ValueId value, int from, const Needs& needs);
  int64_t ValueCost(ValueId value);
  // ValueCost if `id` had `layout`.
  int64_t ValueCostWith(ValueId value, NodeId id, const NodeLayout& layout);
  int64_t GroupCost(int group) const;
  bool LeavesDp(ValueId value, int from, int to) const;
  // Each device along the axes that split the dim has a unit of it. REQUIRES: some axis does.
  bool HasShares(int sharding, int dim) const;

  const BoundGraph& bound_;
  const Graph& graph_;
  const CostModel& cost_;
  ReshardPaths& paths_;
  const int64_t state_weight_;
  std::deque<NodeLayout> layouts_;        // all that were made: references stay valid
  std::vector<const NodeLayout*> nodes_;  // by NodeId
  std::vector<int> have_;                 // by ValueId
  std::vector<int64_t> version_;  // by ValueId: when it, its readers' needs or its cost changed
  int64_t changes_ = 0;
  std::vector<Needs> needs_;         // by ValueId
  std::vector<int64_t> value_cost_;  // by ValueId
  std::vector<int> groups_;          // sharding of each group
  std::vector<int64_t> group_cost_;
  std::vector<int> position_;  // by NodeId, in order
  std::vector<Sharding> shardings_;
  std::map<std::vector<int64_t>, int> interned_;
  std::vector<Kind> kinds_;
  std::vector<Row*> rows_;                            // by NodeId: the row that was used last
  std::vector<const NodeLayout*> state_layouts_[2];   // of writes and reads, by sharding
  std::vector<int> type_of_;                          // by ValueId: equal types have equal numbers
  std::unordered_map<uint64_t, int64_t> reshard_ns_;  // by (type, from, to); only looked up
  int dp_axis_ = -1;
  std::vector<Change> log_;
  std::vector<int64_t>
      old_versions_;              // of the values of each logged change of a node, inputs first
  Needs changed_;                 // of ValueCostWith
  std::vector<ValueId> touched_;  // of Replace
  int64_t total_ = 0;
};

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PARALLEL_LAYOUT_STATE_H_
