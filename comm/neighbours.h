// Neighbours: the ranks of this host, as this rank reaches them through shared memory.
//
// Made by a collective exchange once all ranks are connected (Meet): each tells those of its host whether
// it wants shared memory, and where their inboxes are; each opens what it can and says what it could not. A pair of ranks uses shared memory if both could, else TCP. Also owns the memory that this
// rank lets its neighbours write into. Owned by the transport. Threads: Meet before others know of it;
// Allocate and Free from any; the rest as SharedLink. Read next: comm/shared_link.h,
// comm/tcp_transport.cc.
#ifndef ONEFLOW_COMM_NEIGHBOURS_H_
#define ONEFLOW_COMM_NEIGHBOURS_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "comm/meeting.h"
#include "comm/shared_link.h"
#include "comm/shared_memory.h"

namespace oneflow::comm {

// Where descriptors of a process can be opened by its number: one boot of one kernel, one PID namespace. Zeros: not
// known. Only saves inboxes and vain attempts; what is opened proves itself.
using HostId = std::array<uint8_t, 16>;
HostId OwnHost();

class Neighbours {
 public:
  // Nobody.
  explicit Neighbours(int world_size);
  // Collective. `hosts`: of all ranks. An error on all ranks if one of them insists on shared memory that a pair
  // does not get. Notices may be there when it returns.
  absl::Status Meet(int rank, PathChoice choice, const std::vector<HostId>& hosts,
                    const ExchangeFn& exchange);

  // nullptr: that rank is reached by TCP.
  SharedLink* link(int rank) const { return links_[static_cast<size_t>(rank)].get(); }
  bool any() const { return any_.load(std::memory_order_acquire); }
  bool all() const { return all_; }  // but for this rank
  // As Transport::paths.
  const std::vector<std::string>& paths() const { return paths_; }

  bool HasNews() const;
  // The bells ring at the next notice. False if one is there already: look again.
  bool Arm();
  void Disarm();
  // Whether what that rank writes here is looked at; no more after Drop.
  bool listens(int rank) const {
    return listening_[static_cast<size_t>(rank)].load(std::memory_order_acquire);
  }
  void Drop(int rank) { listening_[static_cast<size_t>(rank)].store(false); }

  std::byte* Allocate(size_t bytes);
  void Free(std::byte* data);
  // Of the memory in which one of these addresses lies.
  std::vector<Offer> OffersOf(const std::vector<const std::byte*>& addresses) const;

 private:
  std::vector<std::unique_ptr<SharedLink>> links_;
  std::vector<std::atomic<bool>> listening_;
  std::vector<std::string> paths_;
  std::atomic<bool> any_{false};
  bool all_ = false;
  mutable std::mutex memory_mutex_;
  std::map<std::byte*, std::unique_ptr<SharedMemory>> memory_;  // by address
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_NEIGHBOURS_H_
