// ExpectGolden: a printed graph or plan equals a file under tests/golden/, byte by byte.
//
// A function for tests. Threads: one at a time. `./dev golden --update` (the flag --update_golden)
// writes the file instead; the commit then says why it changed. Tests that call it have Golden in
// their name. Read next: docs/testing.md.
#ifndef ONEFLOW_COMPILER_GOLDEN_FOR_TEST_H_
#define ONEFLOW_COMPILER_GOLDEN_FOR_TEST_H_

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace oneflow {

inline void ExpectGolden(const std::string& name, const std::string& text) {
  const std::string path = std::string(ONEFLOW_SOURCE_DIR) + "/tests/golden/" + name;
  const std::vector<std::string> arguments = ::testing::internal::GetArgvs();
  if (std::count(arguments.begin(), arguments.end(), "--update_golden") > 0) {
    std::ofstream(path) << text;
    return;
  }
  std::ifstream file(path);
  ASSERT_TRUE(file.good()) << "no " << path << "; ./dev golden --update writes it";
  std::stringstream expected;
  expected << file.rdbuf();
  EXPECT_EQ(text, expected.str()) << "if that is meant: ./dev golden --update";
}

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_GOLDEN_FOR_TEST_H_
