#include "comm/tcp_transport.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/status.h"
#include "comm/wire.h"

namespace oneflow::comm {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kBeat = std::chrono::milliseconds(500);
constexpr auto kSilence = std::chrono::seconds(10);
constexpr auto kOwnGap = std::chrono::seconds(2);
constexpr uint64_t kLongestControl = 64u << 20;
constexpr uint64_t kLongestAbort = 64u << 10;

enum FrameType : uint32_t {
  kData = 1,
  kCredit = 2,
  kControl = 3,
  kAbort = 4,
  kBeatFrame = 5,
  kBye = 6
};

struct Header {
  uint32_t type = 0;
  uint32_t channel = 0;  // number at the reader
  uint64_t bytes = 0;    // of payload; kCredit has none
};
static_assert(sizeof(Header) == 16);

// A frame on its way out.
struct OutFrame {
  Header header;
  const char* payload = nullptr;
  std::string owned;  // control frames own their payload
  size_t written = 0;
  ChannelId channel = 0;  // kData: whose on_sent follows
};

struct Peer {
  Socket socket;
  std::deque<OutFrame> out;
  bool wants_write = false;
  // The frame being read.
  Header header;
  size_t header_read = 0;
  char* payload = nullptr;  // nullptr: discarded
  uint64_t payload_read = 0;
  std::string control;
  bool reading_payload = false;
  bool left = false;
  Clock::time_point heard = Clock::now();
};

struct Slot {
  char* data = nullptr;
  size_t bytes = 0;
};

struct Channel {
  ChannelSpec spec;
  uint32_t remote = 0;
  std::deque<Slot> posted;
  std::shared_ptr<TransportCallbacks> callbacks;
  bool closed = false;
};

struct Event {
  enum Kind { kOnCredit, kOnSent, kOnArrived, kOnError } kind;
  ChannelId channel;
};

class TcpTransport final : public Transport {
 public:
  TcpTransport(int rank, std::vector<Socket> sockets, double timeout_seconds)
      : rank_(rank),
        timeout_(std::chrono::milliseconds(static_cast<int64_t>(1000 * timeout_seconds))),
        peers_(sockets.size()),
        epoll_(epoll_create1(EPOLL_CLOEXEC)),
        wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    OF_CHECK(epoll_ >= 0 && wake_ >= 0);
    for (size_t r = 0; r < sockets.size(); ++r) {
      peers_[r].socket = std::move(sockets[r]);
      if (!peers_[r].socket.open()) continue;
      OF_CHECK(peers_[r].socket.SetNonBlocking().ok());
      Watch(r, EPOLL_CTL_ADD, EPOLLIN);
    }
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = peers_.size();
    OF_CHECK(epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event) == 0);
    thread_ = std::thread([this] { Loop(); });
  }

  ~TcpTransport() override {
    {
      std::unique_lock lock(mutex_);
      for (size_t r = 0; r < peers_.size(); ++r) Enqueue(r, {{kBye, 0, 0}});
      // What was promised to peers goes out first, but a dead peer cannot hold us.
      const auto flushed = [this] {
        for (const Peer& peer : peers_) {
          if (peer.socket.open() && !peer.left && !peer.out.empty()) return false;
        }
        return true;
      };
      changed_.wait_for(lock, std::chrono::seconds(1), flushed);
      stop_ = true;
    }
    Wake();
    thread_.join();
    close(wake_);
    close(epoll_);
  }

  int rank() const override { return rank_; }
  int world_size() const override { return static_cast<int>(peers_.size()); }

  absl::StatusOr<std::vector<ChannelId>> OpenChannels(const std::string& fingerprint,
                                                      const std::vector<std::string>& rows,
                                                      const std::vector<ChannelSpec>& specs,
                                                      TransportCallbacks callbacks) override {
    Announcement own{fingerprint, rows, specs, 0};
    std::vector<ChannelId> ids;
    {
      std::lock_guard lock(mutex_);
      own.first_channel = static_cast<uint32_t>(channels_.size());
      auto shared = std::make_shared<TransportCallbacks>(std::move(callbacks));
      for (const ChannelSpec& spec : specs) {
        ids.push_back(static_cast<ChannelId>(channels_.size()));
        channels_.push_back({spec, 0, {}, shared, false});
      }
    }
    OF_ASSIGN_OR_RETURN(const std::vector<std::string> said, AllGather(Encode(own)));
    std::vector<Announcement> announcements;
    for (const std::string& bytes : said) {
      OF_ASSIGN_OR_RETURN(Announcement announcement, Decode(bytes));
      announcements.push_back(std::move(announcement));
    }
    if (const std::string difference = Compare(announcements); !difference.empty()) {
      CloseChannels(ids);
      return MakeError(ErrorKind::kPeer, difference);
    }
    {
      std::lock_guard lock(mutex_);
      for (size_t i = 0; i < specs.size(); ++i) {
        const Announcement& other = announcements[specs[i].peer];
        for (size_t j = 0; j < other.channels.size(); ++j) {
          const ChannelSpec& end = other.channels[j];
          if (end.name == specs[i].name && end.peer == rank_ && end.sends != specs[i].sends) {
            channels_[ids[i]].remote = other.first_channel + static_cast<uint32_t>(j);
          }
        }
      }
    }
    // Nobody writes into a channel that its reader has not bound.
    OF_RETURN_IF_ERROR(AllGather("").status());
    return ids;
  }

  void Post(ChannelId id, void* slot, size_t bytes) override {
    std::lock_guard lock(mutex_);
    Channel& channel = channels_[id];
    if (channel.closed) return;
    channel.posted.push_back({static_cast<char*>(slot), bytes});
    Enqueue(channel.spec.peer, {{kCredit, channel.remote, 0}});
  }

  void Send(ChannelId id, const void* source, size_t bytes) override {
    std::lock_guard lock(mutex_);
    Channel& channel = channels_[id];
    if (channel.closed) return;
    OutFrame frame{{kData, channel.remote, bytes}, static_cast<const char*>(source)};
    frame.channel = id;
    Enqueue(channel.spec.peer, std::move(frame));
  }

  void CloseChannels(const std::vector<ChannelId>& channels) override {
    std::lock_guard callbacks(callback_mutex_);
    std::lock_guard lock(mutex_);
    for (ChannelId id : channels) {
      Channel& channel = channels_[id];
      channel.closed = true;
      channel.posted.clear();
      Peer& peer = peers_[channel.spec.peer];
      // A half-read payload goes nowhere; a half-written one is finished from a copy.
      if (peer.reading_payload && peer.header.type == kData && peer.header.channel == id) {
        peer.payload = nullptr;
      }
      std::deque<OutFrame> kept;
      for (OutFrame& frame : peer.out) {
        if (frame.header.type == kData && frame.channel == id) {
          if (frame.written == 0) continue;
          frame.owned.assign(frame.payload, frame.header.bytes);
          frame.payload = nullptr;
        }
        kept.push_back(std::move(frame));
      }
      peer.out = std::move(kept);
    }
  }

  void Abort(const std::string& cause) override {
    std::lock_guard lock(mutex_);
    if (aborted_) return;
    aborted_ = true;
    for (size_t r = 0; r < peers_.size(); ++r) {
      OutFrame frame{{kAbort, 0, std::min<uint64_t>(cause.size(), kLongestAbort)}};
      frame.owned = cause.substr(0, kLongestAbort);
      Enqueue(r, std::move(frame));
    }
    // Nothing of this rank's own goes on either.
    Fail(MakeError(ErrorKind::kPeer, absl::StrCat("this rank stopped: ", cause)));
    Wake();
  }

  absl::StatusOr<std::vector<std::string>> AllGather(const std::string& bytes) override {
    std::unique_lock lock(mutex_);
    const uint64_t sequence = next_sequence_++;
    for (size_t r = 0; r < peers_.size(); ++r) {
      OutFrame frame{{kControl, static_cast<uint32_t>(sequence), bytes.size()}};
      frame.owned = bytes;
      Enqueue(r, std::move(frame));
    }
    std::vector<std::string> result(peers_.size());
    result[rank_] = bytes;
    std::vector<int> missing;
    const auto ready = [&] {
      missing.clear();
      for (size_t r = 0; r < peers_.size(); ++r) {
        if (static_cast<int>(r) != rank_ &&
            !control_.contains({static_cast<uint32_t>(sequence), r})) {
          missing.push_back(static_cast<int>(r));
        }
      }
      bool gone = false;
      for (int r : missing) gone = gone || peers_[r].left;
      return missing.empty() || !failure_.ok() || gone;
    };
    changed_.wait_for(lock, timeout_, ready);
    if (!missing.empty()) {
      if (!failure_.ok()) return failure_;
      return MakeError(
          ErrorKind::kPeer,
          absl::StrCat("rank(s) ", absl::StrJoin(missing, ", "),
                       " did not take part in a collective call (loading a plan, gathering a "
                       "parameter) that rank ",
                       rank_, " made; every rank must make the same calls in the same order"));
    }
    for (size_t r = 0; r < peers_.size(); ++r) {
      if (static_cast<int>(r) == rank_) continue;
      auto node = control_.extract({static_cast<uint32_t>(sequence), r});
      result[r] = std::move(node.mapped());
    }
    return result;
  }

  uint64_t bytes_received() const override { return received_.load(); }
  uint64_t bytes_sent() const override { return sent_.load(); }

 private:
  void Watch(size_t rank, int operation, uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = rank;
    OF_CHECK(epoll_ctl(epoll_, operation, peers_[rank].socket.fd(), &event) == 0);
  }

  void Wake() {
    const uint64_t one = 1;
    (void)!write(wake_, &one, sizeof(one));
  }

  // Appends a frame and writes as much as the socket takes. REQUIRES: mutex_.
  void Enqueue(size_t rank, OutFrame frame) {
    Peer& peer = peers_[rank];
    if (!peer.socket.open() || peer.left) return;
    peer.out.push_back(std::move(frame));
    Flush(rank);
    if (!events_.empty()) Wake();
  }

  void Flush(size_t rank) {
    Peer& peer = peers_[rank];
    while (!peer.out.empty()) {
      OutFrame& frame = peer.out.front();
      const char* payload = frame.payload != nullptr ? frame.payload : frame.owned.data();
      const size_t total = sizeof(Header) + frame.header.bytes;
      while (frame.written < total) {
        iovec parts[2];
        int count = 0;
        size_t skip = frame.written;
        if (skip < sizeof(Header)) {
          parts[count++] = {reinterpret_cast<char*>(&frame.header) + skip, sizeof(Header) - skip};
          skip = 0;
        } else {
          skip -= sizeof(Header);
        }
        if (frame.header.bytes > skip) {
          parts[count++] = {const_cast<char*>(payload) + skip, frame.header.bytes - skip};
        }
        msghdr message{};
        message.msg_iov = parts;
        message.msg_iovlen = static_cast<size_t>(count);
        const ssize_t n = sendmsg(peer.socket.fd(), &message, MSG_NOSIGNAL);
        if (n < 0) {
          if (errno == EINTR) continue;
          if (errno == EAGAIN || errno == EWOULDBLOCK) {
            SetWantsWrite(rank, true);
            return;
          }
          Lose(rank, absl::StrCat("sending failed: ", std::strerror(errno)));
          return;
        }
        frame.written += static_cast<size_t>(n);
      }
      if (frame.header.type == kData) {
        sent_ += frame.header.bytes;
        if (frame.payload != nullptr) events_.push_back({Event::kOnSent, frame.channel});
      }
      peer.out.pop_front();
    }
    SetWantsWrite(rank, false);
    changed_.notify_all();
  }

  void SetWantsWrite(size_t rank, bool wants) {
    Peer& peer = peers_[rank];
    if (peer.wants_write == wants) return;
    peer.wants_write = wants;
    Watch(rank, EPOLL_CTL_MOD, wants ? EPOLLIN | EPOLLOUT : EPOLLIN);
  }

  // REQUIRES: mutex_.
  void Fail(const absl::Status& status) {
    if (!failure_.ok()) return;
    failure_ = status;
    events_.push_back({Event::kOnError, 0});
    changed_.notify_all();
  }

  void Lose(size_t rank, const std::string& how) {
    Peer& peer = peers_[rank];
    if (!peer.socket.open()) return;
    epoll_ctl(epoll_, EPOLL_CTL_DEL, peer.socket.fd(), nullptr);
    peer.socket.Close();
    peer.out.clear();
    if (!peer.left) {
      peer.left = true;
      Fail(MakeError(ErrorKind::kPeer, absl::StrCat("rank ", rank_, " lost rank ", rank, " (", how,
                                                    "); its own last lines say why it stopped")));
    }
    changed_.notify_all();
  }

  void Loop() {
    std::vector<char> scratch(1 << 16);
    std::vector<Event> ready;
    Clock::time_point last_beat = Clock::now();
    Clock::time_point last_turn = Clock::now();
    while (true) {
      epoll_event events[16];
      const int count = epoll_wait(epoll_, events, 16, 100);
      {
        std::lock_guard lock(mutex_);
        if (stop_) return;
        for (int i = 0; i < count; ++i) {
          const size_t rank = events[i].data.u64;
          if (rank == peers_.size()) {
            uint64_t drained;
            (void)!read(wake_, &drained, sizeof(drained));
            continue;
          }
          if (events[i].events & EPOLLOUT) Flush(rank);
          if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) Read(rank, &scratch);
        }
        KeepAlive(&last_beat, &last_turn);
        ready.swap(events_);
      }
      Dispatch(ready);
      ready.clear();
    }
  }

  void KeepAlive(Clock::time_point* last_beat, Clock::time_point* last_turn) {
    const Clock::time_point now = Clock::now();
    // Who was stopped itself cannot judge the silence of others.
    const bool was_stopped = now - *last_turn > kOwnGap;
    *last_turn = now;
    const bool beat = now - *last_beat >= kBeat;
    if (beat) *last_beat = now;
    for (size_t r = 0; r < peers_.size(); ++r) {
      Peer& peer = peers_[r];
      if (!peer.socket.open() || peer.left) continue;
      if (was_stopped) peer.heard = now;
      if (beat && peer.out.empty()) Enqueue(r, {{kBeatFrame, 0, 0}});
      if (peer.socket.open() && now - peer.heard > kSilence) {
        Lose(r, "no sign of life for 10 s: stopped, or stuck in the kernel");
      }
    }
  }

  void Dispatch(const std::vector<Event>& ready) {
    if (ready.empty()) return;
    std::lock_guard callbacks(callback_mutex_);
    for (const Event& event : ready) {
      if (event.kind == Event::kOnError) {
        std::vector<std::shared_ptr<TransportCallbacks>> all;
        absl::Status status;
        {
          std::lock_guard lock(mutex_);
          status = failure_;
          for (const Channel& channel : channels_) {
            if (!channel.closed && (all.empty() || all.back() != channel.callbacks)) {
              all.push_back(channel.callbacks);
            }
          }
        }
        for (const auto& group : all) {
          if (group->on_error) group->on_error(status);
        }
        continue;
      }
      std::shared_ptr<TransportCallbacks> group;
      {
        std::lock_guard lock(mutex_);
        const Channel& channel = channels_[event.channel];
        if (channel.closed) continue;
        group = channel.callbacks;
      }
      if (event.kind == Event::kOnCredit) group->on_credit(event.channel);
      if (event.kind == Event::kOnSent) group->on_sent(event.channel);
      if (event.kind == Event::kOnArrived) group->on_arrived(event.channel);
    }
  }

  // Reads until the socket is empty. REQUIRES: mutex_.
  void Read(size_t rank, std::vector<char>* scratch) {
    Peer& peer = peers_[rank];
    while (peer.socket.open()) {
      char* target;
      size_t wanted;
      if (!peer.reading_payload) {
        target = reinterpret_cast<char*>(&peer.header) + peer.header_read;
        wanted = sizeof(Header) - peer.header_read;
      } else {
        wanted = peer.header.bytes - peer.payload_read;
        target = peer.payload != nullptr ? peer.payload + peer.payload_read : scratch->data();
        if (peer.payload == nullptr) wanted = std::min(wanted, scratch->size());
      }
      if (wanted > 0) {
        const ssize_t n = recv(peer.socket.fd(), target, wanted, MSG_DONTWAIT);
        if (n == 0) {
          Lose(rank, "it closed the connection");
          return;
        }
        if (n < 0) {
          if (errno == EINTR) continue;
          if (errno == EAGAIN || errno == EWOULDBLOCK) return;
          Lose(rank, std::strerror(errno));
          return;
        }
        peer.heard = Clock::now();
        if (!peer.reading_payload) {
          peer.header_read += static_cast<size_t>(n);
          if (peer.header_read < sizeof(Header)) continue;
          if (!BeginPayload(rank)) return;
        } else {
          peer.payload_read += static_cast<uint64_t>(n);
        }
      }
      if (peer.reading_payload && peer.payload_read == peer.header.bytes) FinishFrame(rank);
    }
  }

  // Finds where the payload goes. False if the peer broke the protocol.
  bool BeginPayload(size_t rank) {
    Peer& peer = peers_[rank];
    const Header& header = peer.header;
    peer.reading_payload = true;
    peer.payload_read = 0;
    peer.payload = nullptr;
    switch (header.type) {
      case kData: {
        if (!OwnsChannel(rank, header.channel, false)) break;
        Channel& channel = channels_[header.channel];
        if (channel.closed) return true;
        if (channel.posted.empty() || header.bytes > channel.posted.front().bytes) break;
        peer.payload = channel.posted.front().data;
        return true;
      }
      case kCredit:
        if (header.bytes == 0 && OwnsChannel(rank, header.channel, true)) return true;
        break;
      case kControl:
      case kAbort:
        if (header.bytes > (header.type == kControl ? kLongestControl : kLongestAbort)) break;
        peer.control.resize(header.bytes);
        peer.payload = peer.control.data();
        return true;
      case kBeatFrame:
      case kBye:
        if (header.bytes == 0) return true;
        break;
      default:
        break;
    }
    Lose(rank, absl::StrCat("it broke the protocol: frame type ", header.type, ", channel ",
                            header.channel, ", ", header.bytes, " bytes"));
    return false;
  }

  bool OwnsChannel(size_t rank, uint32_t id, bool sends) const {
    return id < channels_.size() && channels_[id].spec.peer == static_cast<int>(rank) &&
           channels_[id].spec.sends == sends;
  }

  void FinishFrame(size_t rank) {
    Peer& peer = peers_[rank];
    peer.reading_payload = false;
    peer.header_read = 0;
    switch (peer.header.type) {
      case kData: {
        Channel& channel = channels_[peer.header.channel];
        received_ += peer.header.bytes;
        if (channel.closed) break;
        channel.posted.pop_front();
        events_.push_back({Event::kOnArrived, peer.header.channel});
        break;
      }
      case kCredit:
        events_.push_back({Event::kOnCredit, peer.header.channel});
        break;
      case kControl:
        control_[{peer.header.channel, rank}] = std::move(peer.control);
        peer.control.clear();
        changed_.notify_all();
        break;
      case kAbort:
        Fail(MakeError(ErrorKind::kPeer,
                       absl::StrCat("stopped because rank ", rank, " failed: ", peer.control)));
        break;
      case kBye:
        peer.left = true;
        changed_.notify_all();
        break;
      default:
        break;
    }
  }

  const int rank_;
  const std::chrono::milliseconds timeout_;
  std::mutex callback_mutex_;  // held while callbacks run; taken before mutex_
  std::mutex mutex_;           // guards everything below
  std::condition_variable changed_;
  std::vector<Peer> peers_;
  std::deque<Channel> channels_;
  std::vector<Event> events_;
  std::map<std::pair<uint32_t, size_t>, std::string> control_;
  uint64_t next_sequence_ = 0;
  absl::Status failure_;
  bool aborted_ = false;
  bool stop_ = false;
  int epoll_;
  int wake_;
  std::atomic<uint64_t> received_{0};
  std::atomic<uint64_t> sent_{0};
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Transport> MakeTcpTransport(int rank, std::vector<Socket> peers,
                                            double timeout_seconds) {
  return std::make_unique<TcpTransport>(rank, std::move(peers), timeout_seconds);
}

}  // namespace oneflow::comm
