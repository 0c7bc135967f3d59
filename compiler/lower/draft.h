// Draft: the plan of one rank while it is being made, with what the lowering steps share: which
// local device is which, where every value lies, and how to add tasks, registers and channels.
//
// Owned by one call of Lower. Threads: one. Invariants: a register's producer is set when it is
// added; consumers, slots and offsets are filled by later steps (credits.h, memory_planner.h).
// Tasks stand in stamp order of their nodes. Read next: compiler/lower/lower.cc.
#ifndef ONEFLOW_COMPILER_LOWER_DRAFT_H_
#define ONEFLOW_COMPILER_LOWER_DRAFT_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "compiler/graph/graph.h"
#include "compiler/lower/lower.h"
#include "compiler/lower/schedule.h"
#include "compiler/parallel/decide.h"
#include "compiler/parallel/link_levels.h"
#include "plan/plan.pb.h"
#include "plan/target.pb.h"

namespace oneflow {

// The streams of a device, in the order in which their ids are given.
enum class StreamKind { kCompute = 0, kFeed = 1, kComm = 2, kFetch = 3 };

// Where the bytes of a value are on one device.
struct Buffer {
  bool is_state = false;
  uint32_t id = 0;
};

class Draft {
 public:
  Draft(const Graph& graph, const Decisions& decisions, const plan::Target& target,
        const Schedule& schedule, int rank, int world_size);

  // Devices: global ids are positions in the target; local indexes are positions in plan.devices.
  int LocalIndex(int global_device) const;  // -1 on another rank
  int RankOf(int global_device) const {
    return static_cast<int>(target.devices(global_device).rank());
  }
  std::vector<int> StageDevices(int stage) const { return decisions.mesh.StageDevices(stage); }
  // Layout coordinates (micro = 0) of the i-th device of a stage.
  std::vector<int64_t> Coordinates(int position) const;
  // Time to copy bytes on a device, and to bring them from one to another (global ids).
  int64_t CopyNs(int64_t bytes) const { return levels_.rate(0).Ns(1, bytes); }
  int64_t TransferNs(int64_t bytes, int from, int to) const {
    return levels_.rate(levels_.Between(from, to)).Ns(1, bytes);
  }
  // How long such a transfer keeps who sends from sending more: its start overlaps with others.
  int64_t OccupiedNs(int64_t bytes, int from, int to) const {
    return levels_.rate(levels_.Between(from, to)).Ns(0, bytes);
  }

  // A task of `node` on a local device of `stage`. `level` is the node's unless it is a CHUNK task.
  plan::Task* AddTask(const Node& node, const std::string& op, plan::TaskKind kind, int stage,
                      int device, StreamKind stream, Sub sub, uint32_t piece = 0,
                      uint32_t round = 0);
  // Makes the task a CHUNK task inside the node's loop.
  void SetChunks(plan::Task* task, int chunks);
  // A RECV stands on a stream that holds no thread: one per local device and device that sends.
  void MoveToReceiveStream(plan::Task* task, int source);
  uint32_t IdOf(const plan::Task* task) const;

  // A register filled by `producer`; lives in the arena of local device `device`.
  uint32_t AddRegister(const plan::Task* producer, plan::Level level, int device,
                       const TensorType& local, int64_t bytes = -1);
  uint32_t AddChannel(const std::string& name, int source_rank, int destination_rank, int64_t bytes,
                      int64_t slots, const plan::StampProto& stamp);
  // Slots of a register between two devices: a function of the schedule alone, so that both ends of
  // a channel agree. The least that stamps allow, and one more where a loop lets movement overlap.
  int64_t LinkSlots(NodeId node, int from_stage, int to_stage, int chunks) const;

  // Ports. A MOVE port only has bytes and a local type.
  void AddInput(plan::Task* task, Buffer buffer, const TensorType& local);
  void AddOutput(plan::Task* task, Buffer buffer, const TensorType& local);
  // A typed port of a logical value on the device at `position` of its stage.
  plan::Port ValuePort(Buffer buffer, const TensorType& logical, const Sharding& sharding,
                       int position) const;

  Buffer At(ValueId value, int device) const;
  bool HasBuffer(ValueId value, int device) const { return buffers_.contains({value, device}); }
  void SetBuffer(ValueId value, int device, Buffer buffer) { buffers_[{value, device}] = buffer; }

  const Graph& graph;
  const Decisions& decisions;
  const plan::Target& target;
  const Schedule& schedule;
  const int rank;
  const int world_size;
  const std::shared_ptr<plan::Plan> owner;  // of `plan`, in an arena of its own
  plan::Plan& plan;
  DescribeKernel describe;                      // nullptr: nobody can be asked
  std::map<std::string, plan::KernelRow> rows;  // by key: what was asked, beside the target's
  std::map<std::string, KernelQuery> missing;   // by key
  std::set<uint32_t> links;  // registers between two devices: their slots are fixed
  std::map<uint32_t, std::vector<plan::Alias>> may_alias;  // by task: what its kernel can

 private:
  const LinkLevels levels_;
  std::map<int, int> local_index_;
  std::map<const plan::Task*, uint32_t> task_ids_;
  std::map<std::pair<uint32_t, int>, uint32_t> receive_streams_;  // (device, source) -> stream
  std::map<std::string, uint32_t> name_counts_;
  std::map<std::pair<ValueId, int>, Buffer> buffers_;
};

// The local shape of a logical tensor at layout coordinates.
TensorType LocalType(const TensorType& logical, const Sharding& sharding,
                     const std::vector<Axis>& axes, const std::vector<int64_t>& coordinates);

// The text under which the target keeps what a kernel needs: op, attrs, local types, threads.
std::string KernelKey(const plan::Task& task, uint32_t threads);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_LOWER_DRAFT_H_
