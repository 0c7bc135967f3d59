// Summary: the analysis as text for people. Rows that differ only in the device are printed once.
#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "plan/analyse.h"
#include "plan/firings.h"
#include "plan/sharding.h"

namespace oneflow {
namespace {

using Row = std::vector<std::string>;

constexpr size_t kLiveShown = 5;
constexpr size_t kCycleShown = 8;

// "1.84 ms": three digits.
std::string Scaled(double value, const std::vector<std::string>& units, double base) {
  size_t unit = 0;
  while (value >= base && unit + 1 < units.size()) {
    value /= base;
    ++unit;
  }
  char text[64];
  std::snprintf(text, sizeof(text),
                unit == 0     ? "%.0f %s"
                : value < 10  ? "%.2f %s"
                : value < 100 ? "%.1f %s"
                              : "%.0f %s",
                value, units[unit].c_str());
  return text;
}
std::string TimeText(int64_t ns) {
  return Scaled(static_cast<double>(ns), {"ns", "us", "ms", "s"}, 1000);
}
std::string FlopsText(int64_t flops) {
  return Scaled(static_cast<double>(flops), {"flop", "kflop", "Mflop", "Gflop", "Tflop", "Pflop"},
                1000);
}
std::string RateText(int64_t bytes_per_us) {
  return Scaled(static_cast<double>(bytes_per_us), {"MB/s", "GB/s", "TB/s"}, 1000);
}

std::string Count(int64_t n, const std::string& what) {
  return absl::StrCat(n, " ", what, n == 1 ? "" : what.back() == 'h' ? "es" : "s");
}

// Columns aligned left, two blanks between, numbers' units kept beside them.
std::string Table(const std::vector<Row>& rows, const std::string& indent) {
  std::vector<size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()), 0);
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line = indent;
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line.append(widths[i] - row[i].size() + 2, ' ');
    }
    text += line + "\n";
  }
  return text;
}

// Device, tasks by stream, memory. Devices with equal rows stand together.
std::string Devices(const plan::Plan& plan, const PlanAnalysis& analysis) {
  std::vector<std::string> streams;  // by name, in order of appearance
  std::map<std::pair<uint32_t, std::string>, int64_t> tasks;
  for (const plan::Task& task : plan.tasks()) {
    ++tasks[{task.device(), plan.streams(static_cast<int>(task.stream())).name()}];
  }
  for (const plan::Stream& stream : plan.streams()) {
    if (std::find(streams.begin(), streams.end(), stream.name()) == streams.end())
      streams.push_back(stream.name());
  }
  std::vector<Row> rows = {{"device"}};
  for (const std::string& stream : streams) rows[0].push_back(stream);
  for (const char* title : {"arena", "lower bound", "states"}) rows[0].push_back(title);
  for (const DeviceMemory& memory : analysis.memory) {
    Row row = {DeviceName(plan, memory.device)};
    for (const std::string& stream : streams) {
      const auto count = tasks.find({memory.device, stream});
      row.push_back(count == tasks.end() ? "-" : absl::StrCat(count->second));
    }
    for (const int64_t bytes : {memory.arena_bytes, memory.lower_bound, memory.state_bytes}) {
      row.push_back(BytesText(bytes));
    }
    Row& last = rows.back();
    if (rows.size() > 1 && std::equal(row.begin() + 1, row.end(), last.begin() + 1)) {
      const std::string first = last[0].substr(0, last[0].find(" .. "));
      last[0] = absl::StrCat(first, " .. ", row[0]);
    } else {
      rows.push_back(std::move(row));
    }
  }
  return Table(rows, "");
}

// The device that needs most, and what is alive there at its peak.
std::string Peak(const plan::Plan& plan, const PlanAnalysis& analysis) {
  const auto largest = std::max_element(
      analysis.memory.begin(), analysis.memory.end(),
      [](const DeviceMemory& a, const DeviceMemory& b) { return a.lower_bound < b.lower_bound; });
  if (largest == analysis.memory.end() || largest->live_at_peak.empty()) return "";
  std::vector<Row> rows;
  int64_t rest = 0;
  for (size_t i = 0; i < largest->live_at_peak.size(); ++i) {
    const LiveRegister& live = largest->live_at_peak[i];
    if (i < kLiveShown) {
      rows.push_back(
          {BytesText(live.bytes), absl::StrCat("r", live.register_id), live.name, live.location});
    } else {
      rest += live.bytes;
    }
  }
  const int64_t hidden =
      static_cast<int64_t>(largest->live_at_peak.size()) - static_cast<int64_t>(rows.size());
  if (hidden > 0) rows.push_back({BytesText(rest), absl::StrCat("in ", hidden, " more")});
  return absl::StrCat("peak of ", DeviceName(plan, largest->device), " at ", largest->peak_task,
                      ", alive:\n", Table(rows, "  "));
}

std::string Moved(const PlanAnalysis& analysis) {
  if (analysis.moved.empty()) return "";
  std::vector<Row> rows = {{"reshard", "tasks", "bytes per step"}};
  for (const MovedBytes& moved : analysis.moved) {
    rows.push_back({moved.change, absl::StrCat(moved.tasks), BytesText(moved.bytes)});
  }
  return Table(rows, "");
}

// The critical cycle by stretches of one stream, with the longest task of each.
std::string Bottleneck(const plan::Plan& plan, const PlanAnalysis& analysis) {
  struct Stretch {
    uint32_t stream = 0;
    int64_t hops = 0;
    int64_t ns = 0;
    std::map<uint32_t, int64_t> by_task;
  };
  std::vector<Stretch> stretches;
  for (const CycleHop& hop : analysis.critical_cycle) {
    const uint32_t stream = plan.tasks(static_cast<int>(hop.task)).stream();
    if (stretches.empty() || stretches.back().stream != stream) stretches.push_back({stream});
    ++stretches.back().hops;
    stretches.back().ns += hop.duration_ns;
    stretches.back().by_task[hop.task] += hop.duration_ns;
  }
  if (stretches.empty()) return "";
  std::vector<Row> rows;
  int64_t rest = 0;
  for (size_t i = 0; i < stretches.size(); ++i) {
    const Stretch& stretch = stretches[i];
    if (i >= kCycleShown) {
      rest += stretch.ns;
      continue;
    }
    const plan::Stream& stream = plan.streams(static_cast<int>(stretch.stream));
    const auto longest =
        std::max_element(stretch.by_task.begin(), stretch.by_task.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    rows.push_back({absl::StrCat(stream.name(), "@", DeviceName(plan, stream.device())),
                    TimeText(stretch.ns),
                    Count(static_cast<int64_t>(stretch.by_task.size()), "task"),
                    absl::StrCat("longest ", plan.tasks(static_cast<int>(longest->first)).name(),
                                 " ", TimeText(longest->second)),
                    LocationOfTask(plan, longest->first).Short()});
  }
  if (stretches.size() > kCycleShown) {
    rows.push_back({absl::StrCat("and ", stretches.size() - kCycleShown, " more"), TimeText(rest)});
  }
  return absl::StrCat(
      "bottleneck",
      analysis.cycle_steps > 1 ? absl::StrCat(" of ", analysis.cycle_steps, " steps") : "", ":\n",
      Table(rows, "  "));
}

// The most ranks that have devices in one group of so many consecutive devices.
int64_t RanksOfGroup(const plan::Target& target, int64_t group) {
  size_t most = 0;
  std::map<int64_t, std::set<uint32_t>> ranks;
  for (int device = 0; device < target.devices_size(); ++device) {
    std::set<uint32_t>& joined = ranks[device / group];
    joined.insert(target.devices(device).rank());
    most = std::max(most, joined.size());
  }
  return static_cast<int64_t>(most);
}

}  // namespace

std::string DeviceName(const plan::Plan& plan, uint32_t device) {
  const plan::DeviceProto& proto = plan.devices(static_cast<int>(device));
  return absl::StrCat(proto.kind(), ":", proto.id());
}

std::string LinksText(const plan::Target& target) {
  const int64_t all = std::max<int64_t>(target.devices_size(), 1);
  std::vector<Row> rows = {{"link", "devices", "ranks", "latency", "rate"}};
  for (const plan::Link& link : target.links()) {
    const int64_t group = link.group() == 0 ? all : std::min<int64_t>(link.group(), all);
    // What the target lacks is assumed by the cost model.
    const int64_t rate = link.bytes_per_us();
    rows.push_back({link.name().empty() ? absl::StrCat("level ", rows.size() - 1) : link.name(),
                    absl::StrCat(group), absl::StrCat(RanksOfGroup(target, group)),
                    TimeText(link.latency_ns()), rate > 0 ? RateText(rate) : "not given"});
  }
  return Table(rows, "");
}

std::string Summary(const plan::Plan& plan, const PlanAnalysis& analysis) {
  std::string text = absl::StrCat("plan ", plan.name(), "  mesh ",
                                  Mesh::FromProto(plan.mesh()).ToString(), "  rank ", plan.rank(),
                                  " of ", plan.world_size(), "  target ", plan.target(), "\n");
  absl::StrAppend(&text, Count(plan.tasks_size(), "task"), ", ",
                  Count(plan.streams_size(), "stream"), ", ",
                  Count(plan.registers_size(), "register"), ", ",
                  Count(plan.states_size(), "state"), ", ", Count(plan.channels_size(), "channel"),
                  ", ", Count(plan.micro_batches(), "micro-batch"), "\n\n");
  absl::StrAppend(&text, Devices(plan, analysis), "\n");
  const std::string peak = Peak(plan, analysis);
  if (!peak.empty()) absl::StrAppend(&text, peak, "\n");
  const std::string moved = Moved(analysis);
  if (!moved.empty()) absl::StrAppend(&text, moved, "\n");
  absl::StrAppend(
      &text, "per step: at least ", TimeText(analysis.step_ns), ", ",
      FlopsText(analysis.flops_per_step), ", ", BytesText(analysis.moved_bytes_per_step),
      " moved between devices\n",
      analysis.period == 0
          ? absl::StrCat("slots are where they were after more than ", kMaxPeriod, " steps")
          : absl::StrCat("slots are where they were after ", Count(analysis.period, "step")),
      "\n", Bottleneck(plan, analysis));
  return text;
}

}  // namespace oneflow
