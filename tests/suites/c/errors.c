// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Errors of writeback reach those who wait for it, as with ext4: each descriptor that was open hears of it once.
 * Usage: errors MOUNTPOINT, on which bytesfs is mounted.
 */
#include "check.h"
#include <sys/mman.h>
#include <sys/mount.h>

static int change(const char *options)
{
	return mount("none", ".", "bytesfs", MS_REMOUNT, options);
}

int main(int argc, char **argv)
{
	int one, two, later;
	char *map, byte;

	check_enter(argc, argv);
	one = open("f", O_CREAT | O_RDWR | O_TRUNC, 0644);
	two = open("f", O_RDWR);
	GIVES("write", 5, write(one, "first", 5));
	GIVES("fsync", 0, fsync(one));
	GIVES("from here writeback fails", 0, change("on=write,kind=error,errno=28"));
	GIVES("a write into the cache succeeds", 6, pwrite(one, "second", 6, 0));
	FAILS("fsync gives the handler's errno", ENOSPC, fsync(one));
	FAILS("the other descriptor hears of it too", ENOSPC, fsync(two));
	GIVES("from here writeback works", 0, change("on="));
	GIVES("each heard once", 0, fsync(one));
	GIVES("the other too", 0, fsync(two));
	later = open("f", O_RDWR);
	GIVES("who opens later hears nothing", 0, fsync(later));

	GIVES("failing again", 0, change("on=write,kind=error,errno=5"));
	GIVES("write", 1, pwrite(one, "x", 1, 0));
	FAILS("fdatasync", EIO, fdatasync(one));
	FAILS("syncfs", EIO, syncfs(two));
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, later, 0);
	map[1] = 'm';
	FAILS("msync of a mapping", EIO, msync(map, 4096, MS_SYNC));
	munmap(map, 4096);
	int fd = open("g", O_CREAT | O_RDWR | O_SYNC, 0644);
	FAILS("a write through O_SYNC", EIO, write(fd, "x", 1));
	close(fd);
	GIVES("working", 0, change("on="));
	fsync(one);
	fsync(two);
	fsync(later);

	GIVES("flush fails", 0, change("on=flush,kind=error,errno=122"));
	FAILS("close gives its errno", EDQUOT, close(later));
	GIVES("fsync handler fails", 0, change("on=fsync,kind=error,errno=5"));
	FAILS("fsync gives it", EIO, fsync(one));
	GIVES("reads fail", 0, change("on=read,kind=error,errno=5"));
	posix_fadvise(one, 0, 0, POSIX_FADV_DONTNEED);
	FAILS("read", EIO, pread(one, &byte, 1, 0));
	GIVES("working", 0, change("on="));
	GIVES("the same page reads again", 1, pread(one, &byte, 1, 0));
	GIVES("pwrite", 1, pwrite(one, "z", 1, 0));
	GIVES("fsync", 0, fsync(one));
	GIVES("close", 0, close(one));
	close(two);
	unlink("f");
	unlink("g");
	return check_done();
}
