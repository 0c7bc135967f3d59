// StageCut: cuts a sequence of weighted items into contiguous ranges.
//
// Pure. Threads: any. Read next: compiler/parallel/assign_stages.h.
#ifndef ONEFLOW_COMPILER_PARALLEL_STAGE_CUT_H_
#define ONEFLOW_COMPILER_PARALLEL_STAGE_CUT_H_

#include <cstdint>
#include <vector>

namespace oneflow {

// First items of the ranges 1..parts-1 (ascending). `weights[i]` is the cost of item i,
// `crossing[i]` the bytes that flow over a cut before item i. The heaviest range is within a tenth
// of the lightest possible heaviest range, and no range is lighter than four fifths of the mean where
// there are such cuts; among those the one with the fewest bytes, and then the most even one. Every
// range has an item while there are enough; else the last ranges are empty.
std::vector<size_t> StageCut(const std::vector<int64_t>& weights,
                             const std::vector<int64_t>& crossing, int parts);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PARALLEL_STAGE_CUT_H_
