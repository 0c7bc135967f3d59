#include "runtime/devices/cuda/cuda_step.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kernels/cuda/cuda_kernels.h"

namespace oneflow {

using kernels::CudaEvent;
using kernels::CudaRegion;
using kernels::CudaStatus;
using kernels::CudaStream;
using kernels::StepBlock;

namespace {

constexpr int64_t kAlignment = 256;
int64_t Aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// The copy of a FEED (from the logical tensor) or a FETCH (to it).
absl::StatusOr<CudaRegion> RegionOf(const kernels::CudaApi& api, const StepWork::Firing& firing) {
  kernels::KernelSpec spec;
  const bool feeds = firing.kind == StepWork::Kind::kFeed;
  spec.op = feeds ? "a feed" : "a fetch";
  spec.inputs.resize(1);
  spec.inputs[0].dtype = firing.dtype;
  const Shape origin(firing.extent.size(), 0);
  const kernels::StridedCopy copy =
      feeds ? kernels::StridedCopy::Region(firing.dtype, firing.extent, firing.logical,
                                           firing.begin, firing.extent, origin)
            : kernels::StridedCopy::Region(firing.dtype, firing.extent, firing.extent, origin,
                                           firing.logical, firing.begin);
  return CudaRegion::Of(&api, spec, kernels::CombineMode::kCopy, copy);
}

}  // namespace

absl::StatusOr<std::unique_ptr<CudaStep>> CudaStep::Make(std::shared_ptr<CudaContext> context,
                                                         StepWork work, bool captures) {
  std::unique_ptr<CudaStep> step(new CudaStep(std::move(context), captures));
  step->work_ = std::move(work);
  OF_RETURN_IF_ERROR(step->Prepare());
  return step;
}

CudaStep::~CudaStep() { context_->Drain(); }

absl::Status CudaStep::Prepare() {
  OF_RETURN_IF_ERROR(context_->Enter());
  for (const int64_t bytes : work_.input_bytes) {
    input_at_.push_back(inputs_bytes_);
    inputs_bytes_ += Aligned(bytes);
  }
  results_bytes_ = Aligned(work_.devices * int64_t{sizeof(StepBlock)});
  for (const int64_t bytes : work_.output_bytes) {
    output_at_.push_back(results_bytes_);
    results_bytes_ += Aligned(bytes);
  }
  OF_ASSIGN_OR_RETURN(inputs_, context_->Allocate(inputs_bytes_));
  OF_ASSIGN_OR_RETURN(results_, context_->Allocate(results_bytes_));
  OF_ASSIGN_OR_RETURN(pinned_inputs_, context_->AllocatePinned(inputs_bytes_ * work_.window));
  OF_ASSIGN_OR_RETURN(pinned_results_, context_->AllocatePinned(results_bytes_ * work_.window));
  for (int64_t i = 0; i < work_.window; ++i) {
    OF_ASSIGN_OR_RETURN(over_.emplace_back(), CudaEvent::Make(&context_->api()));
  }
  OF_ASSIGN_OR_RETURN(begin_, CudaEvent::Make(&context_->api()));
  for (const StepWork::Lane& lane : work_.lanes) {
    OF_ASSIGN_OR_RETURN(streams_.emplace_back(), context_->StreamOf(lane.device, lane.name));
    OF_ASSIGN_OR_RETURN(ends_.emplace_back(), CudaEvent::Make(&context_->api()));
  }
  return PrepareFirings();
}

absl::Status CudaStep::PrepareFirings() {
  const size_t firings = work_.firings.size();
  events_.resize(firings);
  regions_.resize(firings);
  skipped_.resize(firings);
  std::vector<int64_t> detour_bytes(work_.lanes.size(), 0);
  std::set<std::tuple<uint32_t, int64_t, Shape, Shape>> fetched;
  for (size_t i = 0; i < firings; ++i) {
    const StepWork::Firing& firing = work_.firings[i];
    if (firing.awaited) {
      OF_ASSIGN_OR_RETURN(events_[i], CudaEvent::Make(&context_->api()));
    }
    if (firing.kind != StepWork::Kind::kKernel) {
      OF_ASSIGN_OR_RETURN(regions_[i], RegionOf(context_->api(), firing));
    }
    if (firing.kind == StepWork::Kind::kFetch) {  // replicas are equal: the first is enough
      skipped_[i] =
          !fetched.emplace(firing.index, firing.offset, firing.begin, firing.extent).second;
    }
    if (!work_.may_fail || kernels::KeepsGate(firing.op == nullptr ? "" : *firing.op)) continue;
    int64_t bytes = 0;
    for (const auto& [output, size] : firing.states) bytes += Aligned(size);
    detour_bytes[firing.lane] = std::max(detour_bytes[firing.lane], bytes);
  }
  for (const int64_t bytes : detour_bytes) {
    OF_ASSIGN_OR_RETURN(detours_.emplace_back(), context_->Allocate(bytes));
  }
  return absl::OkStatus();
}

absl::Status CudaStep::Rebind(StepWork work) {
  graph_.reset();  // it has the old addresses
  work_ = std::move(work);
  return absl::OkStatus();
}

absl::Status CudaStep::Launch(int64_t step, const std::byte* const* inputs) {
  OF_RETURN_IF_ERROR(context_->Enter());
  const int64_t place = step % work_.window;
  CudaStream* stream = context_->stream();
  const kernels::CudaApi& api = context_->api();
  std::byte* staged = pinned_inputs_.data() + place * inputs_bytes_;
  for (size_t i = 0; i < input_at_.size(); ++i) {
    if (work_.input_bytes[i] == 0) continue;
    std::memcpy(staged + input_at_[i], inputs[i], static_cast<size_t>(work_.input_bytes[i]));
  }
  if (inputs_bytes_ > 0) {
    OF_RETURN_IF_ERROR(CudaStatus(
        api, api.copy(inputs_.data(), staged, inputs_bytes_, stream->handle()), "a step's inputs"));
  }
  OF_RETURN_IF_ERROR(LaunchFirings());
  OF_RETURN_IF_ERROR(CudaStatus(api,
                                api.copy(pinned_results_.data() + place * results_bytes_,
                                         results_.data(), results_bytes_, stream->handle()),
                                "a step's outputs"));
  return stream->Record(over_[static_cast<size_t>(place)].get());
}

absl::Status CudaStep::LaunchFirings() {
  CudaStream* stream = context_->stream();
  if (!warm_ || !captures_) {
    warm_ = true;
    return Enqueue();
  }
  if (graph_ == nullptr) {
    OF_RETURN_IF_ERROR(stream->BeginCapture());
    const absl::Status enqueued = Enqueue();
    absl::StatusOr<std::unique_ptr<kernels::CudaGraph>> graph = stream->EndCapture();
    const absl::Status& status = enqueued.ok() ? graph.status() : enqueued;
    if (!status.ok()) {
      // Some library's kernel cannot be captured, say. Steps are right without, only slower.
      std::fprintf(stderr, "oneflow: steps are enqueued kernel by kernel: %s\n",
                   MessageOf(status).c_str());
      captures_ = false;
      return Enqueue();
    }
    graph_ = *std::move(graph);
  }
  return stream->Launch(*graph_);
}

absl::Status CudaStep::Enqueue() {
  CudaStream* stream = context_->stream();
  OF_RETURN_IF_ERROR(stream->Record(begin_.get()));
  for (CudaStream* lane : streams_) OF_RETURN_IF_ERROR(lane->Wait(*begin_));
  for (size_t i = 0; i < work_.firings.size(); ++i) {
    if (absl::Status status = EnqueueFiring(i); !status.ok()) {
      return WithContext(status, work_.names[work_.firings[i].task]);
    }
  }
  for (size_t lane = 0; lane < streams_.size(); ++lane) {
    OF_RETURN_IF_ERROR(streams_[lane]->Record(ends_[lane].get()));
    OF_RETURN_IF_ERROR(stream->Wait(*ends_[lane]));
  }
  return absl::OkStatus();
}

absl::Status CudaStep::EnqueueFiring(size_t at) {
  const StepWork::Firing& firing = work_.firings[at];
  const kernels::CudaApi& api = context_->api();
  CudaStream* stream = streams_[firing.lane];
  for (const uint32_t other : firing.waits) OF_RETURN_IF_ERROR(stream->Wait(*events_[other]));
  switch (firing.kind) {
    case StepWork::Kind::kFeed:
      OF_RETURN_IF_ERROR(
          CudaStatus(api,
                     regions_[at].Run(inputs_.data() + input_at_[firing.index] + firing.offset,
                                      firing.outputs[0], stream->handle()),
                     "a feed"));
      break;
    case StepWork::Kind::kFetch:
      if (skipped_[at]) break;
      OF_RETURN_IF_ERROR(
          CudaStatus(api,
                     regions_[at].Run(firing.inputs[0],
                                      results_.data() + output_at_[firing.index] + firing.offset,
                                      stream->handle()),
                     "a fetch"));
      break;
    case StepWork::Kind::kKernel:
      OF_RETURN_IF_ERROR(RunKernel(at, stream));
      break;
  }
  return firing.awaited ? stream->Record(events_[at].get()) : absl::OkStatus();
}

absl::Status CudaStep::RunKernel(size_t at, CudaStream* stream) {
  const StepWork::Firing& firing = work_.firings[at];
  const kernels::CudaApi& api = context_->api();
  StepBlock* blocks = reinterpret_cast<StepBlock*>(results_.data());
  kernels::KernelArgs args;
  args.inputs = firing.inputs.data();
  args.outputs = firing.outputs.data();
  args.workspace = firing.workspace;
  args.block = blocks + firing.device;
  args.task = firing.task;
  args.micro = firing.micro;
  args.chunk = firing.chunk;
  if (!work_.may_fail || firing.states.empty()) return firing.kernel->Run(args, stream);
  const kernels::CudaGate shut = gate();
  if (kernels::KeepsGate(*firing.op)) {
    args.gate = shut.blocks;
    args.gate_blocks = static_cast<uint32_t>(shut.count);
    return firing.kernel->Run(args, stream);
  }
  // Elsewhere first, then into the states.
  std::vector<void*> outputs = firing.outputs;
  std::byte* place = detours_[firing.lane].data();
  for (const auto& [output, bytes] : firing.states) {
    outputs[output] = place;
    if (firing.updates && bytes > 0) {
      OF_RETURN_IF_ERROR(CudaStatus(
          api, api.copy(place, firing.outputs[output], bytes, stream->handle()), "a state"));
    }
    place += Aligned(bytes);
  }
  args.outputs = outputs.data();
  OF_RETURN_IF_ERROR(firing.kernel->Run(args, stream));
  for (const auto& [output, bytes] : firing.states) {
    if (bytes == 0) continue;
    OF_RETURN_IF_ERROR(CudaStatus(
        api,
        api.copy_gated(&shut, firing.outputs[output], outputs[output], bytes, stream->handle()),
        "a state"));
  }
  return absl::OkStatus();
}

kernels::CudaGate CudaStep::gate() const {
  return {reinterpret_cast<const StepBlock*>(results_.data()), static_cast<int32_t>(work_.devices)};
}

absl::Status CudaStep::Finish(int64_t step, std::byte* const* outputs,
                              std::vector<StepBlock>* blocks) {
  OF_RETURN_IF_ERROR(context_->Enter());
  const int64_t place = step % work_.window;
  OF_RETURN_IF_ERROR(over_[static_cast<size_t>(place)]->Synchronize());
  const std::byte* results = pinned_results_.data() + place * results_bytes_;
  bool wrong = false;
  for (uint32_t d = 0; d < work_.devices; ++d) {
    std::memcpy(&(*blocks)[d], results + d * sizeof(StepBlock), sizeof(StepBlock));
    wrong |= (*blocks)[d].error() != kernels::DataErrorCode::kNone;
  }
  for (size_t i = 0; i < output_at_.size() && !wrong; ++i) {
    if (work_.output_bytes[i] == 0 || outputs[i] == nullptr) continue;
    std::memcpy(outputs[i], results + output_at_[i], static_cast<size_t>(work_.output_bytes[i]));
  }
  return absl::OkStatus();
}

absl::Status CudaStep::ForgetErrors() {
  OF_RETURN_IF_ERROR(context_->Enter());
  const kernels::CudaApi& api = context_->api();
  return CudaStatus(api,
                    api.zero(results_.data(), work_.devices * int64_t{sizeof(StepBlock)},
                             context_->stream()->handle()),
                    "forgetting wrong data");
}

}  // namespace oneflow
