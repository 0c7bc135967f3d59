// The seeds of every target of comm_fuzz.h, replayed: a claim that breaks ends the process.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "tests/fuzz/comm_fuzz.h"

namespace oneflow::comm {
namespace {

using Target = void (*)(const uint8_t*, size_t);

void Replay(Target target, const std::string& name) {
  std::set<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(ONEFLOW_FUZZ_SEEDS "/" + name)) {
    paths.insert(entry.path());
  }
  ASSERT_GE(paths.size(), 10u) << "the seeds of " << name << " are gone";
  for (const auto& path : paths) {
    SCOPED_TRACE(path.filename().string());
    std::ifstream file(path, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)),
                            std::istreambuf_iterator<char>());
    target(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  }
}

TEST(FuzzCorpus, Frames) { Replay(FuzzFrames, "frames_fuzz"); }
TEST(FuzzCorpus, Handshake) { Replay(FuzzHandshake, "handshake_fuzz"); }
TEST(FuzzCorpus, Announcements) { Replay(FuzzAnnouncements, "announcements_fuzz"); }
TEST(FuzzCorpus, Notices) { Replay(FuzzNotices, "notices_fuzz"); }
TEST(FuzzCorpus, Beats) { Replay(FuzzBeats, "beats_fuzz"); }

}  // namespace
}  // namespace oneflow::comm
