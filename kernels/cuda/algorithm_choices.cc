#include "kernels/cuda/algorithm_choices.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/crc32c.h"
#include "base/status.h"

namespace oneflow::kernels {
namespace {

constexpr absl::string_view kHeader = "oneflow algorithms 1";
constexpr size_t kMostBytes = size_t{4} << 20;  // of a file
constexpr size_t kMostLines = 16384;
constexpr size_t kMostField = 512;
constexpr int kTurns = 5;
// Of the first's time; what is saved must be more. Turns of the same kernel differ by 1 to 2 %.
constexpr double kMargin = 0.03;

bool IsField(absl::string_view text) {
  return !text.empty() && text.size() <= kMostField &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

// What is wrong with the file, "" if it is ours or is not there.
std::string ReadFile(const std::string& path, std::string* text) {
  errno = 0;
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return errno == ENOENT ? "" : std::strerror(errno);
  text->resize(kMostBytes + 1);
  size_t size = 0;
  ssize_t got = 1;
  while (size < text->size() && (got = read(file, text->data() + size, text->size() - size)) > 0) {
    size += static_cast<size_t>(got);
  }
  const int cause = errno;
  close(file);
  text->resize(size);
  if (got < 0) return std::strerror(cause);
  if (size > kMostBytes) return "it is too large";
  if (!text->empty() && !text->starts_with(absl::StrCat(kHeader, "\n"))) {
    return "it is not of this version, or no file of algorithms";
  }
  return "";
}

// Lines that do not count.
int ParseLines(absl::string_view text, AlgorithmTable* table) {
  int bad = 0;
  size_t lines = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (line.empty() || line == kHeader) continue;
    AlgorithmKey key;
    AlgorithmChoice choice;
    if (++lines > kMostLines || !ParseAlgorithmLine(line, &key, &choice)) {
      ++bad;
    } else {
      table->emplace(std::move(key), std::move(choice));
    }
  }
  return bad;
}

// The file at once, so that no reader sees a part of it.
std::string Replace(const std::string& path, const std::string& text) {
  const std::string temporary = absl::StrCat(path, ".", getpid());
  std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (!out || std::rename(temporary.c_str(), path.c_str()) != 0) {
    const std::string cause = std::strerror(errno);
    std::remove(temporary.c_str());
    return cause;
  }
  return "";
}

}  // namespace

std::string AlgorithmLine(const AlgorithmKey& key, const AlgorithmChoice& choice) {
  const std::string rest =
      absl::StrCat(key.place, "\t", key.problem, "\t", choice.name, "\t", choice.times);
  return absl::StrFormat("%08x\t%s", Crc32c(rest.data(), rest.size()), rest);
}

bool ParseAlgorithmLine(absl::string_view line, AlgorithmKey* key, AlgorithmChoice* choice) {
  const std::vector<std::string> fields = absl::StrSplit(line, '\t');
  if (fields.size() != 5) return false;
  if (!std::all_of(fields.begin(), fields.end(), IsField)) return false;
  *key = {fields[1], fields[2]};
  *choice = {fields[3], fields[4], false};
  return line == AlgorithmLine(*key, *choice);
}

std::string ReadAlgorithms(const std::string& path, AlgorithmTable* table) {
  std::string text;
  if (std::string wrong = ReadFile(path, &text); !wrong.empty()) return wrong;
  const int bad = ParseLines(text, table);
  return bad == 0 ? "" : absl::StrCat(bad, bad == 1 ? " line is" : " lines are", " damaged");
}

std::string MergeAlgorithms(const std::string& path, const AlgorithmTable& added) {
  std::error_code ignored;  // what fails here fails below, with a cause
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  const int lock = open((path + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0) return std::strerror(errno);
  std::string wrong = flock(lock, LOCK_EX) == 0 ? "" : std::strerror(errno);
  std::string text;
  if (wrong.empty()) wrong = ReadFile(path, &text);
  if (wrong.empty()) {
    AlgorithmTable table;
    ParseLines(text, &table);
    for (const auto& [key, choice] : added) {
      if (choice.replaces) table.erase(key);
      if (table.size() < kMostLines) table.emplace(key, choice);
    }
    std::string merged = absl::StrCat(kHeader, "\n");
    for (const auto& [key, choice] : table) {
      const std::string line = AlgorithmLine(key, choice);
      if (merged.size() + line.size() < kMostBytes) absl::StrAppend(&merged, line, "\n");
    }
    wrong = Replace(path, merged);
  }
  close(lock);
  return wrong;
}

absl::StatusOr<size_t> FastestAlgorithm(size_t candidates, const AlgorithmTimer& timer,
                                        std::vector<double>* times) {
  std::vector<std::vector<double>> turns(candidates);
  for (int turn = 0; turn < kTurns; ++turn) {
    for (size_t i = 0; i < candidates; ++i) {
      OF_ASSIGN_OR_RETURN(const double seconds, timer(i));
      turns[i].push_back(seconds);
    }
  }
  times->clear();
  for (std::vector<double>& of : turns) {
    std::nth_element(of.begin(), of.begin() + kTurns / 2, of.end());
    times->push_back(of[kTurns / 2]);
  }
  const size_t best =
      static_cast<size_t>(std::min_element(times->begin(), times->end()) - times->begin());
  return (*times)[best] < (1 - kMargin) * times->front() ? best : 0;
}

AlgorithmChoices& AlgorithmChoices::OfProcess() {
  static AlgorithmChoices* choices = new AlgorithmChoices;
  return *choices;
}

void AlgorithmChoices::Measure(const std::string& path) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (measures_ && path == path_) return;
  measures_ = true;
  path_ = path;
  if (path_.empty()) return;
  AlgorithmTable table;
  if (const std::string wrong = ReadAlgorithms(path_, &table); !wrong.empty()) Say(wrong);
  for (auto& [key, choice] : table) known_.emplace(key, Known{std::move(choice), false, true});
}

void AlgorithmChoices::StopMeasuring() {
  std::lock_guard<std::mutex> lock(mutex_);
  measures_ = false;
}

bool AlgorithmChoices::measures() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return measures_;
}

absl::Status AlgorithmChoices::Choose(const AlgorithmKey& key,
                                      const std::vector<std::string>& candidates,
                                      const AlgorithmTimer& timer, const std::weak_ptr<void>& plan,
                                      Use use) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!measures_ || candidates.empty() || !IsField(key.place) || !IsField(key.problem) ||
      !std::all_of(candidates.begin(), candidates.end(), IsField)) {
    return absl::OkStatus();
  }
  const auto offers = [&](const std::string& name) {
    return std::find(candidates.begin(), candidates.end(), name) != candidates.end();
  };
  const auto found = known_.find(key);
  // What is agreed on but not offered is refused by `use`.
  if (found == known_.end() || (!found->second.agreed && !offers(found->second.choice.name))) {
    Known made = {{candidates.front(), "not timed"}, false, true};
    made.choice.replaces = found != known_.end();
    std::vector<double> times;
    if (candidates.size() == 1) {
      made.choice.times = "the only one";
    } else if (const absl::StatusOr<size_t> best =
                   FastestAlgorithm(candidates.size(), timer, &times);
               best.ok()) {
      made.kept = false;
      made.choice.name = candidates[*best];
      made.choice.times = "us";
      for (const double seconds : times) {
        absl::StrAppendFormat(&made.choice.times, " %.2f", seconds * 1e6);
      }
    }
    known_[key] = std::move(made);
  }
  const std::string& name = known_[key].choice.name;
  OF_RETURN_IF_ERROR(use(name));
  std::erase_if(live_, [](const Live& live) { return live.plan.expired(); });
  live_.push_back({key, candidates.front(), name, plan, std::move(use)});
  return absl::OkStatus();
}

absl::Status AlgorithmChoices::Settle(const Exchange& exchange) {
  std::string mine;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (exchange == nullptr) {
      Keep();
      return absl::OkStatus();
    }
    mine = measures_ ? "measured\n" : "heuristics\n";
    for (const auto& [key, known] : known_) {
      if (!measures_ || known.agreed) continue;
      // What only the file knows is said when a plan needs it.
      const bool needed = std::any_of(live_.begin(), live_.end(),
                                      [&](const Live& live) { return live.key == key; });
      if (needed) absl::StrAppend(&mine, AlgorithmLine(key, known.choice), "\n");
    }
  }
  OF_ASSIGN_OR_RETURN(const std::vector<std::string> ranks, exchange(mine));  // waits for others
  std::lock_guard<std::mutex> lock(mutex_);
  Agree(ranks);
  OF_RETURN_IF_ERROR(Apply());
  Keep();
  return absl::OkStatus();
}

void AlgorithmChoices::Agree(const std::vector<std::string>& ranks) {
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    if (ranks[rank].starts_with("measured\n")) continue;
    if (measures_) {
      std::fprintf(stderr,
                   "oneflow: rank %zu does not measure algorithms, so no rank does; set "
                   "ONEFLOW_CUDA_ALGORITHMS to the same value on all\n",
                   rank);
    }
    measures_ = false;
    return;
  }
  for (const std::string& rank : ranks) {
    for (const absl::string_view line : absl::StrSplit(absl::string_view(rank), '\n')) {
      AlgorithmKey key;
      AlgorithmChoice choice;
      if (!ParseAlgorithmLine(line, &key, &choice)) continue;
      Known& known = known_[key];
      if (known.agreed) continue;
      // What stands in the file stays there.
      const bool kept = known.kept || !choice.times.starts_with("us");
      known = {std::move(choice), true, kept};
    }
  }
}

absl::Status AlgorithmChoices::Apply() {
  for (Live& live : live_) {
    const std::shared_ptr<void> plan = live.plan.lock();
    const std::string& name = measures_ ? known_[live.key].choice.name : live.first;
    if (plan == nullptr || name == live.used) continue;
    OF_RETURN_IF_ERROR(live.use(name));
    live.used = name;
  }
  return absl::OkStatus();
}

void AlgorithmChoices::Keep() {
  if (!measures_ || path_.empty()) return;
  AlgorithmTable added;
  for (auto& [key, known] : known_) {
    if (!known.kept) added.emplace(key, known.choice);
    known.kept = true;
  }
  if (added.empty()) return;
  if (const std::string wrong = MergeAlgorithms(path_, added); !wrong.empty()) Say(wrong);
}

void AlgorithmChoices::Say(const std::string& what) {
  if (std::exchange(said_, true)) return;
  std::fprintf(stderr,
               "oneflow: the file of measured algorithms %s is not used as it should be: %s. What "
               "it lacks is measured again; remove it, or name another by "
               "ONEFLOW_CUDA_ALGORITHMS=measured:FILE\n",
               path_.c_str(), what.c_str());
}

}  // namespace oneflow::kernels
