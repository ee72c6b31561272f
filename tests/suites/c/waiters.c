// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Tasks that wait for a lock whose holder is abandoned are not left behind: each gets EIO, and nothing keeps the mount
 * busy. Usage: waiters MOUNTPOINT, a bytesfs with on=lookup,kind=hold.
 */
#include "check.h"
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#define TASKS 4

int main(int argc, char **argv)
{
	pid_t tasks[TASKS];
	struct stat st;
	char name[16], what[80];

	if (argc != 2 || chdir(argv[1]))
		return 2;
	for (int i = 0; i < TASKS; i++) {
		tasks[i] = fork();
		if (!tasks[i]) {
			snprintf(name, sizeof name, "name%d", i);
			_exit(stat(name, &st) ? errno : 0);
		}
	}
	for (int i = 0; i < TASKS; i++) {
		struct timespec pause = { 0, 50 * 1000 * 1000 };
		int status = 0, tries = 1200;
		pid_t ended;

		while (!(ended = waitpid(tasks[i], &status, WNOHANG)) && --tries)
			nanosleep(&pause, NULL);
		snprintf(what, sizeof what, "task %d of %d at a lock of an abandoned call gets EIO", i + 1, TASKS);
		check_report(ended == tasks[i] && WIFEXITED(status) && WEXITSTATUS(status) == EIO, what, __FILE__,
			     __LINE__, ended ? status : -1);
	}
	return check_done();
}
