#include "comm/shared_memory.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "comm/system_error.h"

namespace oneflow::comm {
namespace {

// More than any host has; keeps sums of sizes far from the end of the numbers.
constexpr uint64_t kMostBytes = uint64_t{1} << 46;
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
constexpr size_t kHugePage = size_t{2} << 20;

size_t PageBytes() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

// With the page of the nonce behind it.
size_t WithNonce(uint64_t bytes) { return (bytes / PageBytes() + 2) * PageBytes(); }

}  // namespace

Nonce RandomNonce() {
  Nonce nonce;
  OF_CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(nonce.data()), nonce.size()) == 1)
      << "no entropy";
  return nonce;
}

void Offer::Write(ByteWriter* writer) const {
  writer->Integer(descriptor);
  writer->Integer(base);
  writer->Integer(bytes);
  writer->Text(std::string(nonce.data(), nonce.size()));
}

Offer Offer::Read(ByteReader* reader) {
  Offer offer;
  offer.descriptor = reader->Integer();
  offer.base = reader->Integer();
  offer.bytes = reader->Integer();
  const std::string nonce = reader->Text();
  if (nonce.size() == offer.nonce.size()) {
    std::memcpy(offer.nonce.data(), nonce.data(), nonce.size());
  } else {
    reader->ok = false;
  }
  return offer;
}

absl::StatusOr<Socket> OpenOffered(uint64_t pid, uint64_t descriptor, unsigned type) {
  // O_PATH opens nothing: what it is is seen before it is.
  const std::string there = absl::StrCat("/proc/", pid, "/fd/", descriptor);
  const Socket place(open(there.c_str(), O_PATH | O_CLOEXEC));
  struct stat about {};
  if (!place.open() || fstat(place.fd(), &about) != 0) return SystemError(there);
  if ((about.st_mode & S_IFMT) != type) {
    return absl::InvalidArgumentError(absl::StrCat(there, " is not what was offered"));
  }
  const std::string here = absl::StrCat("/proc/self/fd/", place.fd());
  Socket opened(open(here.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!opened.open()) return SystemError(there);
  return opened;
}

absl::StatusOr<std::unique_ptr<SharedMemory>> SharedMemory::Make(const char* name, size_t bytes) {
  if (bytes > kMostBytes) return absl::ResourceExhaustedError("too many bytes for one memory");
  std::unique_ptr<SharedMemory> memory(new SharedMemory);
  memory->descriptor_ = Socket(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const int fd = memory->descriptor_.fd();
  if (fd < 0) return SystemError("memfd_create");
  const size_t mapped = WithNonce(bytes);
  if (ftruncate(fd, static_cast<off_t>(mapped)) != 0 || fcntl(fd, F_ADD_SEALS, kSeals) != 0) {
    return SystemError("a memfd");
  }
  void* data = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) return SystemError("mmap of a memfd");
  // Fewer page faults, where the system gives huge pages to shared memory; refusal is harmless.
  if (mapped >= 4 * kHugePage) madvise(data, mapped, MADV_HUGEPAGE);
  memory->data_ = static_cast<std::byte*>(data);
  memory->mapped_ = mapped;
  memory->offer_ = {static_cast<uint64_t>(fd), reinterpret_cast<uint64_t>(data), bytes,
                    RandomNonce()};
  std::memcpy(memory->data_ + mapped - PageBytes(), memory->offer_.nonce.data(), sizeof(Nonce));
  return memory;
}

SharedMemory::~SharedMemory() {
  if (data_ != nullptr) munmap(data_, mapped_);
}

absl::StatusOr<std::shared_ptr<PeerMemory>> PeerMemory::Open(uint64_t pid, const Offer& offer) {
  const auto wrong = [&](const char* what) {
    return absl::InvalidArgumentError(
        absl::StrCat("the memory that process ", pid, " offers as ", offer.descriptor, " ", what));
  };
  if (offer.bytes > kMostBytes || offer.base > std::numeric_limits<uint64_t>::max() - kMostBytes) {
    return wrong("is larger than any");
  }
  absl::StatusOr<Socket> opened = OpenOffered(pid, offer.descriptor, S_IFREG);
  if (!opened.ok()) return opened.status();
  const size_t mapped = WithNonce(offer.bytes);
  struct stat about {};
  if (fstat(opened->fd(), &about) != 0 || static_cast<uint64_t>(about.st_size) != mapped) {
    return wrong("has another size");
  }
  // Only memory files have seals: a file that is none is refused here as well.
  const int seals = fcntl(opened->fd(), F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) return wrong("could shrink");
  void* data = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, opened->fd(), 0);
  if (data == MAP_FAILED) return SystemError("mmap of a peer's memory");
  std::shared_ptr<PeerMemory> memory(new PeerMemory);
  memory->data_ = static_cast<std::byte*>(data);
  memory->mapped_ = mapped;
  memory->offer_ = offer;
  if (CRYPTO_memcmp(memory->data_ + mapped - PageBytes(), offer.nonce.data(), sizeof(Nonce)) != 0) {
    return wrong("is another: its nonce differs");
  }
  return memory;
}

PeerMemory::~PeerMemory() {
  if (data_ != nullptr) munmap(data_, mapped_);
}

std::byte* PeerMemory::Find(const std::byte* address, uint64_t bytes) const {
  const uint64_t at = reinterpret_cast<uint64_t>(address);
  if (at < offer_.base || at - offer_.base > offer_.bytes) return nullptr;
  if (bytes > offer_.bytes - (at - offer_.base)) return nullptr;
  return data_ + (at - offer_.base);
}

}  // namespace oneflow::comm
