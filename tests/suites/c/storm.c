// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Tasks that call every handler over and over while one call in so many panics.
 * Usage: storm DIR TASKS SECONDS [CALLS]: runs until each task has done CALLS calls (0: for that many seconds).
 * Prints how many calls there were and how many failed.
 */
#include "ops.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

int main(int argc, char **argv)
{
	int tasks, seconds;
	long calls;
	volatile long *count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (argc < 4)
		return 2;
	check_enter(argc, argv);
	tasks = atoi(argv[2]);
	seconds = atoi(argv[3]);
	calls = argc > 4 ? atol(argv[4]) : 0;
	for (int task = 0; task < tasks; task++) {
		if (fork())
			continue;
		char own[40];
		time_t end = time(NULL) + seconds;

		snprintf(own, sizeof own, "task-%d", task);
		for (int tries = 0; tries < 10000 && mkdir(own, 0755) && errno != EEXIST; tries++)
			;
		for (int tries = 0; tries < 10000 && chdir(own); tries++)
			;
		for (int tries = 0; tries < 100; tries++)
			ops_prepare();
		for (long i = 0; (calls && i < calls) || (!calls && time(NULL) < end); i++) {
			/* Freezing and dropping caches stop everybody: rarely. */
			const struct op *op = &ops[(i * 7 + task) % OPS_COUNT];
			int rare = op->run == op_freeze || op->run == op_thaw || op->run == op_load_inode ||
				   op->run == op_get_link || op->run == op_get_parent || op->run == op_forget_inode ||
				   op->run == op_read || op->run == op_sync_fs;
			if (rare && i % 64)
				op = &ops[8 + (i + task) % 10];
			count[2 * task]++;
			if (op->run())
				count[2 * task + 1]++;
			if (calls && time(NULL) > end)
				break;
		}
		_exit(0);
	}
	int status, crashed = 0;
	while (wait(&status) > 0)
		crashed += !WIFEXITED(status) || WEXITSTATUS(status);
	long total = 0, failed = 0;
	for (int task = 0; task < tasks; task++) {
		total += count[2 * task];
		failed += count[2 * task + 1];
	}
	printf("%ld calls, %ld failed\n", total, failed);
	return crashed ? 1 : 0;
}
