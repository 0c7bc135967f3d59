// Any bytes as what ranks announce and compare when channels are opened, and as how they introduce themselves to
// their neighbours, and their adapters: refused with the rank that said it, or an announcement that encodes to the same.
//
// Input: a byte that chooses; a byte of ranks (up to 4); then for each a length (u16) and its bytes; then, where
// channels are announced, for each the same of the next call. Of what is announced a bit of the first byte puts right
// what nobody could guess: the digest of the program that the rank shows in the next call.
#include <vector>

#include "base/check.h"
#include "base/status.h"
#include "comm/agreement.h"
#include "comm/blame.h"
#include "comm/channel_table.h"
#include "comm/neighbours.h"
#include "comm/rdma_peers.h"
#include "comm/wire.h"
#include "tests/fuzz/comm_fuzz.h"

namespace oneflow::comm {
namespace {

// Of rank 0, to which the others announce theirs.
const RankProgram kProgram{"f", {"a mlp.py:3", "b mlp.py:8"}};

std::vector<Announcement> OwnAnnouncements(size_t world_size) {
  std::vector<Announcement> own(world_size);
  for (Announcement& one : own) one.digest = DigestOf(kProgram);
  if (world_size > 1) {
    own[1].channels = {{0, {"c", 1, true, 64, 2, "s", {}}}, {1, {"d", 1, false, 64, 2, "s", {}}}};
  }
  return own;
}

void CheckText(const std::string& text) {
  if (const absl::StatusOr<Announcement> one = Decode(text); one.ok()) {
    const absl::StatusOr<Announcement> again = Decode(Encode(*one));
    OF_CHECK(again.ok()) << again.status().ToString();
    OF_CHECK(Encode(*again) == Encode(*one));
    for (const Announcement::End& end : one->channels) {
      OF_CHECK(end.spec.region.slots > 0 && end.spec.region.per_slot > 0);
      OF_CHECK(end.number < ChannelTable::capacity());
    }
    for (const Announcement::Ring& ring : one->rings) {
      OF_CHECK(!ring.stretch.buffers.empty() && ring.stretch.bytes >= 0);
      OF_CHECK(ring.number < ChannelTable::capacity());
    }
  }
  if (const absl::StatusOr<Verdict> verdict = DecodeVerdict(text); verdict.ok()) {
    OF_CHECK(Encode(*DecodeVerdict(Encode(*verdict))) == Encode(*verdict));
    for (const uint32_t number : verdict->mapped) OF_CHECK(number < ChannelTable::capacity());
  }
  if (const absl::StatusOr<RankProgram> program = DecodeProgram(text); program.ok()) {
    OF_CHECK(Encode(*program) == text);
  }
}

// said[call][r]: what rank r says.
void Announce(const std::vector<std::string> (&said)[2]) {
  const size_t world = said[0].size();
  for (const auto& call : said) {
    for (const std::string& text : call) CheckText(text);
  }
  size_t calls = 0, bound = 0, told = 0;
  const absl::StatusOr<MappedBy> mapped = Agree(
      0, kProgram, OwnAnnouncements(world),
      [&](const std::vector<std::string>& words) -> absl::StatusOr<std::vector<std::string>> {
        OF_CHECK(calls < 2 && words.size() == world);
        std::vector<std::string> texts = said[calls++];
        texts[0] = words[0];
        return texts;
      },
      [&](const std::vector<Announcement>& all) {
        ++bound;
        OF_CHECK(all.size() == world);
        for (const Announcement& one : all) OF_CHECK(one.digest == DigestOf(kProgram));
        // What binding takes for granted.
        for (size_t r = 1; r < world; ++r) OF_CHECK(all[r].channels.size() == (r == 1 ? 2u : 0u));
        return MappedBy(world);
      },
      [&](const absl::Status&) { ++told; });
  const absl::Status& agreed = mapped.status();
  OF_CHECK(mapped.ok() ? mapped->size() == world : true);
  OF_CHECK(told <= 1 && (calls > 1 || told == 1) && bound <= 1);
  OF_CHECK(agreed.ok() ? bound == 1 && calls == 2 : KindOf(agreed) == ErrorKind::kPeer);
  const std::optional<int> blamed = BlamedRank(agreed);
  OF_CHECK(!blamed || (*blamed >= 0 && *blamed < static_cast<int>(world)));
  for (size_t r = 1; r < world; ++r) {
    if (Decode(said[0][r]).ok()) continue;
    OF_CHECK(blamed == static_cast<int>(r)) << "the first one that is malformed was not named";
    break;
  }
}

void CheckBlame(const absl::Status& met, size_t world_size) {
  if (met.ok()) return;
  const std::optional<int> blamed = BlamedRank(met);
  OF_CHECK(!blamed || (*blamed > 0 && *blamed < static_cast<int>(world_size)));
}

// By TCP, so that nothing which a text names is ever opened: a fuzzer names what is others'.
void Introduce(std::vector<std::string> said) {
  int call = 0;
  Neighbours neighbours(static_cast<int>(said.size()));
  const auto exchange =
      [&](const std::vector<std::string>& words) -> absl::StatusOr<std::vector<std::string>> {
    std::vector<std::string> texts = said;
    texts[0] = words[0];
    if (call++ > 0) {  // the verdicts: the second half of what each one says
      for (size_t r = 1; r < texts.size(); ++r) texts[r] = texts[r].substr(texts[r].size() / 2);
    } else {
      for (size_t r = 1; r < texts.size(); ++r) texts[r].resize(texts[r].size() / 2);
    }
    return texts;
  };
  const absl::Status met =
      neighbours.Meet(0, PathChoice::kTcp, std::vector<HostId>(said.size()), exchange);
  OF_CHECK(met.ok() || KindOf(met) == ErrorKind::kPeer);
  OF_CHECK(!neighbours.any());
  CheckBlame(met, said.size());
}

// What peers say of their adapters, to a rank that has none: three calls, of a third of the text each.
void IntroduceAdapters(const std::vector<std::string>& said) {
  size_t call = 0;
  const Neighbours neighbours(static_cast<int>(said.size()));
  RdmaPeers peers(static_cast<int>(said.size()));
  const auto exchange =
      [&](const std::vector<std::string>& words) -> absl::StatusOr<std::vector<std::string>> {
    std::vector<std::string> texts = {words[0]};
    for (size_t r = 1; r < said.size(); ++r) {
      const size_t third = said[r].size() / 3;
      texts.push_back(said[r].substr(call * third, third));
    }
    ++call;
    return texts;
  };
  const absl::Status met = peers.Meet(0, PathChoice::kTcp, {}, neighbours, exchange);
  OF_CHECK(met.ok() || KindOf(met) == ErrorKind::kPeer);
  OF_CHECK(!peers.any());
  CheckBlame(met, said.size());
}

}  // namespace

void FuzzAnnouncements(const uint8_t* data, size_t size) {
  FuzzInput input{data, size};
  const uint8_t what = input.Next<uint8_t>();
  std::vector<std::string> said(1 + input.Next<uint8_t>() % 4);
  for (std::string& text : said) text = input.Text(input.Next<uint16_t>());
  if (what % 2 == 0) {
    std::vector<std::string> later(said.size());
    for (std::string& text : later) text = input.Text(input.Next<uint16_t>());
    for (size_t r = 1; what & 2 && r < said.size(); ++r) {
      absl::StatusOr<Announcement> one = Decode(said[r]);
      const absl::StatusOr<RankProgram> shown = DecodeProgram(later[r]);
      if (!one.ok() || !shown.ok()) continue;
      one->digest = DigestOf(*shown);
      said[r] = Encode(*one);
    }
    const std::vector<std::string> calls[2] = {said, later};
    Announce(calls);
  } else if (what < 128) {
    Introduce(said);
  } else {
    IntroduceAdapters(said);
  }
}

}  // namespace oneflow::comm
