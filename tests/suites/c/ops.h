/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * One system call for each handler: what user space does to reach it, and the
 * errno it gets. The folder has been laid out by ops_prepare().
 */
#ifndef OPS_H
#define OPS_H

#include "check.h"
#include <dirent.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif
#ifndef FIFREEZE
#define FIFREEZE _IOWR('X', 119, int)
#define FITHAW _IOWR('X', 120, int)
#endif

/* Unlike errno: poll reports POLLERR in its result. */
#define OPS_POLLERR 1000

static unsigned int ops_serial;

/* Forget every unused dentry and inode, so that the next path asks the file system again. */
static inline void ops_drop_caches(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, "2\n", 2) != 2)
		perror("drop_caches");
}

static inline int ops_prepare(void)
{
	char page[4096];
	int fd;

	memset(page, 'p', sizeof page);
	fd = open("f", O_CREAT | O_RDWR | O_TRUNC, 0644);
	if (fd < 0 || write(fd, page, sizeof page) != sizeof page || fsync(fd))
		return -1;
	close(fd);
	mkdir("d", 0755);
	close(open("d/in", O_CREAT | O_WRONLY, 0644));
	unlink("s");
	if (symlink("f", "s"))
		return -1;
	setxattr("f", "user.x", "1", 1, 0);
	return 0;
}

static inline int ops_result(long result)
{
	return result < 0 ? errno : 0;
}

/* As ops_result, and closes what an open gave. */
static inline int ops_fd(int fd)
{
	int number = ops_result(fd);

	if (fd >= 0)
		close(fd);
	return number;
}

static inline int ops_on(const char *path, int flags, int (*body)(int fd))
{
	int fd = open(path, flags), number;

	if (fd < 0)
		return errno;
	number = body(fd);
	close(fd);
	return number;
}

static int op_statfs(void)
{
	struct statfs fs;

	return ops_result(statfs(".", &fs));
}

static int body_syncfs(int fd) { return ops_result(syncfs(fd)); }
static int op_sync_fs(void) { return ops_on(".", O_RDONLY, body_syncfs); }

static int body_freeze(int fd)
{
	int number = ops_result(ioctl(fd, FIFREEZE, 0)), tries = 1000;

	while (!number && ioctl(fd, FITHAW, 0) && --tries)
		;
	return number;
}

static int body_thaw(int fd)
{
	int number = 0, tries = 1000;

	if (ioctl(fd, FIFREEZE, 0))
		return errno;
	while (ioctl(fd, FITHAW, 0) && --tries)
		number = errno;
	return number;
}

static int op_freeze(void) { return ops_on(".", O_RDONLY, body_freeze); }
static int op_thaw(void) { return ops_on(".", O_RDONLY, body_thaw); }

static int op_load_inode(void)
{
	struct stat st;

	ops_drop_caches();
	return ops_result(lstat("d/in", &st));
}

static int body_dirty_fsync(int fd)
{
	struct timespec times[2] = { { 1000 + ops_serial, 0 }, { 2000, ops_serial++ } };

	if (futimens(fd, times))
		return errno;
	return ops_result(fsync(fd));
}

static int op_write_inode(void) { return ops_on("f", O_RDWR, body_dirty_fsync); }

static int op_evict_inode(void)
{
	close(open("gone", O_CREAT | O_WRONLY, 0644));
	return ops_result(unlink("gone"));
}

static int op_forget_inode(void)
{
	close(open("kept", O_CREAT | O_WRONLY, 0644));
	ops_drop_caches();
	return 0;
}

static int op_lookup(void)
{
	char name[40];

	snprintf(name, sizeof name, "none-%u", ops_serial++);
	return access(name, F_OK) && errno != ENOENT ? errno : 0;
}

#define OPS_FRESH(call)                                                        \
	do {                                                                   \
		char name[40];                                                 \
		snprintf(name, sizeof name, "new-%u", ops_serial++);           \
		int number = (call);                                           \
		if (!number && remove(name) && errno != EIO && errno != EUCLEAN && errno != ENOMEM) \
			return 0;                                              \
		return number;                                                 \
	} while (0)

static int op_create(void) { OPS_FRESH(ops_fd(open(name, O_CREAT | O_EXCL | O_WRONLY, 0644))); }
static int op_mkdir(void) { OPS_FRESH(ops_result(mkdir(name, 0755))); }
static int op_mknod(void) { OPS_FRESH(ops_result(mknod(name, S_IFCHR | 0600, makedev(1, 3)))); }
static int op_symlink(void) { OPS_FRESH(ops_result(symlink("target", name))); }
static int op_link(void) { OPS_FRESH(ops_result(link("f", name))); }

static int op_unlink(void)
{
	close(open("victim", O_CREAT | O_WRONLY, 0644));
	return ops_result(unlink("victim"));
}

static int op_rmdir(void)
{
	mkdir("emptydir", 0755);
	return ops_result(rmdir("emptydir"));
}

static int op_rename(void)
{
	int number;

	close(open("from", O_CREAT | O_WRONLY, 0644));
	number = ops_result(rename("from", "to"));
	unlink("to");
	return number;
}

static int op_tmpfile(void) { return ops_fd(open(".", O_TMPFILE | O_RDWR, 0600)); }

static int op_get_link(void)
{
	char target[64];

	ops_drop_caches();
	return ops_result(readlink("s", target, sizeof target));
}

static int op_setattr(void) { return ops_result(chmod("f", ops_serial++ & 1 ? 0600 : 0644)); }

static int op_getattr(void)
{
	struct stat st;

	return ops_result(stat("f", &st));
}

static int op_permission(void) { return ops_result(access("f", R_OK)); }

static int op_getxattr(void)
{
	char value[64];

	return ops_result(getxattr("f", "user.x", value, sizeof value));
}

static int op_listxattr(void)
{
	char names[1024];

	return ops_result(listxattr("f", names, sizeof names));
}

static int op_setxattr(void) { return ops_result(setxattr("f", "user.y", "2", 1, 0)); }
static int op_removexattr(void)
{
	setxattr("f", "user.z", "3", 1, 0);
	return ops_result(removexattr("f", "user.z"));
}

static int body_getflags(int fd)
{
	unsigned int flags;

	return ops_result(ioctl(fd, FS_IOC_GETFLAGS, &flags));
}

static int body_setflags(int fd)
{
	unsigned int flags = FS_NODUMP_FL;

	if (ioctl(fd, FS_IOC_SETFLAGS, &flags))
		return errno;
	flags = 0;
	return ops_result(ioctl(fd, FS_IOC_SETFLAGS, &flags));
}

static int op_fileattr_get(void) { return ops_on("f", O_RDONLY, body_getflags); }
static int op_fileattr_set(void) { return ops_on("f", O_RDONLY, body_setflags); }

static int op_iterate(void)
{
	DIR *dir = opendir(".");
	int number = errno;

	if (!dir)
		return number;
	errno = 0;
	for (int i = 0; i < 100000 && readdir(dir); i++)
		;
	number = errno;
	closedir(dir);
	return number;
}

static int op_open(void) { return ops_fd(open("f", O_RDONLY)); }
static int op_release(void) { return ops_fd(open("f", O_RDONLY)); }

static int op_flush(void)
{
	int fd = open("f", O_RDONLY);

	return fd < 0 ? errno : ops_result(close(fd));
}

static int body_fsync(int fd) { return ops_result(fsync(fd)); }
static int op_fsync(void) { return ops_on("f", O_RDWR, body_fsync); }

static int body_read(int fd)
{
	char buffer[100];

	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	return ops_result(pread(fd, buffer, sizeof buffer, 0));
}

static int op_read(void)
{
	sync(); /* dirty pages do not leave the cache */
	return ops_on("f", O_RDONLY, body_read);
}

static int body_write(int fd)
{
	if (pwrite(fd, "w", 1, ops_serial++ % 4096) != 1)
		return errno;
	return ops_result(fsync(fd));
}

static int op_write(void) { return ops_on("f", O_RDWR, body_write); }

static int body_fallocate(int fd) { return ops_result(fallocate(fd, 1, 8192, 4096)); }
static int op_fallocate(void) { return ops_on("f", O_RDWR, body_fallocate); }

static int body_ioctl(int fd)
{
	char bytes[16] = "0123456789abcde";

	return ops_result(ioctl(fd, _IOWR('b', 1, char[16]), bytes));
}

static int op_ioctl(void) { return ops_on("f", O_RDWR, body_ioctl); }

static int body_poll(int fd)
{
	struct pollfd one = { .fd = fd, .events = POLLIN };

	if (poll(&one, 1, 0) < 0)
		return errno;
	return one.revents & POLLERR ? OPS_POLLERR : 0;
}

static int op_poll(void) { return ops_on("f", O_RDONLY, body_poll); }

static int body_seek(int fd) { return ops_result(lseek(fd, 0, 3 /* SEEK_DATA */)); }
static int op_seek(void) { return ops_on("f", O_RDONLY, body_seek); }

static int body_fadvise(int fd) { return posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL); }
static int op_fadvise(void) { return ops_on("f", O_RDONLY, body_fadvise); }

static int op_get_parent(void)
{
	struct {
		struct file_handle head;
		unsigned char space[128];
	} handle = { .head.handle_bytes = 128 };
	int mount, number, here;

	if (name_to_handle_at(AT_FDCWD, "d", &handle.head, &mount, 0))
		return errno;
	ops_drop_caches();
	here = open(".", O_RDONLY);
	if (here < 0)
		return errno;
	number = ops_fd(open_by_handle_at(here, &handle.head, O_RDONLY));
	close(here);
	return number;
}

/*
 * `silent`: the handler's error reaches nobody, by the VFS's own rules.
 * `other`: the errno that the VFS makes of the handler's, else 0.
 */
static const struct op {
	const char *name;
	int (*run)(void);
	int silent, other;
} ops[] = {
#define OP(name) { #name, op_##name, 0, 0 }
	OP(statfs), OP(sync_fs), OP(freeze), OP(thaw), OP(load_inode), OP(write_inode),
	{ "evict_inode", op_evict_inode, 1, 0 }, { "forget_inode", op_forget_inode, 1, 0 },
	OP(lookup), OP(create), OP(mkdir), OP(mknod), OP(symlink), OP(link), OP(unlink), OP(rmdir),
	OP(rename), OP(tmpfile), OP(get_link), OP(setattr), OP(getattr), OP(permission),
	OP(getxattr), OP(listxattr), OP(setxattr), OP(removexattr), OP(fileattr_get), OP(fileattr_set),
	OP(iterate), OP(open), { "release", op_release, 1, 0 }, OP(flush), OP(fsync),
	OP(read), OP(write), OP(fallocate), OP(ioctl), { "poll", op_poll, 0, OPS_POLLERR }, OP(seek), OP(fadvise),
	/* exportfs makes ESTALE of whatever it cannot connect */
	{ "get_parent", op_get_parent, 0, ESTALE },
#undef OP
};

#define OPS_COUNT (sizeof ops / sizeof *ops)

#endif
