#include "compiler/lower/streams.h"

#include <algorithm>
#include <map>

namespace oneflow {
namespace {

using TaskList = std::vector<uint32_t>;
using Items = google::protobuf::RepeatedPtrField<plan::StreamItem>;

// Appends the tasks in order; runs of CHUNK tasks of one node become one chunk loop.
void AppendTasks(const plan::Plan& plan, const TaskList& tasks, int64_t micro_offset,
                 Items* items) {
  for (size_t i = 0; i < tasks.size();) {
    const plan::Task& task = plan.tasks(tasks[i]);
    Items* target = items;
    size_t end = i + 1;
    if (task.level() == plan::CHUNK) {
      while (end < tasks.size() && plan.tasks(tasks[end]).level() == plan::CHUNK &&
             plan.tasks(tasks[end]).stamp().position() == task.stamp().position() &&
             plan.tasks(tasks[end]).chunks() == task.chunks()) {
        ++end;
      }
      plan::Loop* loop = items->Add()->mutable_loop();
      loop->set_level(plan::CHUNK);
      loop->set_begin(0);
      loop->set_count(task.chunks());
      target = loop->mutable_body();
    }
    for (; i < end; ++i) {
      plan::Firing* firing = target->Add()->mutable_firing();
      firing->set_task(tasks[i]);
      firing->set_micro_offset(micro_offset);
    }
  }
}

void AppendMicroLoop(const plan::Plan& plan, int64_t begin, int64_t count, const TaskList& forward,
                     const TaskList& backward, int64_t backward_offset, Items* items) {
  if (count <= 0 || (forward.empty() && backward.empty())) return;
  plan::Loop* loop = items->Add()->mutable_loop();
  loop->set_level(plan::MICRO);
  loop->set_begin(begin);
  loop->set_count(count);
  AppendTasks(plan, forward, 0, loop->mutable_body());
  AppendTasks(plan, backward, backward_offset, loop->mutable_body());
}

}  // namespace

void OrderStreams(Draft* draft) {
  plan::Plan& plan = draft->plan;
  const int64_t k = plan.micro_batches();
  const int64_t p = draft->schedule.stages();
  std::vector<TaskList> by_stream(plan.streams_size());
  for (int t = 0; t < plan.tasks_size(); ++t) by_stream[plan.tasks(t).stream()].push_back(t);

  for (int s = 0; s < plan.streams_size(); ++s) {
    TaskList& tasks = by_stream[s];
    std::stable_sort(tasks.begin(), tasks.end(), [&plan](uint32_t a, uint32_t b) {
      const plan::StampProto& x = plan.tasks(a).stamp();
      const plan::StampProto& y = plan.tasks(b).stamp();
      return std::make_tuple(x.slot(), x.position(), x.sub()) <
             std::make_tuple(y.slot(), y.position(), y.sub());
    });
    TaskList before, forward, backward, after;
    for (uint32_t t : tasks) {
      const plan::StampProto& stamp = plan.tasks(t).stamp();
      if (stamp.slot_per_micro() == 0) {
        (stamp.slot() == 0 ? before : after).push_back(t);
      } else {
        // Forward slots are 1 + s < 1 + p <= 2p - s, the backward ones.
        (stamp.slot() <= p ? forward : backward).push_back(t);
      }
    }
    Items* items = plan.mutable_streams(s)->mutable_items();
    AppendTasks(plan, before, 0, items);
    if (forward.empty() || backward.empty()) {
      AppendMicroLoop(plan, 0, k, forward, backward, 0, items);
    } else {
      // The warm-up follows from the slots: backward(i) stands between forward(w + i) and forward(w
      // + i + 1).
      const int64_t distance =
          plan.tasks(backward.front()).stamp().slot() - plan.tasks(forward.front()).stamp().slot();
      const int64_t warm_up = std::min(k, distance / 2);
      AppendMicroLoop(plan, 0, warm_up, forward, {}, 0, items);
      AppendMicroLoop(plan, warm_up, k - warm_up, forward, backward, -warm_up, items);
      AppendMicroLoop(plan, k - warm_up, warm_up, {}, backward, 0, items);
    }
    AppendTasks(plan, after, 0, items);
  }
}

}  // namespace oneflow
