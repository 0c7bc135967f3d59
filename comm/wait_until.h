// WaitUntil: looks at a condition each millisecond, for what ends seldom and tells nobody: farewells, closing.
//
// Threads: any, that may sleep. Read next: comm/tcp_transport.cc.
#ifndef ONEFLOW_COMM_WAIT_UNTIL_H_
#define ONEFLOW_COMM_WAIT_UNTIL_H_

#include <chrono>
#include <thread>

namespace oneflow::comm {

// Until `done`, which it asks first, but for no longer than `limit`.
template <typename Done>
void WaitUntil(std::chrono::milliseconds limit, Done done) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!done() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_WAIT_UNTIL_H_
