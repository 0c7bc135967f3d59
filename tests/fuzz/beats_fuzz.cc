// Any bytes on the connection of heartbeats: the peer is lost if and only if they are not the numbers
// 0, 1, 2, ... of eight bytes each.
//
// Input: a byte of how many beats come as they should, then what comes behind them.
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "base/check.h"
#include "comm/heartbeat.h"
#include "tests/fuzz/comm_fuzz.h"

namespace oneflow::comm {

void FuzzBeats(const uint8_t* data, size_t size) {
  FuzzInput input{data, size};
  const uint64_t right = input.Next<uint8_t>();
  std::string stream;
  for (uint64_t beat = 0; beat < right; ++beat) {
    stream.append(reinterpret_cast<const char*>(&beat), sizeof(beat));
  }
  stream += input.Text(4096);
  bool is_beats = true;
  for (size_t i = 0; i < stream.size(); ++i) {
    const uint64_t number = i / 8;
    is_beats &= stream[i] == reinterpret_cast<const char*>(&number)[i % 8];
  }
  int ends[2];
  OF_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  const int reading = ends[1];
  OF_CHECK(write(ends[0], stream.data(), stream.size()) == static_cast<ssize_t>(stream.size()));
  std::atomic<int> lost{0};
  {
    std::vector<Socket> links(2);
    links[1] = Socket(reading);
    Heartbeat heartbeat(0, std::move(links), [&](int rank, const std::string& how) {
      OF_CHECK(rank == 1 && !how.empty());
      ++lost;
    });
    int left = 1;
    while (left > 0 && lost == 0) {
      OF_CHECK(ioctl(reading, FIONREAD, &left) == 0);
      if (left > 0) std::this_thread::yield();
    }
  }  // its thread is done with what it has read
  OF_CHECK(lost == (is_beats ? 0 : 1)) << lost << " of a stream that " << is_beats;
  close(ends[0]);
}

}  // namespace oneflow::comm
