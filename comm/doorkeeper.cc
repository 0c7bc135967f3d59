#include "comm/doorkeeper.h"

#include <sys/socket.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace oneflow::comm {

std::string TwinRefusal(uint32_t rank) {
  return absl::StrCat("this process is a twin: another one is rank ", rank,
                      " of this job already; every process needs its own RANK");
}

Doorkeeper::Doorkeeper(Socket listener, Identity self)
    : listener_(std::move(listener)), self_(std::move(self)), thread_([this] { Loop(); }) {}

Doorkeeper::~Doorkeeper() {
  stop_.store(true);
  shutdown(listener_.fd(), SHUT_RDWR);  // ends the wait
  thread_.join();
}

void Doorkeeper::Loop() {
  Admission admission(&listener_, &self_);
  const auto turn_away = [](uint32_t rank, Purpose, Socket*) { return TwinRefusal(rank); };
  while (!stop_.load()) {
    const Deadline until = std::chrono::steady_clock::now() + std::chrono::hours(1);
    // A rank of another build changes nothing for a job that runs.
    (void)admission.Run(until, turn_away, &stop_);
  }
}

}  // namespace oneflow::comm
