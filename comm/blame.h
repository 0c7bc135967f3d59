// Blame: the rank that an error is about, kept beside its words, so that a launcher can name it
// without reading prose.
//
// A payload of the Status; survives WithContext. Threads: any. Read next: base/status.h.
#ifndef ONEFLOW_COMM_BLAME_H_
#define ONEFLOW_COMM_BLAME_H_

#include <optional>
#include <string>

#include "absl/status/status.h"

namespace oneflow::comm {

// kPeer with `message`, about `rank`.
absl::Status PeerFailure(int rank, const std::string& message);

// The same of a peer that has told this rank to stop, with its cause, which blames `root`.
absl::Status StoppedBy(int rank, int root, const std::string& cause);

// The rank, if one was named.
std::optional<int> BlamedRank(const absl::Status& status);

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_BLAME_H_
