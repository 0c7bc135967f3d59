// StopAgreement: one boundary between two steps at which all ranks stop, found while they run.
//
// Ranks pass the same boundaries in the same order, but not at the same time, and one that waits for another
// rank's message cannot be waited for. So nothing is asked of a step: rank 0 tells all to hold, each answers at
// once with the number of boundaries that it has passed, and passes no more; the first boundary that nobody has
// passed is where all stop. Until they hold, a boundary costs a lock that nobody contends for.
//
//   any rank -> 0    ask              it wants to stop (SIGTERM)
//   0 -> all         hold
//   all -> 0         passed (count)   said by the thread that hears, whatever the program is doing
//   0 -> all         stop (count + 1)
//
// Owned by the transport. Threads: any; `say` is called under the lock and must only enqueue. Invariant: what
// PassBoundary has let by is never at or beyond the boundary that is agreed on, so all ranks that go on come to
// it. A job agrees once. Read next: comm/tcp_transport.cc, python/oneflow/steps/interruption.py.
#ifndef ONEFLOW_COMM_STOP_AGREEMENT_H_
#define ONEFLOW_COMM_STOP_AGREEMENT_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "comm/frame.h"
#include "comm/transport.h"

namespace oneflow::comm {

class StopAgreement {
 public:
  using Say = std::function<void(int to, StopWord word, uint64_t number)>;
  StopAgreement(int rank, int world_size, Say say);

  // As Transport::AskToStop and Transport::PassBoundary.
  void Ask();
  Boundary PassBoundary(std::chrono::milliseconds limit);

  // What a rank says. Empty, or what it did wrong.
  std::string Hear(int from, uint32_t word, uint64_t number);
  // That rank says nothing more: the others stop without it.
  void Left(int rank);
  // Nothing is agreed on any more; boundaries are passed, and steps say why they fail.
  void Fail();

 private:
  void Hold();
  void DecideIfAllAnswered();

  const int rank_;
  const Say say_;
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t passed_ = 0;
  uint64_t stop_at_ = 0;  // 0: not agreed on
  bool asked_ = false;
  bool held_ = false;
  bool failed_ = false;
  // Rank 0's.
  std::vector<bool> answered_;
  uint64_t most_passed_ = 0;
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_STOP_AGREEMENT_H_
