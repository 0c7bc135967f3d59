#include "comm/collectives.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "comm/blame.h"
#include "comm/frame.h"

namespace oneflow::comm {
namespace {

// What goes over a connection: the length, then the words, in pieces.
uint64_t LengthOf(const std::string& words) { return sizeof(uint64_t) + words.size(); }

// The piece that begins there; empty behind the end.
std::string PieceAt(const std::string& words, uint64_t at) {
  if (at >= LengthOf(words)) return "";
  if (at > 0) return words.substr(at - sizeof(uint64_t), kLongestControl);
  std::string piece(sizeof(uint64_t), '\0');
  const uint64_t length = words.size();
  std::memcpy(piece.data(), &length, sizeof(length));
  return piece.append(words, 0, kLongestControl - sizeof(uint64_t));
}

}  // namespace

Collectives::Collectives(int rank, int world_size)
    : rank_(rank),
      pieces_(world_size),
      bytes_(world_size),
      left_(world_size),
      next_numbers_(world_size) {}

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

absl::StatusOr<std::vector<std::string>> Collectives::Exchange(
    const std::vector<const std::string*>& words, std::chrono::milliseconds limit, const Say& say) {
  std::lock_guard collective(gather_mutex_);
  std::vector<std::string> result(words.size());
  std::vector<uint64_t> longest(words.size());  // of the two of a pair, with its length
  std::vector<size_t> ranks;                    // those whose pair is not through
  for (size_t r = 0; r < words.size(); ++r) {
    if (words[r]->size() > kLongest) {
      return MakeError(ErrorKind::kPeer, absl::StrCat("a collective call of ", words[r]->size(),
                                                      " bytes; at most ", kLongest, " go"));
    }
    longest[r] = LengthOf(*words[r]);
    if (static_cast<int>(r) != rank_) ranks.push_back(r);
  }
  // The first piece begins with the length; then a pair goes on until the longer is through.
  for (uint64_t at = 0; !ranks.empty(); at += kLongestControl) {
    for (size_t r : ranks) {
      say(static_cast<int>(r), next_numbers_[r]++, PieceAt(*words[r], at));
    }
    OF_ASSIGN_OR_RETURN(const std::vector<std::string> pieces, Take(ranks, limit));
    for (size_t r : ranks) {
      result[r] += pieces[r];
      if (at == 0) {
        uint64_t theirs = 0;
        if (result[r].size() >= sizeof(theirs)) {
          std::memcpy(&theirs, result[r].data(), sizeof(theirs));
        }
        if (result[r].size() < sizeof(theirs) || theirs > kLongest) {
          return PeerFailure(static_cast<int>(r),
                             absl::StrCat("rank ", r, " broke the protocol: a collective call of ",
                                          theirs, " bytes"));
        }
        longest[r] = std::max(longest[r], theirs + sizeof(theirs));
      }
    }
    std::erase_if(ranks, [&](size_t r) { return longest[r] - at <= kLongestControl; });
  }
  for (size_t r = 0; r < result.size(); ++r) {
    if (static_cast<int>(r) == rank_) continue;
    uint64_t theirs = 0;
    std::memcpy(&theirs, result[r].data(), sizeof(theirs));
    if (result[r].size() != theirs + sizeof(theirs)) {
      return PeerFailure(
          static_cast<int>(r),
          absl::StrCat("rank ", r, " broke the protocol: a collective call of ",
                       result[r].size() - sizeof(theirs), " bytes, where it said ", theirs));
    }
    result[r].erase(0, sizeof(theirs));
  }
  result[static_cast<size_t>(rank_)] = *words[static_cast<size_t>(rank_)];
  return result;
}

absl::StatusOr<std::vector<std::string>> Collectives::Take(const std::vector<size_t>& ranks,
                                                           std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  std::vector<int> missing;
  changed_.wait_for(lock, limit, [&] {
    missing.clear();
    bool gone = false;
    for (size_t r : ranks) {
      if (pieces_[r].contains(next_numbers_[r] - 1)) continue;
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
  for (size_t r : ranks) {
    auto node = pieces_[r].extract(next_numbers_[r] - 1);
    bytes_[r] -= node.mapped().size();
    said[r] = std::move(node.mapped());
  }
  return said;
}

}  // namespace oneflow::comm
