// Meeting: what ranks say to each other when they agree how each pair is reached, by shared memory (comm/neighbours.h)
// or by RDMA (comm/rdma_peers.h): first which ways each wants and has, at last what the two of a pair have against it.
//
// Values and functions. Threads: any. Total on what a peer says; the rank that says something else is blamed. Read
// next: comm/neighbours.cc, comm/rdma_peers.cc.
#ifndef ONEFLOW_COMM_MEETING_H_
#define ONEFLOW_COMM_MEETING_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "comm/bytes.h"
#include "comm/transport.h"

namespace oneflow::comm {

// A collective call: what this rank says to each, by rank; gives what each has said to it.
using ExchangeFn =
    std::function<absl::StatusOr<std::vector<std::string>>(const std::vector<std::string>&)>;

// What a rank says of one way to be reached.
struct Stance {
  PathChoice choice = PathChoice::kTcp;
  std::string why_not;  // it cannot be reached so; else empty
};
void Write(PathChoice choice, ByteWriter* writer);
PathChoice ReadChoice(ByteReader* reader);

// The rank may be asked for this way at all.
bool Wants(PathChoice choice, PathChoice way);
// Why this rank and that do not even try it; empty if they do.
std::string WhyNot(PathChoice way, const Stance& own, const Stance& other, size_t rank);

// Collective: tells each rank what this one has against their pair, empty for nothing, and all what it has against the
// job; gives what each has against its pair with this rank. An error, the same on all ranks, if any objects. All of a
// rank's words have been read when it returns.
absl::StatusOr<std::vector<std::string>> ExchangeReasons(const std::vector<std::string>& reasons,
                                                         const std::string& objection,
                                                         const ExchangeFn& exchange);

// What this rank has to say against the job: its first pair, by rank, that has a reason against a way on which one end
// insists, as `in_words(end, other)` puts it.
std::string ObjectionOf(size_t self, const std::vector<PathChoice>& choices, PathChoice way,
                        const std::vector<std::string>& reasons,
                        const std::function<std::string(size_t, size_t)>& in_words);

// That rank's words are none of this protocol.
absl::Status BrokeMeeting(size_t rank);

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_MEETING_H_
