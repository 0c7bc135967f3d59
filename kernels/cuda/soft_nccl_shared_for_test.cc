#include "kernels/cuda/soft_nccl_shared_for_test.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "kernels/cuda/soft_errors_for_test.h"
#include "kernels/cuda/soft_nccl_for_test.h"

namespace oneflow::kernels {
namespace {

constexpr int kLanes = SoftSegment::kMostRanks * (SoftSegment::kMostRanks + 1);
constexpr size_t kLaneBytes = size_t{32} << 20;  // pages that nobody writes cost nothing
constexpr size_t kHead = size_t{64} << 10;
constexpr size_t kFileBytes = kHead + kLanes * kLaneBytes;

int LaneOfRank(int rank) { return rank; }
int LaneOfPair(int from, int to) { return SoftSegment::kMostRanks * (1 + from) + to; }

size_t BytesOf(const SoftCall& call) {
  size_t element = 4;
  switch (static_cast<DType>(call.problem.dtype)) {
    case DType::kF64:
    case DType::kI64:
      element = 8;
      break;
    case DType::kBF16:
    case DType::kF16:
      element = 2;
      break;
    default:
      break;
  }
  return static_cast<size_t>(call.problem.elements) * element;
}

// Made here and not joined here yet, by nonce.
struct Unjoined {
  std::mutex mutex;
  std::map<uint64_t, std::shared_ptr<SoftSegment>> segments;
  static Unjoined& Of() {
    static Unjoined* unjoined = new Unjoined;
    return *unjoined;
  }
};

}  // namespace

struct SoftLanes {
  struct Lane {
    std::atomic<uint64_t> posted;  // calls that its writer has come to
    std::atomic<uint64_t>
        read;        // of a rank: calls of all that it has read; of a pair: by the receiver
    char text[112];  // what the call is
  };
  uint64_t nonce;
  std::atomic<uint32_t> joined;  // a bit for each rank
  Lane lane[kLanes];
};
static_assert(sizeof(SoftLanes) <= kHead);
static_assert(std::atomic<uint64_t>::is_always_lock_free);

std::shared_ptr<SoftSegment> SoftSegment::Map(int file) {
  void* mapped =
      mmap(nullptr, kFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
  if (mapped != MAP_FAILED) {
    return std::shared_ptr<SoftSegment>(new SoftSegment(file, static_cast<SoftLanes*>(mapped)));
  }
  close(file);
  return nullptr;
}

SoftSegment::~SoftSegment() {
  munmap(lanes_, kFileBytes);
  close(file_);
}

char* SoftSegment::DataOf(int lane) const {
  return reinterpret_cast<char*>(lanes_) + kHead + static_cast<size_t>(lane) * kLaneBytes;
}

CudaError SoftSegment::Make(CudaCommId* id) {
  std::memset(id, 0, sizeof(*id));
  const int file = memfd_create("oneflow software NCCL", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, static_cast<off_t>(kFileBytes)) != 0) return kNcclErrors + 2;
  std::shared_ptr<SoftSegment> segment = Map(file);
  if (segment == nullptr) return kNcclErrors + 2;
  std::random_device random;
  const uint64_t nonce = (uint64_t{random()} << 32) | random();
  segment->lanes_->nonce = nonce;
  std::snprintf(id->bytes, sizeof(id->bytes), "soft %d %d %llu", static_cast<int>(getpid()), file,
                static_cast<unsigned long long>(nonce));
  std::lock_guard<std::mutex> lock(Unjoined::Of().mutex);
  Unjoined::Of().segments[nonce] = std::move(segment);
  return 0;
}

std::shared_ptr<SoftSegment> SoftSegment::Find(const CudaCommId& id) {
  int process = 0, descriptor = 0;
  unsigned long long nonce = 0;
  if (std::sscanf(id.bytes, "soft %d %d %llu", &process, &descriptor, &nonce) != 3) return nullptr;
  if (process == getpid()) {
    std::lock_guard<std::mutex> lock(Unjoined::Of().mutex);
    const auto made = Unjoined::Of().segments.extract(nonce);
    return made.empty() ? nullptr : made.mapped();
  }
  const std::string path = "/proc/" + std::to_string(process) + "/fd/" + std::to_string(descriptor);
  const int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) return nullptr;
  // Another file may have that number by now.
  if (lseek(file, 0, SEEK_END) != static_cast<off_t>(kFileBytes)) {
    close(file);
    return nullptr;
  }
  std::shared_ptr<SoftSegment> segment = Map(file);
  return segment == nullptr || segment->lanes_->nonce != nonce ? nullptr : segment;
}

void SoftPart::Join() {
  if (segment != nullptr) segment->lanes()->joined.fetch_or(uint32_t{1} << rank);
}
bool SoftPart::Joined() const {
  return segment != nullptr && segment->lanes()->joined.load() == (uint32_t{1} << ranks) - 1;
}

SoftMeeting::SoftMeeting(const SoftCall& call, double patience)
    : call_(call),
      part_(*call.part),
      until_(std::chrono::steady_clock::now() +
             std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                 std::chrono::duration<double>(patience))) {
  for (const SoftEnd& end : call_.ends) {
    const CudaMessage& message = end.message;
    ends_.push_back({message.sends ? LaneOfPair(part_.rank, message.peer)
                                   : LaneOfPair(message.peer, part_.rank)});
  }
  if (!ends_.empty() || part_.aborted.load()) return;
  lane_ = LaneOfRank(part_.rank);
  number_ = part_.segment->lanes()->lane[lane_].posted.load();
  Post(lane_, number_, call_.buffer, BytesOf(call_), call_.What());
}

// Nobody reads the lane: its last call is over, for this rank has waited for that.
void SoftMeeting::Post(int lane, uint64_t number, const void* data, size_t bytes,
                       const std::string& text) {
  SoftLanes::Lane& written = part_.segment->lanes()->lane[lane];
  if (bytes > kLaneBytes) {
    Fail("more bytes than software NCCL carries", lane);
  } else if (bytes > 0) {
    std::memcpy(part_.segment->DataOf(lane), data, bytes);
  }
  std::snprintf(written.text, sizeof(written.text), "%s", text.c_str());
  written.posted.store(number + 1);
}

void SoftMeeting::Fail(const char* what, int lane) const {
  FailSoftCall(std::string(what) + ": " + call_.Text() + " and " +
               part_.segment->lanes()->lane[lane].text);
}

bool SoftMeeting::Over() {
  if (part_.aborted.load()) return true;
  if (ends_.empty() ? OverCollective() : OverMessages()) return true;
  if (std::chrono::steady_clock::now() < until_) return false;
  TellSoftDeadlock({&call_});
  return true;
}

bool SoftMeeting::OverCollective() {
  SoftLanes::Lane* lanes = part_.segment->lanes()->lane;
  const uint64_t all = number_ + 1;
  if (!read_) {
    std::vector<const void*> from;
    std::vector<void*> to(static_cast<size_t>(part_.ranks), nullptr);
    for (int rank = 0; rank < part_.ranks; ++rank) {
      if (lanes[LaneOfRank(rank)].posted.load() < all) return false;
      from.push_back(part_.segment->DataOf(LaneOfRank(rank)));
    }
    bool same = true;
    for (int rank = 0; rank < part_.ranks; ++rank) {
      if (call_.What() == lanes[LaneOfRank(rank)].text || !same) continue;
      same = false;
      Fail("ranks differ", LaneOfRank(rank));
    }
    to[static_cast<size_t>(part_.rank)] = call_.buffer;
    if (same) RunSoftCollective(call_.problem, from, to);
    read_ = true;
    lanes[lane_].read.store(all);
  }
  for (int rank = 0; rank < part_.ranks; ++rank) {
    if (lanes[LaneOfRank(rank)].read.load() < all) return false;
  }
  return true;
}

bool SoftMeeting::OverMessages() {
  bool over = true;
  for (size_t end = 0; end < ends_.size(); ++end) {
    if (ends_[end].over) continue;
    const auto waits_for = [&](const End& other) {
      return other.lane == ends_[end].lane && !other.over;
    };
    const auto here = ends_.begin() + static_cast<ptrdiff_t>(end);
    if (std::none_of(ends_.begin(), here, waits_for)) {
      Begin(end);
      ends_[end].over = OverEnd(end);
    }
    over &= ends_[end].over;
  }
  return over;
}

void SoftMeeting::Begin(size_t number) {
  End& end = ends_[number];
  if (std::exchange(end.begun, true)) return;
  const SoftLanes::Lane& lane = part_.segment->lanes()->lane[end.lane];
  const SoftEnd& wanted = call_.ends[number];
  end.number = wanted.message.sends ? lane.posted.load() : lane.read.load();
  if (!wanted.message.sends) return;
  Post(end.lane, end.number, wanted.buffer, static_cast<size_t>(wanted.message.bytes),
       call_.EndText(number));
}

bool SoftMeeting::OverEnd(size_t number) {
  const End& end = ends_[number];
  const SoftEnd& wanted = call_.ends[number];
  SoftLanes::Lane& lane = part_.segment->lanes()->lane[end.lane];
  if (wanted.message.sends) return lane.read.load() > end.number;
  if (lane.posted.load() <= end.number) return false;
  if (call_.EndText(number) != lane.text) {
    Fail("ends of a message differ", end.lane);
  } else if (wanted.message.bytes > 0) {
    std::memcpy(wanted.buffer, part_.segment->DataOf(end.lane),
                static_cast<size_t>(wanted.message.bytes));
  }
  lane.read.store(end.number + 1);
  return true;
}

}  // namespace oneflow::kernels
