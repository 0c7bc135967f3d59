// Collectives: what the other ranks have said in collective calls, until this rank asks for it.
//
// Owned by the transport. Threads: any. Bounded: a peer that runs ahead by more than a few pieces
// breaks the protocol, so that nobody can fill this rank's memory. Read next: comm/tcp_transport.cc.
#ifndef ONEFLOW_COMM_COLLECTIVES_H_
#define ONEFLOW_COMM_COLLECTIVES_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace oneflow::comm {

class Collectives {
 public:
  Collectives(int rank, int world_size);

  // Piece `number` of rank `from`. Empty, or what it did wrong.
  std::string Put(int from, uint32_t number, std::string piece);
  // That rank says nothing more.
  void Left(int rank);
  // This rank's part is over: every wait ends with this cause. The first one counts; true for it.
  bool Fail(const absl::Status& cause);
  absl::Status failure() const;

  // A collective call: says *words[r] to rank r in pieces, by `say`, and returns what each has said, by
  // rank. `limit` is each piece's. One at a time, by its lock.
  using Say = std::function<void(int rank, uint32_t number, std::string piece)>;
  absl::StatusOr<std::vector<std::string>> Exchange(const std::vector<const std::string*>& words,
                                                    std::chrono::milliseconds limit,
                                                    const Say& say);

 private:
  // Waits for the next piece of each of these ranks. Of others the result is empty.
  absl::StatusOr<std::vector<std::string>> Take(const std::vector<size_t>& ranks,
                                                std::chrono::milliseconds limit);

  static constexpr uint64_t kLongest = 1u << 30;
  static constexpr size_t kUnread = 16;              // pieces of one peer
  static constexpr size_t kUnreadBytes = 16u << 20;  // of one peer

  const int rank_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::map<uint32_t, std::string>> pieces_;  // by rank
  std::vector<size_t> bytes_;                            // by rank
  std::vector<bool> left_;
  absl::Status failure_;

  std::mutex gather_mutex_;
  std::vector<uint32_t> next_numbers_;  // by rank: a pair says as many pieces each way
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_COLLECTIVES_H_
