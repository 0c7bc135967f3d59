#include "comm/neighbours.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace oneflow::comm {
namespace {

// Where descriptors of a process can be opened by its number: one boot of one kernel, one PID
// namespace. Only saves vain attempts; what is opened proves itself.
std::string HostName() {
  std::ifstream boot("/proc/sys/kernel/random/boot_id");
  std::string name((std::istreambuf_iterator<char>(boot)), std::istreambuf_iterator<char>());
  struct stat pids {};
  if (name.empty() || stat("/proc/self/ns/pid", &pids) != 0) return "";
  return absl::StrCat(name, pids.st_ino);
}

// What a rank says first.
struct Introduction {
  Stance stance;
  std::string host;
  std::vector<InboxOffer> inboxes;  // by rank that is to write there

  std::string Encode() const {
    ByteWriter writer;
    Write(stance.choice, &writer);
    writer.Text(host);
    writer.Text(stance.why_not);
    writer.Integer(inboxes.size());
    for (const InboxOffer& inbox : inboxes) inbox.Write(&writer);
    return writer.bytes;
  }
  // False on anything but what Encode of a rank of this world gives.
  bool Decode(const std::string& bytes, size_t world_size) {
    ByteReader reader(bytes);
    stance.choice = ReadChoice(&reader);
    host = reader.Text();
    stance.why_not = reader.Text();
    inboxes.clear();
    for (uint64_t i = reader.Count(); i > 0 && reader.ok; --i) {
      inboxes.push_back(InboxOffer::Read(&reader));
    }
    return reader.ok && reader.done() && (inboxes.empty() || inboxes.size() == world_size);
  }
};

// Why these two do not even try; empty if they do.
std::string WhyNotShared(const Introduction& own, const Introduction& other, size_t rank) {
  std::string why = WhyNot(PathChoice::kShared, own.stance, other.stance, rank);
  if (why.empty() && (own.host.empty() || own.host != other.host)) {
    why = absl::StrCat("rank ", rank, " runs on another host, or in another container");
  }
  return why;
}

}  // namespace

Neighbours::Neighbours(int world_size)
    : links_(static_cast<size_t>(world_size)),
      listening_(links_.size()),
      paths_(links_.size(), "tcp") {}

absl::Status Neighbours::Meet(int rank, PathChoice choice, const AllGatherFn& all_gather) {
  const size_t world = links_.size();
  const size_t self = static_cast<size_t>(rank);
  std::vector<std::unique_ptr<SharedLink>> links(world);
  Introduction own{{choice, ""}, HostName(), {}};
  for (size_t r = 0; Wants(choice, PathChoice::kShared) && r < world; ++r) {
    own.inboxes.emplace_back();
    if (r == self) continue;
    absl::StatusOr<std::unique_ptr<SharedLink>> made = SharedLink::Make();
    if (!made.ok()) {
      own.stance.why_not = MessageOf(made.status());
      own.inboxes.clear();
      break;
    }
    links[r] = *std::move(made);
    own.inboxes.back() = links[r]->offer();
  }
  OF_ASSIGN_OR_RETURN(const std::vector<std::string> said, all_gather(own.Encode()));
  std::vector<std::string> reasons(world);  // why the path to that rank is not shared memory
  std::vector<PathChoice> choices(world);
  for (size_t r = 0; r < world; ++r) {
    Introduction other;
    if (!other.Decode(said[r], world)) return BrokeMeeting(r);
    choices[r] = other.stance.choice;
    if (r == self) continue;
    reasons[r] = WhyNotShared(own, other, r);
    if (reasons[r].empty() && other.inboxes.empty()) return BrokeMeeting(r);
    if (!reasons[r].empty()) continue;
    if (const absl::Status joined = links[r]->Join(other.inboxes[self]); !joined.ok()) {
      reasons[r] = absl::StrCat("rank ", rank, " cannot use the memory of rank ", r, ": ",
                                MessageOf(joined));
    }
  }
  OF_ASSIGN_OR_RETURN(const auto answers, ExchangeReasons(reasons, all_gather));
  for (size_t r = 0; r < world; ++r) {
    for (size_t other = 0; other < world; ++other) {
      const std::string& reason = answers[r][other];
      if (other == self && reasons[r].empty()) reasons[r] = reason;
      if (reason.empty()) continue;
      for (size_t end : {r, other}) {
        if (choices[end] != PathChoice::kShared) continue;
        return MakeError(
            ErrorKind::kPeer,
            absl::StrCat("ONEFLOW_TRANSPORT=shm on rank ", end, ", but ranks ", r, " and ", other,
                         " share no memory (", reason, "); unset it, and such ranks use TCP"));
      }
    }
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

std::vector<Offer> Neighbours::offers() const {
  std::lock_guard lock(memory_mutex_);
  std::vector<Offer> offers;
  for (const auto& [data, memory] : memory_) offers.push_back(memory->offer());
  return offers;
}

}  // namespace oneflow::comm
