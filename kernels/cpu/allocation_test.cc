// Kernel::Run allocates nothing: malloc and its relatives are interposed for the whole process
// (libdnnl and libgomp included) and counted during steady calls.
#include <atomic>
#include <cstddef>

#include "kernels/cpu/kernel_case.h"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace {
std::atomic<bool> counting{false};
std::atomic<int64_t> allocations{0};
void Count() {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1);
}
}  // namespace

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

__attribute__((visibility("default"))) void* malloc(size_t n) {
  Count();
  return __libc_malloc(n);
}
__attribute__((visibility("default"))) void* calloc(size_t n, size_t size) {
  Count();
  return __libc_calloc(n, size);
}
__attribute__((visibility("default"))) void* realloc(void* p, size_t n) {
  Count();
  return __libc_realloc(p, n);
}
__attribute__((visibility("default"))) void* aligned_alloc(size_t alignment, size_t n) {
  Count();
  return __libc_memalign(alignment, n);
}
__attribute__((visibility("default"))) int posix_memalign(void** p, size_t alignment, size_t n) {
  Count();
  *p = __libc_memalign(alignment, n);
  return *p == nullptr ? 12 : 0;
}
}

namespace oneflow::kernels {
namespace {

using Longs = std::vector<int64_t>;

struct AllocationRow {
  std::string op;
  Attrs attrs;
  std::vector<TestTensor> inputs;
  std::vector<TestTensor> outputs;
};

TestTensor F(const Shape& shape) { return RandomTensor(shape, 1, 0.5f, 1); }
TestTensor Bf16(const Shape& shape) {
  return TestTensor::Of<BF16>(shape, std::vector<BF16>(NumElements(shape), BF16(0.5f)));
}
TestTensor Out(const Shape& shape) { return TestTensor::Empty(DType::kF32, shape); }

std::vector<AllocationRow> Rows() {
  const TestTensor labels = TestTensor::Of<int64_t>({400}, Longs(400, 3));
  const TestTensor step = TestTensor::Of<int64_t>({}, {4});
  const TestTensor lr = F({});
  const Attrs conv = {{"stride", Longs{1, 1}}, {"padding", Longs{1, 1}}, {"dilation", Longs{1, 1}}};
  const Attrs strided = {
      {"stride", Longs{2, 2}}, {"padding", Longs{1, 1}}, {"dilation", Longs{1, 1}}};
  const Attrs pool = {{"kernel", Longs{2, 2}}, {"stride", Longs{2, 2}}, {"padding", Longs{0, 0}}};
  const Attrs groups = {{"groups", int64_t{1}}, {"count", int64_t{100}}};
  const Shape image = {16, 16, 16, 32};
  const Shape large = {400, 400};
  return {
      {"relu", {}, {F(large)}, {Out(large)}},
      {"add", {}, {F(large), F({400})}, {Out(large)}},
      {"where",
       {},
       {TestTensor::Of<Bool>({400}, std::vector<Bool>(400, Bool(true))), F(large), F({})},
       {Out(large)}},
      {"cast", {}, {F(large)}, {TestTensor::Empty(DType::kI64, large)}},
      {"sum", {{"dims", Longs{0}}}, {F(large)}, {Out({400})}},
      {"sum", {{"dims", Longs{0, 1}}}, {F(large)}, {Out({})}},
      {"amax", {{"dims", Longs{1}}}, {F(large)}, {Out({400})}},
      {"permute", {{"dims", Longs{1, 0}}}, {F(large)}, {Out(large)}},
      {"cat", {{"dim", int64_t{0}}}, {F({200, 400}), F({200, 400})}, {Out(large)}},
      {"matmul", {}, {F(large), F(large)}, {Out(large)}},
      {"matmul", {{"transpose_a", true}}, {F(large), F(large)}, {Out(large)}},
      {"matmul", {{"transpose_b", true}}, {F(large), F(large)}, {Out(large)}},
      {"conv2d", conv, {F(image), F({64, 32, 3, 3})}, {Out({16, 16, 16, 64})}},
      {"conv2d_grad_input", conv, {F({16, 16, 16, 64}), F({64, 32, 3, 3})}, {Out(image)}},
      {"conv2d_grad_weight", conv, {F(image), F({16, 16, 16, 64})}, {Out({64, 32, 3, 3})}},
      {"conv2d_grad_input", strided, {F({16, 8, 8, 64}), F({64, 32, 3, 3})}, {Out(image)}},
      {"conv2d", conv, {Bf16(image), Bf16({64, 32, 3, 3})}, {Bf16({16, 16, 16, 64})}},
      {"conv2d_grad_input", conv, {Bf16({16, 16, 16, 64}), Bf16({64, 32, 3, 3})}, {Bf16(image)}},
      {"conv2d_grad_weight", conv, {Bf16(image), Bf16({16, 16, 16, 64})}, {Bf16({64, 32, 3, 3})}},
      {"conv2d_sums",
       conv,
       {Bf16(image), Bf16({64, 32, 3, 3})},
       {Bf16({16, 16, 16, 64}), Out({4, 64}), Out({4, 64})}},
      {"conv2d", conv, {Bf16(image), Bf16({32, 1, 3, 3})}, {Bf16(image)}},
      {"conv2d_grad_input", conv, {Bf16(image), Bf16({32, 1, 3, 3})}, {Bf16(image)}},
      {"conv2d_grad_weight", conv, {Bf16(image), Bf16(image)}, {Bf16({32, 1, 3, 3})}},
      {"max_pool2d", pool, {F(image)}, {Out({16, 8, 8, 32})}},
      {"max_pool2d_grad", pool, {F(image), F({16, 8, 8, 32}), F({16, 8, 8, 32})}, {Out(image)}},
      {"avg_pool2d_grad", pool, {F({16, 8, 8, 32})}, {Out(image)}},
      {"bn_sum", groups, {F(image)}, {Out({1, 32})}},
      {"bn_sample_sums", {}, {F(image)}, {Out({16, 32}), Out({16, 32})}},
      {"bn_apply", groups, {F(image), F({1, 32}), F({1, 32}), F({32}), F({32})}, {Out(image)}},
      {"bn_grad_input",
       groups,
       {F(image), F(image), F({1, 32}), F({1, 32}), F({32}), F({1, 32}), F({1, 32})},
       {Out(image)}},
      {"softmax", {{"dim", int64_t{0}}}, {F(large)}, {Out(large)}},
      {"cross_entropy", {}, {F(large), labels}, {Out({400}), Out({400})}},
      {"attention",
       {{"causal", true}, {"p", 0.5}, {"seed", int64_t{1}}, {"key", int64_t{2}}},
       {F({2, 100, 4, 20}), F({2, 200, 2, 20}), F({2, 200, 2, 20}), step, F({1, 1, 100, 200})},
       {Out({2, 100, 4, 20}), Out({2, 4, 100})}},
      {"attention_grad",
       {},
       {F({2, 100, 4, 20}), F({2, 200, 2, 20}), F({2, 200, 2, 20}), F({2, 100, 4, 20}),
        F({2, 4, 100}), F({2, 100, 4, 20})},
       {Out({2, 100, 4, 20}), Out({2, 200, 2, 20}), Out({2, 200, 2, 20})}},
      {"dropout",
       {{"p", 0.5}, {"seed", int64_t{1}}, {"key", int64_t{2}}},
       {F(large), step},
       {Out(large)}},
      {"sgd_update", {}, {F(large), F(large), lr, step}, {Out(large)}},
      {"adamw_update",
       {},
       {F(large), F(large), F(large), F(large), lr, step},
       {Out(large), Out(large), Out(large)}},
      {"accumulate", {{"mode", std::string("sum")}}, {F(large)}, {Out(large)}},
  };
}

TEST(Allocations, ASteadyCallAllocatesNothing) {
  for (const AllocationRow& row : Rows()) {
    for (const int threads : {1, 2}) {
      KernelSpec spec;
      spec.op = row.op;
      spec.attrs = row.attrs;
      spec.threads = threads;
      std::vector<const void*> in;
      std::vector<void*> out;
      for (const TestTensor& tensor : row.inputs) {
        spec.inputs.push_back(tensor.type);
        in.push_back(tensor.bytes->data());
      }
      for (const TestTensor& tensor : row.outputs) {
        spec.outputs.push_back(tensor.type);
        out.push_back(tensor.bytes->data());
      }
      const auto needs = CpuKernels().Describe(spec);
      const auto kernel = CpuKernels().Make(spec);
      ASSERT_TRUE(needs.ok() && kernel.ok()) << row.op;
      const GuardedBytes workspace(needs->workspace_bytes);
      StepBlock block;
      InlineStream stream;
      const KernelArgs args{in.data(), out.data(), workspace.data(), &block, 0, 0, 0};
      for (int warm = 0; warm < 3; ++warm) (void)(*kernel)->Run(args, &stream);
      allocations = 0;
      counting = true;
      for (int call = 0; call < 10; ++call) (void)(*kernel)->Run(args, &stream);
      counting = false;
      EXPECT_EQ(allocations.load(), 0) << spec.Key();
      EXPECT_TRUE(workspace.Intact()) << spec.Key();
    }
  }
}

TEST(Allocations, TheCounterSeesAnAllocation) {
  allocations = 0;
  counting = true;
  std::vector<int>* made = new std::vector<int>(100);
  counting = false;
  EXPECT_GE(allocations.load(), 2);
  delete made;
}

}  // namespace
}  // namespace oneflow::kernels

#endif
