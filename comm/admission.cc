#include "comm/admission.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/status.h"

namespace oneflow::comm {
namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kMostPending = 128;

// Answers are shorter than any socket's buffer: all at once or not at all.
bool SendAtOnce(const Socket& socket, const std::string& bytes) {
  return send(socket.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) ==
         static_cast<ssize_t>(bytes.size());
}

}  // namespace

absl::Status Admission::Run(Deadline until, const Welcome& welcome, const std::atomic<bool>* stop) {
  bool welcomed = false;
  while (!welcomed && (stop == nullptr || !stop->load())) {
    const Deadline now = Clock::now();
    pending_.remove_if([now](const Pending& pending) { return pending.limit <= now; });
    if (now >= until) return absl::OkStatus();
    Deadline next = until;
    if (!pending_.empty()) next = std::min(next, pending_.front().limit);
    std::vector<pollfd> polled = {{listener_->fd(), POLLIN, 0}};
    for (const Pending& pending : pending_) polled.push_back({pending.socket.fd(), POLLIN, 0});
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - now);
    if (poll(polled.data(), polled.size(), static_cast<int>(left.count())) < 0 && errno != EINTR) {
      return absl::UnavailableError("poll failed while ranks were gathering");
    }
    absl::Status fatal;
    size_t i = 1;
    for (auto it = pending_.begin(); it != pending_.end() && i < polled.size(); ++i) {
      const bool stays = polled[i].revents == 0 || Advance(&*it, welcome, &welcomed, &fatal);
      it = stays ? std::next(it) : pending_.erase(it);
    }
    OF_RETURN_IF_ERROR(fatal);
    if (polled[0].revents != 0) Accept();
  }
  return absl::OkStatus();
}

void Admission::Accept() {
  while (true) {
    absl::StatusOr<Socket> socket = listener_->Accept(Clock::now());
    if (!socket.ok()) return;
    if (pending_.size() == kMostPending) pending_.pop_front();
    pending_.push_back({*std::move(socket), Acceptance(*self_), Clock::now() + kHandshakeTime, ""});
  }
}

bool Admission::Advance(Pending* pending, const Welcome& welcome, bool* welcomed,
                        absl::Status* fatal) {
  char bytes[sizeof(Hello)];
  const size_t wanted = pending->acceptance.wanted() - pending->read.size();
  const ssize_t n = recv(pending->socket.fd(), bytes, wanted, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (n <= 0) return false;
  pending->read.append(bytes, static_cast<size_t>(n));
  if (pending->read.size() < pending->acceptance.wanted()) return true;
  std::string answer;
  const absl::Status taken = pending->acceptance.Take(pending->read, &answer);
  pending->read.clear();
  if (!taken.ok()) {
    if (!answer.empty()) SendAtOnce(pending->socket, answer);
    if (KindOf(taken) == ErrorKind::kPeer) *fatal = taken;
    return false;
  }
  if (!pending->acceptance.proven()) return SendAtOnce(pending->socket, answer);
  const std::string why =
      welcome(pending->acceptance.rank(), pending->acceptance.purpose(), &pending->socket);
  if (!why.empty()) {
    SendAtOnce(pending->socket, Acceptance::No(why));
    return false;
  }
  *welcomed = true;
  return false;
}

}  // namespace oneflow::comm
