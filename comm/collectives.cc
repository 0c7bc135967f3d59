#include "comm/collectives.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "comm/blame.h"
#include "comm/frame.h"

namespace oneflow::comm {

Collectives::Collectives(int rank, int world_size)
    : rank_(rank), pieces_(world_size), bytes_(world_size), left_(world_size) {}

std::string Collectives::Put(int from, uint32_t number, std::string piece) {
  std::lock_guard lock(mutex_);
  std::map<uint32_t, std::string>& pieces = pieces_[from];
  if (pieces.size() >= kUnread || bytes_[from] + piece.size() > kUnreadBytes) {
    return absl::StrCat("it is ", pieces.size(), " pieces and ", bytes_[from],
                        " bytes of collective calls ahead of this rank");
  }
  bytes_[from] += piece.size();
  if (!pieces.try_emplace(number, std::move(piece)).second) {
    return absl::StrCat("it said piece ", number, " of a collective call twice");
  }
  changed_.notify_all();
  return "";
}

void Collectives::Left(int rank) {
  std::lock_guard lock(mutex_);
  left_[rank] = true;
  changed_.notify_all();
}

bool Collectives::Fail(const absl::Status& cause) {
  std::lock_guard lock(mutex_);
  if (!failure_.ok()) return false;
  failure_ = cause;
  changed_.notify_all();
  return true;
}

absl::Status Collectives::failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

absl::StatusOr<std::vector<std::string>> Collectives::Gather(const std::string& bytes,
                                                             std::chrono::milliseconds limit,
                                                             const Say& say) {
  std::lock_guard collective(gather_mutex_);
  if (bytes.size() > kLongest) {
    return MakeError(ErrorKind::kPeer, absl::StrCat("a collective call of ", bytes.size(),
                                                    " bytes; at most ", kLongest, " go"));
  }
  // The first piece begins with the length; then all go on until the longest is through.
  std::string said(sizeof(uint64_t), '\0');
  const uint64_t length = bytes.size();
  std::memcpy(said.data(), &length, sizeof(length));
  said += bytes;
  std::vector<std::string> result(pieces_.size());
  uint64_t longest = said.size();
  for (uint64_t at = 0; at < longest; at += kLongestControl) {
    const uint32_t number = next_number_++;
    say(number, at < said.size() ? said.substr(at, kLongestControl) : "");
    OF_ASSIGN_OR_RETURN(std::vector<std::string> pieces, Take(number, limit));
    for (size_t r = 0; r < result.size(); ++r) {
      if (static_cast<int>(r) == rank_) continue;
      result[r] += pieces[r];
      if (at > 0) continue;
      uint64_t theirs = 0;
      if (result[r].size() >= sizeof(theirs)) {
        std::memcpy(&theirs, result[r].data(), sizeof(theirs));
      }
      if (result[r].size() < sizeof(theirs) || theirs > kLongest) {
        return PeerFailure(static_cast<int>(r),
                           absl::StrCat("rank ", r, " broke the protocol: a collective call of ",
                                        theirs, " bytes"));
      }
      longest = std::max(longest, theirs + sizeof(theirs));
    }
  }
  for (size_t r = 0; r < result.size(); ++r) {
    if (static_cast<int>(r) != rank_) result[r].erase(0, sizeof(uint64_t));
  }
  result[static_cast<size_t>(rank_)] = bytes;
  return result;
}

absl::StatusOr<std::vector<std::string>> Collectives::Take(uint32_t number,
                                                           std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  std::vector<int> missing;
  changed_.wait_for(lock, limit, [&] {
    missing.clear();
    bool gone = false;
    for (size_t r = 0; r < pieces_.size(); ++r) {
      if (static_cast<int>(r) == rank_ || pieces_[r].contains(number)) continue;
      missing.push_back(static_cast<int>(r));
      gone = gone || left_[r];
    }
    return missing.empty() || !failure_.ok() || gone;
  });
  if (!missing.empty()) {
    if (!failure_.ok()) return failure_;
    int blamed = missing[0];
    for (int r : missing) {
      if (left_[r]) blamed = r;
    }
    return PeerFailure(
        blamed,
        absl::StrCat("rank(s) ", absl::StrJoin(missing, ", "),
                     " did not take part in a collective call (loading a plan, gathering a "
                     "parameter) that rank ",
                     rank_, " made; every rank must make the same calls in the same order"));
  }
  std::vector<std::string> said(pieces_.size());
  for (size_t r = 0; r < pieces_.size(); ++r) {
    if (static_cast<int>(r) == rank_) continue;
    auto node = pieces_[r].extract(number);
    bytes_[r] -= node.mapped().size();
    said[r] = std::move(node.mapped());
  }
  return said;
}

}  // namespace oneflow::comm
