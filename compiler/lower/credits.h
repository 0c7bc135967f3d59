// GrantCredits: fills the consumers of every register and gives it slots.
//
//   forward of stage 0 of 2 -> its backward    slots 2 (the textbook's p - s activations in flight)
//   within one phase, one stream               slots 1
//   feed, or another stream on the micro loop  one more, so that movement overlaps compute
//
// The least count for which every consumer's firing q is stamped before the producer's firing q +
// slots: then no cycle of data and credits can close. Runs after streams are ordered, before
// memory, which needs the sizes. Pure; edits the draft of one call. Read next: memory_planner.h.
#ifndef ONEFLOW_COMPILER_LOWER_CREDITS_H_
#define ONEFLOW_COMPILER_LOWER_CREDITS_H_

#include "compiler/lower/draft.h"

namespace oneflow {

void GrantCredits(Draft* draft);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_LOWER_CREDITS_H_
