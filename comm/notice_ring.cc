#include "comm/notice_ring.h"

namespace oneflow::comm {
namespace {

constexpr uint32_t kCreditBit = 1u << 31;
// So often the reader says how far it is: the line is the writer's to read.
constexpr uint64_t kTellEvery = NoticeRing::kPlaces / 8;

uint32_t NumberIn(uint64_t place) { return static_cast<uint32_t>(place >> 32); }

// What stands before the notice in a place (cut to 32 bits), for notice number `n`.
uint32_t Mark(uint64_t n) { return static_cast<uint32_t>(n + 1); }
uint32_t MarkBefore(uint64_t n) {
  return n < NoticeRing::kPlaces ? 0 : Mark(n - NoticeRing::kPlaces);
}

}  // namespace

bool NoticeWriter::Put(const Notice& notice) {
  if (next_ >= room_until_) {
    // What a peer says here that it cannot have read yet counts as no room.
    const uint64_t taken = ring_->taken.load(std::memory_order_acquire);
    if (taken > next_ || next_ - taken >= NoticeRing::kPlaces) return false;
    room_until_ = taken + NoticeRing::kPlaces;
  }
  const uint32_t said = notice.channel | (notice.kind == NoticeKind::kCredit ? kCreditBit : 0);
  // Either MustRing sees that the reader has armed, or the reader, having armed, sees this: all four
  // accesses are in one order.
  ring_->places[next_ % NoticeRing::kPlaces].store(uint64_t{Mark(next_)} << 32 | said,
                                                   std::memory_order_seq_cst);
  ++next_;
  return true;
}

bool NoticeWriter::MustRing() {
  return ring_->armed.load(std::memory_order_seq_cst) != 0 &&
         ring_->armed.exchange(0, std::memory_order_seq_cst) != 0;
}

NoticeReader::Found NoticeReader::Take(Notice* notice) {
  const uint64_t next = next_.load(std::memory_order_relaxed);
  const uint64_t place = Place(next);
  if (NumberIn(place) != Mark(next)) {
    return NumberIn(place) == MarkBefore(next) ? Found::kNothing : Found::kBroken;
  }
  const uint32_t said = static_cast<uint32_t>(place);
  notice->kind = (said & kCreditBit) != 0 ? NoticeKind::kCredit : NoticeKind::kData;
  notice->channel = said & ~kCreditBit;
  next_.store(next + 1, std::memory_order_relaxed);
  if ((next + 1) % kTellEvery == 0) ring_->taken.store(next + 1, std::memory_order_release);
  return Found::kNotice;
}

bool NoticeReader::HasNews() const {
  const uint64_t next = next_.load(std::memory_order_relaxed);
  return NumberIn(Place(next)) != MarkBefore(next);
}

bool NoticeReader::Arm() {
  ring_->armed.store(1, std::memory_order_seq_cst);
  return !HasNews();
}

}  // namespace oneflow::comm
