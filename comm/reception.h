// Reception: what peers say of channels (a message, a credit), checked against the channels that there
// are, then told to the session whose channel it is. The same whether it came by a frame, a notice or an
// adapter.
//
// Owned by the transport. Threads: whoever runs callbacks; bytes() from any. Invariant: nothing that a
// peer says counts unless the channel is bound, is that peer's, and has a slot posted for a message, or
// room for a credit; what breaks that comes back in words. Read next: comm/channel_table.h,
// comm/tcp_transport.cc.
#ifndef ONEFLOW_COMM_RECEPTION_H_
#define ONEFLOW_COMM_RECEPTION_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "comm/channel_table.h"
#include "comm/frame.h"

namespace oneflow::comm {

class Reception {
 public:
  // `channels` outlives this; `counted` hears that a message of a rank counts, before its session does.
  Reception(const ChannelTable* channels, std::function<void(int rank)> counted)
      : channels_(channels), counted_(std::move(counted)) {}

  // Of each: empty, or what the peer did wrong.
  std::string TakeMessage(int rank, uint32_t id);
  std::string TakeCredit(int rank, uint32_t id);
  // A data frame begins: *target is where its payload goes, nullptr for nowhere.
  std::string BeginMessage(int rank, const FrameHeader& header, char** target);

  // A channel on which a message of that rank is due; nullptr if there is none.
  const Channel* Owed(int rank) const;
  // The callbacks of all open channels, each group once.
  std::vector<std::shared_ptr<TransportCallbacks>> OpenGroups() const;
  uint64_t bytes() const { return bytes_.load(); }

 private:
  // The channel that a peer names, if it may.
  Channel* Find(int rank, uint32_t id, bool sends) const;

  const ChannelTable* const channels_;
  const std::function<void(int)> counted_;
  std::atomic<uint64_t> bytes_{0};
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_RECEPTION_H_
