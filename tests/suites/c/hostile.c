// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Uses a file system that lies, like a program that does not know: whatever it lists is opened, read, mapped, written,
 * renamed, and every handler is called. Nothing is expected of the results; the kernel has to live.
 * Usage: hostile DIR CALLS
 */
#include "ops.h"
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

static sigjmp_buf bus;

static void on_bus(int signal)
{
	(void)signal;
	siglongjmp(bus, 1);
}

static void touch_map(int fd, int prot)
{
	struct stat st;
	volatile char *map;
	size_t len;

	if (fstat(fd, &st) || st.st_size <= 0)
		return;
	len = st.st_size < 65536 ? st.st_size : 65536;
	map = mmap(NULL, len, prot, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return;
	if (!sigsetjmp(bus, 1)) {
		for (size_t at = 0; at < len; at += 4096)
			prot & PROT_WRITE ? (void)(map[at] = 1) : (void)map[at];
	}
	msync((void *)map, len, MS_SYNC);
	munmap((void *)map, len);
}

static void use(const char *name)
{
	char buffer[16384], other[300];
	struct stat st;
	struct statx stx;
	int fd;

	lstat(name, &st);
	statx(AT_FDCWD, name, 0, STATX_ALL, &stx);
	readlink(name, buffer, sizeof buffer);
	listxattr(name, buffer, sizeof buffer);
	getxattr(name, "user.x", buffer, sizeof buffer);
	getxattr(name, "system.posix_acl_access", buffer, sizeof buffer);
	getxattr(name, "system.posix_acl_default", buffer, sizeof buffer);
	setxattr(name, "user.x", "1", 1, 0);
	chmod(name, 0755);
	truncate(name, ops_serial++ * 977 % 100000);
	fd = open(name, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		fd = open(name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0) {
		struct stat now;

		/* A device it made up may be any driver's: leave it alone. */
		if (fstat(fd, &now) || S_ISCHR(now.st_mode) || S_ISBLK(now.st_mode)) {
			close(fd);
			return;
		}
		read(fd, buffer, sizeof buffer);
		pread(fd, buffer, sizeof buffer, now.st_size - 100);
		pread(fd, buffer, 100, 0x7fffffffffffff00);
		write(fd, buffer, 5000);
		pwrite(fd, buffer, 10, now.st_size > 0 && now.st_size < 1 << 30 ? now.st_size : 100000);
		touch_map(fd, PROT_READ);
		touch_map(fd, PROT_READ | PROT_WRITE);
		lseek(fd, 0, 3);
		lseek(fd, 0, 4);
		lseek(fd, 1 << 20, 3);
		fallocate(fd, 0, 0, 10000);
		fallocate(fd, 3, 100, 10000);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		body_getflags(fd);
		body_setflags(fd);
		body_ioctl(fd);
		body_poll(fd);
		fsync(fd);
		ftruncate(fd, 5000);
		syncfs(fd);
		close(fd);
	}
	snprintf(other, sizeof other, "%.200s-moved", name);
	rename(name, other);
	link(other, name);
	renameat2(AT_FDCWD, name, AT_FDCWD, other, 2);
	renameat2(AT_FDCWD, name, AT_FDCWD, other, 4);
	unlink(name);
	rmdir(name);
}

static void walk(int depth)
{
	char names[24][256];
	struct dirent *entry;
	int count = 0, seen = 0;
	DIR *dir = opendir(".");

	if (!dir)
		return;
	while (seen++ < 2000 && (entry = readdir(dir)))
		if (count < 24 && strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			snprintf(names[count++], 256, "%s", entry->d_name);
	seekdir(dir, 0x123456789);
	readdir(dir);
	lseek(dirfd(dir), 0x7ffffffffffffff0, SEEK_SET);
	rewinddir(dir);
	readdir(dir);
	closedir(dir);
	for (int i = 0; i < count; i++) {
		if (depth < 3 && !chdir(names[i])) {
			walk(depth + 1);
			if (chdir(".."))
				return;
		}
		use(names[i]);
	}
}

int main(int argc, char **argv)
{
	check_enter(argc, argv);
	signal(SIGBUS, on_bus);
	int home = open(".", O_RDONLY | O_DIRECTORY);
	long calls = argc > 2 ? atol(argv[2]) : 400;

	for (long i = 0; i < calls; i++) {
		char name[64];

		if (i % 40 == 0) {
			ops_prepare();
			walk(0);
			fchdir(home);
		}
		ops[i % OPS_COUNT].run();
		snprintf(name, sizeof name, "x%ld", i % 13);
		if (i % 3 == 0)
			use(name);
	}
	printf("%ld calls\n", calls);
	return 0;
}
