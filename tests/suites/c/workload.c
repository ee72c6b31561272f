// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * What the benchmarks run, one phase per line: "phase operations cpu-ns wall-ns". CPU time is that of the whole machine
 * (/proc/schedstat), so that a daemon's share counts too; with instruction counting it is instructions.
 * Usage: workload DIR PHASE... (see `phases` below), in the order given.
 */
#include "check.h"
#include <dirent.h>
#include <time.h>

#define FILES 10000
#define DATA (32L << 20)
#define CALLS 20000

static char *buffer;

static long long wall(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Nanoseconds that tasks have run, all CPUs together; 0 where the kernel does not say. */
static long long cpu(void)
{
	static char text[65536];
	long long sum = 0;
	int fd = open("/proc/schedstat", O_RDONLY);
	ssize_t len = fd < 0 ? 0 : read(fd, text, sizeof text - 1);

	if (fd >= 0)
		close(fd);
	text[len > 0 ? len : 0] = 0;
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		long long ran;

		if (!strncmp(line, "cpu", 3) && sscanf(line, "%*s %*u %*u %*u %*u %*u %*u %lld", &ran) == 1)
			sum += ran;
	}
	return sum;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static char *name(char *text, const char *stem, int i)
{
	sprintf(text, "d%02d/%s%05d", i / 100, stem, i);
	return text;
}

#define EACH_FILE(call)                                                        \
	do {                                                                   \
		char a[40], b[40];                                             \
		(void)b;                                                       \
		for (int i = 0; i < FILES; i++)                                \
			if ((call) < 0)                                        \
				die("workload");                               \
	} while (0)

static long phase_dirs(void)
{
	char path[16];

	for (int i = 0; i < FILES / 100; i++) {
		sprintf(path, "d%02d", i);
		if (mkdir(path, 0755))
			die(path);
	}
	return FILES / 100;
}

static int create(const char *path)
{
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);

	return fd < 0 ? -1 : close(fd);
}

static int opened(const char *path)
{
	int fd = open(path, O_RDONLY);

	return fd < 0 ? -1 : close(fd);
}

static struct stat st;

static long phase_create(void) { EACH_FILE(create(name(a, "f", i))); return FILES; }
static long phase_stat(void) { EACH_FILE(stat(name(a, "f", i), &st)); return FILES; }
static long phase_open(void) { EACH_FILE(opened(name(a, "f", i))); return FILES; }
static long phase_rename(void) { EACH_FILE(rename(name(a, "f", i), name(b, "g", i))); return FILES; }
static long phase_unlink(void) { EACH_FILE(unlink(name(a, "g", i))); return FILES; }

static long phase_readdir(void)
{
	char path[16];
	long count = 0;

	for (int i = 0; i < FILES / 100; i++) {
		sprintf(path, "d%02d", i);
		DIR *dir = opendir(path);
		while (readdir(dir))
			count++;
		closedir(dir);
	}
	return count;
}

static long phase_rmdirs(void)
{
	char path[16];

	for (int i = 0; i < FILES / 100; i++) {
		sprintf(path, "d%02d", i);
		if (rmdir(path))
			die(path);
	}
	return FILES / 100;
}

static int data = -1;

static void need_data(int flags)
{
	if (data >= 0)
		close(data);
	data = open("data", flags, 0644);
	if (data < 0)
		die("data");
}

static long sequential(long size, int writing)
{
	need_data(writing ? O_CREAT | O_RDWR | O_TRUNC : O_RDWR);
	for (long at = 0; at < DATA; at += size)
		if ((writing ? pwrite(data, buffer, size, at) : pread(data, buffer, size, at)) != size)
			die("data");
	return DATA / size;
}

static long scattered(long size, int writing)
{
	unsigned int seed = 1;
	long count = DATA / size;

	need_data(O_RDWR);
	for (long i = 0; i < count; i++) {
		seed = seed * 1664525 + 1013904223;
		long at = (seed >> 8) % count * size;
		if ((writing ? pwrite(data, buffer, size, at) : pread(data, buffer, size, at)) != size)
			die("data");
	}
	return count;
}

static long phase_seqwrite4k(void) { return sequential(4096, 1); }
static long phase_seqread4k(void) { return sequential(4096, 0); }
static long phase_seqwrite128k(void) { return sequential(131072, 1); }
static long phase_seqread128k(void) { return sequential(131072, 0); }
static long phase_randwrite4k(void) { return scattered(4096, 1); }
static long phase_randread4k(void) { return scattered(4096, 0); }
static long phase_randwrite128k(void) { return scattered(131072, 1); }
static long phase_randread128k(void) { return scattered(131072, 0); }

/* One call into the file system and nothing else. */
static long phase_fstat(void)
{
	int fd = open("one", O_CREAT | O_RDWR, 0644);

	if (fd < 0)
		fd = open(".", O_RDONLY);
	for (int i = 0; i < CALLS; i++)
		if (fstat(fd, &st))
			die("fstat");
	close(fd);
	return CALLS;
}

static const struct {
	const char *name;
	long (*run)(void);
} phases[] = {
#define PHASE(name) { #name, phase_##name }
	PHASE(dirs), PHASE(create), PHASE(stat), PHASE(open), PHASE(readdir), PHASE(rename), PHASE(unlink), PHASE(rmdirs),
	PHASE(seqwrite4k), PHASE(seqread4k), PHASE(seqwrite128k), PHASE(seqread128k),
	PHASE(randwrite4k), PHASE(randread4k), PHASE(randwrite128k), PHASE(randread128k), PHASE(fstat),
#undef PHASE
};

int main(int argc, char **argv)
{
	check_enter(argc, argv);
	buffer = malloc(131072);
	memset(buffer, 'b', 131072);
	for (int i = 2; i < argc; i++) {
		int found = 0;

		for (size_t p = 0; p < sizeof phases / sizeof *phases; p++) {
			if (strcmp(phases[p].name, argv[i]))
				continue;
			long long cpu_before = cpu(), wall_before = wall();
			long operations = phases[p].run();

			printf("%s %ld %lld %lld\n", argv[i], operations, cpu() - cpu_before, wall() - wall_before);
			fflush(stdout);
			found = 1;
		}
		if (!found) {
			fprintf(stderr, "workload: there is no phase %s\n", argv[i]);
			return 2;
		}
	}
	return 0;
}
