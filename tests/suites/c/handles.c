// SPDX-License-Identifier: GPL-2.0 OR MIT
/* File handles, as an NFS server uses them: a handle opens its file until that is gone, whatever its names are. */
#include "check.h"

struct handle {
	struct file_handle head;
	unsigned char space[128];
};

static int take(const char *name, struct handle *handle)
{
	int mount;

	handle->head.handle_bytes = sizeof handle->space;
	return name_to_handle_at(AT_FDCWD, name, &handle->head, &mount, 0);
}

int main(int argc, char **argv)
{
	struct handle file, dir, junk;
	char buffer[16], path[64];
	int here, fd;

	check_enter(argc, argv);
	if (argc > 2 && strstr(argv[2], "export")) {
		FAILS("handles without get_parent", EOPNOTSUPP, take(".", &dir));
		return check_done();
	}
	here = open(".", O_RDONLY | O_DIRECTORY);
	mkdir("d", 0755);
	mkdir("d/e", 0755);
	fd = open("d/e/f", O_CREAT | O_RDWR, 0644);
	GIVES("write", 5, write(fd, "bytes", 5));
	close(fd);
	GIVES("take a file's handle", 0, take("d/e/f", &file));
	GIVES("and a directory's", 0, take("d/e", &dir));
	fd = open_by_handle_at(here, &file.head, O_RDONLY);
	OK("open the file", fd >= 0);
	GIVES("read", 5, read(fd, buffer, 16));
	close(fd);
	GIVES("rename", 0, rename("d/e/f", "g"));
	fd = open_by_handle_at(here, &file.head, O_RDONLY);
	OK("open it under its new name", fd >= 0);
	close(fd);
	FILE *drop = fopen("/proc/sys/vm/drop_caches", "w");
	if (drop) {
		/* Where a handle does not survive that, the caches stay. */
		if (argc <= 2 || !strstr(argv[2], "cold"))
			fputs("2\n", drop);
		fclose(drop);
	}
	fd = open_by_handle_at(here, &dir.head, O_RDONLY | O_DIRECTORY);
	OK("open the directory with cold caches", fd >= 0);
	if (fd >= 0) {
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		char target[PATH_MAX] = "";
		ssize_t len = readlink(path, target, sizeof target - 1);
		OK("its parents are known", len > 4 && !strcmp(target + len - 4, "/d/e"));
		close(fd);
	}
	GIVES("unlink", 0, unlink("g"));
	if (argc <= 2 || !strstr(argv[2], "stale"))
		FAILS("then the handle is stale", ESTALE, open_by_handle_at(here, &file.head, O_RDONLY));
	junk = file;
	memset(junk.head.f_handle, 0xa5, junk.head.handle_bytes);
	FAILS("a handle of junk is stale", ESTALE, open_by_handle_at(here, &junk.head, O_RDONLY));
	rmdir("d/e");
	rmdir("d");
	FAILS("a removed directory's is stale", ESTALE, open_by_handle_at(here, &dir.head, O_RDONLY));
	return check_done();
}
