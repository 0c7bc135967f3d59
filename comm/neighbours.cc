#include "comm/neighbours.h"

#include <openssl/evp.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"

namespace oneflow::comm {
namespace {

// What a rank says first to another.
struct Introduction {
  Stance stance;
  std::optional<InboxOffer> inbox;  // where the other is to write

  std::string Encode() const {
    ByteWriter writer;
    Write(stance.choice, &writer);
    writer.Text(stance.why_not);
    writer.Integer(inbox ? 1 : 0);
    if (inbox) inbox->Write(&writer);
    return writer.bytes;
  }
  // False on anything but what Encode gives.
  bool Decode(const std::string& bytes) {
    ByteReader reader(bytes);
    stance.choice = ReadChoice(&reader);
    stance.why_not = reader.Text();
    const uint64_t has_inbox = reader.Integer();
    inbox.reset();
    if (has_inbox == 1) inbox = InboxOffer::Read(&reader);
    return reader.ok && reader.done() && has_inbox <= 1;
  }
};

}  // namespace

HostId OwnHost() {
  std::ifstream boot("/proc/sys/kernel/random/boot_id");
  std::string name((std::istreambuf_iterator<char>(boot)), std::istreambuf_iterator<char>());
  struct stat pids {};
  HostId id{};
  if (name.empty() || stat("/proc/self/ns/pid", &pids) != 0) return id;
  absl::StrAppend(&name, pids.st_ino);
  uint8_t digest[32];
  OF_CHECK(EVP_Digest(name.data(), name.size(), digest, nullptr, EVP_sha256(), nullptr) == 1);
  std::copy_n(digest, id.size(), id.begin());
  return id;
}

Neighbours::Neighbours(int world_size)
    : links_(static_cast<size_t>(world_size)),
      listening_(links_.size()),
      paths_(links_.size(), "tcp") {}

absl::Status Neighbours::Meet(int rank, PathChoice choice, const std::vector<HostId>& hosts,
                              const ExchangeFn& exchange) {
  const size_t world = links_.size();
  const size_t self = static_cast<size_t>(rank);
  std::vector<std::unique_ptr<SharedLink>> links(world);
  const auto is_near = [&](size_t r) { return hosts[r] == hosts[self] && hosts[r] != HostId{}; };
  Introduction own{{choice, ""}, {}};
  for (size_t r = 0; Wants(choice, PathChoice::kShared) && r < world; ++r) {
    if (r == self || !is_near(r)) continue;
    absl::StatusOr<std::unique_ptr<SharedLink>> made = SharedLink::Make();
    if (!made.ok()) {
      own.stance.why_not = MessageOf(made.status());
      links = std::vector<std::unique_ptr<SharedLink>>(world);
      break;
    }
    links[r] = *std::move(made);
  }
  std::vector<std::string> words;
  for (const std::unique_ptr<SharedLink>& link : links) {
    own.inbox.reset();
    if (link != nullptr) own.inbox = link->offer();
    words.push_back(own.Encode());
  }
  OF_ASSIGN_OR_RETURN(const std::vector<std::string> said, exchange(words));
  std::vector<std::string> reasons(world);  // why the path to that rank is not shared memory
  std::vector<PathChoice> choices(world);
  for (size_t r = 0; r < world; ++r) {
    Introduction other;
    if (!other.Decode(said[r])) return BrokeMeeting(r);
    choices[r] = other.stance.choice;
    if (r == self) continue;
    reasons[r] = WhyNot(PathChoice::kShared, own.stance, other.stance, r);
    if (reasons[r].empty() && !is_near(r)) {
      reasons[r] = absl::StrCat("rank ", r, " runs on another host, or in another container");
    }
    if (reasons[r].empty() && !other.inbox) return BrokeMeeting(r);
    if (!reasons[r].empty()) continue;
    if (const absl::Status joined = links[r]->Join(*other.inbox); !joined.ok()) {
      reasons[r] = absl::StrCat("rank ", rank, " cannot use the memory of rank ", r, ": ",
                                MessageOf(joined));
    }
  }
  const auto in_words = [&](size_t end, size_t other) {
    return absl::StrCat("ONEFLOW_TRANSPORT=shm on rank ", end, ", but ranks ", self, " and ", other,
                        " share no memory (", reasons[other],
                        "); unset it, and such ranks use TCP");
  };
  OF_ASSIGN_OR_RETURN(
      const std::vector<std::string> answers,
      ExchangeReasons(reasons, ObjectionOf(self, choices, PathChoice::kShared, reasons, in_words),
                      exchange));
  for (size_t r = 0; r < world; ++r) {
    if (reasons[r].empty()) reasons[r] = answers[r];
  }
  all_ = true;
  for (size_t r = 0; r < world; ++r) {
    if (r == self) {
      paths_[r] = "itself";
    } else if (reasons[r].empty()) {
      paths_[r] = "shared memory";
      any_ = true;
      links_[r] = std::move(links[r]);
      listening_[r].store(true, std::memory_order_release);
    } else {
      paths_[r] = absl::StrCat("tcp (", reasons[r], ")");
      all_ = false;
    }
  }
  return absl::OkStatus();
}

bool Neighbours::HasNews() const {
  for (size_t r = 0; r < links_.size(); ++r) {
    if (listens(static_cast<int>(r)) && links_[r]->inbox().HasNews()) return true;
  }
  return false;
}

bool Neighbours::Arm() {
  bool silent = true;
  for (size_t r = 0; r < links_.size(); ++r) {
    if (listens(static_cast<int>(r))) silent &= links_[r]->inbox().Arm();
  }
  return silent;
}

void Neighbours::Disarm() {
  for (size_t r = 0; r < links_.size(); ++r) {
    if (listens(static_cast<int>(r))) links_[r]->inbox().Disarm();
  }
}

std::byte* Neighbours::Allocate(size_t bytes) {
  if (!any_ || bytes == 0) return nullptr;
  absl::StatusOr<std::unique_ptr<SharedMemory>> made = SharedMemory::Make("oneflow-memory", bytes);
  if (!made.ok()) return nullptr;
  std::lock_guard lock(memory_mutex_);
  std::byte* data = (*made)->data();
  memory_[data] = *std::move(made);
  return data;
}

void Neighbours::Free(std::byte* data) {
  std::lock_guard lock(memory_mutex_);
  memory_.erase(data);
}

std::vector<Offer> Neighbours::OffersOf(const std::vector<const std::byte*>& addresses) const {
  std::lock_guard lock(memory_mutex_);
  std::set<const SharedMemory*> named;
  for (const std::byte* address : addresses) {
    const auto behind = memory_.upper_bound(const_cast<std::byte*>(address));
    if (behind == memory_.begin()) continue;
    const SharedMemory& memory = *std::prev(behind)->second;
    if (address < memory.data() + memory.bytes()) named.insert(&memory);
  }
  std::vector<Offer> offers;
  for (const auto& [data, memory] : memory_) {
    if (named.contains(memory.get())) offers.push_back(memory->offer());
  }
  return offers;
}

}  // namespace oneflow::comm
