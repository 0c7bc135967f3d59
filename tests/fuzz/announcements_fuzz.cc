// Any bytes as what ranks announce when channels are opened, and as how they introduce themselves to
// their neighbours, and their adapters: refused with the rank that said it, or an announcement that encodes to the same.
//
// Input: a byte that chooses; a byte of ranks (up to 4); then for each a length (u16) and its bytes.
#include <vector>

#include "base/check.h"
#include "base/status.h"
#include "comm/binding.h"
#include "comm/blame.h"
#include "comm/neighbours.h"
#include "comm/rdma_peers.h"
#include "comm/wire.h"
#include "tests/fuzz/comm_fuzz.h"

namespace oneflow::comm {
namespace {

void Announce(const std::vector<std::string>& said) {
  for (const std::string& text : said) {
    const absl::StatusOr<Announcement> one = Decode(text);
    if (!one.ok()) continue;
    const absl::StatusOr<Announcement> again = Decode(Encode(*one));
    OF_CHECK(again.ok()) << again.status().ToString();
    OF_CHECK(Encode(*again) == Encode(*one));
    for (const ChannelSpec& channel : one->channels) {
      OF_CHECK(channel.region.slots > 0 && channel.region.per_slot > 0);
    }
  }
  const absl::StatusOr<std::vector<Announcement>> all = Agreement(said);
  if (all.ok()) {
    OF_CHECK(all->size() == said.size());
    for (const Announcement& one : *all) {
      OF_CHECK(one.fingerprint == all->front().fingerprint);
    }
    return;
  }
  OF_CHECK(KindOf(all.status()) == ErrorKind::kPeer);
  const std::optional<int> blamed = BlamedRank(all.status());
  OF_CHECK(!blamed || (*blamed >= 0 && *blamed < static_cast<int>(said.size())));
  for (size_t r = 0; r < said.size(); ++r) {
    if (Decode(said[r]).ok()) continue;
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
  const auto all_gather = [&](const std::string& own) -> absl::StatusOr<std::vector<std::string>> {
    std::vector<std::string> texts = said;
    texts[0] = own;
    if (call++ > 0) {  // the verdicts: the second half of what each one says
      for (size_t r = 1; r < texts.size(); ++r) texts[r] = texts[r].substr(texts[r].size() / 2);
    } else {
      for (size_t r = 1; r < texts.size(); ++r) texts[r].resize(texts[r].size() / 2);
    }
    return texts;
  };
  const absl::Status met = neighbours.Meet(0, PathChoice::kTcp, all_gather);
  OF_CHECK(met.ok() || KindOf(met) == ErrorKind::kPeer);
  OF_CHECK(!neighbours.any());
  CheckBlame(met, said.size());
}

// What peers say of their adapters, to a rank that has none: three calls, of a third of the text each.
void IntroduceAdapters(const std::vector<std::string>& said) {
  size_t call = 0;
  const Neighbours neighbours(static_cast<int>(said.size()));
  RdmaPeers peers(static_cast<int>(said.size()));
  const auto all_gather = [&](const std::string& own) -> absl::StatusOr<std::vector<std::string>> {
    std::vector<std::string> texts = {own};
    for (size_t r = 1; r < said.size(); ++r) {
      const size_t third = said[r].size() / 3;
      texts.push_back(said[r].substr(call * third, third));
    }
    ++call;
    return texts;
  };
  const absl::Status met = peers.Meet(0, PathChoice::kTcp, {}, neighbours, all_gather);
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
    Announce(said);
  } else if (what < 128) {
    Introduce(said);
  } else {
    IntroduceAdapters(said);
  }
}

}  // namespace oneflow::comm
