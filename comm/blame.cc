#include "comm/blame.h"

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace oneflow::comm {
namespace {

constexpr char kPayload[] = "oneflow.dev/blamed-rank";

}  // namespace

absl::Status PeerFailure(int rank, const std::string& message) {
  absl::Status status = MakeError(ErrorKind::kPeer, message);
  status.SetPayload(kPayload, absl::Cord(absl::StrCat(rank)));
  return status;
}

absl::Status StoppedBy(int rank, int root, const std::string& cause) {
  return PeerFailure(root, absl::StrCat("stopped because rank ", rank,
                                        root != rank ? " says: " : " failed: ", cause));
}

std::optional<int> BlamedRank(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayload);
  int rank = 0;
  if (!payload || !absl::SimpleAtoi(std::string(*payload), &rank)) return std::nullopt;
  return rank;
}

}  // namespace oneflow::comm
