// Doorkeeper: tells who comes to a job that is complete that it is, instead of letting it wait.
//
// Owned by the transport of rank 0. One thread, which sleeps until somebody comes. Strangers get no
// answer; a twin of a rank gets a refusal that says so. Read next: comm/admission.h.
#ifndef ONEFLOW_COMM_DOORKEEPER_H_
#define ONEFLOW_COMM_DOORKEEPER_H_

#include <atomic>
#include <thread>

#include "comm/admission.h"

namespace oneflow::comm {

class Doorkeeper {
 public:
  Doorkeeper(Socket listener, Identity self);
  ~Doorkeeper();

 private:
  void Loop();

  const Socket listener_;
  const Identity self_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// Why a rank that is here already is turned away.
std::string TwinRefusal(uint32_t rank);

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_DOORKEEPER_H_
