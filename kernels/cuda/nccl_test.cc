// Collectives of a communicator of one rank, captured into a graph: on software NCCL, and on the real one where a
// GPU is at hand (tools/gpu_check.sh). One GPU cannot show more than that the library opens, that its functions
// take what we give them, and that a graph may hold them, also those of a communicator over processes, which does
// not wait for its ranks and is aborted in the end.
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <thread>
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

// Of a call that may go on behind its return: how it ended.
CudaError EndOf(const CudaApi& api, CudaCommHandle comm, CudaError error) {
  for (int tries = 0; error == kNcclPending && tries < 6000; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    error = api.comm_state(comm);
  }
  return error;
}

// What the three kinds, one after the other, leave of `values`.
std::vector<float> AfterCollectives(const CudaApi& api, std::vector<float> values,
                                    bool over_processes) {
  const int64_t bytes = static_cast<int64_t>(values.size() * sizeof(float));
  const int device = 0;
  CudaCommHandle comm = nullptr;
  CudaStreamHandle stream = nullptr;
  CudaGraphHandle graph = nullptr;
  CudaGraphExecHandle ready = nullptr;
  void* data = nullptr;
  EXPECT_EQ(api.set_device(device), 0);
  if (over_processes) {
    CudaCommId id;
    EXPECT_EQ(api.comm_id(&id), 0);
    const CudaError joined = api.comms_join(&id, 1, 1, &device, &device, &comm);
    EXPECT_EQ(EndOf(api, comm, joined == 0 ? kNcclPending : joined), 0);
  } else {
    EXPECT_EQ(api.comms_create(1, &device, &comm), 0);
  }
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
    const CudaError called = api.collective(&call, data, comm, stream);
    EXPECT_TRUE(called == 0 || called == kNcclPending) << api.error_text(called);
    EXPECT_EQ(EndOf(api, comm, api.group_end()), 0);
  }
  EXPECT_EQ(api.capture_end(stream, &graph), 0);
  EXPECT_EQ(api.graph_instantiate(&ready, graph), 0);
  EXPECT_EQ(api.graph_launch(ready, stream), 0);
  EXPECT_EQ(api.graph_launch(ready, stream), 0);
  values.assign(values.size(), -1.0f);
  EXPECT_EQ(api.copy(values.data(), data, bytes, stream), 0);
  EXPECT_EQ(api.stream_synchronize(stream), 0);
  if (over_processes) {
    const CudaError aborted = api.comms_abort(1, &comm);
    EXPECT_TRUE(aborted == 0 || aborted == kNcclPending) << api.error_text(aborted);
  }
  EXPECT_EQ(api.graph_exec_destroy(ready), 0);
  EXPECT_EQ(api.graph_destroy(graph), 0);
  if (!over_processes) {
    EXPECT_EQ(api.comm_destroy(comm), 0);
  }
  EXPECT_EQ(api.release(data), 0);
  EXPECT_EQ(api.stream_destroy(stream), 0);
  return values;
}

TEST(CudaNccl, OneRankKeepsItsValues) {
  const std::vector<float> values = {1, -2, 3.5f, 0, 65536, 7};
  SetSoftNccl(true);
  EXPECT_EQ(AfterCollectives(*SoftCudaApi(), values, false), values);
  SetSoftNccl(false);
  const char* path = std::getenv("ONEFLOW_CUDA_LIBRARY");
  if (path == nullptr) return;
  const absl::StatusOr<const CudaApi*> api = OpenCuda(path, "");
  ASSERT_TRUE(api.ok());
  bool found = false;
  const char* library = (*api)->nccl_library("", &found);
  std::cout << "and on the GPU: " << library << "\n";
  if (!found) return;
  EXPECT_EQ(AfterCollectives(**api, values, false), values);
  const char* why = "";
  if ((*api)->nccl_joins(&why)) {
    EXPECT_EQ(AfterCollectives(**api, values, true), values);
  } else {
    std::cout << "no communicators over processes: " << why << "\n";
  }
}

}  // namespace
}  // namespace oneflow::kernels
