// Gathering: the all-gathers of ranks that are threads of a test, without transports.
//
// Owned by a test. Threads: one for each rank. Read next: comm/neighbours_test.cc.
#ifndef ONEFLOW_COMM_GATHERING_FOR_TEST_H_
#define ONEFLOW_COMM_GATHERING_FOR_TEST_H_

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "comm/neighbours.h"

namespace oneflow::comm {

// All-gathers of threads of this process; what a rank says may be changed on its way.
class Gathering {
 public:
  using Change = std::function<std::string(int rank, int call, std::string said)>;
  Gathering(int size, Change change) : change_(std::move(change)), said_(size), calls_(size) {}

  Neighbours::AllGather Of(int rank) {
    return [this, rank](const std::string& bytes) -> absl::StatusOr<std::vector<std::string>> {
      std::unique_lock lock(mutex_);
      const size_t call = calls_[rank]++;
      said_[rank].push_back(change_(rank, static_cast<int>(call), bytes));
      changed_.notify_all();
      changed_.wait(lock, [&] {
        for (const auto& of_rank : said_) {
          if (of_rank.size() <= call) return false;
        }
        return true;
      });
      std::vector<std::string> all;
      for (const auto& of_rank : said_) all.push_back(of_rank[call]);
      return all;
    };
  }

 private:
  const Change change_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::vector<std::string>> said_;  // by rank, by call
  std::vector<size_t> calls_;
};

inline std::string Unchanged(int, int, std::string said) { return said; }

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_GATHERING_FOR_TEST_H_
