// Gathering: the collective calls of ranks that are threads of a test, without transports.
//
// Owned by a test. Threads: one for each rank. Read next: comm/neighbours_test.cc.
#ifndef ONEFLOW_COMM_GATHERING_FOR_TEST_H_
#define ONEFLOW_COMM_GATHERING_FOR_TEST_H_

#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "comm/blame.h"
#include "comm/meeting.h"

namespace oneflow::comm {

// Exchanges of threads of this process; what a rank says to another may be changed on its way.
class Gathering {
 public:
  using Change = std::function<std::string(int rank, int call, std::string said)>;
  Gathering(int size, Change change)
      : change_(std::move(change)), said_(size), calls_(size), left_(size) {}

  ExchangeFn Of(int rank) {
    return [this, rank](
               const std::vector<std::string>& words) -> absl::StatusOr<std::vector<std::string>> {
      std::unique_lock lock(mutex_);
      const size_t call = calls_[rank]++;
      said_[rank].push_back(words);
      for (size_t to = 0; to < words.size(); ++to) {
        if (static_cast<int>(to) == rank) continue;
        said_[rank].back()[to] = change_(rank, static_cast<int>(call), words[to]);
      }
      changed_.notify_all();
      std::optional<int> missing;
      changed_.wait(lock, [&] {
        for (size_t r = 0; r < said_.size(); ++r) {
          if (said_[r].size() > call) continue;
          missing = static_cast<int>(r);
          return bool{left_[r]};
        }
        missing.reset();
        return true;
      });
      if (missing) return PeerFailure(*missing, "it left");
      std::vector<std::string> all;
      for (const auto& of_rank : said_) all.push_back(of_rank[call][static_cast<size_t>(rank)]);
      return all;
    };
  }
  // The rank makes no more calls: those who wait for it hear so.
  void Leave(int rank) {
    std::lock_guard lock(mutex_);
    left_[rank] = true;
    changed_.notify_all();
  }

 private:
  const Change change_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::vector<std::vector<std::string>>> said_;  // by rank, by call, by who hears it
  std::vector<size_t> calls_;
  std::vector<bool> left_;
};

// Whether the message of `status` has `words`.
inline bool Has(const absl::Status& status, const std::string& words) {
  return MessageOf(status).find(words) != std::string::npos;
}

inline std::string Unchanged(int, int, std::string said) { return said; }

// Rank 1's words of one of the first `calls` are changed in a byte or, in every fourth round, cut: rank 0 blames it or
// goes on by another path. meet(change): rank 0's status. The rounds in which it was blamed.
template <typename Meet>
int BlamedForTampering(int rounds, uint64_t calls, const Meet& meet) {
  uint64_t seed = 1;
  const auto next = [&seed] {
    return (seed = seed * 6364136223846793005u + 1442695040888963407u) >> 33;
  };
  int blamed = 0;
  for (int round = 0; round < rounds; ++round) {
    const uint64_t place = next(), value = next(), call = next() % calls;
    const bool cut = round % 4 == 0;
    const absl::Status status = meet([&](int rank, int which, std::string said) {
      if (rank != 1 || static_cast<uint64_t>(which) != call || said.empty()) return said;
      if (cut) return said.substr(0, place % said.size());
      said[place % said.size()] = static_cast<char>(value);
      return said;
    });
    if (status.ok()) continue;
    ++blamed;
    EXPECT_EQ(BlamedRank(status), 1) << status;
  }
  return blamed;
}

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_GATHERING_FOR_TEST_H_
