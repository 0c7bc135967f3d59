// Counts heap and mmap calls of all threads but the one that asked, between start and stop: the judge of
// "a steady step allocates nothing". Preloaded (LD_PRELOAD), so that it sees the allocator from outside, the
// libraries' own calls included. The first callers are kept, to say who it was.
//
//   cc -O2 -shared -fPIC -o allocation_counter.so allocation_counter.c
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);

enum { kCallers = 64 };
static atomic_int enabled;
static atomic_long calls;
static atomic_long bytes;
static void* callers[kCallers];
static size_t sizes[kCallers];
static __thread int ignored;

static void Count(size_t size, void* caller) {
  if (!atomic_load_explicit(&enabled, memory_order_relaxed) || ignored) return;
  const long n = atomic_fetch_add(&calls, 1);
  atomic_fetch_add(&bytes, (long)size);
  if (n < kCallers) {
    callers[n] = caller;
    sizes[n] = size;
  }
}

void* malloc(size_t size) {
  Count(size, __builtin_return_address(0));
  return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
  Count(count * size, __builtin_return_address(0));
  return __libc_calloc(count, size);
}
void* realloc(void* block, size_t size) {
  Count(size, __builtin_return_address(0));
  return __libc_realloc(block, size);
}
void* memalign(size_t alignment, size_t size) {
  Count(size, __builtin_return_address(0));
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(size_t alignment, size_t size) {
  Count(size, __builtin_return_address(0));
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** out, size_t alignment, size_t size) {
  Count(size, __builtin_return_address(0));
  *out = __libc_memalign(alignment, size);
  return *out == NULL ? ENOMEM : 0;
}
void* mmap(void* address, size_t size, int protection, int flags, int fd, off_t offset) {
  Count(size, __builtin_return_address(0));
  return (void*)syscall(SYS_mmap, address, size, protection, flags, fd, offset);
}

// The calling thread (Python's) is left out from now on.
void allocation_counter_start(void) {
  ignored = 1;
  atomic_store(&calls, 0);
  atomic_store(&bytes, 0);
  atomic_store(&enabled, 1);
}

// Number of calls since start; the first callers go to stderr, library and symbol.
long allocation_counter_stop(void) {
  atomic_store(&enabled, 0);
  const long n = atomic_load(&calls);
  for (long i = 0; i < n && i < kCallers; ++i) {
    Dl_info info;
    if (dladdr(callers[i], &info) && info.dli_fname != NULL) {
      fprintf(stderr, "allocation of %zu bytes by %s %s+0x%tx\n", sizes[i], info.dli_fname,
              info.dli_sname != NULL ? info.dli_sname : "?", (char*)callers[i] - (char*)info.dli_fbase);
    }
  }
  return n;
}
