// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Names: their limits, rename with every flag, files without names, large directories, sockets and fifos. */
#include "check.h"
#include <dirent.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#define RENAME_WHITEOUT 4
#endif

static int make(const char *name)
{
	int fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0644);

	return fd < 0 ? -1 : close(fd);
}

static int listed(const char *name, size_t len)
{
	DIR *dir = opendir(".");
	struct dirent *entry;
	int found = 0;

	while ((entry = readdir(dir)))
		found += strlen(entry->d_name) == len && !memcmp(entry->d_name, name, len);
	closedir(dir);
	return found;
}

static long inode(const char *name)
{
	struct stat st;

	return lstat(name, &st) ? -1 : (long)st.st_ino;
}

static long links(const char *name)
{
	struct stat st;

	return lstat(name, &st) ? -1 : (long)st.st_nlink;
}

static void limits(const char *without)
{
	char name[300], path[8192], target[4200];

	memset(name, 'n', sizeof name);
	name[255] = 0;
	GIVES("a name of 255 bytes", 0, make(name));
	OK("is listed", listed(name, 255));
	GIVES("and removed", 0, unlink(name));
	name[255] = 'n';
	name[256] = 0;
	FAILS("a name of 256 bytes", ENAMETOOLONG, make(name));
	FAILS("to look it up", ENAMETOOLONG, access(name, F_OK));
	FAILS("a directory of that name", ENAMETOOLONG, mkdir(name, 0755));

	const char raw[] = "\xff\xfe\x80 \n\t\\x";
	GIVES("a name that is not UTF-8", 0, make(raw));
	OK("is listed byte for byte", listed(raw, strlen(raw)));
	GIVES("found", 0, access(raw, F_OK));
	GIVES("renamed", 0, rename(raw, "\xc0\x80"));
	GIVES("removed", 0, unlink("\xc0\x80"));

	if (!strstr(without, "longlink")) {
		memset(target, 't', sizeof target);
		target[4095] = 0;
		GIVES("a link target of 4095 bytes", 0, symlink(target, "long"));
		GIVES("reads back whole", 4095, readlink("long", path, sizeof path));
		OK("its bytes", !memcmp(path, target, 4095));
		GIVES("removed", 0, unlink("long"));
	}
	GIVES("a target that is not UTF-8", 0, symlink("\xff/\x80", "raw"));
	GIVES("reads back", 3, readlink("raw", path, sizeof path));
	unlink("raw");
	FAILS("an empty target", ENOENT, symlink("", "empty"));
}

static void renames(void)
{
	struct stat st;

	make("a");
	make("b");
	long a = inode("a"), b = inode("b");

	FAILS("RENAME_NOREPLACE onto a name", EEXIST, renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE));
	GIVES("onto none", 0, renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE));
	GIVES("moved", a, inode("c"));
	GIVES("RENAME_EXCHANGE", 0, renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_EXCHANGE));
	OK("exchanged", inode("b") == a && inode("c") == b);
	FAILS("with a name that is not there", ENOENT, renameat2(AT_FDCWD, "b", AT_FDCWD, "none", RENAME_EXCHANGE));
	FAILS("two flags that exclude each other", EINVAL,
	      renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_EXCHANGE | RENAME_NOREPLACE));
	GIVES("replace", 0, rename("b", "c"));
	GIVES("replaced", a, inode("c"));
	GIVES("RENAME_WHITEOUT", 0, renameat2(AT_FDCWD, "c", AT_FDCWD, "d", RENAME_WHITEOUT));
	OK("a whiteout stays behind", !lstat("c", &st) && S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0));
	OK("the file moved", inode("d") == a);
	unlink("c");

	mkdir("dir", 0755);
	mkdir("other", 0755);
	mkdir("dir/sub", 0755);
	GIVES("a directory with a directory has 3 links", 3, links("dir"));
	FAILS("a directory below itself", EINVAL, rename("dir", "dir/sub/x"));
	FAILS("onto a full directory", ENOTEMPTY, rename("other", "dir"));
	FAILS("a file onto a directory", EISDIR, rename("d", "other"));
	FAILS("a directory onto a file", ENOTDIR, rename("other", "d"));
	GIVES("across directories", 0, rename("dir/sub", "other/sub"));
	OK("link counts follow", links("dir") == 2 && links("other") == 3);
	GIVES("\"..\" follows", inode("other"), inode("other/sub/.."));
	GIVES("exchange a directory and a file", 0, renameat2(AT_FDCWD, "other/sub", AT_FDCWD, "d", RENAME_EXCHANGE));
	OK("both are where they should be", links("other") == 2 && !lstat("d", &st) && S_ISDIR(st.st_mode));
	GIVES("onto an empty directory", 0, rename("d", "dir"));
	FAILS("remove a full directory", ENOTEMPTY, rmdir("other"));
	unlink("other/sub");
	GIVES("remove an empty one", 0, rmdir("other"));
	GIVES("and the other", 0, rmdir("dir"));
	FAILS("rmdir of nothing", ENOENT, rmdir("dir"));
}

static void nameless(const char *without)
{
	char path[64], byte;
	struct stat st;
	int fd;

	make("open");
	fd = open("open", O_RDWR);
	unlink("open");
	GIVES("an unlinked file is written", 3, write(fd, "xyz", 3));
	GIVES("and read", 1, pread(fd, &byte, 1, 2));
	fstat(fd, &st);
	GIVES("without a link", 0, st.st_nlink);
	close(fd);

	fd = open(".", O_TMPFILE | O_RDWR, 0600);
	if (strstr(without, "tmpfile")) {
		GIVES("O_TMPFILE is refused", -1, fd);
		return;
	}
	OK("O_TMPFILE", fd >= 0);
	if (fd < 0)
		return;
	fstat(fd, &st);
	GIVES("has no link", 0, st.st_nlink);
	GIVES("write to it", 1, write(fd, "t", 1));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	GIVES("gets a name by linkat", 0, linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	close(fd);
	GIVES("one link", 1, links("named"));
	fd = open("named", O_RDONLY);
	GIVES("its byte", 1, read(fd, &byte, 1));
	close(fd);
	unlink("named");
	fd = open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	FAILS("with O_EXCL never", ENOENT, linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	close(fd);
}

static void links_and_types(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "socket" };
	struct stat st;
	int sock;

	make("one");
	GIVES("link", 0, link("one", "two"));
	OK("two names, one inode", inode("one") == inode("two") && links("one") == 2);
	FAILS("link onto a name", EEXIST, link("one", "two"));
	FAILS("link a directory", EPERM, link(".", "dirlink"));
	unlink("one");
	GIVES("one left", 1, links("two"));
	unlink("two");
	GIVES("a fifo", 0, mkfifo("fifo", 0644));
	OK("is one", !lstat("fifo", &st) && S_ISFIFO(st.st_mode));
	unlink("fifo");
	sock = socket(AF_UNIX, SOCK_STREAM, 0);
	GIVES("a socket", 0, bind(sock, (void *)&address, sizeof address));
	OK("is one", !lstat("socket", &st) && S_ISSOCK(st.st_mode));
	close(sock);
	unlink("socket");
	GIVES("a character device", 0, mknod("null", S_IFCHR | 0666, makedev(1, 3)));
	OK("with its number", !lstat("null", &st) && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3));
	int fd = open("null", O_WRONLY);
	GIVES("that works", 1, write(fd, "x", 1));
	close(fd);
	unlink("null");
	GIVES("a block device with a large number", 0, mknod("blk", S_IFBLK | 0600, makedev(4095, 1048575)));
	OK("kept", !lstat("blk", &st) && st.st_rdev == makedev(4095, 1048575));
	unlink("blk");
	FAILS("create over a name", EEXIST, (make("x"), make("x")));
	unlink("x");
}

static void large_directory(int count)
{
	char name[64], *seen = calloc(1, count + 1);
	struct dirent *entry;
	long total = 0, twice = 0, gone = 0, dots = 0, bad = 0, cookies[64];
	DIR *dir;

	mkdir("large", 0755);
	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof name, "large/entry-%d", i);
		bad += make(name) != 0;
	}
	GIVES("make many", 0, bad);
	dir = opendir("large");
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.') {
			dots++;
			continue;
		}
		int i = atoi(entry->d_name + 6);
		twice += seen[i];
		seen[i] = 1;
		total++;
		bad += entry->d_type != DT_REG && entry->d_type != DT_UNKNOWN;
	}
	OK("every entry exactly once", total == count && !twice);
	GIVES("\".\" and \"..\"", 2, dots);
	GIVES("types", 0, bad);

	/* Places in a directory stay valid: seekdir to each of some cookies gives the entry that followed it. */
	char next[64][64];
	int taken = 0;
	rewinddir(dir);
	for (long i = 0; taken < 64; i++) {
		long cookie = telldir(dir);
		entry = readdir(dir);
		if (!entry)
			break;
		if (i % (count / 60) == 1) {
			cookies[taken] = cookie;
			snprintf(next[taken++], 64, "%.63s", entry->d_name);
		}
	}
	for (int i = taken - 1; i >= 0; i--) {
		seekdir(dir, cookies[i]);
		entry = readdir(dir);
		gone += !entry || strcmp(entry->d_name, next[i]);
	}
	GIVES("seekdir returns to each place", 0, gone);

	/* Removing while reading neither skips nor repeats what stays. */
	rewinddir(dir);
	memset(seen, 0, count);
	long removed = 0;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		seen[atoi(entry->d_name + 6)]++;
		snprintf(name, sizeof name, "large/%.40s", entry->d_name);
		removed += unlink(name) == 0;
	}
	closedir(dir);
	GIVES("every entry is met while all are removed", count, removed);
	GIVES("nothing is left", 0, rmdir("large"));
	free(seen);
}

int main(int argc, char **argv)
{
	const char *without = argc > 2 ? argv[2] : "";

	check_enter(argc, argv);
	limits(without);
	renames();
	nameless(without);
	links_and_types();
	large_directory(argc > 3 ? atoi(argv[3]) : 3000);
	return check_done();
}
