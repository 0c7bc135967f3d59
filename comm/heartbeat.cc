#include "comm/heartbeat.h"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/check.h"

namespace oneflow::comm {
namespace {

constexpr auto kBeat = std::chrono::milliseconds(500);
constexpr auto kSuspect = std::chrono::seconds(2);
constexpr auto kSilence = std::chrono::seconds(5);
constexpr auto kOwnGap = std::chrono::seconds(2);
// A peer closes this connection with the other one, whose last frames may still be read.
constexpr auto kClosed = std::chrono::seconds(1);

// Byte `position` of the beats.
uint8_t BeatByte(uint64_t position) {
  return static_cast<uint8_t>((position / 8) >> (8 * (position % 8)));
}

}  // namespace

Heartbeat::Heartbeat(int rank, std::vector<Socket> links,
                     std::function<void(int, std::string)> lost)
    : rank_(rank),
      lost_(std::move(lost)),
      links_(links.size()),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  OF_CHECK(wake_.open());
  polled_.resize(links.size() + 1);
  polled_.back() = {wake_.fd(), POLLIN, 0};
  for (size_t r = 0; r < links.size(); ++r) {
    links_[r].socket = std::move(links[r]);
    links_[r].heard = Clock::now();
    polled_[r] = {links_[r].socket.fd(), POLLIN, 0};  // poll ignores a negative descriptor
  }
  thread_ = std::thread([this] { Loop(); });
}

Heartbeat::~Heartbeat() {
  stop_.store(true);
  const uint64_t one = 1;
  (void)!write(wake_.fd(), &one, sizeof(one));
  thread_.join();
}

void Heartbeat::Loop() {
  Clock::time_point next_beat = Clock::now();
  Clock::time_point last_turn = Clock::now();
  while (!stop_.load()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next_beat - Clock::now());
    poll(polled_.data(), polled_.size(), static_cast<int>(std::max<int64_t>(0, left.count())));
    const Clock::time_point now = Clock::now();
    const bool was_stopped = now - last_turn > kOwnGap;
    last_turn = now;
    const bool beat = now >= next_beat;
    if (beat) next_beat = now + kBeat;
    for (size_t r = 0; r < links_.size(); ++r) {
      Link* link = &links_[r];
      if (!link->socket.open()) continue;
      if (link->excused.load()) {
        polled_[r].fd = -1;
        continue;
      }
      if (was_stopped) link->heard = now;
      if (beat) SendBeat(link);
      if (polled_[r].revents != 0) Read(static_cast<int>(r), link, now);
      Judge(static_cast<int>(r), link, now);
    }
  }
}

void Heartbeat::SendBeat(Link* link) {
  uint8_t bytes[8];
  size_t count = 0;
  // Usually eight; fewer if the last call took a part only.
  do {
    bytes[count] = BeatByte(link->sent + count);
    ++count;
  } while ((link->sent + count) % 8 != 0);
  const ssize_t n = send(link->socket.fd(), bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n > 0) link->sent += static_cast<uint64_t>(n);
}

void Heartbeat::Read(int rank, Link* link, Clock::time_point now) {
  uint8_t bytes[256];
  const ssize_t n = recv(link->socket.fd(), bytes, sizeof(bytes), MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
  if (n <= 0) {
    polled_[static_cast<size_t>(rank)].fd = -1;
    link->is_closed = true;
    link->closed = now;
    return;
  }
  link->heard = now;
  for (ssize_t i = 0; i < n; ++i) {
    if (bytes[i] == BeatByte(link->read++)) continue;
    Lose(rank, "it broke the protocol: what came over the heartbeat's connection is no beat");
    return;
  }
}

void Heartbeat::Judge(int rank, Link* link, Clock::time_point now) {
  if (link->excused.load()) return;
  if (link->is_closed) {
    if (now - link->closed > kClosed) Lose(rank, "it closed the heartbeat's connection");
    return;
  }
  if (now - link->heard > kSilence) {
    Lose(rank, "no heartbeat for 5 s: the process is stopped, or its host is");
  } else if (now - link->heard > kSuspect) {
    if (!link->suspected) {
      std::fprintf(stderr, "oneflow: rank %d has not heard from rank %d for 2 s\n", rank_, rank);
    }
    link->suspected = true;
  } else if (link->suspected) {
    link->suspected = false;
    std::fprintf(stderr, "oneflow: rank %d hears from rank %d again\n", rank_, rank);
  }
}

void Heartbeat::Lose(int rank, const std::string& how) {
  Excuse(rank);
  lost_(rank, how);
}

}  // namespace oneflow::comm
