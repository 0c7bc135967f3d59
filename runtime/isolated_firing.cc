#include "runtime/isolated_firing.h"

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "runtime/guarded_block.h"

namespace oneflow {
namespace {

// One operand, where the plan has it and where the firing sees it.
struct Copy {
  std::byte* home = nullptr;
  GuardedBlock block;
  bool is_output = false;
  std::string what;
};

class Firing {
 public:
  Firing(const Program& program, uint32_t task, int64_t ordinal)
      : program_(program), task_(task), ordinal_(ordinal) {}

  absl::Status Run(const Invocation& invocation) {
    const Program::Task& task = program_.tasks()[task_];
    const plan::Task& proto = *task.proto;
    // Outputs first: an input that is one of them sees the output's copy.
    std::vector<void*> outputs;
    std::vector<const void*> inputs;
    for (size_t i = 0; i < task.outputs.size(); ++i) {
      OF_ASSIGN_OR_RETURN(void* const at,
                          Add(task.outputs[i], Program::BytesOf(proto.outputs(static_cast<int>(i))),
                              /*is_output=*/true, absl::StrCat("output ", i)));
      outputs.push_back(at);
    }
    void* workspace = nullptr;
    if (task.workspace.base != nullptr) {
      const int64_t bytes = program_.plan().registers(static_cast<int>(proto.workspace())).bytes();
      OF_ASSIGN_OR_RETURN(workspace, Add(task.workspace, bytes, /*is_output=*/true, "workspace"));
    }
    for (size_t i = 0; i < task.inputs.size(); ++i) {
      OF_ASSIGN_OR_RETURN(void* const at,
                          Add(task.inputs[i], Program::BytesOf(proto.inputs(static_cast<int>(i))),
                              /*is_output=*/false, absl::StrCat("input ", i)));
      inputs.push_back(at);
    }
    kernels::InlineStream stream;
    OF_RETURN_IF_ERROR(program_.Execute(task_, ordinal_, invocation,
                                        {inputs.data(), outputs.data(), workspace}, &stream));
    for (const Copy& copy : copies_) {
      const size_t bytes = static_cast<size_t>(copy.block.bytes());
      if (!copy.block.Intact()) return Error(absl::StrCat("wrote beside its ", copy.what));
      if (copy.is_output) {
        std::memcpy(copy.home, copy.block.data(), bytes);
      } else if (std::memcmp(copy.home, copy.block.data(), bytes) != 0) {
        return Error(absl::StrCat("changed its ", copy.what));
      }
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Error(const std::string& what) const {
    return MakeError(ErrorKind::kPlan, absl::StrCat("firing ", ordinal_, " ", what));
  }

  // The address of the copy. Operands that begin at one place share it: a result in place, or a
  // tensor that is read twice.
  absl::StatusOr<void*> Add(const Program::Buffer& buffer, int64_t bytes, bool is_output,
                            const std::string& what) {
    std::byte* const home = buffer.At(ordinal_);
    for (const Copy& other : copies_) {
      // An empty operand lies nowhere.
      if (bytes == 0 || other.block.bytes() == 0) continue;
      if (home + bytes <= other.home || other.home + other.block.bytes() <= home) continue;
      if (!is_output && !other.is_output) {
        // Two views of one input each have their own bounds.
        if (home == other.home && bytes == other.block.bytes()) return other.block.data();
        continue;
      }
      if (is_output || home != other.home || bytes > other.block.bytes()) {
        return Error(absl::StrCat("has its ", what, " half over its ", other.what));
      }
      return other.block.data();
    }
    copies_.push_back({home, GuardedBlock(bytes), is_output, what});
    if (bytes > 0) std::memcpy(copies_.back().block.data(), home, static_cast<size_t>(bytes));
    return copies_.back().block.data();
  }

  const Program& program_;
  const uint32_t task_;
  const int64_t ordinal_;
  std::vector<Copy> copies_;
};

}  // namespace

absl::Status RunIsolated(const Program& program, uint32_t task, int64_t ordinal,
                         const Invocation& invocation) {
  return Firing(program, task, ordinal).Run(invocation);
}

}  // namespace oneflow
