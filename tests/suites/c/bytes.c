// SPDX-License-Identifier: GPL-2.0 OR MIT
/* File contents: sparse files, holes, truncation, fallocate, sendfile, copy_file_range, appends, vectors, direct I/O. */
#include "check.h"
#include <linux/falloc.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#ifndef SEEK_DATA
#define SEEK_DATA 3
#define SEEK_HOLE 4
#endif

#define PAGE 4096L

static int zero(int fd, off_t at, size_t len)
{
	char *buffer = malloc(len);
	int all = pread(fd, buffer, len, at) == (ssize_t)len;

	for (size_t i = 0; all && i < len; i++)
		all = buffer[i] == 0;
	free(buffer);
	return all;
}

int main(int argc, char **argv)
{
	/* argv[2] lists what the file system cannot do, as absent handlers: falloc, hole */
	const char *without = argc > 2 ? argv[2] : "";
	char buffer[3 * PAGE];
	struct stat st;
	int fd, other;
	off_t at;

	check_enter(argc, argv);
	fd = open("sparse", O_RDWR | O_CREAT | O_TRUNC, 0644);
	OK("open", fd >= 0);
	GIVES("write far out", 4, pwrite(fd, "tail", 4, 10 * PAGE));
	GIVES("fstat", 0, fstat(fd, &st));
	GIVES("size", 10 * PAGE + 4, st.st_size);
	OK("the hole reads as zero", zero(fd, 0, 3 * PAGE));
	GIVES("a read at the end is short", 4, pread(fd, buffer, 100, 10 * PAGE));
	GIVES("a read beyond the end is empty", 0, pread(fd, buffer, 100, 11 * PAGE));
	FAILS("a negative offset", EINVAL, pread(fd, buffer, 1, -1));
	if (!strstr(without, "hole")) {
		fsync(fd);
		GIVES("SEEK_DATA finds the tail", 10 * PAGE, lseek(fd, 0, SEEK_DATA));
		GIVES("SEEK_HOLE at the start", 0, lseek(fd, 0, SEEK_HOLE));
	}
	GIVES("SEEK_HOLE in the tail is the end", 10 * PAGE + 4, lseek(fd, 10 * PAGE, SEEK_HOLE));
	FAILS("SEEK_DATA beyond the end", ENXIO, lseek(fd, 20 * PAGE, SEEK_DATA));
	GIVES("SEEK_END", 10 * PAGE + 1, lseek(fd, -3, SEEK_END));

	GIVES("truncate to the middle of a page", 0, ftruncate(fd, 10 * PAGE + 2));
	GIVES("grow", 0, ftruncate(fd, 10 * PAGE + 4));
	GIVES("read", 4, pread(fd, buffer, 4, 10 * PAGE));
	OK("cut bytes do not come back", !memcmp(buffer, "ta\0\0", 4));
	FAILS("a negative size", EINVAL, ftruncate(fd, -1));
	GIVES("to nothing", 0, ftruncate(fd, 0));
	GIVES("fstat", 0, fstat(fd, &st));
	OK("no blocks left", st.st_blocks == 0 && st.st_size == 0);

	if (!strstr(without, "falloc")) {
		memset(buffer, 'a', sizeof buffer);
		GIVES("three pages", sizeof buffer, pwrite(fd, buffer, sizeof buffer, 0));
		GIVES("punch the middle", 0, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE - 10, PAGE + 20));
		OK("the punched range is zero", zero(fd, PAGE - 10, PAGE + 20));
		GIVES("read around it", sizeof buffer, pread(fd, buffer, sizeof buffer, 0));
		OK("and only it", buffer[PAGE - 11] == 'a' && buffer[2 * PAGE + 10] == 'a');
		GIVES("allocate beyond the end", 0, fallocate(fd, 0, 0, 8 * PAGE));
		GIVES("fstat", 0, fstat(fd, &st));
		GIVES("grows the file", 8 * PAGE, st.st_size);
		OK("with zeroes", zero(fd, 3 * PAGE, 3 * PAGE));
		GIVES("allocate, size kept", 0, fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 16 * PAGE));
		GIVES("fstat", 0, fstat(fd, &st));
		GIVES("kept", 8 * PAGE, st.st_size);
		FAILS("an empty range", EINVAL, fallocate(fd, 0, 0, 0));
		FAILS("a mode nobody knows", EOPNOTSUPP, fallocate(fd, 0x8000, 0, PAGE));
	} else {
		FAILS("fallocate without a handler", EOPNOTSUPP, fallocate(fd, 0, 0, PAGE));
	}
	close(fd);

	fd = open("source", O_RDWR | O_CREAT | O_TRUNC, 0644);
	long bad = 0;
	for (long i = 0; i < 100; i++) {
		memset(buffer, 'A' + i % 26, 3333);
		bad += pwrite(fd, buffer, 3333, i * 3333) != 3333;
	}
	GIVES("writes of an odd length", 0, bad);
	other = open("copy", O_RDWR | O_CREAT | O_TRUNC, 0644);
	at = 0;
	long sent = 0, one;
	while ((one = sendfile(other, fd, &at, 333300 - sent)) > 0)
		sent += one;
	GIVES("sendfile", 333300, sent);
	GIVES("fsync", 0, fsync(other));
	posix_fadvise(other, 0, 0, POSIX_FADV_DONTNEED);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	bad = 0;
	for (long i = 0; i < 100; i++) {
		char want[3333], got[3333];
		memset(want, 'A' + i % 26, 3333);
		bad += pread(other, got, 3333, i * 3333) != 3333 || memcmp(want, got, 3333);
		bad += pread(fd, got, 3333, i * 3333) != 3333 || memcmp(want, got, 3333);
	}
	GIVES("both hold the same bytes after their pages were dropped", 0, bad);
	loff_t from = 3333, to = 400000;
	GIVES("copy_file_range", 3333, copy_file_range(fd, &from, other, &to, 3333, 0));
	GIVES("read the copy", 3333, pread(other, buffer, 3333, 400000));
	OK("its bytes", buffer[0] == 'B' && buffer[3332] == 'B');
	OK("the gap is zero", zero(other, 333300, PAGE));
	close(other);
	close(fd);

	fd = open("append", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);
	GIVES("append", 3, write(fd, "one", 3));
	GIVES("append whatever the offset", 3, pwrite(fd, "two", 3, 0));
	struct iovec parts[3] = { { "a", 1 }, { "", 0 }, { "bc", 2 } };
	GIVES("writev", 3, writev(fd, parts, 3));
	close(fd);
	fd = open("append", O_RDONLY);
	GIVES("read back", 9, read(fd, buffer, 100));
	OK("in order", !memcmp(buffer, "onetwoabc", 9));
	FAILS("write to a read-only descriptor", EBADF, write(fd, "x", 1));
	close(fd);
	FAILS("open a directory for writing", EISDIR, open(".", O_WRONLY));
	fd = open(".", O_RDONLY);
	FAILS("read a directory", EISDIR, read(fd, buffer, 10));
	close(fd);

	/* One big write, read in one go through a cold cache: the shim splits it as it likes, the bytes are the same. */
	size_t big = 5 << 20;
	uint32_t *words = malloc(big), *again = malloc(big);
	for (size_t i = 0; i < big / 4; i++)
		words[i] = i * 2654435761u;
	fd = open("big", O_RDWR | O_CREAT | O_TRUNC, 0644);
	GIVES("write 5 MiB", big, write(fd, words, big));
	GIVES("fsync", 0, fsync(fd));
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	GIVES("read 5 MiB", big, pread(fd, again, big, 0));
	OK("the same bytes", !memcmp(words, again, big));
	GIVES("close", 0, close(fd));
	unlink("big");
	unlink("append");
	unlink("source");
	unlink("copy");
	unlink("sparse");
	return check_done();
}
