// What tests without a GPU stand on: software CUDA keeps the order of streams, and tells of writes that a
// GPU would tell of or hide.
#include <atomic>
#include <cstring>
#include <thread>

#include "gtest/gtest.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/soft_cuda_for_test.h"

namespace oneflow::kernels {
namespace {

TEST(SoftCuda, StreamsRunInOrderAndWaitForEvents) {
  const CudaApi* api = SoftCudaApi();
  auto first = CudaStream::Make(api);
  auto second = CudaStream::Make(api);
  auto event = CudaEvent::Make(api);
  ASSERT_TRUE(first.ok() && second.ok() && event.ok());
  EXPECT_TRUE((*event)->Done());  // before any record
  std::atomic<int> order{0};
  std::atomic<bool> open{false};
  int at_first = -1;
  int at_second = -1;
  struct Note {
    std::atomic<int>* order;
    std::atomic<bool>* open;
    int* at;
  };
  Note one{&order, &open, &at_first};
  Note two{&order, nullptr, &at_second};
  const auto note = [](void* argument) {
    const Note* note = static_cast<Note*>(argument);
    while (note->open != nullptr && !note->open->load()) std::this_thread::yield();
    *note->at = note->order->fetch_add(1);
  };
  ASSERT_TRUE((*first)->OnComplete(note, &one).ok());
  ASSERT_TRUE((*first)->Record(event->get()).ok());
  ASSERT_TRUE((*second)->Wait(**event).ok());
  ASSERT_TRUE((*second)->OnComplete(note, &two).ok());
  EXPECT_FALSE((*event)->Done());  // nothing waited for the first stream
  open.store(true);
  (*second)->Drain();
  EXPECT_TRUE((*event)->Done());
  EXPECT_EQ(at_first, 0);
  EXPECT_EQ(at_second, 1);
}

// Writes of kernels that are still to come, put off until `open`.
struct LateWrite {
  std::atomic<bool> open{false};
  char* at = nullptr;
  static void Run(void* argument) {
    LateWrite* late = static_cast<LateWrite*>(argument);
    while (!late->open.load()) std::this_thread::yield();
    *late->at = 1;
  }
};

TEST(SoftCuda, TellsOfAWriteBehindARelease) {
  const CudaApi* api = SoftCudaApi();
  CudaStreamHandle stream = nullptr;
  ASSERT_EQ(api->stream_create(&stream), 0);
  for (const bool drains : {true, false}) {
    void* data = nullptr;
    ASSERT_EQ(api->allocate(&data, 100), 0);
    LateWrite late;
    late.at = static_cast<char*>(data) + 50;
    ASSERT_EQ(api->stream_callback(stream, &LateWrite::Run, &late), 0);
    if (drains) {
      late.open.store(true);
      ASSERT_EQ(api->stream_synchronize(stream), 0);
      EXPECT_EQ(api->release(data), 0);
    } else {
      EXPECT_EQ(api->release(data), 0);
      late.open.store(true);
      ASSERT_EQ(api->stream_synchronize(stream), 0);
    }
    CudaStreamHandle other = nullptr;
    ASSERT_EQ(api->stream_create(&other), 0);
    EXPECT_EQ(api->stream_destroy(other), drains ? 0 : 700) << "drains " << drains;
  }
  EXPECT_EQ(api->stream_destroy(stream), 0);  // an error is told once
}

TEST(SoftCuda, TellsOfAWriteOutOfBounds) {
  const CudaApi* api = SoftCudaApi();
  for (const int64_t at : {int64_t{-1}, int64_t{0}, int64_t{99}, int64_t{100}, int64_t{300}}) {
    void* data = nullptr;
    ASSERT_EQ(api->allocate(&data, 100), 0);
    static_cast<char*>(data)[at] = 1;
    EXPECT_EQ(api->release(data), at >= 0 && at < 100 ? 0 : 700) << at;
  }
  int other = 0;
  EXPECT_EQ(api->release(&other), 1);  // none of its own
}

}  // namespace
}  // namespace oneflow::kernels
