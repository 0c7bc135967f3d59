#include "comm/tcp_transport.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "comm/agreement.h"
#include "comm/binding.h"
#include "comm/blame.h"
#include "comm/channel_table.h"
#include "comm/collectives.h"
#include "comm/event_queue.h"
#include "comm/frame_reader.h"
#include "comm/heartbeat.h"
#include "comm/held_credits.h"
#include "comm/neighbours.h"
#include "comm/outbox.h"
#include "comm/rdma_peers.h"
#include "comm/reception.h"
#include "comm/ring_binding.h"
#include "comm/stop_agreement.h"
#include "comm/turns.h"
#include "comm/wait_until.h"
#include "comm/wire.h"

namespace oneflow::comm {
namespace {

// What is written and not acknowledged for longer means a dead link; longer than the heartbeat's
// patience, which finds stopped processes.
constexpr unsigned kUnacknowledgedMs = 6000;
constexpr uint32_t kNobody = ~uint32_t{0};  // kAbort: the sender itself failed
// A peer that takes the arming of its bell away without ringing delays its notices by so much.
constexpr int kLongestSleepMs = 1000;
constexpr auto kLastWords = std::chrono::milliseconds(500);
// An adapter is done with a message sooner, or has failed.
constexpr auto kLongestWrite = std::chrono::seconds(5);
// Of a peer that has left all messages are on this side; its adapter may show them a little later.
constexpr auto kLastWrites = std::chrono::milliseconds(100);
constexpr uint64_t kAnyBytes = ~uint64_t{0};

class TcpTransport final : public Transport {
 public:
  TcpTransport(int rank, Links links, double timeout_seconds, std::unique_ptr<Doorkeeper> door)
      : rank_(rank),
        timeout_(
            std::chrono::milliseconds(static_cast<int64_t>(1000 * std::min(timeout_seconds, 1e7)))),
        door_(std::move(door)),
        peers_(links.data.size()),
        neighbours_(static_cast<int>(links.data.size())),
        rdma_(static_cast<int>(links.data.size())),
        held_(links.data.size()),
        collectives_(rank, static_cast<int>(links.data.size())),
        stopping_(rank, static_cast<int>(links.data.size()),
                  [this](int to, StopWord word, uint64_t number) { SayStop(to, word, number); }),
        standing_in_(links.data.size()),
        own_(links.data.size()) {
    for (size_t r = 0; r < peers_.size(); ++r) {
      Peer& peer = peers_[r];
      peer.sink.Bind(this, static_cast<int>(r));
      peer.socket = std::move(links.data[r]);
      if (!peer.socket.open()) {
        peer.gone.store(true);
        peer.outbox.Close();
        continue;
      }
      OF_CHECK(peer.socket.SetNonBlocking().ok());
      setsockopt(peer.socket.fd(), IPPROTO_TCP, TCP_USER_TIMEOUT, &kUnacknowledgedMs,
                 sizeof(kUnacknowledgedMs));
      peer.outbox.Open(peer.socket.fd());
      queue_.WatchInput(peer.socket.fd(), r);
    }
    heartbeat_ = std::make_unique<Heartbeat>(
        rank, std::move(links.beats), [this](int lost, const std::string& how) {
          queue_.Command([this, lost, how] { Lose(lost, how); });
        });
    thread_ = std::thread([this] { Loop(); });
  }

  ~TcpTransport() override {
    // What was promised to peers goes out first, but a dead peer cannot hold us.
    WaitUntil(std::chrono::seconds(1), [this] { return rdma_.idle(); });
    for (size_t r = 0; r < peers_.size(); ++r) PushTo(r, OutFrame::Of(FrameType::kBye));
    WaitForOutboxes(std::chrono::seconds(1));
    queue_.Command([this] { stop_ = true; });
    thread_.join();
  }

  // Collective, before anything else.
  absl::Status MeetNeighbours(PathChoice choice, const std::vector<HostId>& hosts,
                              RdmaOptions options) {
    const auto exchange = [this](const std::vector<std::string>& words) { return Exchange(words); };
    absl::Status met = neighbours_.Meet(rank_, choice, hosts, exchange);
    if (met.ok()) met = rdma_.Meet(rank_, choice, std::move(options), neighbours_, exchange);
    if (!met.ok()) {
      // The others may not see it: what a rank says goes to each apart.
      if (BlamedRank(met)) Blame(met);
      return met;
    }
    for (size_t r = 0; r < peers_.size(); ++r) {
      const SharedLink* link = neighbours_.link(static_cast<int>(r));
      const RdmaLink* rdma = rdma_.link(static_cast<int>(r));
      const size_t number = peers_.size() + r;
      // Only now: until then the bell holds the nonce for the peer.
      if (link != nullptr) queue_.WatchInput(link->bell(), number);
      if (rdma != nullptr) queue_.WatchInput(rdma->bell(), number);
    }
    queue_.Wake();  // it arms, and takes what is there
    return absl::OkStatus();
  }

  int rank() const override { return rank_; }
  int world_size() const override { return static_cast<int>(peers_.size()); }

  absl::StatusOr<std::vector<ChannelId>> OpenChannels(const std::string& fingerprint,
                                                      const std::vector<std::string>& rows,
                                                      const std::vector<ChannelSpec>& specs,
                                                      TransportCallbacks callbacks) override {
    std::lock_guard opening(open_mutex_);
    std::vector<ChannelId> moved;
    {
      std::lock_guard lock(moved_mutex_);
      moved.swap(moved_);
    }
    if (specs.size() > ChannelTable::capacity() - channels_.size()) {
      return MakeError(ErrorKind::kPeer, absl::StrCat("more than ", ChannelTable::capacity(),
                                                      " channels were opened in this process"));
    }
    for (const ChannelId id : moved) Register(channels_.Find(id));
    auto shared = std::make_shared<TransportCallbacks>(std::move(callbacks));
    std::vector<ChannelId> ids;
    for (const ChannelSpec& spec : specs) {
      Channel* channel = channels_.Prepare(static_cast<uint32_t>(ids.size()));
      channel->Open(spec, shared);
      if (!ComesByFrames(*channel)) channel->landing = {};
      ids.push_back(channels_.size() + static_cast<uint32_t>(ids.size()));
      Register(channel);
      peers_[static_cast<size_t>(spec.peer)].outbox.Reserve(channel->frames_at_once());
    }
    channels_.Publish(static_cast<uint32_t>(ids.size()));
    const RankProgram program{fingerprint, rows};
    const std::vector<Announcement> own = AnnounceChannels(peers_.size(), DigestOf(program), ids,
                                                           specs, moved, neighbours_, channels_);
    const absl::StatusOr<MappedBy> mapped = comm::Agree(
        rank_, program, own,
        [this](const std::vector<std::string>& words) { return Exchange(words); },
        [&](const std::vector<Announcement>& all) {
          return BindChannels(rank_, own, all, neighbours_, rdma_, &channels_);
        },
        [this](const absl::Status& unseen) { Blame(unseen); });
    absl::Status opened = mapped.status();
    if (opened.ok()) {
      opened = SettleRings(*mapped, &channels_);
      if (!opened.ok()) Blame(opened);
    }
    if (opened.ok()) return ids;
    CloseChannels(ids);
    return opened;
  }

  void MoveRegion(ChannelId id, const MovedTo& to) override {
    Channel* channel = channels_.Find(id);
    channel->region.base = to.region;
    for (size_t i = 0; i < to.ring.size(); ++i) channel->ring.buffers[i].base = to.ring[i];
    if (channel->landing.base != nullptr) channel->landing.base = to.landing;
    std::lock_guard lock(moved_mutex_);
    moved_.push_back(id);
  }

  Region RemoteRegion(ChannelId id) const override { return channels_.Find(id)->remote_region; }
  bool WritesDirectly(ChannelId id) const override {
    const Channel& channel = *channels_.Find(id);
    return channel.in_place || channel.target.base != nullptr || ByRdma(channel);
  }
  std::vector<Region> InPlace(ChannelId id) const override {
    return BuffersInPlace(*channels_.Find(id));
  }
  bool Lands(ChannelId id) const override { return channels_.Find(id)->landing.base != nullptr; }

  void Post(ChannelId id) override {
    Channel* channel = channels_.Find(id);
    if (channel->closed.load()) return;
    const int64_t posted = channel->posted.fetch_add(1);
    if (peers_[static_cast<size_t>(channel->peer)].left.load()) {
      FailOwed(*channel);
      return;
    }
    Tell(*channel, NoticeKind::kCredit, FrameType::kCredit, posted);
  }

  bool Send(ChannelId id) override {
    Channel* channel = channels_.Find(id);
    if (channel->closed.load()) return false;
    const int64_t message = channel->sent.fetch_add(1);
    const std::byte* source = channel->region.At(message);
    sent_ += channel->bytes;
    if (channel->in_place || channel->target.base != nullptr) {
      Deliver(*channel, message, source);
      Tell(*channel, NoticeKind::kData, FrameType::kWritten);
      return true;
    }
    if (ByRdma(*channel)) {
      const uint64_t slot = reinterpret_cast<uint64_t>(channel->remote_region.At(message));
      PushWrite(channel->peer,
                {ImmediateKind::kMessage, channel->remote, id, source, channel->bytes,
                 channel->registered->local_key(), slot, *channel->remote_key});
      return false;
    }
    OutFrame frame;
    frame.type = FrameType::kData;
    frame.channel = channel->remote;
    frame.bytes = channel->bytes;
    frame.payload = reinterpret_cast<const char*>(source);
    frame.sender = id;
    return PushTo(static_cast<size_t>(channel->peer), std::move(frame));
  }

  void CloseChannels(const std::vector<ChannelId>& ids) override {
    // Between two turns of the reader no callback runs and no slot is written.
    OF_CHECK(!turns_.Mine()) << "a callback may not close channels";
    queue_.Run([&] {
      for (ChannelId id : ids) {
        Channel* channel = channels_.Find(id);
        if (channel->closed.exchange(true)) continue;
        channel->Release();
        if (RdmaLink* link = rdma_.link(channel->peer); link != nullptr) link->Forget(ids);
        Peer& peer = peers_[static_cast<size_t>(channel->peer)];
        peer.reader.Discard(id);
        peer.outbox.Reserve(-channel->frames_at_once());
      }
      for (size_t r = 0; r < peers_.size(); ++r) {
        if (peers_[r].outbox.Forget(ids) == Outbox::Next::kLeft) MarkDirty(r);
      }
    });
    // A source that an adapter or the kernel still reads keeps its connection whole for as long as that takes.
    WaitUntil(kLongestWrite, [&] {
      return std::none_of(ids.begin(), ids.end(), [this](ChannelId id) {
        const int peer = channels_.Find(id)->peer;
        const RdmaLink* link = rdma_.link(peer);
        return (link != nullptr && link->Busy(id)) ||
               peers_[static_cast<size_t>(peer)].outbox.Lends(id);
      });
    });
    for (ChannelId id : ids) channels_.Find(id)->registered.reset();
  }

  void Abort(const absl::Status& cause) override {
    if (aborted_.exchange(true)) return;
    const std::optional<int> blamed = BlamedRank(cause);
    TellAll(blamed ? static_cast<uint32_t>(*blamed) : kNobody, MessageOf(cause));
    Fail(MakeError(ErrorKind::kPeer, absl::StrCat("this rank stopped: ", MessageOf(cause))));
    if (!turns_.Mine()) WaitForOutboxes(kLastWords);
  }

  absl::StatusOr<std::vector<std::string>> AllGather(const std::string& bytes) override {
    return Say(std::vector<const std::string*>(peers_.size(), &bytes));
  }

  void AskToStop() override { stopping_.Ask(); }
  Boundary PassBoundary(std::chrono::milliseconds limit) override {
    return stopping_.PassBoundary(limit);
  }

  std::byte* AllocateShared(size_t bytes) override { return neighbours_.Allocate(bytes); }
  void FreeShared(std::byte* data) override { neighbours_.Free(data); }

  void BeginLooking() override {
    if (neighbours_.any() && lookers_.fetch_add(1) == 0) neighbours_.Disarm();
  }
  bool Look() override {
    if (!neighbours_.HasNews()) return false;
    return turns_.TakeIfFree([this] { TakeNotices(); });
  }
  void EndLooking() override {
    if (!neighbours_.any() || lookers_.fetch_sub(1) != 1) return;
    // What has come since the last look is left to the own thread.
    if (!neighbours_.Arm()) queue_.Wake();
  }
  bool looking_suffices() const override { return neighbours_.all(); }

  bool StandIn(const std::function<bool()>& done) override {
    if (done()) return true;
    if (!queue_.BeginStandingIn()) return false;
    held_.ComesBack();
    const std::function<bool()> has_news = [&] { return done() || held_.any() || HasNews(); };
    EventQueue::Events events;
    while (!done()) {
      turns_.Take(&standing_in_, [&] {
        if (held_.ReleaseAny()) ReleaseHeld();
        for (const epoll_event& event : events) HandleEvent(event);
        TakeNotices();
      });
      WriteGathered(&standing_in_, Outbox::kInlineBytes);
      events = queue_.WaitInstead(has_news);
    }
    queue_.EndStandingIn();
    return true;
  }
  void Rouse() override { queue_.Rouse(); }

  std::vector<std::string> paths() const override { return rdma_.paths(); }

  uint64_t bytes_received() const override { return reception_.bytes(); }
  uint64_t bytes_sent() const override { return sent_.load(); }

 private:
  // Frames of one peer, for the reader.
  class Sink final : public FrameSink {
   public:
    void Bind(TcpTransport* transport, int rank) {
      transport_ = transport;
      rank_ = rank;
    }
    std::string BeginFrame(const FrameHeader& header, char** target) override {
      return transport_->BeginFrame(rank_, header, target);
    }
    void TakeLent(const FrameHeader& header) override {
      const Channel& channel = *transport_->channels_.Find(header.channel);
      transport_->PushTo(static_cast<size_t>(rank_),
                         OutFrame::Of(FrameType::kTaken, channel.remote));
    }
    std::string EndFrame(const FrameHeader& header, std::string text) override {
      return transport_->EndFrame(rank_, header, std::move(text));
    }

   private:
    TcpTransport* transport_ = nullptr;
    int rank_ = 0;
  };

  struct Peer {
    Socket socket;
    Outbox outbox;
    std::atomic<bool> gone{false};   // lost, or its connection has ended
    std::atomic<bool> left{false};   // it said farewell
    std::atomic<bool> dirty{false};  // its outbox wants the transport's thread
    // Whoever takes a turn at the events.
    FrameReader reader;
    Sink sink;
  };

  bool ComesByFrames(const Channel& channel) {
    return neighbours_.link(channel.peer) == nullptr && rdma_.link(channel.peer) == nullptr;
  }
  static bool ByRdma(const Channel& channel) {
    return channel.remote_key.has_value() && channel.registered != nullptr;
  }
  void PushWrite(int rank, const RdmaLink::Order& order) {
    if (!rdma_.link(rank)->Push(order)) queue_.Wake();  // it is broken: a turn finds out how
  }
  // What the adapter may reach of a channel whose peer is reached by RDMA.
  void Register(Channel* channel) {
    const absl::Status registered = RegisterRegion(rdma_, channel);
    if (!registered.ok() && !unregistered_.exchange(true)) {
      std::fprintf(stderr, "oneflow: rank %d sends some messages by TCP: %s\n", rank_,
                   MessageOf(registered).c_str());
    }
  }

  // The peer of a channel: by RDMA, through shared memory if there is some, and room, else by a frame. A
  // credit: behind so many others.
  void Tell(const Channel& channel, NoticeKind kind, FrameType type, int64_t posted = 0) {
    if (rdma_.link(channel.peer) != nullptr && kind == NoticeKind::kCredit) {
      PushWrite(channel.peer, {ImmediateKind::kCredit, channel.remote});
      return;
    }
    SharedLink* link = neighbours_.link(channel.peer);
    if (link != nullptr && link->Notify({kind, channel.remote})) return;
    const size_t peer = static_cast<size_t>(channel.peer);
    if (kind == NoticeKind::kCredit) {
      const HeldCredits::Held held = held_.Hold(channel, posted, &peers_[peer].outbox);
      if (held == HeldCredits::Held::kDone) ReleaseHeldOf(channel.peer);
      if (held != HeldCredits::Held::kNo) return;
    }
    PushTo(peer, OutFrame::Of(type, channel.remote));
  }

  void ReleaseHeld() {
    for (size_t r = 0; r < peers_.size(); ++r) ReleaseHeldOf(static_cast<int>(r));
  }
  void ReleaseHeldOf(int rank) {
    if (held_.Release(static_cast<size_t>(rank))) WriteSoon(static_cast<size_t>(rank));
  }

  void MarkDirty(size_t rank) {
    peers_[rank].dirty.store(true);
    queue_.Wake();
  }
  // After this thread's turn, or by the transport's.
  void WriteSoon(size_t rank) {
    Shift* shift = turns_.MyShift();
    if (shift == nullptr) return MarkDirty(rank);
    shift->Gather(rank);
  }

  // True if the frame is written already.
  bool PushTo(size_t rank, OutFrame frame) {
    Peer& peer = peers_[rank];
    if (peer.gone.load()) return false;
    bool written = false;
    Outbox::Finished others;
    const bool may_write = turns_.MyShift() == nullptr;
    Follow(rank, peer.outbox.Push(std::move(frame), may_write, &written, &others));
    if (!others.empty()) {
      {
        std::lock_guard lock(sent_mutex_);
        sent_elsewhere_.insert(sent_elsewhere_.end(), others.begin(), others.end());
      }
      queue_.Wake();
    }
    return written;
  }

  void Follow(size_t rank, Outbox::Next next) {
    if (next == Outbox::Next::kBlocked) {
      queue_.WatchOutput(peers_[rank].socket.fd(), rank);
    } else if (next == Outbox::Next::kLeft) {
      WriteSoon(rank);
    }
    // kBroken: what the peer said last may still be unread; reading on finds the end.
  }

  void SayStop(int to, StopWord word, uint64_t number) {
    std::string text(reinterpret_cast<const char*>(&number), sizeof(number));
    PushTo(static_cast<size_t>(to),
           OutFrame::Of(FrameType::kStop, static_cast<uint32_t>(word), std::move(text)));
  }

  void WaitForOutboxes(std::chrono::milliseconds limit) {
    WaitUntil(limit, [this] {
      return std::all_of(peers_.begin(), peers_.end(),
                         [](Peer& peer) { return peer.gone.load() || peer.outbox.Empty(); });
    });
  }

  // A collective call, in which each other rank is told its own words.
  absl::StatusOr<std::vector<std::string>> Exchange(const std::vector<std::string>& words) {
    std::vector<const std::string*> places;
    for (const std::string& one : words) places.push_back(&one);
    return Say(places);
  }
  absl::StatusOr<std::vector<std::string>> Say(const std::vector<const std::string*>& words) {
    return collectives_.Exchange(
        words, timeout_, [this](int r, uint32_t number, std::string piece) {
          PushTo(static_cast<size_t>(r),
                 OutFrame::Of(FrameType::kControl, number, std::move(piece)));
        });
  }

  // Everything of this rank stops with this cause; the first one counts. True for it.
  bool Fail(const absl::Status& cause) {
    if (!collectives_.Fail(cause)) return false;
    stopping_.Fail();
    error_pending_.store(true);
    queue_.Wake();
    return true;
  }

  void FailOwed(const Channel& channel) {
    Fail(PeerFailure(channel.peer, absl::StrCat("rank ", channel.peer, " ended and owes rank ",
                                                rank_, " a message on channel `", channel.name,
                                                "`; every rank must run the same steps")));
  }

  void TellAll(uint32_t blamed, const std::string& cause) {
    for (size_t r = 0; r < peers_.size(); ++r) {
      if (peers_[r].gone.load()) continue;
      peers_[r].outbox.PutAbortFirst(blamed, cause.substr(0, kLongestAbort));
      MarkDirty(r);
    }
  }

  // Those who look see to notices themselves, and arm when they stop.
  bool HasNews() { return lookers_.load() == 0 && !neighbours_.Arm(); }

  // Whoever's turn was just over.
  void WriteGathered(Shift* shift, uint64_t most_bytes) {
    while (!shift->gathered.empty()) {
      const size_t rank = shift->gathered.back();
      shift->gathered.pop_back();
      WriteTo(rank, /*writable=*/false, most_bytes, shift);
    }
  }

  void WriteTo(size_t rank, bool writable, uint64_t most_bytes, Shift* shift) {
    Peer& peer = peers_[rank];
    if (peer.gone.load()) return;
    shift->finished.clear();
    Follow(rank, peer.outbox.Write(writable, most_bytes, &shift->finished));
    if (!shift->finished.empty()) turns_.Take(shift, [&] { ReportSent(shift->finished); });
  }

  // The rest runs on the transport's thread; what is about events, in the turn of one who stands in as well.

  void Loop() {
    EventQueue::Events events;
    int sleep_ms = -1;
    while (true) {
      turns_.Take(&own_, [&] {
        for (const epoll_event& event : events) HandleEvent(event);
        TakeNotices();
        DoWork();
        sleep_ms = rdma_.any()         ? rdma_.longest_sleep_ms()
                   : neighbours_.any() ? kLongestSleepMs
                                       : -1;
      });
      // Without the lock: who stands in may read meanwhile.
      for (size_t rank : own_.writable) WriteTo(rank, /*writable=*/true, kAnyBytes, &own_);
      own_.writable.clear();
      for (size_t r = 0; r < peers_.size(); ++r) {
        if (peers_[r].dirty.exchange(false)) WriteTo(r, /*writable=*/false, kAnyBytes, &own_);
      }
      WriteGathered(&own_, kAnyBytes);
      if (stop_) return;
      events = queue_.Wait(sleep_ms, [this] { return HasNews(); });
    }
  }

  void HandleEvent(const epoll_event& event) {
    const size_t rank = event.data.u64;
    if (rank >= peers_.size()) {
      SilenceBell(static_cast<int>(rank - peers_.size()));
      return;
    }
    if (event.events & EPOLLOUT) own_.writable.push_back(rank);
    if (event.events & (EPOLLIN | EPOLLHUP | EPOLLERR)) ReadFrom(rank);
  }

  void SilenceBell(int rank) {
    RdmaLink* rdma = rdma_.link(rank);
    SharedLink* shared = neighbours_.link(rank);
    rdma != nullptr ? rdma->Arm() : shared->SilenceBell();
    if (rdma_.listens(rank) || neighbours_.listens(rank)) return;
    queue_.ForgetInput(rdma != nullptr ? rdma->bell() : shared->bell());
  }

  // What other threads have left to this one.
  void DoWork() {
    if (std::vector<EventQueue::Work> commands; queue_.TakeCommands(&commands)) {
      std::vector<ChannelId> sent;
      {
        std::lock_guard lock(sent_mutex_);
        sent.swap(sent_elsewhere_);
      }
      for (const EventQueue::Work& command : commands) command();
      ReportSent(sent);
    }
    for (size_t r = 0; rdma_.any() && r < peers_.size(); ++r) {
      const std::optional<std::string> how = rdma_.Due(static_cast<int>(r));
      if (how) Blame(static_cast<int>(r), absl::StrCat(*how, "); see to what lies between them"));
    }
    if (error_pending_.exchange(false)) ReportError();
  }

  void ReportSent(const std::vector<ChannelId>& sent) {
    for (ChannelId id : sent) {
      Channel* channel = channels_.Find(id);
      if (!channel->closed.load()) channel->callbacks->on_sent(id);
    }
  }

  void ReportError() {
    const absl::Status cause = collectives_.failure();
    for (const auto& group : reception_.OpenGroups()) {
      if (group->on_error) group->on_error(cause);
    }
  }

  // No more of this peer.
  void Leave(size_t rank) {
    Peer& peer = peers_[rank];
    if (peer.gone.exchange(true)) return;
    queue_.ForgetInput(peer.socket.fd());
    neighbours_.Drop(static_cast<int>(rank));
    rdma_.Drop(static_cast<int>(rank));
    shutdown(peer.socket.fd(), SHUT_RDWR);
    peer.outbox.Close();
    heartbeat_->Excuse(static_cast<int>(rank));
    collectives_.Left(static_cast<int>(rank));
    stopping_.Left(static_cast<int>(rank));
  }

  void Lose(int rank, const std::string& how) {
    Peer& peer = peers_[static_cast<size_t>(rank)];
    const bool expected = peer.left.load() || peer.gone.load();
    const std::string doubt = rdma_.Doubt(rank);
    Leave(static_cast<size_t>(rank));
    if (!expected)
      Blame(rank, absl::StrCat(how, doubt, "); its own last lines say why it stopped"));
  }
  // Those that see less of it hear whom to blame; so does that rank, if it still hears.
  void Blame(int rank, const std::string& how) {
    Blame(PeerFailure(rank, absl::StrCat("rank ", rank_, " lost rank ", rank, " (", how)));
  }
  void Blame(const absl::Status& cause) {
    if (Fail(cause)) TellAll(static_cast<uint32_t>(*BlamedRank(cause)), MessageOf(cause));
  }

  void ReadFrom(size_t rank) {
    Peer& peer = peers_[rank];
    if (peer.gone.load()) return;  // an event from before it was lost
    std::string wrong;
    const FrameReader::End end = peer.reader.Read(peer.socket.fd(), &peer.sink, &wrong);
    if (end == FrameReader::End::kClosed) wrong = "it closed the connection";
    if (end == FrameReader::End::kBroken) wrong = absl::StrCat("it broke the protocol: ", wrong);
    if (!wrong.empty()) Lose(static_cast<int>(rank), wrong);
  }

  std::string BeginFrame(int rank, const FrameHeader& header, char** target) {
    if (peers_[static_cast<size_t>(rank)].left.load()) return "a frame came after its farewell";
    if (header.frame_type() == FrameType::kData) {
      return reception_.BeginMessage(rank, header, target);
    }
    return WrongLength(header);
  }

  std::string EndFrame(int rank, const FrameHeader& header, std::string text) {
    Outbox::Finished over;
    switch (header.frame_type()) {
      case FrameType::kTaken:
        if (!peers_[static_cast<size_t>(rank)].outbox.Taken(header.channel, &over)) {
          return absl::StrCat("word of a message that was not sent, of channel ", header.channel);
        }
        ReportSent(over);
        return "";
      case FrameType::kData:
      case FrameType::kWritten:
        return reception_.TakeMessage(rank, header.channel);
      case FrameType::kCredit:
        return reception_.TakeCredit(rank, header.channel);
      case FrameType::kControl:
        return collectives_.Put(rank, header.channel, std::move(text));
      case FrameType::kAbort:
        HearAbort(rank, header.channel, text);
        return "";
      case FrameType::kBye:
        HearBye(rank);
        return "";
      case FrameType::kStop: {
        uint64_t number = 0;
        std::memcpy(&number, text.data(), sizeof(number));
        return stopping_.Hear(rank, header.channel, number);
      }
    }
    return "";
  }

  // Whoever runs a turn.
  void TakeNotices() {
    for (size_t r = 0; r < peers_.size(); ++r) {
      TakeNoticesOf(static_cast<int>(r));
      TakeWritesOf(static_cast<int>(r));
    }
  }
  void TakeWritesOf(int rank) {
    // As with notices: no more at once than there can be.
    for (uint32_t i = 0; rdma_.listens(rank); ++i) {
      if (i == RdmaLink::kWindow) return queue_.Wake();
      const RdmaLink::Event event = rdma_.link(rank)->Take();
      std::string wrong;
      switch (event.kind) {
        case RdmaLink::Event::Kind::kNothing:
          return;
        case RdmaLink::Event::Kind::kBroken:
          rdma_.Suspect(rank, event.wrong);
          return queue_.Wake();
        case RdmaLink::Event::Kind::kSent:
          ReportSent({event.channel});
          break;
        case RdmaLink::Event::Kind::kMessage:
          wrong = reception_.TakeMessage(rank, event.channel);
          break;
        case RdmaLink::Event::Kind::kCredit:
          wrong = reception_.TakeCredit(rank, event.channel);
          break;
      }
      if (!wrong.empty()) Denounce(rank, wrong);
    }
  }
  // From any thread that takes what a peer says.
  void Denounce(int rank, const std::string& wrong) {
    neighbours_.Drop(rank);
    rdma_.Drop(rank);
    queue_.Command(
        [this, rank, wrong] { Lose(rank, absl::StrCat("it broke the protocol: ", wrong)); });
  }
  void TakeNoticesOf(int rank) {
    if (!neighbours_.listens(rank)) return;
    std::string wrong;
    // No more at once than there is room for: a peer cannot hold this thread.
    for (uint32_t i = 0; i < NoticeRing::kPlaces; ++i) {
      Notice notice;
      const NoticeReader::Found found = neighbours_.link(rank)->inbox().Take(&notice);
      if (found == NoticeReader::Found::kNothing) return;
      if (found == NoticeReader::Found::kBroken) {
        wrong = "what it wrote into its inbox here is no notice";
      } else {
        wrong = notice.kind == NoticeKind::kData ? reception_.TakeMessage(rank, notice.channel)
                                                 : reception_.TakeCredit(rank, notice.channel);
      }
      if (!wrong.empty()) return Denounce(rank, wrong);
    }
  }

  void HearAbort(int rank, uint32_t blamed, const std::string& cause) {
    const bool told = blamed < peers_.size() && static_cast<int>(blamed) != rank_;
    // Who lost this rank may see less of it than this rank does.
    const std::string doubt = blamed == static_cast<uint32_t>(rank_) ? rdma_.Doubt(rank) : "";
    Fail(StoppedBy(rank, told ? static_cast<int>(blamed) : rank, cause + doubt));
  }

  void HearBye(int rank) {
    // What it has written before it left is in memory by now.
    TakeNoticesOf(rank);
    WaitUntil(kLastWrites, [this, rank] {
      TakeWritesOf(rank);
      return !rdma_.listens(rank) || reception_.Owed(rank) == nullptr;
    });
    Peer& peer = peers_[static_cast<size_t>(rank)];
    peer.left.store(true);
    neighbours_.Drop(rank);
    rdma_.Drop(rank);
    heartbeat_->Excuse(rank);
    collectives_.Left(rank);
    if (const Channel* channel = reception_.Owed(rank); channel != nullptr)
      return FailOwed(*channel);
    for (const auto& group : reception_.OpenGroups()) {
      if (group->on_left) group->on_left(rank);
    }
  }

  const int rank_;
  const std::chrono::milliseconds timeout_;
  const std::unique_ptr<Doorkeeper> door_;
  std::vector<Peer> peers_;
  Neighbours neighbours_;
  RdmaPeers rdma_;
  HeldCredits held_;
  ChannelTable channels_;
  Reception reception_{&channels_, [this](int rank) { ReleaseHeldOf(rank); }};
  Collectives collectives_;
  StopAgreement stopping_;
  EventQueue queue_;
  std::atomic<uint64_t> sent_{0};
  std::atomic<bool> aborted_{false};

  std::mutex open_mutex_;  // one OpenChannels at a time
  std::mutex moved_mutex_;
  std::vector<ChannelId> moved_;           // since the last OpenChannels
  std::atomic<bool> unregistered_{false};  // it was said that memory could not be

  Turns turns_;
  std::atomic<int> lookers_{0};
  Shift standing_in_;  // of the thread that does

  // For the transport's thread.
  std::atomic<bool> error_pending_{false};
  std::mutex sent_mutex_;
  std::vector<ChannelId> sent_elsewhere_;

  // Its own.
  Shift own_;
  bool stop_ = false;
  std::unique_ptr<Heartbeat> heartbeat_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Transport> MakeTcpTransport(int rank, Links links, double timeout_seconds,
                                            std::unique_ptr<Doorkeeper> door) {
  return std::make_unique<TcpTransport>(rank, std::move(links), timeout_seconds, std::move(door));
}

absl::StatusOr<std::unique_ptr<Transport>> MakeTransport(int rank, Links links,
                                                         double timeout_seconds,
                                                         std::unique_ptr<Doorkeeper> door,
                                                         PathChoice choice, RdmaOptions rdma) {
  const std::vector<HostId> hosts = std::move(links.hosts);
  auto transport =
      std::make_unique<TcpTransport>(rank, std::move(links), timeout_seconds, std::move(door));
  OF_RETURN_IF_ERROR(transport->MeetNeighbours(choice, hosts, std::move(rdma)));
  return transport;
}

}  // namespace oneflow::comm
