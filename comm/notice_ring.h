// NoticeRing: what one rank tells another of the same host that needs no bytes but itself: "the next
// message of channel c is in its slot", "one more slot of channel c is posted". Eight bytes in memory
// that both map; the reader finds them by looking, without a call to the kernel.
//
// The memory is the reader's; the writer maps it. A notice carries its number, so one cache line brings
// both the notice and the fact that it is there. Threads: one at a time writes (the writer's lock), one
// at a time reads (in a turn of the transport); the two are in different processes. Invariants: the
// reader believes nothing that the peer can write: a place holds the notice that is due, the one that
// was there before, or the peer is broken; the writer uses what the reader wrote for nothing but to see
// whether there is room. docs/wire_format.md has every byte. Read next: comm/shared_link.h.
#ifndef ONEFLOW_COMM_NOTICE_RING_H_
#define ONEFLOW_COMM_NOTICE_RING_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace oneflow::comm {

// What a notice says.
enum class NoticeKind : uint32_t { kData = 0, kCredit = 1 };

struct Notice {
  NoticeKind kind = NoticeKind::kData;
  uint32_t channel = 0;  // number at the reader
};

// As it lies in memory: zeros at first.
struct NoticeRing {
  static constexpr uint32_t kPlaces = 4096;

  // Written by the reader; `armed` is taken back (set to 0) by the writer that rings.
  alignas(64) std::atomic<uint32_t> armed;  // 1: nobody looks, ring the bell
  std::atomic<uint64_t> taken;              // notices read so far, now and then
  // Written by the writer: notice n is at n % kPlaces, as (n + 1) << 32 | kind << 31 | channel.
  alignas(64) std::atomic<uint64_t> places[kPlaces];
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);
static_assert(sizeof(NoticeRing) == 64 + 8 * NoticeRing::kPlaces);

class NoticeWriter {
 public:
  explicit NoticeWriter(NoticeRing* ring) : ring_(ring) {}
  // False: no room. Everything written before it is seen by who reads the notice.
  bool Put(const Notice& notice);
  // After a Put: true if the reader sleeps, once for each time that it has armed.
  bool MustRing();

 private:
  NoticeRing* const ring_;
  uint64_t next_ = 0;
  uint64_t room_until_ = NoticeRing::kPlaces;  // notices below this number have room
};

class NoticeReader {
 public:
  explicit NoticeReader(NoticeRing* ring) : ring_(ring) {}
  enum class Found { kNothing, kNotice, kBroken };
  Found Take(Notice* notice);
  // From any thread: whether Take would find something.
  bool HasNews() const;
  // The writer rings the bell at its next notice. False if one is there already: look again.
  bool Arm();
  void Disarm() { ring_->armed.store(0, std::memory_order_relaxed); }

 private:
  uint64_t Place(uint64_t number) const {
    return ring_->places[number % NoticeRing::kPlaces].load(std::memory_order_seq_cst);
  }

  NoticeRing* const ring_;
  std::atomic<uint64_t> next_{0};
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_NOTICE_RING_H_
