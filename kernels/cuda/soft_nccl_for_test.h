// SoftNccl: communicators and collectives of software GPUs.
//
// Each rank's calls are numbered; those of one number meet, when the streams of all ranks have come to
// them, and the last to come adds the buffers up in the order of the ranks. A GPU does one collective at a
// time, as a GPU may whose blocks all wait: so calls of two communicators that stand in no common order on
// their GPUs end in a deadlock sooner or later. What cannot meet is told instead of hanging: calls that
// differ in kind, count or type, messages whose group is not that of their other end, and a deadlock, with the names of all calls that wait. Of a communicator over
// processes each rank does its part by itself (soft_nccl_shared_for_test.h). Test code only. Threads: any.
// Read next: kernels/cuda/soft_streams_for_test.h.
#ifndef ONEFLOW_KERNELS_CUDA_SOFT_NCCL_FOR_TEST_H_
#define ONEFLOW_KERNELS_CUDA_SOFT_NCCL_FOR_TEST_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/cuda_api.h"
#include "kernels/cuda/soft_nccl_shared_for_test.h"

namespace oneflow::kernels {

// A communicator's devices, by rank.
struct SoftClique {
  std::vector<int> gpus;
};

// One end of a message.
struct SoftEnd {
  CudaMessage message = {};
  void* buffer = nullptr;
};

// One rank's part of a collective; or its ends of the messages of a group, which is over when all of them are.
struct SoftCall {
  std::shared_ptr<const SoftClique> clique;  // of one process
  std::shared_ptr<SoftPart> part;            // over processes
  uint64_t number = 0;                       // in the clique
  CudaCollective problem = {};
  void* buffer = nullptr;
  std::vector<SoftEnd> ends;  // none: a collective

  using Key = std::pair<const SoftClique*, uint64_t>;
  Key key() const { return {clique.get(), number}; }
  int gpu() const {
    return part != nullptr ? part->gpu : clique->gpus[static_cast<size_t>(problem.rank)];
  }
  size_t ranks() const { return clique->gpus.size(); }
  // "all_reduce of 16 f32", "a message of 64 bytes", "a group of a message of 64 bytes to 1 and ...".
  std::string What() const;
  // What both ends say of one of the messages: "a message of 64 bytes, 1 of 2, with 3 back". All that a call has for
  // one rank is to be all that this one's has for it.
  std::string EndText(size_t end) const;
  // "call 3 of GPUs 0,1 on GPU 1: all_reduce of 16 f32", "a call of rank 1 of 2 on GPU 1: ...".
  std::string Text() const;
};

// All ranks of one number: does what they ask for, or tells that they differ.
void RunSoftCalls(std::vector<const SoftCall*> calls);
// from[r] by rank, as in CudaCollective; sums in the order of the ranks. to[r]: nullptr: done elsewhere.
void RunSoftCollective(const CudaCollective& problem, const std::vector<const void*>& from,
                       const std::vector<void*>& to);
// What was called cannot be: the next call that waits for the GPU tells.
void FailSoftCall(const std::string& text);
// Tells that these wait for ever.
void TellSoftDeadlock(const std::vector<const SoftCall*>& waiting);
// Comes to a call on a stream of its own, and returns when it is over. Waits so many seconds at most
// (SetSoftPatience), then takes it for a deadlock.
void MeetSoftCall(const SoftCall& call);
void SetSoftPatience(double seconds);

double SoftPatience();

// False: the library is not there (the default).
void SetSoftNccl(bool there);
// True: communicators over processes whose ids are made from now on never come about.
void SetSoftDeaf(bool deaf);
// Fills the table's functions.
void AddSoftNccl(CudaApi* api);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_SOFT_NCCL_FOR_TEST_H_
