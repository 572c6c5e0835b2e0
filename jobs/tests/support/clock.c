/* Loaded into a server by LD_PRELOAD: its wall clock is the real one plus the number of seconds (int64_t) in the file that TEST_CLOCK names, and follows the file. Redis
 * asks gettimeofday for the wall clock; its other clocks stay as they are. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile int64_t *offset;

__attribute__((constructor)) static void open_clock(void) {
  const char *path = getenv("TEST_CLOCK");
  int file = path ? open(path, O_RDONLY) : -1;
  void *mapped = file < 0 ? MAP_FAILED : mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
  if (mapped == MAP_FAILED) abort();
  offset = mapped;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec real;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &real)) return -1;
  now->tv_sec = real.tv_sec + (offset ? *offset : 0);
  now->tv_usec = real.tv_nsec / 1000;
  return 0;
}
