// FakeTransport: ranks that are sessions of one process, joined by a thread that delivers in a
// random order.
//
// Owned by a test; a FakeNetwork outlives its transports, transports their sessions. Threads: as
// comm::Transport; callbacks run on the network's thread. Channels are matched by name; per channel
// messages stay in order, between channels a seed decides. Read next: runtime/ranks_test.cc.
#ifndef ONEFLOW_RUNTIME_FAKE_TRANSPORT_FOR_TEST_H_
#define ONEFLOW_RUNTIME_FAKE_TRANSPORT_FOR_TEST_H_

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/status.h"
#include "comm/transport.h"

namespace oneflow {

// What joins the ranks, and the thread that delivers.
class FakeNetwork {
 public:
  FakeNetwork(int world_size, uint32_t seed) : random_(seed), world_size_(world_size) {
    for (int rank = 0; rank < world_size; ++rank) {
      ranks_.push_back(std::make_unique<FakeTransport>(this, rank));
    }
    thread_ = std::thread([this] { Loop(); });
  }
  ~FakeNetwork() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  comm::Transport* rank(int r) { return ranks_[static_cast<size_t>(r)].get(); }
  // Nothing arrives any more.
  void Freeze() {
    std::lock_guard<std::mutex> lock(mutex_);
    frozen_ = true;
  }
  // A rank is gone: all others hear of it.
  void Lose(int lost) {
    for (std::unique_ptr<FakeTransport>& transport : ranks_) {
      if (transport->rank() == lost) continue;
      for (auto& callbacks : transport->callbacks_) {
        callbacks.on_error(
            MakeError(ErrorKind::kPeer, "rank " + std::to_string(lost) + " is gone"));
      }
    }
  }
  // A rank ends in peace: all others hear of it.
  void Leave(int rank) {
    for (std::unique_ptr<FakeTransport>& transport : ranks_) {
      if (transport->rank() == rank) continue;
      for (auto& callbacks : transport->callbacks_) callbacks.on_left(rank);
    }
  }
  // How often ranks gave up, once one has (at most ten seconds later): the caller may hear of a
  // failure a moment before the peers are told.
  int AwaitAborts() {
    std::unique_lock<std::mutex> lock(mutex_);
    aborted_.wait_for(lock, std::chrono::seconds(10), [this] { return aborts_ > 0; });
    return aborts_;
  }

 private:
  class FakeTransport : public comm::Transport {
   public:
    FakeTransport(FakeNetwork* network, int rank) : network_(network), rank_(rank) {}
    int rank() const override { return rank_; }
    int world_size() const override { return network_->world_size_; }
    absl::StatusOr<std::vector<comm::ChannelId>> OpenChannels(
        const std::string&, const std::vector<std::string>&,
        const std::vector<comm::ChannelSpec>& channels,
        comm::TransportCallbacks callbacks) override {
      std::lock_guard<std::mutex> lock(network_->mutex_);
      std::vector<comm::ChannelId> ids;
      for (const comm::ChannelSpec& channel : channels) {
        ids.push_back(static_cast<comm::ChannelId>(channels_.size()));
        channels_.push_back({channel.name, channel.sends, callbacks_.size(), true,
                             static_cast<size_t>(channel.bytes), channel.region});
        network_->names_[{channel.name, channel.sends}] = {this, ids.back()};
      }
      callbacks_.push_back(std::move(callbacks));
      return ids;
    }
    void CloseChannels(const std::vector<comm::ChannelId>& channels) override {
      std::unique_lock<std::mutex> lock(network_->mutex_);
      for (comm::ChannelId id : channels) channels_[id].open = false;
      network_->changed_.wait(lock, [&] { return network_->calling_ != this; });
    }
    void MoveRegion(comm::ChannelId id, const comm::MovedTo& to) override {
      std::lock_guard<std::mutex> lock(network_->mutex_);
      channels_[id].region.base = to.region;
    }
    comm::Region RemoteRegion(comm::ChannelId) const override { return {}; }
    void Post(comm::ChannelId id) override {
      std::lock_guard<std::mutex> lock(network_->mutex_);
      Channel& channel = channels_[id];
      if (!channel.open) return;
      Wire& wire = network_->wires_[channel.name];
      wire.slots.push_back({channel.region.At(channel.messages++), channel.bytes});
      wire.credits_to_tell++;
      network_->changed_.notify_all();
    }
    bool Send(comm::ChannelId id) override {
      std::lock_guard<std::mutex> lock(network_->mutex_);
      Channel& channel = channels_[id];
      if (!channel.open) return false;
      Wire& wire = network_->wires_[channel.name];
      wire.sends.push_back({channel.region.At(channel.messages++), channel.bytes});
      network_->changed_.notify_all();
      return false;
    }
    void Abort(const absl::Status&) override {
      std::lock_guard<std::mutex> lock(network_->mutex_);
      ++network_->aborts_;
      network_->aborted_.notify_all();
    }
    absl::StatusOr<std::vector<std::string>> AllGather(const std::string& bytes) override {
      return std::vector<std::string>(static_cast<size_t>(world_size()), bytes);
    }
    uint64_t bytes_received() const override { return 0; }
    uint64_t bytes_sent() const override { return 0; }

   private:
    friend class FakeNetwork;
    struct Channel {
      std::string name;
      bool sends = false;
      size_t callbacks = 0;
      bool open = true;
      size_t bytes = 0;
      comm::Region region;
      int64_t messages = 0;  // posted or sent
    };
    FakeNetwork* network_;
    int rank_;
    std::vector<Channel> channels_;
    std::vector<comm::TransportCallbacks> callbacks_;
  };

  // One channel's bytes on their way.
  struct Wire {
    std::deque<std::pair<std::byte*, size_t>> slots;
    std::deque<std::pair<std::byte*, size_t>> sends;
    int credits_to_tell = 0;
  };

  void Loop() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!stop_) {
      std::vector<std::pair<std::string, bool>> possible;  // (channel, a send)
      for (const auto& [name, wire] : wires_) {
        if (wire.credits_to_tell > 0) possible.push_back({name, false});
        if (!wire.sends.empty() && !wire.slots.empty()) possible.push_back({name, true});
      }
      if (possible.empty() || frozen_) {
        changed_.wait(lock);
        continue;
      }
      const auto& [name, send] = possible[random_() % possible.size()];
      Wire& wire = wires_[name];
      if (!send) {
        --wire.credits_to_tell;
        Call(&lock, {name, true}, &comm::TransportCallbacks::on_credit);
        continue;
      }
      const auto [source, bytes] = wire.sends.front();
      const auto [slot, room] = wire.slots.front();
      wire.sends.pop_front();
      wire.slots.pop_front();
      const auto sender = names_.at({name, true}), receiver = names_.at({name, false});
      if (sender.first->channels_[sender.second].open &&
          receiver.first->channels_[receiver.second].open) {
        std::memcpy(slot, source, std::min(bytes, room));
      }
      Call(&lock, {name, true}, &comm::TransportCallbacks::on_sent);
      Call(&lock, {name, false}, &comm::TransportCallbacks::on_arrived);
    }
  }

  void Call(std::unique_lock<std::mutex>* lock, const std::pair<std::string, bool>& end,
            std::function<void(comm::ChannelId)> comm::TransportCallbacks::*callback) {
    const auto [transport, id] = names_.at(end);
    const FakeTransport::Channel& channel = transport->channels_[id];
    if (!channel.open) return;
    const auto& function = transport->callbacks_[channel.callbacks].*callback;
    calling_ = transport;
    lock->unlock();
    function(id);
    lock->lock();
    calling_ = nullptr;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::mt19937 random_;
  const int world_size_;
  std::vector<std::unique_ptr<FakeTransport>> ranks_;
  std::map<std::pair<std::string, bool>, std::pair<FakeTransport*, comm::ChannelId>> names_;
  std::map<std::string, Wire> wires_;
  comm::Transport* calling_ = nullptr;
  bool stop_ = false;
  bool frozen_ = false;
  int aborts_ = 0;
  std::condition_variable aborted_;
  std::thread thread_;
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_FAKE_TRANSPORT_FOR_TEST_H_
