// What tests without a GPU stand on: software CUDA keeps the order of streams, and tells of writes that a
// GPU would tell of or hide.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/dtype.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/soft_cuda_for_test.h"
#include "kernels/cuda/soft_gpus_for_test.h"
#include "kernels/cuda/soft_memory_for_test.h"
#include "kernels/cuda/soft_trace_for_test.h"
#include "kernels/cuda/updates_problem.h"
#include "kernels/step_block.h"

namespace oneflow::kernels {
namespace {

// As CUDA has it: who waits for an event waits for its last record of then, whatever comes of a later one.
TEST(SoftCuda, ALaterRecordOfAnEventIsAnotherOne) {
  const CudaApi* api = SoftCudaApi();
  auto held = CudaStream::Make(api), quick = CudaStream::Make(api), waits = CudaStream::Make(api);
  auto event = CudaEvent::Make(api);
  std::atomic<bool> open{false}, over{false};
  const auto hold = [](void* argument) {
    while (!static_cast<std::atomic<bool>*>(argument)->load()) std::this_thread::yield();
  };
  ASSERT_TRUE((*held)->OnComplete(hold, &open).ok());
  ASSERT_TRUE((*held)->Record(event->get()).ok());
  ASSERT_TRUE((*waits)->Wait(**event).ok());
  const auto note = [](void* argument) { static_cast<std::atomic<bool>*>(argument)->store(true); };
  ASSERT_TRUE((*waits)->OnComplete(note, &over).ok());
  ASSERT_TRUE((*quick)->Record(event->get()).ok());
  (*quick)->Drain();
  EXPECT_TRUE((*event)->Done());
  EXPECT_TRUE((*event)->Synchronize().ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(over.load());
  open.store(true);
  (*waits)->Drain();
  EXPECT_TRUE((*event)->Synchronize().ok());
}

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

TEST(SoftCuda, MemoryGrowsWhereItLies) {
  const CudaApi* api = SoftCudaApi();
  CudaMemory before = {}, after = {};
  ASSERT_EQ(api->device_memory(0, &before), 0);
  void* data = nullptr;
  ASSERT_EQ(api->growing_reserve(&data, 1 << 20, 0), 0);
  ASSERT_EQ(api->growing_grow(data, 100), 0);
  char* bytes = static_cast<char*>(data);
  bytes[99] = 7;
  ASSERT_EQ(api->growing_grow(data, 10'000), 0);
  EXPECT_EQ(bytes[99], 7);
  bytes[9'999] = 8;
  ASSERT_EQ(api->device_memory(0, &after), 0);
  EXPECT_EQ(before.free - after.free, 10'000);  // once
  EXPECT_EQ(api->growing_grow(data, (1 << 20) + 1), 1);
  EXPECT_EQ(api->growing_grow(data, 10), 1);  // it does not shrink
  EXPECT_EQ(api->release(data), 1);           // memory of another kind
  const size_t blocks = SoftMemory::Of().grown();
  EXPECT_EQ(api->growing_release(data), 0);
  EXPECT_EQ(api->growing_release(data), 1);
  EXPECT_EQ(SoftMemory::Of().grown(), blocks - 1);  // none is left behind
  ASSERT_EQ(api->device_memory(0, &after), 0);
  EXPECT_EQ(before.free, after.free);
}

TEST(SoftCuda, TellsOfAWriteBehindWhatGrows) {
  const CudaApi* api = SoftCudaApi();
  void* data = nullptr;
  ASSERT_EQ(api->growing_reserve(&data, 1 << 20, 0), 0);
  ASSERT_EQ(api->growing_grow(data, 100), 0);
  static_cast<char*>(data)[100] = 1;
  EXPECT_EQ(api->growing_grow(data, 200), 700);
  // Addresses without memory: the call is told and not made.
  CudaStreamHandle stream = nullptr;
  ASSERT_EQ(api->stream_create(&stream), 0);
  testing::internal::CaptureStderr();
  EXPECT_EQ(api->zero(static_cast<char*>(data) + 8192, 1, stream), 700);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              testing::HasSubstr("touches addresses with no memory"));
  EXPECT_EQ(api->stream_destroy(stream), 0);
  EXPECT_EQ(api->growing_release(data), 0);
}

// Two GPUs; the thread is with the first.
class SoftGpusTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    SoftGpus::Of().Set(2, /*reach=*/GetParam());
    for (int gpu = 1; gpu >= 0; --gpu) {
      ASSERT_EQ(api_->set_device(gpu), 0);
      ASSERT_EQ(api_->allocate(&data_[gpu], 64), 0);
      ASSERT_EQ(api_->stream_create(&stream_[gpu]), 0);
      ASSERT_EQ(api_->event_create(&event_[gpu], false), 0);
    }
  }
  void TearDown() override {
    for (int gpu = 0; gpu < 2; ++gpu) {
      EXPECT_EQ(api_->event_destroy(event_[gpu]), 0);
      EXPECT_EQ(api_->stream_destroy(stream_[gpu]), 0);
      EXPECT_EQ(api_->release(data_[gpu]), 0);
    }
    SoftGpus::Of().Set(1, false);
  }
  // What the first GPU's stream tells, once.
  CudaError Told() { return api_->stream_synchronize(stream_[0]); }

  const CudaApi* const api_ = SoftCudaApi();
  void* data_[2] = {};
  CudaStreamHandle stream_[2] = {};
  CudaEventHandle event_[2] = {};
};

TEST_P(SoftGpusTest, OnlyAPeerCopyTouchesTheOthersMemory) {
  const float host[4] = {1, 2, 3, 4};
  EXPECT_EQ(api_->copy_in(data_[0], host, sizeof(host), stream_[0]), 0);
  EXPECT_EQ(api_->copy_peer(data_[1], 1, data_[0], 0, sizeof(host), stream_[0]), 0);
  EXPECT_EQ(Told(), 0);
  EXPECT_EQ(static_cast<float*>(data_[1])[3], 4);
  // Of another GPU than it says.
  EXPECT_EQ(api_->copy_peer(data_[1], 0, data_[0], 0, sizeof(host), stream_[0]), 1);
  // All that reaches across is told, unless peers were let in.
  for (const bool lets : {false, true}) {
    bool direct = false;
    if (lets) {
      EXPECT_EQ(api_->enable_peer(0, 1, &direct), 0);
    }
    EXPECT_EQ(direct, lets && GetParam());
    const CudaError expected = direct ? 0 : 700;
    EXPECT_EQ(api_->copy(data_[0], data_[1], 16, stream_[0]), 0);
    EXPECT_EQ(Told(), expected);
    EXPECT_EQ(api_->copy(data_[1], data_[0], 16, stream_[0]), 0);
    EXPECT_EQ(Told(), expected);
    EXPECT_EQ(api_->zero(data_[1], 16, stream_[0]), 0);
    EXPECT_EQ(Told(), expected);
    const CudaUnary negate = api_->find_unary("neg", 1);
    EXPECT_EQ(negate(data_[0], data_[0], 0, 4, stream_[0]), 0);
    EXPECT_EQ(Told(), 0);
    EXPECT_EQ(negate(data_[1], data_[0], 0, 4, stream_[0]), 0);
    EXPECT_EQ(Told(), expected);
    EXPECT_EQ(negate(data_[0], static_cast<float*>(data_[1]) + 2, 0, 2, stream_[0]), 0);
    EXPECT_EQ(Told(), expected);
    // Inside what a kernel is given, too.
    const CudaGate gate = {static_cast<const StepBlock*>(data_[1]), 1};
    EXPECT_EQ(api_->copy_gated(&gate, data_[0], data_[0], 16, stream_[0]), 0);
    EXPECT_EQ(Told(), expected);
  }
}

TEST_P(SoftGpusTest, StreamsAndEventsBelongToAGpu) {
  const CudaUnary negate = api_->find_unary("neg", 1);
  EXPECT_EQ(negate(data_[1], data_[1], 0, 4, stream_[1]), 400);  // the thread is with the other
  EXPECT_EQ(api_->event_record(event_[0], stream_[1]), 400);
  EXPECT_EQ(api_->event_record(event_[1], stream_[1]), 0);
  EXPECT_EQ(api_->stream_wait(stream_[0], event_[1]), 0);  // waits may cross
  EXPECT_EQ(api_->set_device(2), 101);
  EXPECT_EQ(api_->set_device(1), 0);
  EXPECT_EQ(negate(data_[1], data_[1], 0, 4, stream_[1]), 0);
  EXPECT_EQ(api_->stream_synchronize(stream_[1]), 0);
  EXPECT_EQ(api_->set_device(0), 0);
}

INSTANTIATE_TEST_SUITE_P(Reach, SoftGpusTest, testing::Bool());

// Appends a letter to a text.
struct Letter {
  std::string* text;
  char letter;
  static void Run(void* argument) {
    const Letter* letter = static_cast<Letter*>(argument);
    letter->text->push_back(letter->letter);
  }
};

// Two streams: a, then b and c beside each other, then d behind both, unless an edge is lost.
class CaptureTest : public testing::Test {
 protected:
  void SetUp() override {
    first_ = *CudaStream::Make(api_);
    second_ = *CudaStream::Make(api_);
    fork_ = *CudaEvent::Make(api_);
    join_ = *CudaEvent::Make(api_);
  }
  void Say(CudaStream* stream, Letter* letter) {
    ASSERT_TRUE(stream->OnComplete(&Letter::Run, letter).ok());
  }
  void Enqueue(bool joins) {
    Say(first_.get(), &a_);
    ASSERT_TRUE(first_->Record(fork_.get()).ok());
    ASSERT_TRUE(second_->Wait(*fork_).ok());
    Say(second_.get(), &b_);
    Say(first_.get(), &c_);
    ASSERT_TRUE(second_->Record(join_.get()).ok());
    if (joins) {
      ASSERT_TRUE(first_->Wait(*join_).ok());
    }
    Say(first_.get(), &d_);
  }
  // The orders in which the letters came in so many launches.
  std::set<std::string> Orders(const CudaGraph& graph, int launches) {
    std::set<std::string> seen;
    for (int i = 0; i < launches; ++i) {
      text_.clear();
      EXPECT_TRUE(first_->Launch(graph).ok());
      first_->Drain();
      seen.insert(text_);
    }
    return seen;
  }

  const CudaApi* const api_ = SoftCudaApi();
  std::string text_;
  Letter a_{&text_, 'a'}, b_{&text_, 'b'}, c_{&text_, 'c'}, d_{&text_, 'd'};
  std::unique_ptr<CudaStream> first_, second_;
  std::unique_ptr<CudaEvent> fork_, join_;
};

TEST_F(CaptureTest, RunsInEveryOrderThatEdgesAllowAndInNoOther) {
  ASSERT_TRUE(first_->BeginCapture().ok());
  Enqueue(/*joins=*/true);
  auto graph = first_->EndCapture();
  ASSERT_TRUE(graph.ok());
  first_->Drain();
  EXPECT_EQ(text_, "");  // kept, not run
  EXPECT_EQ(Orders(**graph, 40), (std::set<std::string>{"abcd", "acbd"}));
}

TEST_F(CaptureTest, ALostEdgeIsTold) {
  ASSERT_TRUE(first_->BeginCapture().ok());
  Enqueue(/*joins=*/false);
  EXPECT_NE(first_->EndCapture().status().message().find("CUDA error 904"), std::string::npos);
  second_->Drain();  // nobody is captured any more
  EXPECT_EQ(text_, "");
  // Joined too late, d runs before b as well.
  ASSERT_TRUE(first_->BeginCapture().ok());
  Enqueue(/*joins=*/false);
  ASSERT_TRUE(first_->Wait(*join_).ok());
  auto graph = first_->EndCapture();
  ASSERT_TRUE(graph.ok());
  EXPECT_EQ(Orders(**graph, 60), (std::set<std::string>{"abcd", "acbd", "acdb"}));
}

TEST_F(CaptureTest, TheHostMayNotWaitInside) {
  ASSERT_TRUE(first_->BeginCapture().ok());
  Say(first_.get(), &a_);
  EXPECT_EQ(api_->stream_synchronize(first_->handle()), 900);
  EXPECT_NE(first_->EndCapture().status().message().find("CUDA error 901"), std::string::npos);
  // Nor may what is captured wait for what is not.
  ASSERT_TRUE(second_->Record(join_.get()).ok());
  ASSERT_TRUE(first_->BeginCapture().ok());
  EXPECT_NE(first_->Wait(*join_).message().find("CUDA error 905"), std::string::npos);
  EXPECT_FALSE(first_->EndCapture().ok());
  first_->Drain();
  EXPECT_EQ(text_, "");
}

TEST_F(CaptureTest, EachCallIsWrittenDown) {
  StartSoftTrace(true);
  ASSERT_TRUE(first_->BeginCapture().ok());
  ASSERT_TRUE(first_->Record(fork_.get()).ok());
  ASSERT_TRUE(second_->Wait(*fork_).ok());
  ASSERT_TRUE(second_->Record(join_.get()).ok());
  ASSERT_TRUE(first_->Wait(*join_).ok());
  auto graph = first_->EndCapture();
  ASSERT_TRUE(graph.ok());
  ASSERT_TRUE(first_->Launch(**graph).ok());
  first_->Drain();
  const std::string trace = SoftTraceText();
  StartSoftTrace(false);
  EXPECT_EQ(trace,
            "0 capture_begin 0 - 0\n"
            "0 event_record 0* 1 0\n"
            "0 stream_wait 2 1 0\n"
            "0 event_record 2* 3 0\n"
            "0 stream_wait 0* 3 0\n"
            "0 capture_end 0* - 0\n"
            "0 graph_instantiate - - 0\n"
            "0 graph_launch 0 4 0\n"
            "0 stream_synchronize 0 - 0\n");
  EXPECT_EQ(SoftTraceText(), "");
}

// Kernels that write states write nothing while one of the blocks has an error.
TEST(CudaGateTest, NothingIsWrittenWhileItIsShut) {
  const CudaApi* api = SoftCudaApi();
  StepBlock blocks[3];
  std::vector<char> from(100, 'x'), to;
  for (const bool shut : {false, true, false}) {
    blocks[2].error_code = shut ? 1 : 0;
    const CudaGate gate = {blocks, 3};
    for (const int64_t bytes : {1, 15, 16, 33, 90}) {
      for (const int64_t shift : {0, 3}) {
        to.assign(100, '-');
        ASSERT_EQ(api->copy_gated(&gate, to.data() + shift, from.data(), bytes, nullptr), 0);
        EXPECT_EQ(std::count(to.begin(), to.end(), 'x'), shut ? 0 : bytes);
        EXPECT_EQ(to[static_cast<size_t>(shift + bytes)], '-');
      }
    }
    float p = 1, g = 0.5f, lr = 0.1f, m = 2, v = 3;
    int64_t step = 4;
    CudaSgd sgd = {1, 0.9f, 0, 1, false, true, static_cast<int32_t>(DType::kF32), gate};
    ASSERT_EQ(api->sgd(&sgd, &p, &g, &lr, &step, &m, &p, &m, nullptr), 0);
    EXPECT_EQ(p == 1 && m == 2, shut);
    p = 1, m = 2;
    CudaAdamW adamw = {1, 0.9, 0.99, 1e-8, 0, static_cast<int32_t>(DType::kF32), gate};
    ASSERT_EQ(api->adamw(&adamw, &p, &g, &m, &v, &lr, &step, &p, &m, &v, nullptr), 0);
    EXPECT_EQ(p == 1 && m == 2 && v == 3, shut);
    p = 1, m = 2, v = 3;
    const int64_t n = 1;
    CudaAdamWs adamws = {adamw, 1, &n, &adamw.g_dtype};
    const void* const in[] = {&lr, &step, &p, &g, &m, &v};
    void* const out[] = {&p, &m, &v};
    const CudaOperands operands = {in, out, nullptr, nullptr, 0};
    ASSERT_EQ(api->adamws(&adamws, &operands, nullptr), 0);
    EXPECT_EQ(p == 1 && m == 2 && v == 3, shut);
  }
}

}  // namespace
}  // namespace oneflow::kernels
