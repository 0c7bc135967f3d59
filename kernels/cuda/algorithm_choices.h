// AlgorithmChoices: which of a library's algorithms a problem gets, by measurement, and the file that keeps it.
//
// A problem that is neither known nor in the file is timed: all candidates in turns. The first, which the
// library's heuristics put there, stays unless another is faster by a clear margin. Settle lets the ranks of a job
// agree (the lowest that has a problem says it for all) and writes what is new into the file.
//
// The file is untrusted: a line counts only if its checksum holds, and its algorithm only if it is one of the
// candidates that the library itself proposes, so no bytes of a file ever get into a library. What is wrong with
// it is said once on stderr and is never an error; a file that is not ours is not written. Writers of several
// processes lock, and merge: what stands there first stays, so later runs repeat.
//
// Owner: the process has one, as it has each library once; tests make others. Threads: any. Invariants: a choice
// does not change between two Settles; one that is agreed on never does. Read next:
// kernels/cuda/product_algorithms.h, docs/decisions/0024-measured-algorithms.md.
#ifndef ONEFLOW_KERNELS_CUDA_ALGORITHM_CHOICES_H_
#define ONEFLOW_KERNELS_CUDA_ALGORITHM_CHOICES_H_

#include <compare>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace oneflow::kernels {

struct AlgorithmKey {
  std::string place;  // kind of GPU and version of the library
  std::string problem;
  auto operator<=>(const AlgorithmKey&) const = default;
};
struct AlgorithmChoice {
  std::string name;
  std::string times;      // microseconds of each candidate, for readers of the file
  bool replaces = false;  // what the file has is of no use: the library does not propose it
};
using AlgorithmTable = std::map<AlgorithmKey, AlgorithmChoice>;

// A line of the file, with its checksum and without its end; and back, false: it is none.
std::string AlgorithmLine(const AlgorithmKey& key, const AlgorithmChoice& choice);
bool ParseAlgorithmLine(absl::string_view line, AlgorithmKey* key, AlgorithmChoice* choice);
// Adds what the file holds; what is wrong with it, or "". No file is an empty one.
std::string ReadAlgorithms(const std::string& path, AlgorithmTable* table);
// Adds to the file what it does not have, or has of no use. Why that cannot be, or "".
std::string MergeAlgorithms(const std::string& path, const AlgorithmTable& added);

// Seconds that one run of the i-th candidate takes.
using AlgorithmTimer = std::function<absl::StatusOr<double>(size_t candidate)>;
// By the median of several turns, of all candidates each. `times`: the medians. REQUIRES: candidates > 0.
absl::StatusOr<size_t> FastestAlgorithm(size_t candidates, const AlgorithmTimer& timer,
                                        std::vector<double>* times);

class AlgorithmChoices {
 public:
  static AlgorithmChoices& OfProcess();

  AlgorithmChoices() = default;
  AlgorithmChoices(const AlgorithmChoices&) = delete;
  AlgorithmChoices& operator=(const AlgorithmChoices&) = delete;

  // Problems are measured from now on, and kept in the file; "": in none.
  void Measure(const std::string& path);
  // None are any more; those that are known keep what they have.
  void StopMeasuring();
  bool measures() const;

  // Gives the problem's algorithm to `use`, now, and again at a Settle that decides otherwise while `plan` lives.
  using Use = std::function<absl::Status(const std::string& name)>;
  absl::Status Choose(const AlgorithmKey& key, const std::vector<std::string>& candidates,
                      const AlgorithmTimer& timer, const std::weak_ptr<void>& plan, Use use);

  // Collective: all ranks call it behind the same plan's kernels, whatever their mode. If one does not
  // measure, none does from now on. nullptr: there is one rank.
  using Exchange = std::function<absl::StatusOr<std::vector<std::string>>(const std::string&)>;
  absl::Status Settle(const Exchange& exchange);

 private:
  struct Known {
    AlgorithmChoice choice;
    bool agreed = false, kept = false;  // `kept`: in the file, or not to be
  };
  struct Live {
    AlgorithmKey key;
    std::string first, used;
    std::weak_ptr<void> plan;
    Use use;
  };

  void Agree(const std::vector<std::string>& ranks);
  absl::Status Apply();
  void Keep();
  void Say(const std::string& what);

  mutable std::mutex mutex_;
  bool measures_ = false;
  std::string path_;
  std::map<AlgorithmKey, Known> known_;
  std::vector<Live> live_;
  bool said_ = false;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_ALGORITHM_CHOICES_H_
