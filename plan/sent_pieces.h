// SentPieces: what each firing of a SEND takes out of its register, where that is not all of it; and what each of a
// ring_reduce puts in.
//
// A ring's shares are sent from where they lie: the SEND stands on the chunk loop, reads the buffer that goes round,
// and its attributes deal that out as a `ring_send`'s do (plan_format.md, movement tasks). A message is one stretch of
// memory and all messages of a channel have the same bytes, so the dims before the one that is dealt out are 1 and all
// pieces are equal; other rings pack their pieces first. Pure. Threads: any. Used by proof 1 (so what it returns lies
// inside the register), proof 6 and the runtime. Read next: plan/verify_flow.cc, plan/rings.h, comm/transport.h (Region).
#ifndef ONEFLOW_PLAN_SENT_PIECES_H_
#define ONEFLOW_PLAN_SENT_PIECES_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "plan/plan.pb.h"

namespace oneflow {

struct SentPieces {
  int64_t bytes = 0;  // of a message
  std::vector<int64_t>
      offsets;  // by chunk: where it begins, in bytes from the register's beginning
};

// True if this SEND sends pieces of its register: it has attributes.
bool SendsPieces(const plan::Task& send);

// Its pieces; an error says what is wrong with them, without naming the task. REQUIRES: SendsPieces; one input, whose
// bytes do not overflow.
absl::StatusOr<SentPieces> SentPiecesOf(const plan::Task& send);
// The same of a `ring_reduce`: the pieces of its buffer that its chunks write; an error if they are no equal stretches.
absl::StatusOr<SentPieces> ReceivedPiecesOf(const plan::Task& reduce);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_SENT_PIECES_H_
