// Communicators that other ranks share, on software NCCL: joining, messages, and the end of what waits for ranks
// that never come. Over real processes: tests/e2e/test_cuda_processes.py.
#include "runtime/devices/cuda/cuda_comms.h"

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cuda/soft_cuda_for_test.h"
#include "kernels/cuda/soft_gpus_for_test.h"
#include "kernels/cuda/soft_nccl_for_test.h"

namespace oneflow {
namespace {

using kernels::CudaCommId;
using kernels::CudaGraph;
using kernels::CudaStream;
using testing::HasSubstr;

constexpr kernels::CudaError kTold = kernels::kNcclErrors + 5;

class CudaCommsTest : public testing::Test {
 protected:
  void SetUp() override {
    kernels::SoftGpus::Of().Set(2, /*reach=*/false);
    kernels::SetSoftNccl(true);
    kernels::SetSoftPatience(5);
    end_.emplace(&api_);
    for (int gpu = 0; gpu < 2; ++gpu) {
      ASSERT_EQ(api_.set_device(gpu), 0);
      void* data = nullptr;
      ASSERT_EQ(api_.allocate(&data, 4 * sizeof(float)), 0);
      data_.push_back(static_cast<float*>(data));
      for (int i = 0; i < 4; ++i) data_.back()[i] = static_cast<float>(10 * gpu + i);
      streams_.push_back(*CudaStream::Make(&api_));
    }
    ring_.mode = "sum";
    ring_.dtype = DType::kF32;
    ring_.elements = 4;
    ring_.even = true;
    testing::internal::CaptureStderr();
  }
  void TearDown() override {
    streams_.clear();
    comms_.reset();
    end_.reset();
    for (float* data : data_) EXPECT_EQ(api_.release(data), 0);
    EXPECT_EQ(testing::internal::GetCapturedStderr(), told_);
    kernels::SetSoftPatience(60);
    kernels::SetSoftNccl(false);
    kernels::SoftGpus::Of().Set(1, false);
    EXPECT_EQ(api_.set_device(0), 0);
  }
  absl::Status Join(int ranks, double seconds) {
    CudaCommId id = {};
    EXPECT_EQ(api_.comm_id(&id), 0);
    absl::StatusOr<std::unique_ptr<CudaComms>> comms =
        CudaComms::Join(&api_, ranks, id, {{0, 0}, {1, 1}}, seconds, &*end_);
    if (comms.ok()) comms_ = *std::move(comms);
    return comms.status();
  }
  absl::Status Sum() {
    return comms_->Run(ring_, {data_[0], data_[1]}, {streams_[0].get(), streams_[1].get()});
  }
  // Of the floats of a rank from `at` on.
  CudaComms::End EndOf(int rank, int peer, bool sends, int64_t bytes, size_t at = 0) {
    return {{sends, rank, peer, bytes},
            data_[static_cast<size_t>(rank)] + at,
            streams_[static_cast<size_t>(rank)].get()};
  }
  absl::Status Carry(int rank, int peer, bool sends, int64_t bytes) {
    return comms_->Carry({EndOf(rank, peer, sends, bytes)});
  }
  // What the stream of a rank tells when all of it is over.
  kernels::CudaError Drain(size_t rank) {
    return api_.stream_synchronize(streams_[rank]->handle());
  }

  const kernels::CudaApi api_ = kernels::SoftCudaRuntime();
  std::optional<CommsEnd> end_;
  std::unique_ptr<CudaComms> comms_;
  std::vector<float*> data_;
  std::vector<std::unique_ptr<CudaStream>> streams_;
  WholeRing ring_;
  std::string told_;
};

TEST_F(CudaCommsTest, JoinedRanksAddAndSend) {
  ASSERT_TRUE(Join(2, 10).ok());
  for (int round = 0; round < 3; ++round) ASSERT_TRUE(Sum().ok());
  EXPECT_EQ(Drain(0), 0);
  EXPECT_EQ(Drain(1), 0);
  EXPECT_EQ(data_[0][3], 4 * (3 + 13));
  EXPECT_EQ(data_[1][3], data_[0][3]);
  data_[0][1] = 7;
  ASSERT_TRUE(Carry(0, 1, true, 8).ok());
  ASSERT_TRUE(Carry(1, 0, false, 8).ok());
  EXPECT_EQ(Drain(1), 0);
  EXPECT_EQ(data_[1][1], 7);
  EXPECT_EQ(data_[1][3], data_[0][3]);
}

TEST_F(CudaCommsTest, RanksThatNeverComeAreWaitedForSoLong) {
  const absl::Status status = Join(3, 0.2);  // the third is nobody
  EXPECT_THAT(MessageOf(status), HasSubstr("did not all come within 0.2 s (ONEFLOW_PEER_SECONDS)"));
}

TEST_F(CudaCommsTest, TheEndOfASessionEndsTheWaitForRanks) {
  std::thread ends([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    end_->Begin();
  });
  EXPECT_THAT(MessageOf(Join(3, 60)), HasSubstr("was given up: the session failed"));
  ends.join();
  EXPECT_THAT(MessageOf(Join(2, 60)), HasSubstr("no call is made any more"));
}

TEST_F(CudaCommsTest, TheEndOfASessionEndsCallsThatWait) {
  ASSERT_TRUE(Join(2, 10).ok());
  ASSERT_TRUE(Carry(0, 1, true, 16).ok());  // nobody receives it
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  end_->Begin();
  EXPECT_EQ(Drain(0), 0);
  EXPECT_THAT(MessageOf(Carry(1, 0, false, 16)), HasSubstr("no call is made any more"));
}

// As NCCL's own: what ends communicators waits for graphs with their calls, so these go first, and the thread
// that waits is none that has to let them go.
TEST_F(CudaCommsTest, TheEndOfASessionWaitsForGraphsElsewhere) {
  ASSERT_TRUE(Join(2, 10).ok());
  ASSERT_TRUE(streams_[0]->BeginCapture().ok());
  ASSERT_TRUE(Carry(0, 1, true, 16).ok());
  absl::StatusOr<std::unique_ptr<CudaGraph>> graph = streams_[0]->EndCapture();
  ASSERT_TRUE(graph.ok());
  ASSERT_TRUE(streams_[0]->Launch(**graph).ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  end_->Begin();
  EXPECT_EQ(Drain(0), 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  graph->reset();
}

TEST_F(CudaCommsTest, EndsThatDifferAreTold) {
  ASSERT_TRUE(Join(2, 10).ok());
  ASSERT_TRUE(Carry(0, 1, true, 16).ok());
  ASSERT_TRUE(Carry(1, 0, false, 8).ok());
  EXPECT_EQ(Drain(1), kTold);
  EXPECT_EQ(data_[1][0], 10);
  told_ =
      "software NCCL: ends of a message differ: a call of rank 1 of 2 on GPU 1: a message of 8 "
      "bytes and a "
      "message of 16 bytes\n";
}

// One by one each would wait for the other to receive what it sends.
TEST_F(CudaCommsTest, EndsOfAGroupWaitForNoneOfThem) {
  ASSERT_TRUE(Join(2, 10).ok());
  for (const bool captured : {false, true}) {
    std::vector<std::unique_ptr<CudaGraph>> graphs;
    for (int rank = 0; rank < 2; ++rank) {
      float* data = data_[static_cast<size_t>(rank)];
      for (int i = 0; i < 4; ++i) data[i] = static_cast<float>(10 * rank + i);
      CudaStream* stream = streams_[static_cast<size_t>(rank)].get();
      if (captured) {
        ASSERT_TRUE(stream->BeginCapture().ok());
      }
      // The first two floats there, one by one, and into the last two what comes.
      ASSERT_TRUE(
          comms_
              ->Carry({EndOf(rank, 1 - rank, true, 4, 0), EndOf(rank, 1 - rank, true, 4, 1),
                       EndOf(rank, 1 - rank, false, 4, 2), EndOf(rank, 1 - rank, false, 4, 3)})
              .ok());
      if (captured) graphs.push_back(*stream->EndCapture());
    }
    for (size_t rank = 0; rank < graphs.size(); ++rank) {
      ASSERT_TRUE(streams_[rank]->Launch(*graphs[rank]).ok());
    }
    EXPECT_EQ(Drain(0), 0);
    EXPECT_EQ(Drain(1), 0);
    EXPECT_EQ(data_[0][2], 10);
    EXPECT_EQ(data_[0][3], 11);
    EXPECT_EQ(data_[1][2], 0);
    EXPECT_EQ(data_[1][3], 1);
  }
}

// The other rank has the same messages, one call for each.
TEST_F(CudaCommsTest, GroupsThatDifferAreTold) {
  ASSERT_TRUE(Join(2, 10).ok());
  ASSERT_TRUE(comms_->Carry({EndOf(0, 1, true, 4), EndOf(0, 1, false, 4, 1)}).ok());
  ASSERT_TRUE(Carry(1, 0, false, 4).ok());
  ASSERT_TRUE(Carry(1, 0, true, 4).ok());
  EXPECT_EQ(Drain(1), kTold);
  Drain(0);
  told_ =
      "software NCCL: ends of a message differ: a call of rank 1 of 2 on GPU 1: a message of 4 "
      "bytes and "
      "a message of 4 bytes, with 1 back\n"
      "software NCCL: ends of a message differ: a call of rank 0 of 2 on GPU 0: a group of a "
      "message of 4 "
      "bytes, with 1 back to 1 and a message of 4 bytes, with 1 back from 1 and a message of 4 "
      "bytes\n";
}

TEST_F(CudaCommsTest, GroupsThatNeverMeetAreADeadlock) {
  kernels::SetSoftPatience(0.2);
  ASSERT_TRUE(Join(2, 10).ok());
  ASSERT_TRUE(comms_->Carry({EndOf(0, 1, true, 4), EndOf(0, 1, true, 4, 1)}).ok());
  EXPECT_EQ(Drain(0), kTold);
  told_ =
      "software NCCL: deadlock, each waits for ranks that never come:\n"
      "  a call of rank 0 of 2 on GPU 0: a group of a message of 4 bytes, 1 of 2 to 1 and a "
      "message of 4 "
      "bytes, 2 of 2 to 1\n";
}

}  // namespace
}  // namespace oneflow
