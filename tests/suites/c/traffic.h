/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* Processes that work on a file system all the time, and count the calls that fail: none may. */
#ifndef TRAFFIC_H
#define TRAFFIC_H

#include "check.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

struct traffic {
	volatile long calls, failed;
	volatile int stop, error, line;
};

static inline void struck(int signal) { (void)signal; }

/* TRAFFIC_AGAIN=1: an instance is abandoned, and calls inside then get EIO (SAFETY.md T4). They have done nothing, so once more
 * they succeed. */
#define TRAFFIC_TRY(expr)                                                              \
	do {                                                                   \
		all->calls++;                                                  \
		if (!(expr) && !(again && errno == EIO && (expr))) {                                                 \
			__atomic_fetch_add(&all->failed, 1, __ATOMIC_RELAXED);                                         \
			all->error = errno;                                    \
			all->line = __LINE__;                                  \
		}                                                              \
	} while (0)

static inline void traffic(struct traffic *all, int number)
{
	char name[40], other[40], buffer[4096], read_back[4096];
	struct sigaction action = { .sa_handler = struck, .sa_flags = SA_RESTART };
	struct itimerval often = { { 0, 3000 }, { 0, 3000 } };
	int again = getenv("TRAFFIC_AGAIN") != NULL;
	long turn = 0;

	/* Signals arrive all the time: none may end a call. */
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	snprintf(name, sizeof name, "traffic-%d", number);
	if (mkdir(name, 0755) || chdir(name))
		_exit(2);
	while (!all->stop) {
		struct stat st;
		int fd;

		turn++;
		snprintf(name, sizeof name, "f%ld", turn % 20);
		snprintf(other, sizeof other, "g%ld", turn % 20);
		memset(buffer, (int)turn, sizeof buffer);
		TRAFFIC_TRY((fd = open(name, O_CREAT | O_RDWR | O_TRUNC, 0644)) >= 0);
		TRAFFIC_TRY(write(fd, buffer, 4096) == 4096);
		TRAFFIC_TRY(pread(fd, read_back, 4096, 0) == 4096 && !memcmp(buffer, read_back, 4096));
		TRAFFIC_TRY(!fstat(fd, &st) && st.st_size == 4096);
		TRAFFIC_TRY(!rename(name, other));
		TRAFFIC_TRY(!stat(other, &st));
		TRAFFIC_TRY(!mkdir("d", 0755));
		TRAFFIC_TRY(!symlink("f1", "d/l"));
		TRAFFIC_TRY(readlink("d/l", read_back, 9) == 2);
		TRAFFIC_TRY(!unlink("d/l"));
		TRAFFIC_TRY(!rmdir("d"));
		TRAFFIC_TRY(!close(fd));
		TRAFFIC_TRY(!chmod(other, turn & 1 ? 0600 : 0644));
		if (turn % 3)
			TRAFFIC_TRY(!unlink(other));
	}
	_exit(0);
}

/* `tasks` of them, each in a folder of its own below the working directory. */
static inline struct traffic *traffic_start(int tasks)
{
	struct traffic *all = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	for (int i = 0; i < tasks; i++)
		if (!fork())
			traffic(all, i);
	return all;
}

static inline void traffic_verdict(struct traffic *all)
{
	char label[100];

	snprintf(label, sizeof label, "no call of %ld failed (line %d, errno %d)", all->calls, all->line, all->error);
	GIVES(label, 0, all->failed);
}

#endif
