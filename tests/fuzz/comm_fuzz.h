// What ranks read of each other, fuzzed: one function per parser, each takes any bytes and stops the
// process where a claim breaks. Under libFuzzer an entry point calls one of them (entry.cc); in the
// fast suite corpus_test.cc replays the seeds. Threads: one. Read next: tests/fuzz/README.md.
#ifndef ONEFLOW_TESTS_FUZZ_COMM_FUZZ_H_
#define ONEFLOW_TESTS_FUZZ_COMM_FUZZ_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace oneflow::comm {

void FuzzFrames(const uint8_t* data, size_t size);
void FuzzHandshake(const uint8_t* data, size_t size);
void FuzzAnnouncements(const uint8_t* data, size_t size);
void FuzzNotices(const uint8_t* data, size_t size);
void FuzzBeats(const uint8_t* data, size_t size);

// Takes bytes off the front; zeros when there are none left.
struct FuzzInput {
  const uint8_t* data;
  size_t size;

  void Copy(void* to, size_t count) {
    const size_t have = count < size ? count : size;
    std::memset(to, 0, count);
    if (have > 0) std::memcpy(to, data, have);
    data += have;
    size -= have;
  }
  template <class Number>
  Number Next() {
    Number number{};
    Copy(&number, sizeof(number));
    return number;
  }
  std::string Text(size_t count) {
    std::string text(count < size ? count : size, '\0');
    Copy(text.data(), text.size());
    return text;
  }
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_TESTS_FUZZ_COMM_FUZZ_H_
