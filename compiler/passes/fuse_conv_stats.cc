#include "compiler/passes/fuse_conv_stats.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "base/status.h"
#include "compiler/passes/decided_graph.h"

namespace oneflow {
namespace {

class Fusing {
 public:
  Fusing(Graph* graph, Decisions* decisions)
      : graph_(*graph), decisions_(*decisions), edit_(graph, decisions) {}

  absl::Status Run() {
    for (const NodeId id : graph_.order()) {
      if (graph_.node(id).removed || graph_.node(id).op != "bn_sample_sums") continue;
      const NodeId convolution = graph_.value(graph_.node(id).inputs[0]).producer;
      if (StandTogether(convolution, id)) OF_RETURN_IF_ERROR(Fuse(convolution, id));
    }
    return absl::OkStatus();
  }

 private:
  bool StandTogether(NodeId convolution, NodeId statistics) const {
    const Node& conv = graph_.node(convolution);
    const Node& sums = graph_.node(statistics);
    return conv.op == "conv2d" && SizeOf(graph_.value(conv.outputs[0]).type.dtype) == 2 &&
           conv.stage == sums.stage && conv.phase == sums.phase && Parts(conv) > 0 &&
           std::all_of(sums.outputs.begin(), sums.outputs.end(), [&](ValueId value) {
             return std::all_of(graph_.uses(value).begin(), graph_.uses(value).end(),
                                [&](NodeId reader) { return Joins(reader, sums, Parts(conv)); });
           });
  }

  // Of the convolution's result: what a device has in a micro-batch. 0: those are not equal.
  int64_t Parts(const Node& convolution) const {
    const Value& y = graph_.value(convolution.outputs[0]);
    int64_t parts = 1;
    for (size_t axis = 0; axis < decisions_.axes.size(); ++axis) {
      if (y.sharding.sbps[axis] == Sbp::S(0)) parts *= decisions_.axes[axis].size;
    }
    const int64_t samples = y.type.shape[0];
    return samples > 0 && samples % parts == 0 ? parts : 0;
  }

  // Reads the sums as those of any parts, of which each is of one group.
  bool Joins(NodeId reader, const Node& sums, int64_t parts) const {
    const Node& node = graph_.node(reader);
    const bool places = node.op == "bn_sum" ||
                        (node.op == "bn_join_squares" && node.inputs[0] == sums.outputs[0] &&
                         node.inputs[1] == sums.outputs[1] && node.inputs[2] != sums.outputs[0] &&
                         node.inputs[2] != sums.outputs[1]);
    return places && parts % node.attrs.Int("groups") == 0;
  }

  absl::Status Fuse(NodeId convolution, NodeId statistics) {
    const Node& conv = graph_.node(convolution);
    const std::vector<ValueId> old = {conv.outputs[0], graph_.node(statistics).outputs[0],
                                      graph_.node(statistics).outputs[1]};
    const int64_t parts = Parts(conv);
    const int64_t samples = graph_.value(old[0]).type.shape[0] / parts;
    Attrs attrs = conv.attrs;
    attrs.Set("parts", parts);
    std::vector<Sharding> layouts;
    for (const ValueId value : old) layouts.push_back(graph_.value(value).sharding);
    const Shape sums = {parts, graph_.value(old[1]).type.shape[1]};
    for (size_t i = 1; i < layouts.size(); ++i) {
      layouts[i].units.assign(sums.size(), 0);
      layouts[i] = Canonical(layouts[i], decisions_.axes, sums);
    }
    OF_ASSIGN_OR_RETURN(const std::vector<ValueId> made,
                        edit_.Insert(conv, "conv2d_sums", conv.inputs, attrs, layouts));
    if (!edit_.Allows("conv2d_sums", attrs, conv.inputs, made)) {
      edit_.Remove(graph_.value(made[0]).producer);
      return absl::OkStatus();
    }
    for (const ValueId value : {old[1], old[2]}) {
      const std::vector<NodeId> readers = graph_.uses(value);
      for (const NodeId reader : readers) {
        if (!graph_.node(reader).removed) OF_RETURN_IF_ERROR(Rejoin(reader, made, samples));
      }
    }
    edit_.Remove(statistics);
    graph_.ReplaceUses(old[0], made[0]);
    edit_.Remove(convolution);
    return absl::OkStatus();
  }

  // The same of the parts in place of their samples.
  absl::Status Rejoin(NodeId id, const std::vector<ValueId>& made, int64_t samples) {
    const Node& join = graph_.node(id);
    const bool of_squares = join.op == "bn_join_squares";
    const ValueId joined = join.outputs[0];
    const Value& parts = graph_.value(made[of_squares ? 2 : 1]);
    if (parts.type == graph_.value(joined).type &&
        parts.sharding == graph_.value(joined).sharding &&
        (!of_squares || AreAboutTheirMean(join, made[1], samples))) {
      graph_.ReplaceUses(joined, made[of_squares ? 2 : 1]);
      edit_.Remove(id);
      return absl::OkStatus();
    }
    Attrs attrs = join.attrs;
    std::vector<ValueId> inputs = join.inputs;
    inputs[0] = made[1];
    if (of_squares) {
      inputs[1] = made[2];
      attrs.Set("count", attrs.Int("count") * samples);
    }
    return edit_.Replace(join, join.op, std::move(inputs), std::move(attrs), {joined}, {id})
        .status();
  }

  // The mean that the squares are joined about is that of the parts, each of which is a group.
  bool AreAboutTheirMean(const Node& join, ValueId sums, int64_t samples) const {
    const Node& mean = graph_.node(graph_.value(join.inputs[2]).producer);
    const double count = static_cast<double>(join.attrs.Int("count") * samples);
    return mean.op == "mul_scalar" && mean.inputs[0] == sums &&
           std::abs(mean.attrs.Float("value") * count - 1) < 1e-9;
  }

  Graph& graph_;
  const Decisions& decisions_;
  DecidedGraph edit_;
};

}  // namespace

absl::Status FuseConvStats(Graph* graph, Decisions* decisions) {
  return Fusing(graph, decisions).Run();
}

}  // namespace oneflow
