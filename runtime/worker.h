// Worker: the host of a device's kernels (`compute`) or of its feed, comm and fetch streams, with a
// thread of its own. Work of the host runs in that thread (short movement also in that of whoever
// brings it, where no core is to spare); work of a device that answers later is given to a stream of
// the device, which says when it is finished.
//
// Owned by the executor. Threads: as ActorHost; Start and Stop from the executor's caller. Read next:
// runtime/threaded_executor.h.
#ifndef ONEFLOW_RUNTIME_WORKER_H_
#define ONEFLOW_RUNTIME_WORKER_H_

#include <string>
#include <thread>

#include "runtime/actor_host.h"
#include "runtime/devices/device.h"

namespace oneflow {

class Worker : public ActorHost {
 public:
  struct Options {
    std::string name;  // "cpu:0 compute"
    const Device* device = nullptr;
    bool compute = false;
    size_t trace_capacity = 0;
  };

  Worker(Options options, const Surroundings& surroundings);
  ~Worker() override { Stop(); }

  void Start() override;  // the thread, if it does not run yet
  void Stop() override;   // and joins it

 private:
  void Loop();
  void Execute(const Item& item, std::unique_lock<std::mutex>* state) override;
  bool IsShort(const Item& item) const override;
  // Each with the state lock given up.
  absl::Status RunHere(const Item& item);
  absl::Status Enqueue(const Item& item, bool report);

  const Options options_;
  // Threads of the device that work when this one does, itself included.
  int Threads() const { return team_ > 0 ? team_ : 1; }

  std::thread thread_;
  Patience patience_;
  int team_ = 0;
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_WORKER_H_
