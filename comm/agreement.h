// Agreement: what ranks tell each other and compare before a plan runs. Each says a digest of its program to all;
// the programs themselves only two ranks send, where digests differ. What is said of channels goes to the rank at
// their other end alone, which compares both ends; what a pair finds, all hear.
//
// Functions of OpenChannels. Threads: one at a time, under its lock. Total on what a peer says; the rank that says
// something else is blamed. Invariant: what all can know is in the same words on all ranks. Read next: comm/wire.h,
// comm/binding.h.
#ifndef ONEFLOW_COMM_AGREEMENT_H_
#define ONEFLOW_COMM_AGREEMENT_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "comm/meeting.h"
#include "comm/wire.h"

namespace oneflow::comm {

// By rank, channels by their numbers at one of the two (Verdict::mapped).
using MappedBy = std::vector<std::vector<uint32_t>>;

// Collective. own[r] is for rank r. `bind` gets what each rank has said, when this rank has nothing against it, and
// says what it maps of each; no rank sends anything before all have bound. Returns what each rank maps of this one.
// `tell`: an error that other ranks do not see, for whoever can tell them.
absl::StatusOr<MappedBy> Agree(
    int rank, const RankProgram& program, const std::vector<Announcement>& own,
    const ExchangeFn& exchange,
    const std::function<MappedBy(const std::vector<Announcement>&)>& bind,
    const std::function<void(const absl::Status&)>& tell);

// Two ranks whose programs are to be compared: one of the most, and the first that runs something else.
struct Difference {
  int usual = 0;
  int other = 0;
  size_t followers = 0;  // ranks with the program of `usual`
};
// By rank; none if all are equal.
std::optional<Difference> FindDifference(const std::vector<Digest>& digests);
// The rank that runs something else than more than half of all ranks; none if no program has a majority.
std::optional<int> OddRank(const Difference& difference, size_t world_size);
// One sentence for all ranks: the first row that differs.
std::string ComparePrograms(const Difference& difference, size_t world_size,
                            const RankProgram& usual, const RankProgram& other);

// Empty if both ends of all channels between two ranks fit, else one sentence, the same from either side.
std::string CompareChannels(int rank, const Announcement& own, int peer,
                            const Announcement& theirs);

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_AGREEMENT_H_
