// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Mounts damaged images one after the other, each used by the program `hostile` and unmounted again: nothing panics, every
 * call comes back in time, and the next mount works. Errors are as good as success.
 * Usage: mutants FS DIR DISK LIST SECONDS OPTIONS
 * LIST is what the judges' program of the same name makes: a sound image, and what each mutant has in it instead.
 */
#include "check.h"
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>

static const char *fs, *dir, *disk, *options;
static char tool[PATH_MAX];
static int seconds, kernel_log;

static const unsigned char *at, *end;

static uint64_t word(void)
{
	uint64_t value;

	if (end - at < 8) {
		printf("not ok the list is cut short\n");
		exit(2);
	}
	memcpy(&value, at, 8);
	at += 8;
	return value;
}

static const unsigned char *bytes(uint64_t count)
{
	const unsigned char *here = at;

	if ((uint64_t)(end - at) < count) {
		printf("not ok the list is cut short\n");
		exit(2);
	}
	at += count;
	return here;
}

static void unwritable(void)
{
	printf("not ok %s cannot be written: %s\n", disk, strerror(errno));
	exit(2);
}

/* Nobody may write to the disk while it is mounted. */
static int begin(const void *sound, size_t size)
{
	int fd = open(disk, O_WRONLY);

	if (fd < 0 || pwrite(fd, sound, size, 0) != (ssize_t)size)
		unwritable();
	return fd;
}

static void put(int fd, const void *from, size_t count, off_t offset)
{
	if (pwrite(fd, from, count, offset) != (ssize_t)count)
		unwritable();
}

static void end_of(int fd)
{
	if (fsync(fd) || close(fd))
		unwritable();
}

/* Runs `work` in a process of its own, which has so many seconds. Its exit code; -1: it did not come back. */
static int within(int (*work)(void))
{
	struct timespec pause = { 0, 2000000 };
	time_t limit = time(NULL) + seconds;
	int status, grace = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(work());
	for (;;) {
		pid_t done = waitpid(pid, &status, WNOHANG);

		if (done == pid)
			return grace ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		if (time(NULL) >= limit) {
			if (grace++) {
				printf("not ok and cannot be killed: nothing more is tried\n");
				fflush(stdout);
				_exit(2);
			}
			kill(pid, SIGKILL);
			limit = time(NULL) + 10;
		}
		nanosleep(&pause, NULL);
	}
}

static int do_mount(void) { return mount(disk, dir, fs, 0, options) ? errno : 0; }

static int do_umount(void) { return umount2(dir, 0) ? errno : 0; }

static int do_use(void)
{
	int null = open("/dev/null", O_WRONLY);

	dup2(null, 1);
	dup2(null, 2);
	execl(tool, tool, dir, "30", (char *)NULL);
	return 127;
}

static int mounted(void)
{
	char line[4096], path[256];
	FILE *mounts = fopen("/proc/self/mounts", "r");
	int found = 0;

	while (mounts && fgets(line, sizeof line, mounts))
		if (sscanf(line, "%*s %255s", path) == 1 && !strcmp(path, dir))
			found = 1;
	if (mounts)
		fclose(mounts);
	return found;
}

/* What the kernel has said meanwhile: lines of ours, and how many of them say that a handler panicked. */
static void heard(int *lines, int *panics)
{
	char record[8192];
	ssize_t len;

	*lines = *panics = 0;
	while ((len = read(kernel_log, record, sizeof record - 1)) > 0 || (len < 0 && errno == EPIPE)) {
		if (len < 0)
			continue;
		record[len] = 0;
		if (!strstr(record, "bento: "))
			continue;
		++*lines;
		if (strstr(record, "panicked") || strstr(record, "poisoned")) {
			++*panics;
			printf("# %s", strchr(record, ';') ? strchr(record, ';') + 1 : record);
		}
	}
}

int main(int argc, char **argv)
{
	int refused = 0, used = 0, silent = 0, lines, panics, count = 0, bad = 0;
	uint64_t size;

	if (argc != 7)
		return 2;
	fs = argv[1], dir = argv[2], disk = argv[3], seconds = atoi(argv[5]), options = argv[6];
	snprintf(tool, sizeof tool, "%.*s/hostile", (int)(strrchr(argv[0], '/') - argv[0]), argv[0]);
	int list = open(argv[4], O_RDONLY), fd;
	struct stat st;

	kernel_log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	if (list < 0 || kernel_log < 0 || fstat(list, &st)) {
		perror("mutants");
		return 2;
	}
	unsigned char *all = malloc(st.st_size);

	if (!all || read(list, all, st.st_size) != st.st_size)
		return 2;
	at = all, end = all + st.st_size;
	size = word();
	const unsigned char *sound = bytes(size);

	lseek(kernel_log, 0, SEEK_END);
	while (at < end) {
		char what[160] = "";
		uint64_t len = word();
		const unsigned char *name = bytes(len);
		uint64_t patches = word();

		snprintf(what, sizeof what, "%.*s", (int)len, (const char *)name);
		count++;
		fd = begin(sound, size);
		for (; patches > 0; patches--) {
			uint64_t offset = word(), len = word();

			put(fd, bytes(len), len, offset);
		}
		end_of(fd);
		int code = within(do_mount);

		if (code == 0) {
			used++;
			code = within(do_use);
			if (code != 0) {
				printf("not ok %s: %s, ended with %d\n", what, code < 0 ? "a call hangs" : "its use", code);
				bad++;
			}
			code = within(do_umount);
			if (code != 0) {
				printf("not ok %s: umount: %s\n", what, code < 0 ? "hangs" : strerror(code));
				bad++;
			}
		} else if (code < 0) {
			printf("not ok %s: mount hangs\n", what);
			bad++;
		} else {
			refused++;
		}
		if (mounted()) {
			printf("not ok %s: the mount is still there\n", what);
			return 2;
		}
		heard(&lines, &panics);
		if (panics) {
			printf("not ok %s: %d panics\n", what, panics);
			bad++;
		}
		if (code != 0 && !lines) {
			printf("not ok %s: refused (%s) without a word\n", what, strerror(code));
			bad++;
		}
		silent += !lines;
	}
	end_of(begin(sound, size));
	OK("the sound image mounts after them", within(do_mount) == 0 && within(do_use) == 0 && within(do_umount) == 0);
	printf("# %d mutants: %d refused, %d used, %d without a word in the log\n", count, refused, used, silent);
	OK("most can be mounted", used > count / 4);
	check_report(bad == 0, "none panics, hangs or stays", __FILE__, __LINE__, bad);
	return check_done();
}
