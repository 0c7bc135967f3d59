#include "comm/rdma_peers.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "comm/bytes.h"
#include "comm/meeting.h"

namespace oneflow::comm {
namespace {

using Clock = std::chrono::steady_clock;
// A peer that died, failed or left says so by TCP at once.
constexpr auto kGrace = std::chrono::milliseconds(1000);

void Write(const QueuePairAddress& address, ByteWriter* writer) {
  writer->Text(std::string(address.gid.begin(), address.gid.end()));
  writer->Integer(address.lid);
  writer->Integer(address.link);
  writer->Integer(address.mtu);
  writer->Integer(address.number);
  writer->Integer(address.sequence);
}

QueuePairAddress ReadAddress(ByteReader* reader) {
  QueuePairAddress address;
  const std::string gid = reader->Text();
  if (gid.size() != address.gid.size()) {
    reader->ok = false;
    return address;
  }
  std::copy(gid.begin(), gid.end(), address.gid.begin());
  const auto read = [reader](auto* field) {
    const uint64_t value = reader->Integer();
    *field = static_cast<std::remove_pointer_t<decltype(field)>>(value);
    if (*field != value) reader->ok = false;
  };
  read(&address.lid);
  read(&address.link);
  read(&address.mtu);
  read(&address.number);
  read(&address.sequence);
  return address;
}

// What a rank says first to another.
struct RdmaIntroduction {
  Stance stance;
  bool tries = false;                       // it has an address for some rank
  std::string port;                         // its name; empty if there is none
  std::optional<QueuePairAddress> address;  // where the other is to connect

  std::string Encode() const {
    ByteWriter writer;
    Write(stance.choice, &writer);
    writer.Text(stance.why_not);
    writer.Integer(tries ? 1 : 0);
    writer.Text(port);
    writer.Integer(address ? 1 : 0);
    if (address) Write(*address, &writer);
    return writer.bytes;
  }
  // False on anything but what Encode gives.
  bool Decode(const std::string& bytes) {
    ByteReader reader(bytes);
    stance.choice = ReadChoice(&reader);
    stance.why_not = reader.Text();
    const uint64_t says_tries = reader.Integer();
    tries = says_tries == 1;
    port = reader.Text();
    const uint64_t has_address = reader.Integer();
    address.reset();
    if (has_address == 1) address = ReadAddress(&reader);
    return reader.ok && reader.done() && says_tries <= 1 && has_address <= 1;
  }
};

}  // namespace

RdmaPeers::RdmaPeers(int world_size)
    : links_(static_cast<size_t>(world_size)),
      listening_(links_.size()),
      paths_(links_.size(), "tcp"),
      suspicions_(links_.size()) {}

absl::Status RdmaPeers::Meet(int rank, PathChoice choice, RdmaOptions options,
                             const Neighbours& neighbours, const ExchangeFn& exchange) {
  const size_t world = links_.size();
  const size_t self = static_cast<size_t>(rank);
  paths_ = neighbours.paths();
  std::vector<std::unique_ptr<RdmaLink>> links(world);
  const auto tries = [&](size_t r) {
    return r != self && neighbours.link(static_cast<int>(r)) == nullptr;
  };

  // 1: who has what.
  RdmaIntroduction own{{choice, ""}, false, "", {}};
  const bool needs_port = Wants(choice, PathChoice::kRdma) && !neighbours.all();
  if (needs_port) {
    if (options.verbs == nullptr) options.verbs = SystemVerbs();
    auto port = options.verbs->Open(options.device, options.near);
    if (!port.ok()) own.stance.why_not = MessageOf(port.status());
    for (size_t r = 0; port.ok() && r < world; ++r) {
      if (!tries(r)) continue;
      absl::StatusOr<std::unique_ptr<RdmaLink>> made = RdmaLink::Make(*port);
      if (!made.ok()) {
        own.stance.why_not = MessageOf(made.status());
        links = std::vector<std::unique_ptr<RdmaLink>>(world);
        break;
      }
      links[r] = *std::move(made);
      own.port = (*port)->name();
    }
  }
  own.tries = std::any_of(links.begin(), links.end(),
                          [](const std::unique_ptr<RdmaLink>& link) { return link != nullptr; });
  std::vector<std::string> words;
  for (const std::unique_ptr<RdmaLink>& link : links) {
    own.address.reset();
    if (link != nullptr) own.address = link->address();
    words.push_back(own.Encode());
  }
  OF_ASSIGN_OR_RETURN(const std::vector<std::string> said, exchange(words));
  std::vector<RdmaIntroduction> all(world);
  std::vector<std::string> reasons(world);  // why the path to that rank is not RDMA
  std::vector<PathChoice> choices(world);
  bool any_tries = false;
  for (size_t r = 0; r < world; ++r) {
    if (!all[r].Decode(said[r])) return BrokeMeeting(r);
    choices[r] = all[r].stance.choice;
    any_tries |= all[r].tries || choices[r] == PathChoice::kRdma;
    if (!tries(r)) continue;
    reasons[r] = WhyNot(PathChoice::kRdma, own.stance, all[r].stance, r);
    if (!reasons[r].empty()) continue;
    if (!all[r].address || all[r].address->number == 0) return BrokeMeeting(r);
  }
  // 2: all are connected before anybody sends.
  if (any_tries) {
    for (size_t r = 0; r < world; ++r) {
      if (!tries(r) || !reasons[r].empty()) continue;
      const absl::Status joined = links[r]->Join(*all[r].address);
      if (!joined.ok()) reasons[r] = MessageOf(joined);
    }
    OF_ASSIGN_OR_RETURN(const std::vector<std::string> answers,
                        ExchangeReasons(reasons, "", exchange));
    std::vector<size_t> open;
    for (size_t r = 0; r < world; ++r) {
      if (!tries(r) || !reasons[r].empty() || !answers[r].empty()) continue;
      open.push_back(r);
      links[r]->Probe();
    }
    const Clock::time_point deadline = Clock::now() + options.probe_time;
    while (!open.empty()) {
      std::erase_if(open, [&](size_t r) {
        const absl::StatusOr<bool> probed = links[r]->Probed();
        if (!probed.ok()) reasons[r] = MessageOf(probed.status());
        return !probed.ok() || *probed;
      });
      if (Clock::now() >= deadline) break;
      if (!open.empty()) std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    for (size_t r : open) reasons[r] = "its probe did not come";
    // 3: what both have seen to work is used.
    const auto in_words = [&](size_t end, size_t other) {
      return absl::StrCat("ONEFLOW_TRANSPORT=rdma on rank ", end, ", but ranks ", self, " and ",
                          other, " do not reach each other by RDMA (", reasons[other],
                          "); unset it, and such ranks use TCP");
    };
    OF_ASSIGN_OR_RETURN(
        const std::vector<std::string> verdicts,
        ExchangeReasons(reasons, ObjectionOf(self, choices, PathChoice::kRdma, reasons, in_words),
                        exchange));
    for (size_t r = 0; r < world; ++r) {
      if (!reasons[r].empty() || verdicts[r].empty()) continue;
      reasons[r] = absl::StrCat("rank ", r, ": ", verdicts[r]);
    }
  }
  for (size_t r = 0; r < world; ++r) {
    if (!tries(r)) continue;
    if (reasons[r].empty()) {
      paths_[r] = absl::StrCat("rdma (", own.port, " to ", all[r].port, ")");
      links_[r] = std::move(links[r]);
      listening_[r].store(true, std::memory_order_release);
      any_.store(true, std::memory_order_release);
    } else if (Wants(choice, PathChoice::kRdma) && Wants(all[r].stance.choice, PathChoice::kRdma)) {
      const bool has_reason = paths_[r].ends_with(')');
      if (has_reason) paths_[r].pop_back();
      absl::StrAppend(&paths_[r], has_reason ? "; " : " (", reasons[r], ")");
    }
  }
  return absl::OkStatus();
}

void RdmaPeers::Drop(int rank) {
  const size_t r = static_cast<size_t>(rank);
  listening_[r].store(false);
  suspicions_[r].reset();
  if (links_[r] != nullptr) links_[r]->Close();
}

void RdmaPeers::Suspect(int rank, const std::string& how) {
  Drop(rank);
  suspicions_[static_cast<size_t>(rank)] = {how, Clock::now() + kGrace};
}

std::optional<std::string> RdmaPeers::Due(int rank) {
  std::optional<Suspicion>& suspicion = suspicions_[static_cast<size_t>(rank)];
  if (!suspicion || Clock::now() < suspicion->due) return std::nullopt;
  std::string how = absl::StrCat(suspicion->how, ", while it answers by TCP");
  suspicion.reset();
  return how;
}

std::string RdmaPeers::Doubt(int rank) const {
  const std::optional<Suspicion>& suspicion = suspicions_[static_cast<size_t>(rank)];
  return suspicion ? absl::StrCat("; ", suspicion->how) : "";
}

int RdmaPeers::longest_sleep_ms() const {
  const bool doubts = std::any_of(suspicions_.begin(), suspicions_.end(),
                                  [](const auto& suspicion) { return suspicion.has_value(); });
  return doubts ? 20 : 1000;
}

bool RdmaPeers::idle() const {
  return std::all_of(links_.begin(), links_.end(),
                     [](const auto& link) { return link == nullptr || link->idle(); });
}

}  // namespace oneflow::comm
