// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Attributes: times and birth time, modes and owners, extended attributes and their limits, chattr flags, hints. */
#include "check.h"
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <time.h>

#ifndef F_SET_RW_HINT
#define F_GET_RW_HINT 1035
#define F_SET_RW_HINT 1036
#endif

static struct statx get(const char *name)
{
	struct statx stx = { 0 };

	statx(AT_FDCWD, name, AT_SYMLINK_NOFOLLOW, STATX_ALL, &stx);
	return stx;
}

static int later(struct statx_timestamp a, struct statx_timestamp b)
{
	return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

static void tick(void)
{
	struct timespec pause = { 0, 20 * 1000 * 1000 };

	nanosleep(&pause, NULL);
}

static void times(const char *without)
{
	struct statx before, after;
	int fd = open("f", O_RDWR | O_CREAT | O_TRUNC, 0640);

	before = get("f");
	int born = !strstr(without, "btime");
	if (born)
		OK("birth time is there", before.stx_mask & STATX_BTIME && before.stx_btime.tv_sec > 0);
	OK("born with its first change", !later(before.stx_btime, before.stx_mtime));
	tick();
	GIVES("write", 1, write(fd, "x", 1));
	after = get("f");
	OK("a write moves mtime and ctime", later(after.stx_mtime, before.stx_mtime) && later(after.stx_ctime, before.stx_ctime));
	OK("and never the birth time", !later(after.stx_btime, before.stx_btime));
	before = after;
	tick();
	GIVES("chmod", 0, fchmod(fd, 0600));
	after = get("f");
	OK("chmod moves ctime only", later(after.stx_ctime, before.stx_ctime) && !later(after.stx_mtime, before.stx_mtime));
	struct timespec set[2] = { { 1000000007, 123456789 }, { -5, 5 } };
	GIVES("utimensat", 0, utimensat(AT_FDCWD, "f", set, 0));
	after = get("f");
	OK("nanoseconds are kept", after.stx_atime.tv_sec == 1000000007 && after.stx_atime.tv_nsec == 123456789);
	OK("and times before 1970", after.stx_mtime.tv_sec == -5 && after.stx_mtime.tv_nsec == 5);
	before = get(".");
	tick();
	GIVES("link", 0, link("f", "g"));
	after = get(".");
	OK("a new name moves the directory's mtime", later(after.stx_mtime, before.stx_mtime));
	before = after;
	tick();
	GIVES("unlink", 0, unlink("g"));
	OK("so does its removal", later(get(".").stx_mtime, before.stx_mtime));
	close(fd);
	unlink("f");
}

static void modes(void)
{
	struct statvfs fs;
	struct stat st;

	GIVES("mkdir", 0, mkdir("sgid", 0755));
	GIVES("chown", 0, chown("sgid", 0, 1234));
	GIVES("chmod", 0, chmod("sgid", 02775));
	close(open("sgid/f", O_CREAT | O_WRONLY, 0664));
	OK("a file in a set-gid directory takes its group", !stat("sgid/f", &st) && st.st_gid == 1234);
	mkdir("sgid/d", 0755);
	OK("a directory also the bit", !stat("sgid/d", &st) && st.st_gid == 1234 && st.st_mode & S_ISGID);
	GIVES("chown takes large numbers", 0, chown("sgid/f", 4000000000u, 3999999999u));
	OK("and keeps them", !stat("sgid/f", &st) && st.st_uid == 4000000000u && st.st_gid == 3999999999u);
	chown("sgid/f", 0, 0);
	chmod("sgid/f", 06755);
	chown("sgid/f", 1, 1);
	OK("chown takes set-uid away", !stat("sgid/f", &st) && !(st.st_mode & S_ISUID));
	rmdir("sgid/d");
	unlink("sgid/f");
	rmdir("sgid");
	GIVES("statvfs", 0, statvfs(".", &fs));
	OK("has a block size and a name limit", fs.f_bsize >= 512 && fs.f_namemax == 255);
}

static void xattrs(const char *without)
{
	static char value[65537], back[65537];
	char name[300], list[1024];

	close(open("x", O_CREAT | O_WRONLY, 0644));
	if (strstr(without, "xattr")) {
		FAILS("setxattr without a handler", EOPNOTSUPP, setxattr("x", "user.a", "1", 1, 0));
		unlink("x");
		return;
	}
	GIVES("set", 0, setxattr("x", "user.a", "one", 3, 0));
	GIVES("its size", 3, getxattr("x", "user.a", NULL, 0));
	GIVES("get", 3, getxattr("x", "user.a", back, sizeof back));
	OK("its bytes", !memcmp(back, "one", 3));
	FAILS("into too small a buffer", ERANGE, getxattr("x", "user.a", back, 2));
	FAILS("create what is there", EEXIST, setxattr("x", "user.a", "2", 1, XATTR_CREATE));
	FAILS("replace what is not", ENODATA, setxattr("x", "user.b", "2", 1, XATTR_REPLACE));
	GIVES("replace", 0, setxattr("x", "user.a", "", 0, XATTR_REPLACE));
	GIVES("an empty value", 0, getxattr("x", "user.a", back, sizeof back));
	GIVES("a trusted one", 0, setxattr("x", "trusted.t", "t", 1, 0));
	GIVES("a security one", 0, setxattr("x", "security.s", "s", 1, 0));
	FAILS("a prefix nobody knows", EOPNOTSUPP, setxattr("x", "bogus.s", "s", 1, 0));
	long len = listxattr("x", list, sizeof list);
	OK("all three are listed", len >= 28 && memmem(list, len, "user.a", 7) && memmem(list, len, "trusted.t", 10) &&
					   memmem(list, len, "security.s", 11));
	FAILS("a list too long for its buffer", ERANGE, listxattr("x", list, 5));
	GIVES("remove", 0, removexattr("x", "user.a"));
	FAILS("is gone", ENODATA, getxattr("x", "user.a", back, 1));
	FAILS("remove twice", ENODATA, removexattr("x", "user.a"));
	if (!strstr(without, "largevalue")) {
		for (int i = 0; i < 65536; i++)
			value[i] = i * 7;
		GIVES("a value of 64 KiB", 0, setxattr("x", "user.big", value, 65536, 0));
		GIVES("comes back", 65536, getxattr("x", "user.big", back, sizeof back));
		OK("whole", !memcmp(value, back, 65536));
	}
	FAILS("a value of 64 KiB and a byte", E2BIG, setxattr("x", "user.c", value, 65537, 0));
	memset(name, 'n', sizeof name);
	memcpy(name, "user.", 5);
	name[255] = 0;
	GIVES("a name of 255 bytes", 0, setxattr("x", name, "v", 1, 0));
	name[255] = 'n';
	name[256] = 0;
	FAILS("a name of 256 bytes", ERANGE, setxattr("x", name, "v", 1, 0));
	GIVES("on a directory", 0, setxattr(".", "user.dir", "v", 1, 0));
	removexattr(".", "user.dir");
	symlink("x", "link");
	FAILS("user.* on a symbolic link", EPERM, lsetxattr("link", "user.a", "v", 1, 0));
	unlink("link");
	unlink("x");
}

static void flags(const char *without)
{
	int fd = open("c", O_CREAT | O_RDWR, 0644);
	unsigned int set = 0, stored;

	if (strstr(without, "fileattr")) {
		FAILS("chattr without a handler", ENOTTY, ioctl(fd, FS_IOC_GETFLAGS, &set));
		close(fd);
		unlink("c");
		return;
	}
	GIVES("lsattr", 0, ioctl(fd, FS_IOC_GETFLAGS, &set));
	/* Other flags say how a file is stored, and are not to be changed. */
	stored = set;
	set = stored | FS_APPEND_FL;
	GIVES("chattr +a", 0, ioctl(fd, FS_IOC_SETFLAGS, &set));
	FAILS("then only O_APPEND opens for writing", EPERM, open("c", O_WRONLY));
	FAILS("and nothing truncates", EPERM, truncate("c", 0));
	set = stored | FS_IMMUTABLE_FL | FS_NODUMP_FL;
	GIVES("chattr +i", 0, ioctl(fd, FS_IOC_SETFLAGS, &set));
	FAILS("then unlink is refused", EPERM, unlink("c"));
	FAILS("and chmod", EPERM, chmod("c", 0600));
	FAILS("and link", EPERM, link("c", "d"));
	if (!strstr(without, "btime"))
		OK("statx shows it", get("c").stx_attributes & STATX_ATTR_IMMUTABLE);
	set = 0;
	GIVES("lsattr", 0, ioctl(fd, FS_IOC_GETFLAGS, &set));
	OK("reads back", (set & (FS_IMMUTABLE_FL | FS_NODUMP_FL)) == (FS_IMMUTABLE_FL | FS_NODUMP_FL));
	set = stored;
	GIVES("chattr -i", 0, ioctl(fd, FS_IOC_SETFLAGS, &set));
	GIVES("then it can go", 0, unlink("c"));
	FAILS("an ioctl nobody knows", ENOTTY, ioctl(fd, 0x1234, 0));
	close(fd);
}

static void hints(void)
{
	int fd = open("h", O_CREAT | O_RDWR, 0644);
	uint64_t hint = 2 /* RWH_WRITE_LIFE_SHORT */;

	GIVES("write", 5, write(fd, "hints", 5));
	for (int advice = POSIX_FADV_NORMAL; advice <= POSIX_FADV_NOREUSE; advice++)
		GIVES("posix_fadvise", 0, posix_fadvise(fd, 0, 0, advice));
	GIVES("advice nobody knows", EINVAL, posix_fadvise(fd, 0, 0, 99));
	GIVES("set a write-life hint", 0, fcntl(fd, F_SET_RW_HINT, &hint));
	hint = 0;
	GIVES("get it", 0, fcntl(fd, F_GET_RW_HINT, &hint));
	GIVES("it is kept", 2, hint);
	hint = 77;
	FAILS("a hint nobody knows", EINVAL, fcntl(fd, F_SET_RW_HINT, &hint));
	close(fd);
	unlink("h");
}

int main(int argc, char **argv)
{
	const char *without = argc > 2 ? argv[2] : "";

	check_enter(argc, argv);
	times(without);
	modes();
	xattrs(without);
	flags(without);
	hints();
	return check_done();
}
