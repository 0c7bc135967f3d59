#include "runtime/receiver.h"

namespace oneflow {

void Receiver::Deliver(const Message& message) {
  mailbox_.Push(message);
  if (undelivered_.fetch_add(1) > 0) return;
  std::unique_lock<std::mutex> state(state_mutex_);
  int64_t seen = 1;
  while (true) {
    if (Stopped()) return;
    RunUntilIdle(&state);
    const int64_t left = undelivered_.fetch_sub(seen) - seen;
    if (left == 0) return;
    seen = left;
  }
}

void Receiver::Execute(const Item& item, std::unique_lock<std::mutex>* state) {
  const Program::Task& task = item.run->program->tasks()[item.task];
  activity_ = {item.task, item.run->index, NowNs()};
  state->unlock();
  around_.transport->Post(item.run->channels[task.proto->channel()]);
  state->lock();
  activity_.running = -1;  // kArrived comes from the transport
}

}  // namespace oneflow
