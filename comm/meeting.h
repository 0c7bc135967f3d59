// Meeting: what ranks say to each other when they agree how each pair is reached, by shared memory (comm/neighbours.h)
// or by RDMA (comm/rdma_peers.h): first which ways each wants and has, at last what each has against every other.
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

// A collective call: every rank's bytes, by rank.
using AllGatherFn = std::function<absl::StatusOr<std::vector<std::string>>(const std::string&)>;

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

// Collective: what each rank has against each other, by rank and rank; empty: nothing. All of a rank's words have been
// read when it returns.
absl::StatusOr<std::vector<std::vector<std::string>>> ExchangeReasons(
    const std::vector<std::string>& reasons, const AllGatherFn& all_gather);

// That rank's words are none of this protocol.
absl::Status BrokeMeeting(size_t rank);

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_MEETING_H_
