// BucketSums: small sums over one mesh axis that nobody waits for travel together.
//
//   %10 = reshard(%7) {axis=1, change="P->B on dp"}
//   %19 = matmul(%16, %18)                               ->   %19 = matmul(%16, %18)
//   %20 = reshard(%19) {axis=1, change="P->B on dp"}          %40, %41 = reshard(%7, %19) {axis=1, ..}
//
// A ring of n devices sends each share of a sum in 2(n-1) messages; below latency x rate of the link
// a message costs its start alone. A bucket holds up to kMessagesOfLatency times that per share, so
// that neither channels nor tasks count parameters, and closes when it is full: what is in it goes
// round while earlier layers compute. A larger sum travels alone. Only sums whose reader stands
// behind the next of them wait: gradients of parameters, a loss and its count of labels; one that
// is read at once (batch norm's) does not.
//
// Then sums of up to eight devices of which a device would bring the others less than latency x rate
// are marked {direct=true}: each gives all others its own, half a ring's messages, and none waits for
// another.
//
// What goes by level (`group`, insert_reshard.h) gets its rounds here, when the bytes of buckets are known
// (sum_rounds.h): {group=8, rounds=["scatter 8/1", "sum 32/8", "gather 8/1"]}.
//
// After InsertReshard: only then is it known what moves. The sizes follow from the target alone, not
// from which rank holds which device, so one process and many add in one order. Pure. Threads: any.
// Read next: compiler/lower/emit_reshard.h.
#ifndef ONEFLOW_COMPILER_PASSES_BUCKET_SUMS_H_
#define ONEFLOW_COMPILER_PASSES_BUCKET_SUMS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "compiler/graph/graph.h"
#include "compiler/parallel/decide.h"

namespace oneflow {

// Replaces `reshard` nodes by such with several inputs and outputs and marks those that are direct;
// grows decisions->nodes for them.
absl::Status BucketSums(Graph* graph, Decisions* decisions, const plan::Target& target);

// The most bytes of a bucket on a ring of `devices`.
int64_t BucketBytes(const plan::Target& target, const Decisions& decisions, int64_t devices);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PASSES_BUCKET_SUMS_H_
