// Any writes of a peer into the ring of notices, between looks of its reader and puts of a writer that
// keeps the rules: the reader takes what stands where the next notice is due and nothing else, and
// calls broken what can be neither; the writer never writes over what has not been taken, whatever the
// other side claims to have taken.
//
// Input: operations of nine bytes: what, and a number.
#include <deque>
#include <memory>

#include "base/check.h"
#include "comm/notice_ring.h"
#include "tests/fuzz/comm_fuzz.h"

namespace oneflow::comm {
namespace {

// A ring of zeros; of exactly its size, so that ASan sees what is beside it.
std::unique_ptr<NoticeRing> MakeRing() { return std::make_unique<NoticeRing>(); }

// Both sides keep the rules: what is put is taken, in order.
void Honest(FuzzInput input) {
  const auto ring = MakeRing();
  NoticeWriter writer(ring.get());
  NoticeReader reader(ring.get());
  std::deque<uint64_t> due;
  while (input.size > 0) {
    const uint8_t what = input.Next<uint8_t>();
    const uint32_t times = 1 + input.Next<uint16_t>() % 3000;
    for (uint32_t i = 0; i < times; ++i) {
      const uint32_t channel = (what * 2654435761u + i) & 0x7fffffffu;
      const bool credit = (what & 2) != 0;
      if (what % 2 == 0) {
        const bool armed = ring->armed.load() != 0;
        const bool put = writer.Put({credit ? NoticeKind::kCredit : NoticeKind::kData, channel});
        OF_CHECK(put || due.size() + NoticeRing::kPlaces / 8 > NoticeRing::kPlaces);
        if (!put) break;
        due.push_back(uint64_t{channel} << 1 | credit);
        OF_CHECK(due.size() <= NoticeRing::kPlaces) << "a notice was written over";
        OF_CHECK(writer.MustRing() == armed);
      } else {
        Notice notice;
        OF_CHECK(reader.HasNews() == !due.empty());
        const NoticeReader::Found found = reader.Take(&notice);
        OF_CHECK(found != NoticeReader::Found::kBroken);
        OF_CHECK((found == NoticeReader::Found::kNotice) == !due.empty());
        if (due.empty()) {
          OF_CHECK(reader.Arm());
          break;
        }
        const bool is_credit = notice.kind == NoticeKind::kCredit;
        OF_CHECK((uint64_t{notice.channel} << 1 | is_credit) == due.front());
        due.pop_front();
      }
    }
  }
}

// One side reads what the other scribbles.
void Scribbled(FuzzInput input) {
  const auto ring = MakeRing();
  NoticeReader reader(ring.get());
  uint64_t next = 0;
  while (input.size > 0) {
    const uint8_t what = input.Next<uint8_t>();
    const uint64_t number = input.Next<uint64_t>();
    if (what % 4 == 0) {
      ring->places[what < 128 ? next % NoticeRing::kPlaces : number % NoticeRing::kPlaces] = number;
      continue;
    }
    if (what % 4 == 1) {  // what is due
      ring->places[next % NoticeRing::kPlaces] =
          uint64_t{static_cast<uint32_t>(next + 1)} << 32 | static_cast<uint32_t>(number);
      continue;
    }
    const uint64_t place = ring->places[next % NoticeRing::kPlaces];
    const uint32_t mark = static_cast<uint32_t>(place >> 32);
    const uint32_t before =
        next < NoticeRing::kPlaces ? 0 : static_cast<uint32_t>(next + 1 - NoticeRing::kPlaces);
    Notice notice;
    switch (reader.Take(&notice)) {
      case NoticeReader::Found::kNotice:
        OF_CHECK(mark == static_cast<uint32_t>(next + 1)) << "a notice that is not due";
        OF_CHECK(notice.channel == (place & 0x7fffffffu));
        ++next;
        break;
      case NoticeReader::Found::kNothing:
        OF_CHECK(mark == before) << "garbage was taken for nothing";
        break;
      case NoticeReader::Found::kBroken:
        OF_CHECK(mark != before && mark != static_cast<uint32_t>(next + 1));
        return;
    }
  }
}

// One side writes, and the other lies about what it has taken.
void Lied(FuzzInput input) {
  const auto ring = MakeRing();
  NoticeWriter writer(ring.get());
  uint64_t put = 0, most = 0;  // `most`: the largest claim that could be true
  while (input.size > 0) {
    const uint16_t times = input.Next<uint16_t>();
    const uint64_t claim = input.Next<uint64_t>();
    ring->taken = claim;
    if (claim <= put && claim > most) most = claim;
    for (uint16_t i = 0; i < times; ++i) {
      if (!writer.Put({NoticeKind::kData, i})) break;
      ++put;
      if (ring->taken <= put) most = most > ring->taken ? most : ring->taken.load();
    }
    OF_CHECK(put <= most + NoticeRing::kPlaces) << "no room was believed to be some";
  }
}

}  // namespace

void FuzzNotices(const uint8_t* data, size_t size) {
  FuzzInput input{data, size < 4096 ? size : 4096};
  switch (input.Next<uint8_t>() % 3) {
    case 0:
      return Honest(input);
    case 1:
      return Scribbled(input);
    default:
      return Lied(input);
  }
}

}  // namespace oneflow::comm
