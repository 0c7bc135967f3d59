#include "runtime/receiver.h"

namespace oneflow {

void Receiver::Execute(const Item& item, std::unique_lock<std::mutex>* state) {
  const Program::Task& task = item.run->program->tasks()[item.task];
  activity_ = {item.task, item.run->index, NowNs()};
  state->unlock();
  around_.transport->Post(item.run->channels[task.proto->channel()]);
  state->lock();
  activity_.running = -1;  // kArrived comes from the transport
}

}  // namespace oneflow
