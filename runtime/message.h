// Message: what actors say to each other, fixed size, copied by value into bounded mailboxes.
//
// Plain values. Threads: any. Invariant: the number of messages that can be unread at once is
// bounded by the plan (slots per edge, steps in flight), so mailboxes are sized when a plan is
// loaded and never grow while it runs. Read next: runtime/actor.h.
#ifndef ONEFLOW_RUNTIME_MESSAGE_H_
#define ONEFLOW_RUNTIME_MESSAGE_H_

#include <cstdint>

namespace oneflow {

// What a message says.
enum class MessageKind : uint8_t {
  kReady,     // input `port` was filled
  kFree,      // credit `port` was given back
  kDone,      // what `after` edge `port` waits for finished one more iteration
  kTurn,      // the stream has come to this task
  kEnqueued,  // what the actor started is in a stream of its device, and runs behind what is there
  kFired,     // what it started has finished (a kernel is over, a send's bytes may be reused)
  kCredit,    // SEND: the peer posted one more slot
  kArrived,   // RECV: the oldest posted slot is full
  kLaunch,    // for the streams of a worker: one more step may begin
  kStreamDone,  // for stream `task`: what it was last asked to report on its device has finished
  kAbort,       // fire no more
};

// REQUIRES of a sender: `plan` is the receiver's index of the loaded plan.
struct Message {
  MessageKind kind = MessageKind::kAbort;
  uint16_t plan = 0;
  uint32_t task = 0;
  uint32_t port = 0;
};

// Where a message goes: a task and the counter in its actor; and when (plan.proto, Need).
struct Address {
  uint32_t task = 0;
  uint32_t port = 0;
  bool enqueued = false;  // once the sender's firing is enqueued; else once it is finished
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_MESSAGE_H_
