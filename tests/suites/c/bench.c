// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Workloads of `cargo bento bench`. `bench meta DIR FILES`, `bench meta2 DIR FILES`, `bench io DIR MIB`, `bench disk DIR MIB`,
 * `bench mail DIR MESSAGES`, `bench names DIR COUNT`, `bench sparse FILE PLACES`, `bench stat FILE CALLS`, `bench calls DIR CALLS`, `bench run NAME COMMAND…`. Prints "bench NAME
 * NANOSECONDS" with the CPU time of the whole machine, from /proc/schedstat: under instruction counting, one nanosecond is
 * one instruction. With BENCH_WALL it is the time that passes, on a machine that others use too. One line a workload; with BENCH_DISK (as "vdc") one more, "io NAME READS KIB WRITES KIB FLUSHES".
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
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

	if (getenv("BENCH_WALL")) {
		struct timespec now;

		clock_gettime(CLOCK_MONOTONIC, &now);
		return now.tv_sec * 1000000000ull + now.tv_nsec;
	}
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

/* What the disk was asked for: reads, sectors read, writes, sectors written, flushes. */
static uint64_t disk_since[5];

static int disk_now(uint64_t now[5])
{
	const char *disk = getenv("BENCH_DISK");
	char path[64];
	int fields;
	FILE *f;

	if (!disk)
		return 0;
	snprintf(path, sizeof(path), "/sys/block/%s/stat", disk);
	f = fopen(path, "r");
	if (!f)
		die(path);
	fields = fscanf(f,
			"%" SCNu64 " %*u %" SCNu64 " %*u %" SCNu64 " %*u %" SCNu64
			" %*u %*u %*u %*u %*u %*u %*u %*u %" SCNu64,
			&now[0], &now[1], &now[2], &now[3], &now[4]);
	fclose(f);
	if (fields != 5)
		die(path);
	return 1;
}

/* What was left dirty before is not what is measured. Others' files are none of our business where time is. */
static void settle(void)
{
	int fd;

	if (!getenv("BENCH_WALL")) {
		sync();
		return;
	}
	fd = open(".", O_RDONLY | O_DIRECTORY);
	if (fd < 0 || syncfs(fd))
		die("syncfs");
	close(fd);
}

/* What is between a 0 and a 1 is what a profile is made of (cargo-bento/src/bench/counter.c); it does nothing itself. */
#define MARK(which) __asm__ volatile(".byte 0x0f, 0x1f, 0x80, 0x6f, 0x74, 0x6e, " #which ::: "memory")

static void begin(void)
{
	settle();
	disk_now(disk_since);
	since = cpu_ns();
	MARK(0);
}

static void end(const char *name)
{
	uint64_t now[5];

	since = cpu_ns() - since;
	MARK(1);
	printf("bench %s %" PRIu64 "\n", name, since);
	if (disk_now(now))
		printf("io %s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", name,
		       now[0] - disk_since[0], (now[1] - disk_since[1]) / 2, now[2] - disk_since[2],
		       (now[3] - disk_since[3]) / 2, now[4] - disk_since[4]);
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

enum step { CREATE, STAT, RENAME, UNLINK };

static void one_step(int task, enum step step, int files)
{
	char from[64], to[64];
	struct stat st;
	int i, fd;

	for (i = 0; i < files; i++) {
		sprintf(from, "task-%d/file-%06d", task, i);
		sprintf(to, "task-%d/renamed-%06d", task, i);
		switch (step) {
		case CREATE:
			fd = open(from, O_CREAT | O_EXCL | O_WRONLY, 0644);
			if (fd < 0)
				die("create");
			close(fd);
			break;
		case STAT:
			if (stat(from, &st))
				die("stat");
			break;
		case RENAME:
			if (rename(from, to))
				die("rename");
			break;
		case UNLINK:
			if (unlink(to))
				die("unlink");
		}
	}
}

/* The same by two tasks at a time, each in a directory of its own. */
static void meta2(const char *dir, int files)
{
	static const char *const names[] = { "create-2", "stat-2", "rename-2", "unlink-2" };
	enum step step;
	int task, status;

	if (chdir(dir) || mkdir("task-0", 0755) || mkdir("task-1", 0755))
		die(dir);
	for (step = CREATE; step <= UNLINK; step++) {
		begin();
		for (task = 0; task < 2; task++)
			if (!fork()) {
				one_step(task, step, files / 2);
				_exit(0);
			}
		for (task = 0; task < 2; task++)
			if (wait(&status) < 0 || status)
				die(names[step]);
		end(names[step]);
	}
	rmdir("task-0");
	rmdir("task-1");
}

/* A mail server's day: each message is written under a passing name, made durable, put in place, and one in two is read
 * and removed. */
static void mail(const char *dir, int messages)
{
	static char text[16384];
	char from[64], to[64];
	int i, fd;

	if (chdir(dir))
		die(dir);
	begin();
	for (i = 0; i < messages; i++) {
		size_t size = 1000 + (size_t)i * 7919 % 15000;

		sprintf(from, "tmp-%06d", i);
		sprintf(to, "new-%06d", i);
		fd = open(from, O_CREAT | O_EXCL | O_WRONLY, 0600);
		if (fd < 0 || write(fd, text, size) != (ssize_t)size || fsync(fd) || close(fd) || rename(from, to))
			die("message");
		if (i % 2) {
			fd = open(to, O_RDONLY);
			if (fd < 0 || read(fd, text, sizeof(text)) != (ssize_t)size || close(fd) || unlink(to))
				die("message");
		}
	}
	end("mail");
	for (i = 0; i < messages; i += 2) {
		sprintf(to, "new-%06d", i);
		unlink(to);
	}
}

static void transfer(const char *name, int fd, size_t block, size_t total, int writing, int random)
{
	static char buf[1 << 20] __attribute__((aligned(4096)));
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

/* Each way of moving a file's bytes: what is read is on the disk, not in the cache. */
static void disk(const char *dir, size_t mib)
{
	static const struct {
		const char *name;
		size_t block;
	} sizes[] = { { "4k", 4096 }, { "128k", 131072 }, { "1m", 1 << 20 } };
	size_t total = mib << 20, i;
	char name[64];
	int direct, fd;

	if (chdir(dir))
		die(dir);
	for (direct = 0; direct < 2; direct++)
		for (i = 0; i < 3; i++) {
			const char *how = direct ? "direct-" : "";
			/* Synchronous calls: small blocks of direct I/O take long. */
			size_t part = direct && i == 0 ? total / 8 : total;
			int random;

			fd = open("data", O_CREAT | O_RDWR | O_TRUNC | (direct ? O_DIRECT : 0), 0644);
			if (fd < 0)
				die("data");
			for (random = 0; random < 2; random++) {
				const char *order = random ? "-random" : "";

				snprintf(name, sizeof(name), "%swrite-%s%s", how, sizes[i].name, order);
				transfer(name, fd, sizes[i].block, part, 1, random);
				posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
				snprintf(name, sizeof(name), "%sread-%s%s", how, sizes[i].name, order);
				transfer(name, fd, sizes[i].block, part, 0, random);
			}
			close(fd);
			unlink("data");
		}
}

/* One directory with very many names: made, looked up in no order, listed. */
static void names(const char *dir, int count)
{
	const struct dirent *entry;
	uint64_t at = 0;
	struct stat st;
	char name[64];
	int i, seen = 0;
	DIR *list;

	if (chdir(dir))
		die(dir);
	begin();
	for (i = 0; i < count; i++) {
		sprintf(name, "name-%08d", i);
		if (mknod(name, S_IFREG | 0644, 0))
			die("mknod");
	}
	end("names-create");
	begin();
	for (i = 0; i < count; i++) {
		/* A prime that divides no count: each of them once. */
		at = (at + 15485863) % (uint64_t)count;
		sprintf(name, "name-%08d", (int)at);
		if (stat(name, &st))
			die("stat");
	}
	end("names-lookup");
	begin();
	list = opendir(".");
	if (!list)
		die("opendir");
	while ((entry = readdir(list)))
		seen += entry->d_name[0] != '.';
	closedir(list);
	if (seen != count) {
		fprintf(stderr, "bench: %d names of %d are listed\n", seen, count);
		exit(2);
	}
	end("names-list");
}

/* A file of 1 TiB with a block here and there. */
static void sparse(const char *path, int places)
{
	static char block[4096] __attribute__((aligned(4096)));
	off_t size = (off_t)1 << 40, step = size / places, at;
	int fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0644), i, found = 0;

	if (fd < 0)
		die(path);
	begin();
	if (ftruncate(fd, size))
		die("truncate");
	for (i = 0; i < places; i++)
		if (pwrite(fd, block, sizeof(block), i * step) != sizeof(block))
			die("pwrite");
	if (fsync(fd))
		die("fsync");
	end("sparse-write");
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	begin();
	for (i = 0; i < places; i++)
		if (pread(fd, block, sizeof(block), i * step + step / 2) != sizeof(block) ||
		    pread(fd, block, sizeof(block), i * step) != sizeof(block))
			die("pread");
	end("sparse-read");
	begin();
	for (at = 0; (at = lseek(fd, at, SEEK_DATA)) >= 0; found++)
		at = lseek(fd, at, SEEK_HOLE);
	if (found != places) {
		fprintf(stderr, "bench: data at %d places of %d\n", found, places);
		exit(2);
	}
	end("sparse-seek");
	begin();
	if (ftruncate(fd, 0))
		die("truncate");
	end("sparse-cut");
	close(fd);
	unlink(path);
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
	else if (argc == 4 && !strcmp(argv[1], "meta2"))
		meta2(argv[2], atoi(argv[3]));
	else if (argc == 4 && !strcmp(argv[1], "mail"))
		mail(argv[2], atoi(argv[3]));
	else if (argc == 4 && !strcmp(argv[1], "disk"))
		disk(argv[2], atoi(argv[3]));
	else if (argc == 4 && !strcmp(argv[1], "io"))
		io(argv[2], atoi(argv[3]));
	else if (argc == 4 && !strcmp(argv[1], "names"))
		names(argv[2], atoi(argv[3]));
	else if (argc == 4 && !strcmp(argv[1], "sparse"))
		sparse(argv[2], atoi(argv[3]));
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
