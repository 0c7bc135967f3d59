#include "kernels/cpu/onednn.h"

#include <omp.h>

#include <string>
#include <unordered_map>

#include "base/status.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace oneflow::kernels {
namespace {

using dnnl::memory;
using Dims = memory::dims;

constexpr int64_t kAlign = 64;

int64_t Aligned(size_t bytes) {
  return (static_cast<int64_t>(bytes) + kAlign - 1) / kAlign * kAlign;
}

dnnl::primitive_attr UserScratchpad() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

// One oneDNN operand: the user's memory, and where the primitive wants another layout, a copy in
// the workspace with the reorder between them.
struct Slot {
  int name = 0;  // DNNL_ARG_...
  bool result = false;
  memory user;
  memory inner;  // == user where no reorder is needed
  dnnl::reorder reorder;
  bool reordered = false;
  int64_t offset = 0;  // of inner in the workspace
};

class Primitive final : public OnednnPrimitive {
 public:
  explicit Primitive(int threads)
      : threads_(threads), engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {}

  const dnnl::engine& engine() const { return engine_; }

  // REQUIRES: called in the order a, b, out.
  void AddSlot(int name, const memory::desc& user, const memory::desc& inner, bool result) {
    Slot slot;
    slot.name = name;
    slot.result = result;
    slot.user = memory(user, engine_, nullptr);
    slot.reordered = user != inner;
    slot.inner = slot.reordered ? memory(inner, engine_, nullptr) : slot.user;
    if (slot.reordered) {
      slot.offset = workspace_bytes_;
      workspace_bytes_ += Aligned(inner.get_size());
      slot.reorder =
          result ? dnnl::reorder(slot.inner, slot.user) : dnnl::reorder(slot.user, slot.inner);
    }
    slots_.push_back(slot);
  }

  void Finish(dnnl::primitive primitive, const memory::desc& scratchpad) {
    primitive_ = std::move(primitive);
    scratchpad_ = memory(scratchpad, engine_, nullptr);
    scratchpad_offset_ = workspace_bytes_;
    workspace_bytes_ += Aligned(scratchpad.get_size());
    for (const Slot& slot : slots_) arguments_.insert({slot.name, slot.inner});
    arguments_.insert({DNNL_ARG_SCRATCHPAD, scratchpad_});
  }

  int64_t workspace_bytes() const override { return workspace_bytes_; }

  void Run(const void* a, const void* b, void* out, void* workspace) const override {
    // oneDNN asks for the size of the caller's team; this sets it for the calling thread alone.
    omp_set_num_threads(threads_);
    void* const pointers[3] = {const_cast<void*>(a), const_cast<void*>(b), out};
    char* space = static_cast<char*>(workspace);
    for (size_t i = 0; i < slots_.size(); ++i) {
      const Slot& slot = slots_[i];
      slot.user.set_data_handle(pointers[i]);
      if (!slot.reordered) continue;
      slot.inner.set_data_handle(space + slot.offset);
      if (!slot.result)
        slot.reorder.execute(stream_, {{DNNL_ARG_FROM, slot.user}, {DNNL_ARG_TO, slot.inner}});
    }
    scratchpad_.set_data_handle(space + scratchpad_offset_);
    primitive_.execute(stream_, arguments_);
    for (const Slot& slot : slots_) {
      if (slot.reordered && slot.result) {
        slot.reorder.execute(stream_, {{DNNL_ARG_FROM, slot.inner}, {DNNL_ARG_TO, slot.user}});
      }
    }
  }

 private:
  int threads_;
  dnnl::engine engine_;
  mutable dnnl::stream stream_;
  std::vector<Slot> slots_;
  dnnl::primitive primitive_;
  memory scratchpad_;
  int64_t scratchpad_offset_ = 0;
  int64_t workspace_bytes_ = 0;
  std::unordered_map<int, memory> arguments_;  // looked up by oneDNN, never iterated
};

memory::data_type TypeOf(DType dtype) {
  return dtype == DType::kBF16 ? memory::data_type::bf16 : memory::data_type::f32;
}

memory::desc DescOf(const StridedOperand& operand) {
  return memory::desc(Dims(operand.shape.begin(), operand.shape.end()), TypeOf(operand.dtype),
                      Dims(operand.strides.begin(), operand.strides.end()));
}

template <typename Build>
absl::StatusOr<std::unique_ptr<OnednnPrimitive>> Guarded(int threads, const Build& build) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(threads);
  try {
    auto primitive = std::make_unique<Primitive>(threads);
    build(primitive.get());
    omp_set_num_threads(before);
    return std::unique_ptr<OnednnPrimitive>(std::move(primitive));
  } catch (const dnnl::error& error) {
    omp_set_num_threads(before);
    return MakeError(ErrorKind::kError, std::string("oneDNN: ") + error.what());
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<OnednnPrimitive>> MakeOnednnMatmul(const StridedOperand& a,
                                                                  const StridedOperand& b,
                                                                  const StridedOperand& out,
                                                                  int threads) {
  return Guarded(threads, [&](Primitive* primitive) {
    const dnnl::matmul::primitive_desc desc(primitive->engine(), DescOf(a), DescOf(b), DescOf(out),
                                            UserScratchpad());
    primitive->AddSlot(DNNL_ARG_SRC, DescOf(a), desc.src_desc(), false);
    primitive->AddSlot(DNNL_ARG_WEIGHTS, DescOf(b), desc.weights_desc(), false);
    primitive->AddSlot(DNNL_ARG_DST, DescOf(out), desc.dst_desc(), true);
    primitive->Finish(dnnl::matmul(desc), desc.scratchpad_desc());
  });
}

absl::StatusOr<std::unique_ptr<OnednnPrimitive>> MakeOnednnConvolution(
    ConvolutionPass pass, const ConvolutionProblem& problem, int threads, DType dtype) {
  return Guarded(threads, [&](Primitive* primitive) {
    const auto type = TypeOf(dtype);
    const auto nhwc = memory::format_tag::nhwc;
    const auto any = memory::format_tag::any;
    const ConvolutionProblem& c = problem;
    const memory::desc x({c.n, c.c, c.h, c.w}, type, nhwc);
    const memory::desc y({c.n, c.k, c.p, c.q}, type, nhwc);
    const Dims plain = {c.k, c.c / c.groups, c.r, c.s};
    const Dims grouped = {c.groups, c.k / c.groups, c.c / c.groups, c.r, c.s};
    const Dims& weight_dims = c.groups > 1 ? grouped : plain;
    const memory::desc weight(weight_dims, type,
                              c.groups > 1 ? memory::format_tag::goihw : memory::format_tag::oihw);
    const memory::desc weight_any(weight_dims, type, any);
    const Dims strides = {c.stride[0], c.stride[1]};
    const Dims dilates = {c.dilation[0] - 1, c.dilation[1] - 1};
    const Dims padding_left = {c.padding[0], c.padding[1]};
    // Rows and columns of padding after the image that the last window reads; negative where the
    // stride leaves the end of the image unread.
    const Dims padding_right = {
        (c.p - 1) * c.stride[0] + (c.r - 1) * c.dilation[0] + 1 - c.h - c.padding[0],
        (c.q - 1) * c.stride[1] + (c.s - 1) * c.dilation[1] + 1 - c.w - c.padding[1]};
    const auto algorithm = dnnl::algorithm::convolution_direct;
    const dnnl::convolution_forward::primitive_desc forward(
        primitive->engine(),
        pass == ConvolutionPass::kForward ? dnnl::prop_kind::forward_inference
                                          : dnnl::prop_kind::forward_training,
        algorithm, x, weight_any, y, strides, dilates, padding_left, padding_right,
        UserScratchpad());
    switch (pass) {
      case ConvolutionPass::kForward: {
        primitive->AddSlot(DNNL_ARG_SRC, x, forward.src_desc(), false);
        primitive->AddSlot(DNNL_ARG_WEIGHTS, weight, forward.weights_desc(), false);
        primitive->AddSlot(DNNL_ARG_DST, y, forward.dst_desc(), true);
        primitive->Finish(dnnl::convolution_forward(forward), forward.scratchpad_desc());
        return;
      }
      case ConvolutionPass::kGradInput: {
        const dnnl::convolution_backward_data::primitive_desc desc(
            primitive->engine(), algorithm, x, weight_any, y, strides, dilates, padding_left,
            padding_right, forward, UserScratchpad());
        primitive->AddSlot(DNNL_ARG_DIFF_DST, y, desc.diff_dst_desc(), false);
        primitive->AddSlot(DNNL_ARG_WEIGHTS, weight, desc.weights_desc(), false);
        primitive->AddSlot(DNNL_ARG_DIFF_SRC, x, desc.diff_src_desc(), true);
        primitive->Finish(dnnl::convolution_backward_data(desc), desc.scratchpad_desc());
        return;
      }
      case ConvolutionPass::kGradWeight: {
        const dnnl::convolution_backward_weights::primitive_desc desc(
            primitive->engine(), algorithm, x, weight_any, y, strides, dilates, padding_left,
            padding_right, forward, UserScratchpad());
        primitive->AddSlot(DNNL_ARG_SRC, x, desc.src_desc(), false);
        primitive->AddSlot(DNNL_ARG_DIFF_DST, y, desc.diff_dst_desc(), false);
        primitive->AddSlot(DNNL_ARG_DIFF_WEIGHTS, weight, desc.diff_weights_desc(), true);
        primitive->Finish(dnnl::convolution_backward_weights(desc), desc.scratchpad_desc());
        return;
      }
    }
  });
}

}  // namespace oneflow::kernels
