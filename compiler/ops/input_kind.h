// InputKind: what attribute `kind` of an `input` node says: how the tensor relates to the batch.
//
//   batch   dim 0 is the batch: cut by dp and into micro-batches
//   whole   dim 0 is the batch, cut by dp alone: every micro-batch sees all of it
//   scalar  no batch: every device has all of it
//
// Values. Threads: any. Invariant: the schema lets no other word pass. Read next: compiler/ops/structural.cc, compiler/parallel/bound_graph.cc.
#ifndef ONEFLOW_COMPILER_OPS_INPUT_KIND_H_
#define ONEFLOW_COMPILER_OPS_INPUT_KIND_H_

#include <string>
#include <vector>

#include "plan/attrs.h"

namespace oneflow {

enum class InputKind { kBatch, kWhole, kScalar };

// "batch", "whole", "scalar".
std::string NameOf(InputKind kind);

// All names, for the schema.
std::vector<std::string> InputKindNames();

// Of an `input` node, whose attributes the schema has passed.
InputKind InputKindOf(const Attrs& attrs);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_OPS_INPUT_KIND_H_
