#include "interpreter/op_runner.h"

#include <cstring>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/status.h"
#include "compiler/ops/infer.h"

namespace oneflow {
namespace {

template <typename T>
void AppendBytes(const T& value, std::string* key) {
  static_assert(std::is_trivially_copyable_v<T>);
  key->append(reinterpret_cast<const char*>(&value), sizeof(T));
}
void AppendText(const std::string& text, std::string* key) {
  AppendBytes(text.size(), key);
  key->append(text);
}

// Every part has its length or a fixed one, so different calls have different keys.
std::string KeyOf(const OpDef& op, const std::vector<TensorType>& inputs, const Attrs& attrs,
                  int threads) {
  std::string key;
  key.reserve(128);
  AppendBytes(&op, &key);
  AppendBytes(threads, &key);
  AppendBytes(inputs.size(), &key);
  for (const TensorType& type : inputs) {
    AppendBytes(type.dtype, &key);
    AppendBytes(type.shape.size(), &key);
    for (const int64_t extent : type.shape) AppendBytes(extent, &key);
  }
  for (const auto& [name, value] : attrs.values()) {
    AppendText(name, &key);
    AppendBytes(value.index(), &key);
    std::visit(
        [&]<typename T>(const T& item) {
          if constexpr (std::is_same_v<T, std::string>) {
            AppendText(item, &key);
          } else if constexpr (std::is_arithmetic_v<T>) {
            AppendBytes(item, &key);
          } else {
            AppendBytes(item.size(), &key);
            for (const auto& one : item) {
              if constexpr (std::is_same_v<T, std::vector<std::string>>) {
                AppendText(one, &key);
              } else {
                AppendBytes(one, &key);
              }
            }
          }
        },
        value);
  }
  return key;
}

}  // namespace

OpRunner::Call::~Call() {
  if (resolved_ != nullptr) runner_->Keep(std::move(key_), std::move(resolved_));
}

absl::StatusOr<OpRunner::Call> OpRunner::Prepare(const OpDef& op,
                                                 const std::vector<TensorType>& inputs, Attrs attrs,
                                                 int threads) {
  std::string key = KeyOf(op, inputs, attrs, threads);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto it = resolved_.find(key);
    if (it != resolved_.end() && it->second != nullptr) {
      return Call(this, std::move(key), std::move(it->second));
    }
  }
  OF_ASSIGN_OR_RETURN(const std::vector<TensorType> outputs, InferOutputs(op, inputs, &attrs));
  OF_ASSIGN_OR_RETURN(std::unique_ptr<ResolvedOp> resolved,
                      ResolvedOp::Make(kernels_, op, inputs, attrs, outputs, threads));
  return Call(this, std::move(key), std::move(resolved));
}

size_t OpRunner::remembered() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return resolved_.size();
}

void OpRunner::Keep(std::string key, std::unique_ptr<ResolvedOp> resolved) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto it = resolved_.find(key);
  if (it != resolved_.end()) {
    it->second = std::move(resolved);
    return;
  }
  if (resolved_.size() >= capacity_) resolved_.clear();
  resolved_.emplace(std::move(key), std::move(resolved));
}

}  // namespace oneflow
