#include "comm/page_lender.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/uio.h>

#include <cerrno>
#include <ctime>
#include <utility>

namespace oneflow::comm {
namespace {

// What a process may ask for without privileges (/proc/sys/fs/pipe-max-size): a place for each of 256 pages.
constexpr int kPipeBytes = 1 << 20;

// No SIGPIPE of this thread while it lives: splice has no flag against it.
class WithoutSigpipe {
 public:
  WithoutSigpipe() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~WithoutSigpipe() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  // One has been raised, unless the process ignores it.
  void Swallow() const {
    if (sigismember(&before_, SIGPIPE) == 1) return;
    const timespec now{};
    while (sigtimedwait(&pipe_, nullptr, &now) < 0 && errno == EINTR) {
    }
  }

 private:
  sigset_t pipe_, before_;
};

}  // namespace

bool PageLender::Open() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return false;
  Socket out(ends[0]), in(ends[1]);
  // Where that is more than this user's pipes have left, a copy is cheaper than the many calls for small pieces.
  if (fcntl(in.fd(), F_SETPIPE_SZ, kPipeBytes) < kPipeBytes) {
    unable_ = true;
    return false;
  }
  out_ = std::move(out);
  in_ = std::move(in);
  return true;
}

bool PageLender::Lend(const char* data, size_t bytes) {
  if (unable_) return false;
  if (!in_.open() && !Open()) return false;  // descriptors may come back
  const iovec piece{const_cast<char*>(data), bytes};
  const ssize_t n = vmsplice(in_.fd(), &piece, 1, SPLICE_F_NONBLOCK);
  if (n <= 0) {
    // Memory of a device has no pages to refer to; what else there may be is the kernel's for good.
    unable_ = n < 0 && errno != EFAULT && errno != EINTR && errno != ENOMEM;
    return false;
  }
  lent_ = static_cast<size_t>(n);
  return true;
}

ssize_t PageLender::Write(int socket) {
  ssize_t n = 0;
  int error = 0;
  {
    const WithoutSigpipe quiet;
    n = splice(out_.fd(), nullptr, socket, nullptr, lent_, SPLICE_F_NONBLOCK | SPLICE_F_MORE);
    error = n < 0 ? errno : EIO;
    if (n < 0 && error == EPIPE) quiet.Swallow();
  }
  if (n <= 0) {
    errno = error;
    return -1;
  }
  lent_ -= static_cast<size_t>(n);
  return n;
}

}  // namespace oneflow::comm
