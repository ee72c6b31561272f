// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * `durable DIR DEVICE OFFSET SEED STEPS`: changes files below DIR and says what must outlive a crash. After each step that
 * made something durable a mark is written to DEVICE at OFFSET + 512 * its number, past the end of the file system, so that
 * the record of the disk's writes tells which steps came before a crash. Lines:
 *
 *   try N PATH STATE    mark N has been written, and PATH is being changed to STATE
 *   mark N PATH STATE   from mark N on PATH is STATE, until the next `try` of it
 *
 * A STATE is "gone", "dir", "file VERSION LENGTH" (contents follow from path, version and length) or "log RECORDS" (at least
 * as many records of 32 bytes, each as it was written).
 */
#include "mark.h"

#define FILES 24
#define DIRS 4

static int device, mark;
static off_t at;

static void fail(const char *what)
{
	printf("not ok durable: %s: %s\n", what, strerror(errno));
	exit(2);
}

static uint64_t state;

static uint32_t below(uint32_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 11) % n;
}

/* Byte `i` of version `version`: the replay computes the same. */
static void contents(char *buf, const char *path, int version, int len)
{
	uint64_t hash = 1469598103934665603u;
	int i;

	for (i = 0; path[i]; i++)
		hash = (hash ^ (unsigned char)path[i]) * 1099511628211u;
	hash ^= (uint64_t)version << 32;
	for (i = 0; i < len; i++) {
		hash ^= hash << 13;
		hash ^= hash >> 7;
		hash ^= hash << 17;
		buf[i] = hash >> 24;
	}
}

static void try_it(const char *path, const char *what)
{
	printf("try %d %s %s\n", mark, path, what);
	fflush(stdout);
}

static void done(const char *path, const char *what)
{
	mark++;
	if (mark_write(device, at, mark))
		fail("mark");
	printf("mark %d %s %s\n", mark, path, what);
	fflush(stdout);
}

static void sync_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY);

	if (fd < 0 || fsync(fd))
		fail(path);
	close(fd);
}

/* A version under a passing name, made durable, put in place of the last one. */
static void replace(const char *dir, const char *path, int version)
{
	static char buf[200000];
	int len = below(8) ? (int)below(20000) : (int)below(200000);
	char tmp[64], what[64];
	int fd;

	snprintf(tmp, sizeof(tmp), "%s.tmp", path);
	snprintf(what, sizeof(what), "file %d %d", version, len);
	contents(buf, path, version, len);
	try_it(path, what);
	fd = open(tmp, O_CREAT | O_TRUNC | O_WRONLY, 0644);
	if (fd < 0 || write(fd, buf, len) != len || fsync(fd) || close(fd) || rename(tmp, path))
		fail(path);
	sync_dir(dir);
	done(path, what);
}

static void append(const char *path, int records)
{
	char record[33], what[64];
	int fd;

	snprintf(what, sizeof(what), "log %d", records);
	try_it(path, what);
	snprintf(record, sizeof(record), "record %024d\n", records);
	fd = open(path, O_CREAT | O_APPEND | O_WRONLY, 0644);
	if (fd < 0 || write(fd, record, 32) != 32 || fdatasync(fd) || close(fd))
		fail(path);
	if (records == 1)
		sync();
	done(path, what);
}

static void removed(const char *dir, const char *path)
{
	try_it(path, "gone");
	if (unlink(path))
		fail(path);
	sync_dir(dir);
	done(path, "gone");
}

int main(int argc, char **argv)
{
	int versions[FILES] = { 0 }, there[FILES] = { 0 }, logs[DIRS] = { 0 };
	int steps, i;

	if (argc != 6)
		return 2;
	device = open(argv[2], O_WRONLY | O_DIRECT);
	if (device < 0)
		fail(argv[2]);
	at = atoll(argv[3]);
	state = 88172645463325252u + strtoull(argv[4], NULL, 0) * 0x9e3779b97f4a7c15u;
	steps = atoi(argv[5]);
	check_enter(argc, argv);
	for (i = 0; i < DIRS; i++) {
		char dir[16];

		snprintf(dir, sizeof(dir), "d%d", i);
		try_it(dir, "dir");
		if (mkdir(dir, 0755))
			fail(dir);
		sync_dir(".");
		done(dir, "dir");
	}
	while (steps--) {
		int file = below(FILES);
		char dir[16], path[40];

		snprintf(dir, sizeof(dir), "d%d", file % DIRS);
		switch (below(4)) {
		case 0:
			snprintf(path, sizeof(path), "%s/log", dir);
			append(path, ++logs[file % DIRS]);
			break;
		case 1:
			snprintf(path, sizeof(path), "%s/f%d", dir, file);
			if (there[file]) {
				removed(dir, path);
				there[file] = 0;
				break;
			}
			/* fall through */
		default:
			snprintf(path, sizeof(path), "%s/f%d", dir, file);
			replace(dir, path, ++versions[file]);
			there[file] = 1;
		}
		/* Unmarked: what a crash may take, and must not damage others by. */
		if (!below(3)) {
			snprintf(path, sizeof(path), "%s/passing-%d", dir, (int)below(30));
			if (below(3)) {
				int fd = open(path, O_CREAT | O_WRONLY | (below(2) ? O_TRUNC : O_APPEND), 0644);

				if (fd < 0 || write(fd, argv, below(3000)) < 0 || close(fd))
					fail(path);
			} else {
				unlink(path);
			}
		}
	}
	printf("ok durable: %d marks\n", mark);
	return 0;
}
