// SPDX-License-Identifier: GPL-2.0 OR MIT
/* `layers DIR CALLS`: so many fstats, creates and unlinks, with a statfs at each boundary for the reader of a trace. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static void boundary(void)
{
	struct statfs st;

	if (statfs(".", &st))
		exit(2);
}

static void check(int result)
{
	if (result < 0) {
		perror("layers");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	int calls, fd, i;
	struct stat st;
	char name[32];

	if (argc != 3)
		return 2;
	check(chdir(argv[1]));
	calls = atoi(argv[2]);
	fd = open("file", O_CREAT | O_RDWR, 0644);
	check(fd);
	boundary();
	for (i = 0; i < calls; i++)
		check(fstat(fd, &st));
	boundary();
	for (i = 0; i < calls; i++) {
		snprintf(name, sizeof(name), "name-%06d", i);
		check(mknod(name, S_IFREG | 0644, 0));
	}
	boundary();
	for (i = 0; i < calls; i++) {
		snprintf(name, sizeof(name), "name-%06d", i);
		check(unlink(name));
	}
	boundary();
	return 0;
}
