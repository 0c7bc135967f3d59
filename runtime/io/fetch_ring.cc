#include "runtime/io/fetch_ring.h"

#include <cstring>
#include <utility>

#include "plan/shape_of.h"

namespace oneflow {
namespace {

// Zeros: a null device writes none of it, other FETCH tasks all of it.
HostTensor Zeros(DType dtype, const Shape& shape) {
  HostTensor tensor = HostTensor::Allocate(dtype, shape);
  std::memset(tensor.data.get(), 0, static_cast<size_t>(tensor.bytes()));
  return tensor;
}

bool IsHeld(const FetchEntry& entry) {
  for (const HostTensor& tensor : entry.tensors) {
    if (tensor.data.use_count() > 1) return true;
  }
  return false;
}

}  // namespace

FetchRing::FetchRing(const plan::Plan& plan, const std::vector<bool>& fetched)
    : outputs_([&] {
        std::vector<Output> outputs;
        for (int i = 0; i < plan.outputs_size(); ++i) {
          const plan::OutputProto& output = plan.outputs(i);
          outputs.push_back({static_cast<DType>(output.dtype()), ShapeOf(output.logical_shape()),
                             fetched[static_cast<size_t>(i)]});
        }
        return outputs;
      }()) {}

FetchEntry* FetchRing::Open(int64_t id) {
  FetchEntry* free = nullptr;
  size_t held = 0;
  for (const std::unique_ptr<FetchEntry>& entry : entries_) {
    if (entry->id >= 0 && !(entry->discarded && entry->done.load())) continue;
    free = entry.get();
    // A buffer that the caller still holds would have to be replaced: prefer an entry with none.
    if (!IsHeld(*free)) break;
    ++held;
  }
  const bool replace = free != nullptr && IsHeld(*free);
  if (free == nullptr || (replace && held <= kHeld)) {
    entries_.push_back(std::make_unique<FetchEntry>());
    free = entries_.back().get();
    for (const Output& output : outputs_) {
      free->tensors.push_back({output.dtype, output.shape, nullptr});
    }
  }
  for (size_t i = 0; i < outputs_.size(); ++i) {
    HostTensor& tensor = free->tensors[i];
    if (!outputs_[i].fetched) continue;
    if (tensor.data == nullptr || tensor.data.use_count() > 1) {
      tensor = Zeros(outputs_[i].dtype, outputs_[i].shape);
    }
  }
  free->id = id;
  free->discarded = false;
  free->error = absl::OkStatus();
  free->skipped.store(false);
  free->done.store(false);
  ++unread_;
  return free;
}

FetchEntry* FetchRing::Find(int64_t id) {
  for (const std::unique_ptr<FetchEntry>& entry : entries_) {
    if (entry->id == id && !entry->discarded) return entry.get();
  }
  return nullptr;
}

void FetchRing::Fail(int64_t id, const absl::Status& error) {
  for (const std::unique_ptr<FetchEntry>& entry : entries_) {
    if (entry->id >= id && !entry->discarded) entry->error = error;
  }
}

void FetchRing::Release(FetchEntry* entry) {
  entry->discarded = true;
  --unread_;
}

}  // namespace oneflow
