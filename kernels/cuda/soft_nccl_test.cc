// Software NCCL, on which tests of collectives stand: sums in the order of the ranks, and what cannot meet is told
// by name instead of hanging.
#include <string>
#include <vector>

#include "base/dtype.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cuda/soft_cuda_for_test.h"
#include "kernels/cuda/soft_gpus_for_test.h"
#include "kernels/cuda/soft_nccl_for_test.h"

namespace oneflow::kernels {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr int kGpus = 3;

class SoftNcclTest : public testing::Test {
 protected:
  void SetUp() override {
    SoftGpus::Of().Set(kGpus, /*reach=*/false);
    SetSoftNccl(true);
    for (int gpu = 0; gpu < kGpus; ++gpu) {
      ASSERT_EQ(api_.set_device(gpu), 0);
      void* data = nullptr;
      ASSERT_EQ(api_.allocate(&data, 6 * sizeof(float)), 0);
      buffers_.push_back(static_cast<float*>(data));
      for (int i = 0; i < 6; ++i) buffers_[static_cast<size_t>(gpu)][i] = ValueOf(gpu, i);
      for (int i = 0; i < 2; ++i) ASSERT_EQ(api_.stream_create(&streams_[i][gpu]), 0);
    }
    const int devices[kGpus] = {0, 1, 2};
    for (auto& comms : comms_) ASSERT_EQ(api_.comms_create(kGpus, devices, comms), 0);
  }
  void TearDown() override {
    for (auto& comms : comms_) {
      for (CudaCommHandle comm : comms) EXPECT_EQ(api_.comm_destroy(comm), 0);
    }
    for (int gpu = 0; gpu < kGpus; ++gpu) {
      for (int i = 0; i < 2; ++i) EXPECT_EQ(api_.stream_destroy(streams_[i][gpu]), 0);
      EXPECT_EQ(api_.release(buffers_[static_cast<size_t>(gpu)]), 0);
    }
    SetSoftPatience(60);
    SetSoftNccl(false);
    SoftGpus::Of().Set(1, false);
    EXPECT_EQ(api_.set_device(0), 0);
  }
  static float ValueOf(int gpu, int i) { return static_cast<float>(100 * gpu + i); }
  static CudaCollective Of(CudaCollectiveKind kind, int64_t elements = 6,
                           DType dtype = DType::kF32) {
    return {kind, static_cast<int32_t>(dtype), elements, kGpus, 0};
  }
  CudaError Call(CudaCollective problem, int gpu, int comm = 0, int stream = 0) {
    problem.rank = gpu;
    return api_.collective(&problem, buffers_[static_cast<size_t>(gpu)], comms_[comm][gpu],
                           streams_[stream][gpu]);
  }
  void CallAll(const CudaCollective& problem, int comm = 0, int stream = 0) {
    ASSERT_EQ(api_.group_begin(), 0);
    for (int gpu = 0; gpu < kGpus; ++gpu) ASSERT_EQ(Call(problem, gpu, comm, stream), 0);
    ASSERT_EQ(api_.group_end(), 0);
  }
  // Waits for all streams; the first error that one tells.
  CudaError Drain() {
    CudaError first = 0;
    for (auto& streams : streams_) {
      for (CudaStreamHandle stream : streams) {
        const CudaError error = api_.stream_synchronize(stream);
        if (first == 0) first = error;
      }
    }
    return first;
  }
  std::vector<float> Values(int gpu) const {
    const float* data = buffers_[static_cast<size_t>(gpu)];
    return std::vector<float>(data, data + 6);
  }

  const CudaApi api_ = SoftCudaRuntime();
  std::vector<float*> buffers_;
  CudaStreamHandle streams_[2][kGpus] = {};
  CudaCommHandle comms_[2][kGpus] = {};
};

TEST_F(SoftNcclTest, EachKindDoesWhatItSays) {
  CallAll(Of(CudaCollectiveKind::kReduceScatter));
  EXPECT_EQ(Drain(), 0);
  // Shares of two; the rest is nothing that one may read.
  EXPECT_THAT(Values(0), ElementsAre(300, 303, -77, -77, -77, -77));
  EXPECT_THAT(Values(2), ElementsAre(-77, -77, -77, -77, 312, 315));
  CallAll(Of(CudaCollectiveKind::kAllGather));
  EXPECT_EQ(Drain(), 0);
  for (int gpu = 0; gpu < kGpus; ++gpu) {
    EXPECT_THAT(Values(gpu), ElementsAre(300, 303, 306, 309, 312, 315));
  }
  CallAll(Of(CudaCollectiveKind::kAllReduce));
  EXPECT_EQ(Drain(), 0);
  for (int gpu = 0; gpu < kGpus; ++gpu) {
    EXPECT_THAT(Values(gpu), ElementsAre(900, 909, 918, 927, 936, 945));
  }
}

TEST_F(SoftNcclTest, SumsAreMadeInTheOrderOfTheRanks) {
  for (int round = 0; round < 20; ++round) {
    buffers_[0][0] = 1e8f;
    buffers_[1][0] = -1e8f;
    buffers_[2][0] = 1;
    CallAll(Of(CudaCollectiveKind::kAllReduce));
    EXPECT_EQ(Drain(), 0);
    for (int gpu = 0; gpu < kGpus; ++gpu) EXPECT_EQ(Values(gpu)[0], 1);
  }
}

TEST_F(SoftNcclTest, CallsThatDifferAreTold) {
  const CudaCollective usual = Of(CudaCollectiveKind::kAllReduce);
  const std::vector<std::pair<CudaCollective, std::string>> others = {
      {Of(CudaCollectiveKind::kAllGather), "all_gather of 6 f32"},
      {Of(CudaCollectiveKind::kAllReduce, 5), "all_reduce of 5 f32"},
      {Of(CudaCollectiveKind::kAllReduce, 6, DType::kI32), "all_reduce of 6 i32"}};
  for (const auto& [other, text] : others) {
    testing::internal::CaptureStderr();
    ASSERT_EQ(api_.group_begin(), 0);
    ASSERT_EQ(Call(usual, 0), 0);
    ASSERT_EQ(Call(other, 1), 0);
    ASSERT_EQ(Call(usual, 2), 0);
    ASSERT_EQ(api_.group_end(), 0);
    EXPECT_EQ(Drain(), kNcclErrors + 5);
    EXPECT_THAT(testing::internal::GetCapturedStderr(),
                AllOf(HasSubstr("ranks differ"), HasSubstr("of GPUs 0,1,2 on GPU 1: " + text)));
    EXPECT_EQ(Values(0)[1], ValueOf(0, 1));  // nothing was done
  }
}

// Swapped calls of one communicator meet the wrong ones.
TEST_F(SoftNcclTest, CallsInAnotherOrderAreTold) {
  const CudaCollective first = Of(CudaCollectiveKind::kAllReduce);
  const CudaCollective second = Of(CudaCollectiveKind::kAllReduce, 4);
  testing::internal::CaptureStderr();
  ASSERT_EQ(api_.group_begin(), 0);
  for (int gpu = 0; gpu < kGpus; ++gpu) {
    ASSERT_EQ(Call(gpu == 1 ? second : first, gpu), 0);
    ASSERT_EQ(Call(gpu == 1 ? first : second, gpu), 0);
  }
  ASSERT_EQ(api_.group_end(), 0);
  EXPECT_EQ(Drain(), kNcclErrors + 5);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("call 0 of GPUs 0,1,2 on GPU 1: all_reduce of 4 f32"),
                    HasSubstr("call 1 of GPUs 0,1,2 on GPU 1: all_reduce of 6 f32")));
}

// Two communicators in another order on one GPU: nobody goes on, as each waits in its first call.
TEST_F(SoftNcclTest, CommunicatorsInAnotherOrderAreADeadlock) {
  SetSoftPatience(0.2);
  const CudaCollective call = Of(CudaCollectiveKind::kAllReduce);
  testing::internal::CaptureStderr();
  ASSERT_EQ(api_.group_begin(), 0);
  for (int gpu = 0; gpu < kGpus; ++gpu) {
    ASSERT_EQ(Call(call, gpu, /*comm=*/gpu == 1 ? 1 : 0), 0);
    ASSERT_EQ(Call(call, gpu, /*comm=*/gpu == 1 ? 0 : 1), 0);
  }
  ASSERT_EQ(api_.group_end(), 0);
  EXPECT_EQ(Drain(), kNcclErrors + 5);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("deadlock"),
                    HasSubstr("call 0 of GPUs 0,1,2 on GPU 0: all_reduce of 6 f32")));
}

// The same in a graph, where streams that nothing orders come to their calls in a drawn order.
TEST_F(SoftNcclTest, CallsWithoutACommonOrderAreADeadlockInAGraph) {
  for (const bool ordered : {true, false}) {
    CudaEventHandle fork = nullptr;
    std::vector<CudaEventHandle> events(2 * kGpus), firsts(kGpus);
    ASSERT_EQ(api_.set_device(0), 0);
    ASSERT_EQ(api_.event_create(&fork, false), 0);
    for (int gpu = 0; gpu < kGpus; ++gpu) {
      ASSERT_EQ(api_.set_device(gpu), 0);
      for (int i = 0; i < 2; ++i) {
        ASSERT_EQ(api_.event_create(&events[static_cast<size_t>(2 * gpu + i)], false), 0);
      }
      ASSERT_EQ(api_.event_create(&firsts[static_cast<size_t>(gpu)], false), 0);
    }
    CudaStreamHandle root = streams_[0][0];
    ASSERT_EQ(api_.capture_begin(root), 0);
    ASSERT_EQ(api_.event_record(fork, root), 0);
    for (auto& streams : streams_) {
      for (CudaStreamHandle stream : streams) ASSERT_EQ(api_.stream_wait(stream, fork), 0);
    }
    CallAll(Of(CudaCollectiveKind::kAllReduce), /*comm=*/0, /*stream=*/0);
    for (size_t gpu = 0; gpu < kGpus && ordered; ++gpu) {
      ASSERT_EQ(api_.event_record(firsts[gpu], streams_[0][gpu]), 0);
      ASSERT_EQ(api_.stream_wait(streams_[1][gpu], firsts[gpu]), 0);
    }
    CallAll(Of(CudaCollectiveKind::kAllReduce), /*comm=*/1, /*stream=*/1);
    for (size_t gpu = 0; gpu < kGpus; ++gpu) {
      for (size_t i = 0; i < 2; ++i) {
        ASSERT_EQ(api_.event_record(events[2 * gpu + i], streams_[i][gpu]), 0);
        ASSERT_EQ(api_.stream_wait(root, events[2 * gpu + i]), 0);
      }
    }
    CudaGraphHandle graph = nullptr;
    CudaGraphExecHandle exec = nullptr;
    ASSERT_EQ(api_.capture_end(root, &graph), 0);
    ASSERT_EQ(api_.graph_instantiate(&exec, graph), 0);
    testing::internal::CaptureStderr();
    int deadlocks = 0;
    for (int launch = 0; launch < 40; ++launch) {
      for (float* buffer : buffers_) buffer[0] = 1;
      ASSERT_EQ(api_.graph_launch(exec, root), 0);
      if (Drain() != 0) {
        ++deadlocks;
      } else {
        EXPECT_EQ(Values(1)[0], 9);  // each of the two sums is over three
      }
    }
    const std::string told = testing::internal::GetCapturedStderr();
    EXPECT_EQ(deadlocks > 0, !ordered);
    EXPECT_EQ(told.find("deadlock") != std::string::npos, !ordered) << told;
    EXPECT_EQ(api_.graph_exec_destroy(exec), 0);
    EXPECT_EQ(api_.graph_destroy(graph), 0);
    EXPECT_EQ(api_.event_destroy(fork), 0);
    for (CudaEventHandle event : events) EXPECT_EQ(api_.event_destroy(event), 0);
    for (CudaEventHandle event : firsts) EXPECT_EQ(api_.event_destroy(event), 0);
  }
}

TEST_F(SoftNcclTest, WhatNcclRefusesIsRefused) {
  const CudaCollective call = Of(CudaCollectiveKind::kAllReduce);
  EXPECT_EQ(Call(call, 0), kNcclErrors + 5);  // several ranks of one thread, and no group
  ASSERT_EQ(api_.group_begin(), 0);
  CudaCollective problem = call;
  EXPECT_EQ(api_.collective(&problem, buffers_[0], comms_[0][0], streams_[0][1]), 400);
  ASSERT_EQ(api_.group_end(), 0);
  CudaCommHandle comms[2] = {};
  const int twice[2] = {1, 1}, absent[2] = {0, kGpus};
  EXPECT_EQ(api_.comms_create(2, twice, comms), kNcclErrors + 5);
  EXPECT_EQ(api_.comms_create(2, absent, comms), 101);
}

}  // namespace
}  // namespace oneflow::kernels
