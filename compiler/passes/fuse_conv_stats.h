// FuseConvStats: on GPUs a convolution in 16 bits and the statistics of the batch norm behind it are one node, which
// sums what it has just made and reads nothing again.
//
//   %4 = conv2d(%x, %w)                                -> %4, %5, %6 = conv2d_sums(%x, %w) {parts=2}
//   %5, %6 = bn_sample_sums(%4)         : f32[8,c]
//   %7 = bn_sum(%5) {groups=1}                            %7 = bn_sum(%5) {groups=1}
//   %9 = bn_join_squares(%5, %6, %8) {count=49}           %9 = bn_join_squares(%5, %6, %8) {count=196}
//
// In place of samples stand parts: of a group what one device has in one micro-batch (here 8 samples on 2 devices).
// Layouts are decided, so it is known what that is, and a part lies as its samples did. Where a part is a whole
// group nothing is left to join: readers of the two joins read the sums themselves.
//
// Joined are a conv2d and a bn_sample_sums of its result, in one stage and phase, if the sums are read by bn_sum and
// bn_join_squares alone, and each device has a part of one group: of more the library would make one sum. The node
// stands where the convolution did.
//
// After BucketSums, when layouts are known and nothing moves between the two. Pure. Threads: any.
// Read next: compiler/ops/convolution.cc, docs/decisions/0034-sums-in-convolutions.md.
#ifndef ONEFLOW_COMPILER_PASSES_FUSE_CONV_STATS_H_
#define ONEFLOW_COMPILER_PASSES_FUSE_CONV_STATS_H_

#include "absl/status/status.h"
#include "compiler/graph/graph.h"
#include "compiler/parallel/decide.h"

namespace oneflow {

// For targets of GPUs. Grows decisions->nodes for new nodes.
absl::Status FuseConvStats(Graph* graph, Decisions* decisions);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PASSES_FUSE_CONV_STATS_H_
