// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A storm of restarts on bytesfs. `restarts DIR COUNT TASKS`: an ioctl panics with a lock of the instance held, the next one
 * meets the poison and asks for a restart; COUNT times, beside traffic of which no call may fail. Prints the time from the
 * call that met the poison to the end of the next one that succeeds.
 */
#include "traffic.h"
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <time.h>

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static int by_size(const void *one, const void *other)
{
	long a = *(const long *)one, b = *(const long *)other;

	return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
	struct traffic *all;
	long count, odd = 0, *took;
	char bytes[16] = "";
	int fd;

	if (argc != 4)
		return 2;
	check_enter(argc, argv);
	count = atol(argv[2]);
	took = calloc(count, sizeof *took);
	fd = open("struck", O_CREAT | O_RDWR, 0644);
	all = traffic_start(atoi(argv[3]));
	for (long i = 0; i < count; i++) {
		struct stat st;
		uint64_t start;

		odd += !(ioctl(fd, _IOWR('b', 1, char[16]), bytes) == -1 && errno == EIO);
		start = now();
		odd += !(ioctl(fd, _IOWR('b', 1, char[16]), bytes) == -1 && errno == EIO);
		odd += !!fstat(fd, &st);
		took[i] = now() - start;
	}
	all->stop = 1;
	while (wait(NULL) > 0)
		;
	GIVES("struck calls get EIO, and the next one succeeds", 0, odd);
	traffic_verdict(all);
	qsort(took, count, sizeof *took, by_size);
	printf("restart_ns median=%ld max=%ld count=%ld\n", took[count / 2], took[count - 1], count);
	return check_done();
}
