// PageLender: bytes that a socket takes where they lie. The kernel refers to their pages instead of copying them
// (vmsplice into a pipe, splice from it), which leaves the sender with a fraction of the work of a large message.
//
// Owned by an outbox. Threads: one at a time. Invariant: what is lent goes to the socket in order, before anything
// else. Whoever lends must leave the bytes alone until the other end of the connection has taken them: within a host
// and between network namespaces it is the sender's pages that the receiver reads, long after the sender's TCP has
// heard that they arrived. Pages outlive their mapping and their process. Read next: comm/outbox.h,
// docs/decisions/0040-pages-lent.md.
#ifndef ONEFLOW_COMM_PAGE_LENDER_H_
#define ONEFLOW_COMM_PAGE_LENDER_H_

#include <sys/types.h>

#include <cstddef>

#include "comm/socket.h"

namespace oneflow::comm {

class PageLender {
 public:
  // Lends the first of these bytes. False if they have to be copied: the process may open no pipe, this kernel lends
  // nothing, or no such memory (a device's). REQUIRES: lent() == 0.
  bool Lend(const char* data, size_t bytes);
  // Bytes that the socket has not taken yet.
  size_t lent() const { return lent_; }
  // As sendmsg with MSG_NOSIGNAL, MSG_DONTWAIT and MSG_MORE. REQUIRES: lent() > 0.
  ssize_t Write(int socket);

 private:
  bool Open();

  Socket in_, out_;  // of the pipe
  bool unable_ = false;
  size_t lent_ = 0;
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_PAGE_LENDER_H_
