// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * One that is struck by faults: `victim DIR TURNS [UID]` makes, changes and removes files as UID. A call may fail with EIO, and
 * then it has done nothing: what was there before is there as it was. Every other error is a failure, and so are wrong bytes.
 */
#include "check.h"
#include <dirent.h>
#include <sys/xattr.h>

#define SIZE 20000

static long calls, struck, wrong;

static void report(const char *what, const char *name)
{
	if (wrong++ < 10)
		printf("# %s %s: errno %d %s\n", what, name, errno, strerror(errno));
}

/* The call's answer, asked for until it is not EIO: what it looks at may be struck as well. */
#define ASKED(call)                                                            \
	({                                                                     \
		long asked_, tries_ = 0;                                       \
		do                                                             \
			asked_ = (call);                                       \
		while (asked_ < 0 && errno == EIO && ++tries_ < 1000);         \
		asked_;                                                        \
	})

/* Done (1) or struck (0). */
#define DONE(what, name, call)                                                 \
	({                                                                     \
		int done_ = (call) >= 0;                                       \
		calls++;                                                       \
		if (!done_ && errno == EIO)                                    \
			struck++;                                              \
		else if (!done_)                                               \
			report(what, name);                                    \
		done_;                                                         \
	})

static int there(const char *name)
{
	struct stat st;

	if (ASKED(lstat(name, &st)) == 0)
		return 1;
	if (errno != ENOENT)
		report("lstat", name);
	return 0;
}

/* After a call with one name that was to make (or remove) it: `then` says whether it is there once it is done. */
static void name_is(const char *what, const char *name, int done, int then)
{
	if (there(name) != (done ? then : !then)) {
		errno = 0;
		report(done ? "done, but not so:" : "struck, but done:", what);
	}
}

static void fill(char *bytes, int turn)
{
	for (int i = 0; i < SIZE; i++)
		bytes[i] = (char)(i / 13 + turn);
}

static void file(int turn)
{
	char name[40], other[200], third[40], bytes[SIZE], back[SIZE], value[300];
	struct stat st;
	int fd, done, moved;

	snprintf(name, sizeof name, "file-%d", turn);
	snprintf(other, sizeof other, "%0*d", 20 + (unsigned)turn % 150, turn);
	snprintf(third, sizeof third, "link-%d", turn);
	fill(bytes, turn);
	fd = open(name, O_CREAT | O_EXCL | O_RDWR, 0644);
	done = DONE("create", name, fd);
	name_is("create", name, done, 1);
	if (!done)
		return;
	/* Dirty pages that cannot go out stay dirty: only the write itself may be struck. */
	done = ASKED(pwrite(fd, bytes, SIZE, 0)) == SIZE;
	if (!done)
		report("write", name);
	DONE("fsync", name, fsync(fd));
	memset(value, turn, sizeof value);
	done = DONE("setxattr", name, fsetxattr(fd, "user.note", value, 10 + turn % 290, 0));
	if ((ASKED(fgetxattr(fd, "user.note", back, sizeof back)) == 10 + turn % 290) != done)
		report("setxattr", name);
	done = DONE("truncate", name, ftruncate(fd, 5000));
	if (ASKED(fstat(fd, &st)) || st.st_size != (done ? 5000 : SIZE))
		report("truncate", name);
	DONE("chmod", name, fchmod(fd, 0600));
	done = DONE("link", third, link(name, third));
	name_is("link", third, done, 1);
	moved = DONE("rename", other, rename(name, other));
	name_is("rename to", other, moved, 1);
	name_is("rename from", name, moved, 0);
	fd = ASKED(dup(fd));
	if (ASKED(pread(fd, back, 5000, 0)) != 5000 || memcmp(bytes, back, 5000))
		report("read", name);
	if (turn % 3 == 0 && !there(third))
		third[0] = 0;
	if (turn % 3 == 0 && third[0]) {
		done = DONE("unlink", third, unlink(third));
		name_is("unlink", third, done, 0);
	}
	if (turn % 4) {
		done = DONE("unlink", other, unlink(moved ? other : name));
		name_is("unlink", moved ? other : name, done, 0);
	}
	/* Also when it has lost its last name. */
	if (ASKED(pread(fd, back, 5000, 0)) != 5000 || memcmp(bytes, back, 5000))
		report("read again", name);
	close(fd);
}

static void directory(int turn)
{
	char name[40], inner[80];
	int done;

	snprintf(name, sizeof name, "dir-%d", turn);
	snprintf(inner, sizeof inner, "%s/link", name);
	done = DONE("mkdir", name, mkdir(name, 0755));
	name_is("mkdir", name, done, 1);
	if (!done)
		return;
	done = DONE("symlink", inner, symlink(name, inner));
	name_is("symlink", inner, done, 1);
	if (done) {
		done = DONE("unlink", inner, unlink(inner));
		name_is("unlink", inner, done, 0);
	}
	if (done) {
		done = DONE("rmdir", name, rmdir(name));
		name_is("rmdir", name, done, 0);
	}
}

static void list(void)
{
	DIR *dir = opendir(".");

	if (!DONE("opendir", ".", dir ? 0 : -1))
		return;
	do
		errno = 0;
	while (readdir(dir));
	if (errno && errno != EIO)
		report("readdir", ".");
	closedir(dir);
}

int main(int argc, char **argv)
{
	int turns;

	if (argc < 3)
		return 2;
	check_enter(argc, argv);
	turns = atoi(argv[2]);
	if (argc > 3 && setreuid(atoi(argv[3]), atoi(argv[3])))
		return 2;
	for (int turn = 0; turn < turns; turn++) {
		file(turn);
		directory(turn);
		if (turn % 10 == 0)
			list();
	}
	printf("# %ld calls, %ld struck\n", calls, struck);
	GIVES("what a struck call would have done is not done, all else is", 0, wrong);
	return check_done();
}
