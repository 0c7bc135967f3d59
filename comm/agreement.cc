#include "comm/agreement.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "comm/blame.h"
#include "comm/frame.h"

namespace oneflow::comm {
namespace {

absl::Status BrokeProtocol(size_t rank, const std::string& how) {
  return PeerFailure(static_cast<int>(rank),
                     absl::StrCat("rank ", rank, " broke the protocol: ", how));
}

// The two ranks send their programs to all; the error that all ranks have then.
absl::Status ShowDifference(int rank, const RankProgram& program,
                            const std::vector<Digest>& digests, const Difference& difference,
                            const ExchangeFn& exchange) {
  const bool shows = rank == difference.usual || rank == difference.other;
  const std::vector<std::string> words(digests.size(), shows ? Encode(program) : "");
  OF_ASSIGN_OR_RETURN(const std::vector<std::string> said, exchange(words));
  RankProgram programs[2];
  for (const int i : {0, 1}) {
    const size_t r = static_cast<size_t>(i == 0 ? difference.usual : difference.other);
    absl::StatusOr<RankProgram> shown = DecodeProgram(said[r]);
    if (!shown.ok()) return BrokeProtocol(r, MessageOf(shown.status()));
    if (DigestOf(*shown) != digests[r]) {
      return BrokeProtocol(r, "the program that it sends has another digest than it said");
    }
    programs[i] = *std::move(shown);
  }
  const std::string sentence =
      ComparePrograms(difference, digests.size(), programs[0], programs[1]);
  const std::optional<int> odd = OddRank(difference, digests.size());
  return odd ? PeerFailure(*odd, sentence) : MakeError(ErrorKind::kPeer, sentence);
}

}  // namespace

absl::StatusOr<MappedBy> Agree(
    int rank, const RankProgram& program, const std::vector<Announcement>& own,
    const ExchangeFn& exchange,
    const std::function<MappedBy(const std::vector<Announcement>&)>& bind,
    const std::function<void(const absl::Status&)>& tell) {
  const auto broken = [&tell](size_t rank, const absl::Status& how) {
    absl::Status status = BrokeProtocol(rank, MessageOf(how));
    tell(status);
    return status;
  };
  std::vector<std::string> words;
  for (const Announcement& one : own) words.push_back(Encode(one));
  OF_ASSIGN_OR_RETURN(const std::vector<std::string> said, exchange(words));
  std::vector<Announcement> all;
  std::vector<Digest> digests;
  for (size_t r = 0; r < said.size(); ++r) {
    absl::StatusOr<Announcement> one = Decode(said[r]);
    if (!one.ok()) return broken(r, one.status());
    digests.push_back(one->digest);
    all.push_back(*std::move(one));
  }
  if (const std::optional<Difference> difference = FindDifference(digests)) {
    return ShowDifference(rank, program, digests, *difference, exchange);
  }
  std::string objection;
  for (size_t r = 0; objection.empty() && r < all.size(); ++r) {
    if (static_cast<int>(r) == rank) continue;
    objection = CompareChannels(rank, own[r], static_cast<int>(r), all[r]);
  }
  MappedBy mapped(own.size());
  if (objection.empty()) mapped = bind(all);
  // Nobody writes into a channel that its reader has not bound.
  words.clear();
  for (const std::vector<uint32_t>& numbers : mapped)
    words.push_back(Encode(Verdict{objection, numbers}));
  OF_ASSIGN_OR_RETURN(const std::vector<std::string> verdicts, exchange(words));
  std::string first;
  for (size_t r = 0; r < verdicts.size(); ++r) {
    absl::StatusOr<Verdict> verdict = DecodeVerdict(verdicts[r]);
    if (!verdict.ok()) return broken(r, verdict.status());
    if (first.empty()) first = verdict->objection;
    mapped[r] = std::move(verdict->mapped);
  }
  if (!first.empty()) return MakeError(ErrorKind::kPeer, first);
  return mapped;
}

std::optional<Difference> FindDifference(const std::vector<Digest>& digests) {
  std::map<Digest, size_t> followers;
  for (const Digest& digest : digests) ++followers[digest];
  if (followers.size() <= 1) return std::nullopt;
  // The lowest rank whose program no other has more followers than.
  size_t usual = 0;
  for (size_t r = 1; r < digests.size(); ++r) {
    if (followers[digests[r]] > followers[digests[usual]]) usual = r;
  }
  size_t other = 0;
  while (digests[other] == digests[usual]) ++other;
  return Difference{static_cast<int>(usual), static_cast<int>(other), followers[digests[usual]]};
}

std::optional<int> OddRank(const Difference& difference, size_t world_size) {
  if (2 * difference.followers <= world_size) return std::nullopt;
  return difference.other;
}

std::string ComparePrograms(const Difference& difference, size_t world_size,
                            const RankProgram& usual, const RankProgram& other) {
  const auto& [a, b, followers] = difference;
  const std::string both = absl::StrCat("ranks ", std::min(a, b), " and ", std::max(a, b));
  const std::string others = followers > 1 ? absl::StrCat(" (", followers, " of ", world_size,
                                                          " ranks do as rank ", a, ")")
                                           : "";
  for (size_t i = 0; i < std::max(usual.rows.size(), other.rows.size()); ++i) {
    const std::string x = i < usual.rows.size() ? usual.rows[i] : "nothing";
    const std::string y = i < other.rows.size() ? other.rows[i] : "nothing";
    if (x == y) continue;
    return absl::StrCat(both, " run different programs", others, ": the first op that differs is `",
                        x, "` on rank ", a, " and `", y, "` on rank ", b,
                        "; every rank must run the same script with the same arguments");
  }
  return absl::StrCat(both, " compiled different plans of the same ops", others, " (fingerprints ",
                      usual.fingerprint, " and ", other.fingerprint,
                      "); every rank must use the same build and options");
}

std::string CompareChannels(int rank, const Announcement& own, int peer,
                            const Announcement& theirs) {
  // (name, source, destination) -> the two ends.
  std::map<std::tuple<std::string, int, int>, std::pair<const ChannelSpec*, const ChannelSpec*>>
      ends;
  const std::tuple mine(rank, peer, &own), yours(peer, rank, &theirs);
  for (const auto& [self, other, said] : {std::min(mine, yours), std::max(mine, yours)}) {
    for (const Announcement::End& end : said->channels) {
      auto& pair =
          end.spec.sends ? ends[{end.spec.name, self, other}] : ends[{end.spec.name, other, self}];
      const ChannelSpec*& place = end.spec.sends ? pair.first : pair.second;
      if (place != nullptr) {
        return absl::StrCat("channel `", end.spec.name, "` is there twice on rank ", self);
      }
      place = &end.spec;
    }
  }
  for (const auto& [key, pair] : ends) {
    const auto& [name, source, destination] = key;
    const auto [send, receive] = pair;
    const std::string what =
        absl::StrCat("channel `", name, "` from rank ", source, " to rank ", destination);
    if (send == nullptr || receive == nullptr) {
      return absl::StrCat(what, " is known to rank ", send == nullptr ? destination : source,
                          " alone");
    }
    if (send->bytes != receive->bytes || send->slots != receive->slots ||
        send->check != receive->check) {
      return absl::StrCat(what, " differs: ", send->bytes, " bytes, ", send->slots, " slots, ",
                          send->check, " at its source; ", receive->bytes, " bytes, ",
                          receive->slots, " slots, ", receive->check, " at its destination");
    }
  }
  return "";
}

}  // namespace oneflow::comm
