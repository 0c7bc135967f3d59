// DeviceBytes: memory of a device for a test of a kernel, with guard bytes behind it, aligned as a plan
// aligns it: to 64 bytes, no more. Under AddressSanitizer memory of software CUDA is an exact block of
// the host's: then reads out of bounds are told too, which guards cannot see.
//
// Test code only. Owns its memory. Threads: one test at a time. Read next:
// kernels/cuda/conformance_test.cc.
#ifndef ONEFLOW_KERNELS_CUDA_DEVICE_BYTES_FOR_TEST_H_
#define ONEFLOW_KERNELS_CUDA_DEVICE_BYTES_FOR_TEST_H_

#include <cstdint>
#include <new>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/cuda_api.h"
#include "kernels/cuda/soft_cuda_for_test.h"

namespace oneflow::kernels {

class DeviceBytes {
 public:
  DeviceBytes(const CudaApi* api, int64_t bytes) : api_(api), bytes_(bytes), exact_(IsExact(api)) {
    if (exact_) {
      block_ = ::operator new(static_cast<size_t>(bytes), std::align_val_t{kAlignment});
      data_ = block_;
      return;
    }
    EXPECT_EQ(api->allocate(&block_, kAlignment + bytes + kGuard), 0);
    data_ = static_cast<char*>(block_) + kAlignment;
    const std::vector<unsigned char> guard(kGuard, 0xCD);
    EXPECT_EQ(api->copy(At(bytes), guard.data(), kGuard, nullptr), 0);
    EXPECT_EQ(api->stream_synchronize(nullptr), 0);
  }
  DeviceBytes(const DeviceBytes&) = delete;
  ~DeviceBytes() {
    if (exact_) {
      ::operator delete(block_, std::align_val_t{kAlignment});
    } else {
      EXPECT_EQ(api_->release(block_), 0) << "written before a buffer";
    }
  }

  void* data() const { return data_; }
  void Write(const void* from) {
    if (bytes_ > 0) {
      EXPECT_EQ(api_->copy(data_, from, bytes_, nullptr), 0);
    }
    EXPECT_EQ(api_->stream_synchronize(nullptr), 0);
  }
  std::vector<unsigned char> Read() const {
    std::vector<unsigned char> bytes(static_cast<size_t>(bytes_));
    if (bytes_ > 0) {
      EXPECT_EQ(api_->copy(bytes.data(), data_, bytes_, nullptr), 0);
    }
    CheckGuard();
    return bytes;
  }
  // What Read() checks, without reading the rest: a workspace may have tens of megabytes.
  void CheckGuard() const {
    std::vector<unsigned char> guard(exact_ ? 0 : kGuard);
    if (!exact_) {
      EXPECT_EQ(api_->copy(guard.data(), At(bytes_), kGuard, nullptr), 0);
    }
    EXPECT_EQ(api_->stream_synchronize(nullptr), 0);
    for (const unsigned char byte : guard) EXPECT_EQ(byte, 0xCD) << "written behind a buffer";
  }

 private:
  static constexpr int64_t kGuard = 128;
  static constexpr size_t kAlignment = 64;
  static bool IsExact(const CudaApi* api) {
#ifdef __SANITIZE_ADDRESS__
    return api == SoftCudaApi();
#else
    static_cast<void>(api);
    return false;
#endif
  }
  void* At(int64_t at) const { return static_cast<char*>(data_) + at; }

  const CudaApi* const api_;
  const int64_t bytes_;
  const bool exact_;
  void* block_ = nullptr;
  void* data_ = nullptr;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_DEVICE_BYTES_FOR_TEST_H_
