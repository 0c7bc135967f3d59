// SoftPart: one rank's place in a communicator of software GPUs over processes, and SoftMeeting, one call there.
//
// The ranks share a memory file: the id says whose it is and where, so it goes with its last process, however
// that ends. In it each rank has a lane, and each ordered pair of ranks another; a call is written into the
// caller's lane, read by those it is for, and over when all have read it, so nobody is a call ahead. Counters are
// atomic and nobody holds a lock: a rank that dies leaves the others waiting, as NCCL's do, until they are
// aborted or out of patience. What differs between ranks is told by all of them. Test code only. Threads: a
// meeting belongs to one; Abort from any. Read next: kernels/cuda/soft_nccl_for_test.h.
#ifndef ONEFLOW_KERNELS_CUDA_SOFT_NCCL_SHARED_FOR_TEST_H_
#define ONEFLOW_KERNELS_CUDA_SOFT_NCCL_SHARED_FOR_TEST_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/cuda_api.h"

namespace oneflow::kernels {

struct SoftCall;
struct SoftLanes;  // what lies in the file

// The file, mapped.
class SoftSegment {
 public:
  static constexpr int kMostRanks = 8;
  // A new one, kept until it is joined here.
  static CudaError Make(CudaCommId* id);
  // That of the id; nullptr: there is none of which this process knows.
  static std::shared_ptr<SoftSegment> Find(const CudaCommId& id);
  ~SoftSegment();
  SoftSegment(const SoftSegment&) = delete;
  SoftSegment& operator=(const SoftSegment&) = delete;

  SoftLanes* lanes() const { return lanes_; }
  char* DataOf(int lane) const;

 private:
  SoftSegment(int file, SoftLanes* lanes) : file_(file), lanes_(lanes) {}
  static std::shared_ptr<SoftSegment> Map(int file);

  const int file_;
  SoftLanes* const lanes_;
};

struct SoftPart {
  std::shared_ptr<SoftSegment> segment;  // nullptr: others never come
  int ranks = 0;
  int rank = 0;
  int gpu = 0;
  std::atomic<bool> aborted{false};

  // Says that this rank is there; true once all are.
  void Join();
  bool Joined() const;
};

class SoftMeeting {
 public:
  // Comes to the call. `patience`: seconds after which it is taken for a deadlock.
  SoftMeeting(const SoftCall& call, double patience);
  // True if it is over for this rank; looks, and never waits.
  bool Over();

 private:
  // One end of a message, in the lane of its pair. Those of one lane go one after the other.
  struct End {
    int lane = 0;
    uint64_t number = 0;
    bool begun = false;
    bool over = false;
  };
  void Post(int lane, uint64_t number, const void* data, size_t bytes, const std::string& text);
  bool OverCollective();
  bool OverMessages();
  void Begin(size_t end);
  bool OverEnd(size_t end);
  void Fail(const char* what, int lane) const;

  const SoftCall& call_;
  SoftPart& part_;
  const std::chrono::steady_clock::time_point until_;
  // Of a collective: the lane that this rank writes, and the number of the call there.
  int lane_ = 0;
  uint64_t number_ = 0;
  bool read_ = false;
  std::vector<End> ends_;  // of messages
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_SOFT_NCCL_SHARED_FOR_TEST_H_
