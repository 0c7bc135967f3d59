// Outbox: frames on their way to one peer, and who writes them.
//
// Owned by the transport, one per peer. Threads: any may Push; one at a time is the writer. Adding
// takes the lock, writing does not hold it: the writer takes frames out, unlocks and calls the
// kernel, and several frames go in one call. A pusher that finds nobody writing and little to write
// becomes the writer, since waking another thread costs more than the call; everything else is left
// to the transport's thread, or to who stands in for it, at the end of its turn. Frames that nobody waits for
// yet are held: they go with the next one. Long messages are lent to the kernel (comm/page_lender.h) and not over before
// the peer says that it has them (Taken). Invariants: frames go in the order of Push (an abort goes before all
// that have not begun); after Reserve, data and credits allocate nothing. Read next:
// comm/tcp_transport.cc.
#ifndef ONEFLOW_COMM_OUTBOX_H_
#define ONEFLOW_COMM_OUTBOX_H_

#include <sys/uio.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "comm/frame.h"
#include "comm/page_lender.h"
#include "comm/transport.h"

namespace oneflow::comm {

// A frame to write.
struct OutFrame {
  FrameType type = FrameType::kData;
  uint32_t channel = 0;           // number at the reader
  uint64_t bytes = 0;             // of payload
  const char* payload = nullptr;  // nullptr: `owned`
  std::string owned;
  ChannelId sender = 0;  // kData: whose source it is

  // Of any type but kData.
  static OutFrame Of(FrameType type, uint32_t channel = 0, std::string text = "") {
    OutFrame frame;
    frame.type = type;
    frame.channel = channel;
    frame.bytes = text.size();
    frame.owned = std::move(text);
    return frame;
  }
  const char* data() const { return payload != nullptr ? payload : owned.data(); }
};

class Outbox {
 public:
  // Who has to go on after a call.
  enum class Next {
    kNobody,   // all is written, another thread writes, or the frame was dropped
    kBlocked,  // the socket is full: call Write when it is writable
    kLeft,     // call Write soon
    kBroken,   // the connection is: read it to its end, that says why
  };
  // The sources that a call has read to the end; of long messages those that the peer has taken.
  using Finished = std::vector<ChannelId>;

  // `fd` outlives the outbox.
  void Open(int fd) { fd_ = fd; }
  // Room for this many more (or fewer) frames at once.
  void Reserve(int frames);

  // Appends. With `may_write` the caller becomes the writer if that is cheap; then *written says
  // whether this very frame is gone, and `finished` gets other data frames that are.
  Next Push(OutFrame frame, bool may_write, bool* written, Finished* finished);
  // Appends, for whoever writes next.
  void Hold(OutFrame frame);
  // Becomes the writer, unless somebody is: when the socket has become writable (`writable`), after Hold, and
  // after kLeft. kLeft again if there is more than so much payload, which would keep the caller.
  Next Write(bool writable, uint64_t most_bytes, Finished* finished);

  // Payload that a thread writes which has something else to do.
  static constexpr uint64_t kInlineBytes = 32 << 10;

  // The peer has all that is lent of the oldest long message of which it has not said so. False if that is none of this
  // channel. `finished` gets it if the rest is written as well.
  bool Taken(ChannelId channel, Finished* finished);
  // True if the kernel may still read a source of this channel.
  bool Lends(ChannelId channel);

  // Forgets data frames of these channels that have not begun; one that has goes on from a copy, but what is lent by
  // then stays lent. Waits for a writer, at most for one call to the kernel. kLeft if frames remain.
  Next Forget(const std::vector<ChannelId>& channels);
  // Drops data that has not begun, puts an abort next that blames `rank`.
  void PutAbortFirst(uint32_t rank, std::string cause);
  // Nothing is written any more.
  void Close();
  bool Empty();

 private:
  static constexpr size_t kBatch = 16;             // frames in one call
  static constexpr size_t kCallBytes = 256 << 10;  // payload in one call that copies
  static constexpr size_t kLendBytes = 512 << 10;  // in one that lends

  // A frame that the writer has taken.
  struct Begun {
    OutFrame frame;
    FrameHeader header;
    uint64_t written = 0;  // of header, payload and trailer
    uint64_t checked = 0;  // bytes of payload that `crc` covers
    uint32_t crc = 0;
    uint64_t ticket = 0;
    uint64_t lends = 0;  // bytes of payload that go without a copy, from its beginning
    uint64_t size() const {
      return sizeof(header) + frame.bytes + (frame.bytes > 0 ? sizeof(crc) : 0);
    }
    bool is_long() const { return frame.type == FrameType::kData && frame.bytes >= kLongMessage; }
    // The checksum of so many bytes of the payload, piece by piece, while they are in the cache anyway.
    void Sum(uint64_t end) {
      if (end <= checked) return;
      crc = ExtendCrc32c(crc, frame.data() + checked, end - checked);
      checked = end;
    }
  };

  OutFrame& At(size_t i) { return ring_[(head_ + i) % ring_.size()]; }
  void Append(OutFrame frame);
  void Grow(size_t capacity);
  void Keep(const std::vector<ChannelId>* forgotten);  // drops data (of all channels: nullptr)
  void Fill();
  size_t Gather(std::array<iovec, 3 * kBatch>* parts, bool* more);
  bool Lend();
  bool Written();
  ssize_t WriteSome();
  // As the writer, until nothing is left.
  Next Run(std::unique_lock<std::mutex>* lock, uint64_t own, bool* own_written, Finished* finished);

  int fd_ = -1;
  std::mutex mutex_;
  std::condition_variable idle_;
  std::vector<OutFrame> ring_;
  size_t head_ = 0;
  size_t count_ = 0;
  size_t reserved_ = 0;
  uint64_t waiting_bytes_ = 0;  // payload in the ring
  uint64_t pushed_ = 0;         // tickets given
  // Long messages that have begun and are not over, oldest first: not written, or not taken by the peer.
  struct LongMessage {
    ChannelId channel = 0;
    bool written = false;
    bool taken = false;
  };
  std::vector<LongMessage> lent_;
  bool writing_ = false;
  bool blocked_ = false;
  bool closed_ = false;
  std::atomic<int> wanted_{0};  // threads that wait to become the writer

  // The writer's.
  std::array<Begun, kBatch> batch_;
  size_t batch_size_ = 0;
  PageLender lender_;  // of the first of the batch
  uint64_t taken_ = 0;
  uint32_t sequence_ = 0;
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_OUTBOX_H_
