// Collectives of a communicator of one rank, captured into a graph: on software NCCL, and on the real one where a
// GPU is at hand (tools/gpu_check.sh). One GPU cannot show more than that the library opens, that its functions
// take what we give them, and that a graph may hold them.
#include <cstdlib>
#include <iostream>
#include <vector>

#include "base/dtype.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/soft_cuda_for_test.h"
#include "kernels/cuda/soft_gpus_for_test.h"
#include "kernels/cuda/soft_nccl_for_test.h"

namespace oneflow::kernels {
namespace {

// What the three kinds, one after the other, leave of `values`.
std::vector<float> AfterCollectives(const CudaApi& api, std::vector<float> values) {
  const int64_t bytes = static_cast<int64_t>(values.size() * sizeof(float));
  const int device = 0;
  CudaCommHandle comm = nullptr;
  CudaStreamHandle stream = nullptr;
  CudaGraphHandle graph = nullptr;
  CudaGraphExecHandle ready = nullptr;
  void* data = nullptr;
  EXPECT_EQ(api.set_device(device), 0);
  EXPECT_EQ(api.comms_create(1, &device, &comm), 0);
  EXPECT_EQ(api.stream_create(&stream), 0);
  EXPECT_EQ(api.allocate(&data, bytes), 0);
  EXPECT_EQ(api.copy_in(data, values.data(), bytes, stream), 0);
  EXPECT_EQ(api.capture_begin(stream), 0);
  for (const CudaCollectiveKind kind :
       {CudaCollectiveKind::kAllReduce, CudaCollectiveKind::kReduceScatter,
        CudaCollectiveKind::kAllGather}) {
    const CudaCollective call = {kind, static_cast<int32_t>(DType::kF32),
                                 static_cast<int64_t>(values.size()), 1, 0};
    EXPECT_EQ(api.group_begin(), 0);
    EXPECT_EQ(api.collective(&call, data, comm, stream), 0);
    EXPECT_EQ(api.group_end(), 0);
  }
  EXPECT_EQ(api.capture_end(stream, &graph), 0);
  EXPECT_EQ(api.graph_instantiate(&ready, graph), 0);
  EXPECT_EQ(api.graph_launch(ready, stream), 0);
  EXPECT_EQ(api.graph_launch(ready, stream), 0);
  values.assign(values.size(), -1.0f);
  EXPECT_EQ(api.copy(values.data(), data, bytes, stream), 0);
  EXPECT_EQ(api.stream_synchronize(stream), 0);
  EXPECT_EQ(api.graph_exec_destroy(ready), 0);
  EXPECT_EQ(api.graph_destroy(graph), 0);
  EXPECT_EQ(api.comm_destroy(comm), 0);
  EXPECT_EQ(api.release(data), 0);
  EXPECT_EQ(api.stream_destroy(stream), 0);
  return values;
}

TEST(CudaNccl, OneRankKeepsItsValues) {
  const std::vector<float> values = {1, -2, 3.5f, 0, 65536, 7};
  SetSoftNccl(true);
  EXPECT_EQ(AfterCollectives(*SoftCudaApi(), values), values);
  SetSoftNccl(false);
  const char* path = std::getenv("ONEFLOW_CUDA_LIBRARY");
  if (path == nullptr) return;
  const absl::StatusOr<const CudaApi*> api = OpenCuda(path, "");
  ASSERT_TRUE(api.ok());
  bool found = false;
  const char* library = (*api)->nccl_library("", &found);
  std::cout << "and on the GPU: " << library << "\n";
  if (!found) return;
  EXPECT_EQ(AfterCollectives(**api, values), values);
}

}  // namespace
}  // namespace oneflow::kernels
