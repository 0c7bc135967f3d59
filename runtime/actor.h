// Actor: a task at run time, as a pure state machine: Step(message) -> effects. No thread, clock or
// device.
//
// Counts, per input register, the iterations that are filled and not yet given back; per output
// register and consumer, the credits; per `after` edge, what has finished; and its own firings. It
// fires when the stream has come to it (kTurn), every input is ready, every output has a credit
// from every consumer, every `after` edge is satisfied and, for SEND, the peer has posted a slot.
// Levels: a register is filled once per iteration of its level. `inner` is the number of this
// task's firings in one such iteration: the credit is taken at the first of them, Ready is said
// after the last, and an input is held from the first to the last.
// Two completions: a firing is *enqueued* when its device has taken it (kEnqueued; the stream goes
// on, and those on the same device who wait may be enqueued behind it) and *finished* when its work
// is over (kFired), which the host, peers and other devices wait for. Each address says which it
// wants. Where a device answers at once kFired alone comes and is both. RECV is two firings: post
// (the effect `fire`; the stream goes on at once) and arrive (kArrived completes it). Owned by an
// executor, which delivers messages one at a time. Allocates only when made. Read next:
// runtime/program.h (where the specs come from), runtime/threaded_executor.h.
#ifndef ONEFLOW_RUNTIME_ACTOR_H_
#define ONEFLOW_RUNTIME_ACTOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/message.h"

namespace oneflow {

// The constants of an actor, made from a plan.
struct ActorSpec {
  // A register that it reads; `producer` is where Free goes.
  struct Input {
    uint32_t register_id = 0;
    uint32_t inner = 1;
    Address producer;
  };
  // A register that it fills; `consumers` are where Ready goes. Credit counters of output o are
  // first_credit + index of the consumer.
  struct Output {
    uint32_t register_id = 0;
    uint32_t inner = 1;
    uint32_t slots = 1;
    uint32_t first_credit = 0;
    std::vector<Address> consumers;
  };
  // "Iteration q waits until `task` has finished iteration q - lag."
  struct After {
    uint32_t task = 0;
    uint32_t inner = 1;
    uint32_t lag = 0;
  };
  // The other end of an After.
  struct Waiter {
    Address address;
    uint32_t inner = 1;
  };

  bool sends = false;     // SEND
  bool receives = false;  // RECV
  std::vector<Input> inputs;
  std::vector<Output> outputs;
  std::vector<After> after;
  std::vector<Waiter> waiters;
  uint32_t credits = 0;  // over all outputs and consumers

  // Messages that one firing can send at most.
  size_t MaxMessages() const;
};

// What one Step asks of the executor.
struct Effects {
  bool fire = false;        // start firing `started`
  bool completed = false;   // firing `finished` is over; its messages are in `messages`
  bool turn_ended = false;  // the stream goes on to its next firing
  int64_t started = 0;
  int64_t finished = 0;
  std::vector<Message>
      messages;  // reserved for the largest actor; plan is left 0 for the executor to set

  void Clear() {
    fire = completed = turn_ended = false;
    messages.clear();
  }
};

// In cache lines of its own: neighbours in a plan may belong to different threads.
class alignas(64) Actor {
 public:
  // `spec` outlives the actor.
  explicit Actor(const ActorSpec* spec);

  // Applies one message. `effects` is cleared first.
  void Step(const Message& message, Effects* effects);

  // One reason why the next firing has not started.
  struct Missing {
    enum Kind { kInput, kCredit, kAfter, kTurn, kPeerPost } kind = kTurn;
    uint32_t index = 0;  // input, credit counter or after edge
  };
  // Empty if it could fire now.
  std::vector<Missing> WhatIsMissing() const;
  // True if it would fire as soon as its stream comes to it.
  bool WaitsOnlyForItsTurn() const { return !turn_ && !aborted_ && CanFire(); }

  // Firings started (RECV: posted), enqueued and finished (RECV: arrived) since the plan was loaded.
  int64_t started() const { return started_; }
  int64_t enqueued() const { return enqueued_; }
  int64_t finished() const { return finished_; }
  const ActorSpec& spec() const { return *spec_; }

  // "2/1 in:1,0 out:2 after:3 peer:1 turn": started/finished ("3/2/1": started/enqueued/finished
  // where some are enqueued), then the counters; for tests and reports.
  std::string ToString() const;

 private:
  bool CanFire() const;
  void Begin(Effects* effects);
  void Enqueue(Effects* effects);
  void Complete(Effects* effects);
  // Says to those who wait for these completions what firing `ordinal` gives and gives back.
  void Tell(int64_t ordinal, bool enqueued, bool finished, Effects* effects) const;
  bool AfterHolds(size_t edge) const;

  const ActorSpec* spec_;
  std::vector<int32_t> ready_;    // per input
  std::vector<int32_t> credits_;  // per output and consumer
  std::vector<int64_t> done_;     // per after edge
  int64_t started_ = 0;
  int64_t enqueued_ = 0;
  int64_t finished_ = 0;
  int32_t peer_slots_ = 0;  // SEND
  bool turn_ = false;
  bool aborted_ = false;
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_ACTOR_H_
