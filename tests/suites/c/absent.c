// SPDX-License-Identifier: GPL-2.0 OR MIT
/* hellofs writes five handlers. What each of the others means when it is absent: the errno the VFS gives for a NULL. */
#include "check.h"
#include <linux/fs.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#ifndef FIFREEZE
#define FIFREEZE _IOWR('X', 119, int)
#endif

int main(int argc, char **argv)
{
	struct {
		struct file_handle head;
		unsigned char space[128];
	} handle = { .head.handle_bytes = 128 };
	char buffer[64] = "";
	struct statfs fs;
	struct stat st;
	unsigned int flags;
	int fd, dir, mount;

	check_enter(argc, argv);
	fd = open("hello", O_RDONLY);
	OK("open", fd >= 0);
	GIVES("read", 22, read(fd, buffer, sizeof buffer));
	OK("its bytes", !strcmp(buffer, "Hello from safe Rust!\n"));
	GIVES("no lookup hit is ENOENT", -1, access("none", F_OK));
	FAILS("create", EACCES, open("new", O_CREAT | O_WRONLY, 0644));
	FAILS("mkdir", EPERM, mkdir("new", 0755));
	FAILS("mknod", EPERM, mknod("new", S_IFIFO | 0644, 0));
	FAILS("symlink", EPERM, symlink("hello", "new"));
	FAILS("link", EPERM, link("hello", "new"));
	FAILS("unlink", EPERM, unlink("hello"));
	FAILS("rename", EPERM, rename("hello", "new"));
	FAILS("tmpfile", EOPNOTSUPP, open(".", O_TMPFILE | O_RDWR, 0600));
	FAILS("get_link", EINVAL, readlink("hello", buffer, sizeof buffer));
	FAILS("lookup below a file", ENOTDIR, access("hello/x", F_OK));
	FAILS("setxattr", EOPNOTSUPP, setxattr("hello", "user.a", "1", 1, 0));
	FAILS("getxattr", EOPNOTSUPP, getxattr("hello", "user.a", buffer, sizeof buffer));
	FAILS("removexattr", EOPNOTSUPP, removexattr("hello", "user.a"));
	GIVES("listxattr lists nothing", 0, listxattr("hello", buffer, sizeof buffer));
	FAILS("ACLs", EOPNOTSUPP, setxattr("hello", "system.posix_acl_access", "\2\0\0\0", 4, 0));
	FAILS("fileattr_get", ENOTTY, ioctl(fd, FS_IOC_GETFLAGS, &flags));
	FAILS("ioctl", ENOTTY, ioctl(fd, _IO('b', 2), 1));
	struct pollfd one = { .fd = fd, .events = POLLIN | POLLOUT };
	GIVES("poll is always ready", 1, poll(&one, 1, 0));
	FAILS("file handles", EOPNOTSUPP, name_to_handle_at(AT_FDCWD, "hello", &handle.head, &mount, 0));
	dir = open(".", O_RDONLY);
	FAILS("freeze", EOPNOTSUPP, ioctl(dir, FIFREEZE, 0));
	GIVES("statfs is the generic one", 0, statfs(".", &fs));
	GIVES("a name may have 255 bytes", 255, fs.f_namelen);
	GIVES("getattr is the generic one", 0, fstat(fd, &st));
	GIVES("size", 22, st.st_size);
	GIVES("setattr changes the cached inode", 0, fchmod(fd, 0400));
	GIVES("fsync has nothing to do", 0, fsync(fd));
	GIVES("syncfs too", 0, syncfs(fd));
	GIVES("seek finds data at the start", 0, lseek(fd, 0, 3));
	GIVES("and a hole at the end", 22, lseek(fd, 0, 4));
	GIVES("fadvise is the generic one", 0, posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED));
	close(fd);
	fd = open("hello", O_RDWR);
	if (fd >= 0) {
		FAILS("write", EINVAL, write(fd, "x", 1));
		FAILS("fallocate", EOPNOTSUPP, fallocate(fd, 0, 0, 10));
		close(fd);
	}
	close(dir);
	return check_done();
}
