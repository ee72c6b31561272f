// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Memory mappings: what is stored through one is read by read(2) and the other way round, ends of files included. */
#include "check.h"
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define PAGE 4096L

static sigjmp_buf bus;

static void on_bus(int signal)
{
	(void)signal;
	siglongjmp(bus, 1);
}

static int raises_bus(volatile char *at)
{
	if (sigsetjmp(bus, 1))
		return 1;
	*at = 1;
	return 0;
}

int main(int argc, char **argv)
{
	const char *without = argc > 2 ? argv[2] : "";
	char buffer[2 * PAGE], *map, *second, *private_map;
	struct stat st;
	int fd, status;

	check_enter(argc, argv);
	signal(SIGBUS, on_bus);
	fd = open("map", O_RDWR | O_CREAT | O_TRUNC, 0644);
	OK("open", fd >= 0);
	GIVES("grow by ftruncate", 0, ftruncate(fd, 3 * PAGE));
	map = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	OK("map shared and writable", map != MAP_FAILED);
	GIVES("a hole reads as zero", 0, map[PAGE]);
	memcpy(map + 100, "through the map", 15);
	GIVES("read sees what the map stored", 15, pread(fd, buffer, 15, 100));
	OK("its bytes", !memcmp(buffer, "through the map", 15));
	GIVES("write", 10, pwrite(fd, "by write()", 10, PAGE - 5));
	OK("the map sees what write stored, across pages", !memcmp(map + PAGE - 5, "by write()", 10));
	second = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	OK("two maps of a page are one", second != MAP_FAILED && !memcmp(second + 100, "through", 7));
	private_map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	private_map[100] = 'X';
	OK("a private map keeps its stores", map[100] == 't');
	GIVES("msync", 0, msync(map, 3 * PAGE, MS_SYNC));
	GIVES("fsync", 0, fsync(fd));
	OK("a store past the last page raises SIGBUS", raises_bus(map + 3 * PAGE));

	GIVES("cut in the middle of a page", 0, ftruncate(fd, PAGE + 10));
	OK("a store beyond the cut raises SIGBUS", raises_bus(map + 2 * PAGE));
	if (!strstr(without, "zerotail"))
		map[PAGE + 20] = 'x'; /* beyond the size, inside the page: allowed and not kept */
	GIVES("grow again", 0, ftruncate(fd, 3 * PAGE));
	GIVES("bytes beyond the old end read as zero", 0, map[PAGE + 20]);
	GIVES("pages beyond the old end read as zero", 0, map[2 * PAGE]);
	GIVES("bytes before the cut are kept", ')', map[PAGE + 4]);
	GIVES("fstat", 0, fstat(fd, &st));
	GIVES("size", 3 * PAGE, st.st_size);

	if (!fork()) {
		map[0] = 'c';
		_exit(0);
	}
	wait(&status);
	GIVES("another process's store is seen", 'c', map[0]);
	GIVES("unlink while mapped", 0, unlink("map"));
	close(fd);
	map[1] = 'd';
	GIVES("the map outlives name and descriptor", 'd', map[1]);
	GIVES("munmap", 0, munmap(map, 4 * PAGE));

	fd = open("exec", O_RDWR | O_CREAT | O_TRUNC, 0755);
	GIVES("a script is written", 26, write(fd, "#!/bin/sh\nexit 7\n#........", 26));
	close(fd);
	status = system("./exec");
	GIVES("and runs from this file system", 7, WEXITSTATUS(status));
	unlink("exec");

	/* Many pages dirtied through a map, in no order, read back through a new descriptor. */
	fd = open("many", O_RDWR | O_CREAT | O_TRUNC, 0644);
	GIVES("2 MiB", 0, ftruncate(fd, 512 * PAGE));
	map = mmap(NULL, 512 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	for (long i = 0; i < 512; i++)
		*(long *)(map + (i * 77 % 512) * PAGE) = i * 77 % 512;
	munmap(map, 512 * PAGE);
	GIVES("fsync of many", 0, fsync(fd));
	close(fd);
	fd = open("many", O_RDONLY);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	long bad = 0;
	for (long i = 0; i < 512; i++) {
		long value = -1;
		if (pread(fd, &value, sizeof value, i * PAGE) != sizeof value || value != i)
			bad++;
	}
	GIVES("every page came back", 0, bad);
	close(fd);
	unlink("many");
	return check_done();
}
