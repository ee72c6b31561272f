// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Workloads of `cargo bento bench`. `bench meta DIR FILES`, `bench io DIR MIB`, `bench stat FILE CALLS`,
 * `bench calls DIR CALLS`, `bench run NAME COMMAND…`. Prints "bench NAME NANOSECONDS" with the CPU time of the whole
 * machine, from /proc/schedstat: under instruction counting, one nanosecond is one instruction. One line a workload.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(2);
}

/*
 * CPU time of all tasks. A task's is added when it is switched out, hence the sleep; a long one, so that what the kernel
 * put off (freed inodes) is counted where it belongs. It costs nothing: the guest's clock leaps while it idles.
 */
static uint64_t cpu_ns(void)
{
	char line[4096];
	uint64_t sum = 0;
	FILE *f;

	usleep(100000);
	f = fopen("/proc/schedstat", "r");
	if (!f)
		die("/proc/schedstat");
	while (fgets(line, sizeof(line), f)) {
		uint64_t run;

		if (sscanf(line, "cpu%*d %*u %*u %*u %*u %*u %*u %" SCNu64, &run) == 1)
			sum += run;
	}
	fclose(f);
	return sum;
}

static uint64_t since;

static void begin(void)
{
	sync();
	since = cpu_ns();
}

static void end(const char *name)
{
	printf("bench %s %" PRIu64 "\n", name, cpu_ns() - since);
	fflush(stdout);
}

static void meta(const char *dir, int files)
{
	char from[64], to[64];
	struct stat st;
	int i;

	if (chdir(dir))
		die(dir);
	begin();
	for (i = 0; i < files; i++) {
		int fd;

		sprintf(from, "file-%06d", i);
		fd = open(from, O_CREAT | O_EXCL | O_WRONLY, 0644);
		if (fd < 0)
			die("create");
		close(fd);
	}
	end("create");
	begin();
	for (i = 0; i < files; i++) {
		sprintf(from, "file-%06d", i);
		if (stat(from, &st))
			die("stat");
	}
	end("stat");
	begin();
	for (i = 0; i < files; i++) {
		sprintf(from, "file-%06d", i);
		sprintf(to, "renamed-%06d", i);
		if (rename(from, to))
			die("rename");
	}
	end("rename");
	begin();
	for (i = 0; i < files; i++) {
		sprintf(to, "renamed-%06d", i);
		if (unlink(to))
			die("unlink");
	}
	end("unlink");
}

static void transfer(const char *name, int fd, size_t block, size_t total, int writing, int random)
{
	static char buf[1 << 20];
	size_t blocks = total / block, i;
	uint64_t state = 88172645463325252u;

	begin();
	for (i = 0; i < blocks; i++) {
		size_t at = i;
		ssize_t n;

		if (random) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			at = state % blocks;
		}
		n = writing ? pwrite(fd, buf, block, at * block) : pread(fd, buf, block, at * block);
		if (n != (ssize_t)block)
			die(name);
	}
	if (writing && fsync(fd))
		die("fsync");
	end(name);
}

static void io(const char *dir, size_t mib)
{
	size_t total = mib << 20;
	int fd;

	if (chdir(dir))
		die(dir);
	fd = open("data", O_CREAT | O_RDWR | O_TRUNC, 0644);
	if (fd < 0)
		die("data");
	transfer("write-4k", fd, 4096, total, 1, 0);
	transfer("read-4k", fd, 4096, total, 0, 0);
	transfer("write-4k-random", fd, 4096, total, 1, 1);
	transfer("read-4k-random", fd, 4096, total, 0, 1);
	if (ftruncate(fd, 0))
		die("truncate");
	transfer("write-128k", fd, 131072, total, 1, 0);
	transfer("read-128k", fd, 131072, total, 0, 0);
	transfer("write-128k-random", fd, 131072, total, 1, 1);
	transfer("read-128k-random", fd, 131072, total, 0, 1);
	close(fd);
	unlink("data");
}

static void many_stats(const char *file, int calls)
{
	struct stat st;
	int fd = open(file, O_RDONLY), i;

	if (fd < 0)
		die(file);
	begin();
	for (i = 0; i < calls; i++)
		if (fstat(fd, &st))
			die("fstat");
	end("fstat");
	close(fd);
}

/* Each call by itself, with nothing else in the loop; names are made before. */
static void calls(const char *dir, int count)
{
	char (*names)[16] = calloc(count, sizeof(*names));
	struct stat st;
	int fd, i;

	if (!names || chdir(dir))
		die(dir);
	for (i = 0; i < count; i++)
		snprintf(names[i], sizeof(*names), "name-%06d", i);
	fd = open("file", O_CREAT | O_RDWR, 0644);
	if (fd < 0)
		die("file");
	begin();
	for (i = 0; i < count; i++)
		if (fstat(fd, &st))
			die("fstat");
	end("call-getattr");
	begin();
	for (i = 0; i < count; i++)
		if (mknod(names[i], S_IFREG | 0644, 0))
			die("mknod");
	end("call-create");
	begin();
	for (i = 0; i < count; i++)
		if (unlink(names[i]))
			die("unlink");
	end("call-unlink");
	close(fd);
	unlink("file");
	free(names);
}

static void run(const char *name, char **command)
{
	int status;
	pid_t pid;

	begin();
	pid = fork();
	if (!pid) {
		execvp(command[0], command);
		die(command[0]);
	}
	if (waitpid(pid, &status, 0) < 0 || status)
		die(name);
	end(name);
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "meta"))
		meta(argv[2], atoi(argv[3]));
	else if (argc == 4 && !strcmp(argv[1], "io"))
		io(argv[2], atoi(argv[3]));
	else if (argc == 4 && !strcmp(argv[1], "stat"))
		many_stats(argv[2], atoi(argv[3]));
	else if (argc == 4 && !strcmp(argv[1], "calls"))
		calls(argv[2], atoi(argv[3]));
	else if (argc > 3 && !strcmp(argv[1], "run"))
		run(argv[2], argv + 3);
	else
		return 2;
	return 0;
}
