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

std::optional<int> BlamedRank(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayload);
  int rank = 0;
  if (!payload || !absl::SimpleAtoi(std::string(*payload), &rank)) return std::nullopt;
  return rank;
}

}  // namespace oneflow::comm
