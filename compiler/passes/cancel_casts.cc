#include "compiler/passes/cancel_casts.h"

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace oneflow {
namespace {

// Whether each value of the one is a value of the other.
bool Widens(DType narrow, DType wide) {
  switch (wide) {
    case DType::kF32:
      return narrow == DType::kBF16 || narrow == DType::kF16;
    case DType::kF64:
      return narrow == DType::kBF16 || narrow == DType::kF16 || narrow == DType::kF32;
    default:
      return false;
  }
}

bool IsView(const std::string& op) {
  return op == "reshape" || op == "permute" || op == "slice" || op == "broadcast_to";
}

class CastCanceller {
 public:
  explicit CastCanceller(Graph* graph) : graph_(*graph) {}

  absl::Status Run() {
    for (const NodeId id : graph_.order()) {
      if (graph_.node(id).op == "cast") OF_RETURN_IF_ERROR(Visit(id));
    }
    graph_.ReplaceForwards(replaced_);
    return absl::OkStatus();
  }

 private:
  struct Trip {
    ValueId narrow = -1;
    std::vector<NodeId> views;  // the last first
  };

  std::optional<Trip> TripOf(const Node& narrowing) const {
    const Value& result = graph_.value(narrowing.outputs[0]);
    if (!result.annotation.empty()) return std::nullopt;
    Trip trip;
    ValueId at = narrowing.inputs[0];
    while (true) {
      const Value& value = graph_.value(at);
      const Node& maker = graph_.node(value.producer);
      if (!value.annotation.empty() || maker.stage != narrowing.stage) return std::nullopt;
      if (maker.op == "cast") {
        trip.narrow = maker.inputs[0];
        const DType dtype = graph_.value(trip.narrow).type.dtype;
        const bool exact = dtype == result.type.dtype && Widens(dtype, value.type.dtype);
        return exact ? std::optional<Trip>(std::move(trip)) : std::nullopt;
      }
      if (!IsView(maker.op)) return std::nullopt;
      trip.views.push_back(maker.id);
      at = maker.inputs[0];
    }
  }

  absl::Status Visit(NodeId id) {
    const std::optional<Trip> trip = TripOf(graph_.node(id));
    if (!trip.has_value()) return absl::OkStatus();
    ValueId value = trip->narrow;
    for (auto view = trip->views.rbegin(); view != trip->views.rend(); ++view) {
      const Node like = graph_.node(*view);
      OF_ASSIGN_OR_RETURN(const std::vector<ValueId> made,
                          graph_.InsertNode(id, like.op, {value}, like.attrs, like));
      value = made[0];
    }
    graph_.ReplaceUses(graph_.node(id).outputs[0], value);
    replaced_[id] = graph_.value(value).producer;
    graph_.RemoveNode(id);
    return absl::OkStatus();
  }

  Graph& graph_;
  std::map<NodeId, NodeId> replaced_;  // removed node -> the node that took its place
};

}  // namespace

absl::Status CancelCasts(Graph* graph) { return CastCanceller(graph).Run(); }

}  // namespace oneflow
