#include "compiler/compile.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "compiler/parallel/decide.h"
#include "compiler/passes/bucket_sums.h"
#include "compiler/passes/cancel_casts.h"
#include "compiler/passes/cancel_permutes.h"
#include "compiler/passes/fuse_bias.h"
#include "compiler/passes/fuse_conv_stats.h"
#include "compiler/passes/fuse_elementwise.h"
#include "compiler/passes/fuse_gelu.h"
#include "compiler/passes/insert_reshard.h"
#include "compiler/passes/join_bias_grads.h"
#include "compiler/passes/join_norm_grads.h"
#include "compiler/passes/join_slices.h"
#include "compiler/passes/join_updates.h"
#include "compiler/passes/merge_common.h"
#include "compiler/passes/narrow_updates.h"
#include "compiler/passes/pack_attention.h"
#include "compiler/passes/pad_classes.h"
#include "compiler/passes/remove_dead.h"

namespace oneflow {
namespace {

// One line per node that was decided: "%4 matmul mlp.py:8 (B,S(1)) (S(1),B) -> (B,S(1))  tp: ...".
std::string DecisionsText(const Graph& graph, const Decisions& decisions) {
  std::string text;
  for (NodeId id : graph.order()) {
    const Node& node = graph.node(id);
    const NodeDecision& decision = decisions.nodes[id];
    for (ValueId output : node.outputs) absl::StrAppend(&text, "%", output, " ");
    absl::StrAppend(&text, node.op, " ", node.scope.empty() ? "" : absl::StrCat(node.scope, " "),
                    graph.location(node.location).Short());
    for (const Sharding& sharding : decision.shardings.inputs) {
      absl::StrAppend(&text, " ", sharding.ToString(decisions.axes));
    }
    absl::StrAppend(&text, " ->");
    for (const Sharding& sharding : decision.shardings.outputs) {
      absl::StrAppend(&text, " ", sharding.ToString(decisions.axes));
    }
    absl::StrAppend(&text, decision.reason.empty() ? "" : absl::StrCat("  ", decision.reason),
                    "\n");
  }
  return text;
}

// Where each state lies: as it is read, or as it is written if the step only writes it.
std::map<std::string, Sharding> StateShardings(const Graph& graph) {
  std::map<std::string, Sharding> shardings;
  for (NodeId id : graph.order()) {
    const Node& node = graph.node(id);
    if (node.op == "state_read") {
      shardings.insert_or_assign(node.attrs.String("name"), graph.value(node.outputs[0]).sharding);
    } else if (node.op == "state_write") {
      shardings.try_emplace(node.attrs.String("name"), graph.value(node.inputs[0]).sharding);
    }
  }
  return shardings;
}

bool RunsOn(const plan::Target& target, const std::string& kind) {
  return target.devices_size() > 0 && target.devices(0).kind() == kind;
}

// What all ranks decide alike.
struct Logical {
  Graph graph;
  Decisions decisions;
  Compiled compiled;  // but for the plan
};

absl::StatusOr<Logical> CompileLogical(Graph traced, const plan::Target& target,
                                       const CompileOptions& options, bool keep_dumps) {
  Logical logical{std::move(traced), {}, {}};
  Graph& graph = logical.graph;
  const auto border = [&](const std::string& pass) {
    if (keep_dumps) logical.compiled.dumps.emplace_back(pass, graph.ToString());
    return VerifyGraph(graph, pass);
  };
  OF_RETURN_IF_ERROR(border("trace"));

  // Image ops are channels-last inside; what the user's NCHW left between them goes first, so that
  // no later pass sees layout noise.
  OF_RETURN_IF_ERROR(CancelPermutes(&graph));
  OF_RETURN_IF_ERROR(border("cancel_permutes"));

  // What a chunk leaves behind it: parts of a gradient with zeros around them, and their sum.
  OF_RETURN_IF_ERROR(JoinSlices(&graph));
  OF_RETURN_IF_ERROR(border("join_slices"));

  // What mixed precision widens only to view it, before layouts: the wide value would count and could be moved.
  if (options.fuse) OF_RETURN_IF_ERROR(CancelCasts(&graph));
  OF_RETURN_IF_ERROR(border("cancel_casts"));

  // The same thing twice (also what the passes above made equal) is computed once.
  MergeCommon(&graph);
  OF_RETURN_IF_ERROR(border("merge_common"));

  // What nobody reads needs no layout and no memory.
  RemoveDead(&graph);
  OF_RETURN_IF_ERROR(border("remove_dead"));

  // Stage, micro-batch and device layout of every value. The last pass that can find the user's
  // mistakes.
  OF_ASSIGN_OR_RETURN(logical.decisions, Decide(&graph, options.mesh, options.micro_batches, target,
                                                options.decisions));
  OF_RETURN_IF_ERROR(border("decide"));

  // Data movement becomes work of the same rank as computation: only now is it known where layouts
  // differ.
  OF_RETURN_IF_ERROR(InsertReshard(&graph, &logical.decisions, options.world_size, target));
  OF_RETURN_IF_ERROR(border("insert_reshard"));
  // Small gradients travel together: a plan does not count parameters.
  OF_RETURN_IF_ERROR(BucketSums(&graph, &logical.decisions, target));
  OF_RETURN_IF_ERROR(border("bucket_sums"));
  logical.compiled.decisions = DecisionsText(graph, logical.decisions);
  logical.compiled.held_decisions = logical.decisions.held.ToString();
  logical.compiled.states = StateShardings(graph);

  // What was decided is told by the user's ops; what follows joins these. A narrow gradient is widened by
  // the update that reads it.
  if (options.fuse) OF_RETURN_IF_ERROR(NarrowUpdates(&graph, &logical.decisions));
  OF_RETURN_IF_ERROR(border("narrow_updates"));
  // A launch costs more than the update of a small parameter.
  if (options.fuse) OF_RETURN_IF_ERROR(JoinUpdates(&graph, &logical.decisions));
  OF_RETURN_IF_ERROR(border("join_updates"));
  // Attention reads q, k and v where one product left them.
  if (options.fuse) OF_RETURN_IF_ERROR(PackAttention(&graph, &logical.decisions));
  OF_RETURN_IF_ERROR(border("pack_attention"));
  if (RunsOn(target, "cuda")) {
    // cuBLASLt takes rows of two-byte elements as they lie where they are multiples of 16 bytes. Of a vocabulary only
    // the weights are padded for that, not the scores.
    if (options.fuse) {
      OF_RETURN_IF_ERROR(PadClasses(&graph, &logical.decisions));
      OF_RETURN_IF_ERROR(border("pad_classes"));
    }
    // A GPU's product adds its bias while it writes, that of a layer's weight sums the bias's gradient while it
    // reads, and its layer norm's gradients are one kernel.
    OF_RETURN_IF_ERROR(FuseBias(&graph, &logical.decisions));
    OF_RETURN_IF_ERROR(border("fuse_bias"));
    OF_RETURN_IF_ERROR(JoinBiasGrads(&graph, &logical.decisions));
    OF_RETURN_IF_ERROR(border("join_bias_grads"));
    // What is left of an activation behind a product, forward and backward.
    OF_RETURN_IF_ERROR(FuseGelu(&graph, &logical.decisions));
    OF_RETURN_IF_ERROR(border("fuse_gelu"));
    OF_RETURN_IF_ERROR(JoinNormGrads(&graph, &logical.decisions));
    OF_RETURN_IF_ERROR(border("join_norm_grads"));
    // A batch norm's statistics are sums of what the convolution before it has in hand.
    OF_RETURN_IF_ERROR(FuseConvStats(&graph, &logical.decisions));
    OF_RETURN_IF_ERROR(border("fuse_conv_stats"));
  }
  // A value that one elementwise op hands to the next stays in the cache, or in registers.
  if (options.fuse) OF_RETURN_IF_ERROR(FuseElementwise(&graph, &logical.decisions));
  OF_RETURN_IF_ERROR(border("fuse_elementwise"));
  return logical;
}

}  // namespace

absl::StatusOr<Compiled> Compile(Graph graph, const plan::Target& target,
                                 const CompileOptions& options, bool keep_dumps) {
  OF_ASSIGN_OR_RETURN(Logical logical,
                      CompileLogical(std::move(graph), target, options, keep_dumps));
  // From here on it is this rank's part alone: tasks, streams, order, credits, memory.
  OF_ASSIGN_OR_RETURN(Lowered lowered, Lower(logical.graph, logical.decisions, target, options.rank,
                                             options.world_size, nullptr, options.one_call));
  logical.compiled.plan = std::move(lowered.plan);
  logical.compiled.missing = std::move(lowered.missing);
  return std::move(logical.compiled);
}

absl::StatusOr<Compiled> CompileComplete(Graph graph, plan::Target* target,
                                         const CompileOptions& options, bool keep_dumps,
                                         const DescribeKernel& describe) {
  OF_ASSIGN_OR_RETURN(Logical logical,
                      CompileLogical(std::move(graph), *target, options, keep_dumps));
  OF_ASSIGN_OR_RETURN(Lowered lowered,
                      Lower(logical.graph, logical.decisions, *target, options.rank,
                            options.world_size, describe, options.one_call));
  OF_CHECK(lowered.missing.empty()) << "a kernel was not asked";
  for (plan::KernelRow& row : lowered.rows) *target->add_kernels() = std::move(row);
  std::sort(target->mutable_kernels()->pointer_begin(), target->mutable_kernels()->pointer_end(),
            [](const plan::KernelRow* a, const plan::KernelRow* b) { return a->key() < b->key(); });
  logical.compiled.plan = std::move(lowered.plan);
  return std::move(logical.compiled);
}

}  // namespace oneflow
