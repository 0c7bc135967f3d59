#include "runtime/io/fetch_ring.h"

#include <cstring>
#include <utility>

namespace oneflow {
namespace {

HostTensor Zeros(const plan::OutputProto& output) {
  HostTensor tensor =
      HostTensor::Allocate(static_cast<DType>(output.dtype()),
                           Shape(output.logical_shape().begin(), output.logical_shape().end()));
  std::memset(tensor.data.get(), 0, static_cast<size_t>(tensor.bytes()));
  return tensor;
}

}  // namespace

FetchRing::FetchRing(const plan::Plan& plan, std::vector<bool> fetched)
    : plan_(plan), fetched_(std::move(fetched)) {}

FetchEntry* FetchRing::Open(int64_t id) {
  FetchEntry* free = nullptr;
  for (const std::unique_ptr<FetchEntry>& entry : entries_) {
    if (entry->id >= 0 && !(entry->discarded && entry->done.load())) continue;
    free = entry.get();
    // A buffer that the caller still holds would be overwritten: prefer an entry with none.
    bool held = false;
    for (const HostTensor& tensor : free->tensors) held |= tensor.data.use_count() > 1;
    if (!held) break;
  }
  if (free == nullptr) {
    entries_.push_back(std::make_unique<FetchEntry>());
    free = entries_.back().get();
    for (const plan::OutputProto& output : plan_.outputs()) {
      free->tensors.push_back({static_cast<DType>(output.dtype()),
                               Shape(output.logical_shape().begin(), output.logical_shape().end()),
                               nullptr});
    }
  }
  for (int i = 0; i < plan_.outputs_size(); ++i) {
    HostTensor& tensor = free->tensors[static_cast<size_t>(i)];
    if (!fetched_[static_cast<size_t>(i)]) continue;
    if (tensor.data == nullptr || tensor.data.use_count() > 1) {
      tensor = Zeros(plan_.outputs(i));
    }
  }
  free->id = id;
  free->discarded = false;
  free->done.store(false);
  return free;
}

FetchEntry* FetchRing::Find(int64_t id) {
  for (const std::unique_ptr<FetchEntry>& entry : entries_) {
    if (entry->id == id && !entry->discarded) return entry.get();
  }
  return nullptr;
}

void FetchRing::Release(FetchEntry* entry) { entry->discarded = true; }

}  // namespace oneflow
