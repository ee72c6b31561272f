// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A storm of faults: tasks call every handler of bytesfs over and over while one call in so many fails.
 * Usage: storm MOUNTPOINT KIND EVERY TASKS CALLS SECONDS: each task does CALLS calls, or as many as SECONDS allow.
 * Prints how many calls there were and how many failed.
 */
#include "ops.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

static int change(const char *mountpoint, const char *options)
{
	/* The remount itself may be struck. */
	for (int tries = 0; tries < 1000; tries++)
		if (!mount("none", mountpoint, "bytesfs", MS_REMOUNT, options))
			return 0;
	return -1;
}

/* Calls that stop everybody, or empty the caches, come rarely. */
static int rare(const struct op *op)
{
	return op->run == op_freeze || op->run == op_thaw || op->run == op_load_inode || op->run == op_get_link ||
	       op->run == op_get_parent || op->run == op_forget_inode || op->run == op_read || op->run == op_sync_fs;
}

int main(int argc, char **argv)
{
	volatile long *count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char options[100], own[40];
	int tasks, gate[2], status, crashed = 0;
	long calls, seconds, total = 0, failed = 0;

	if (argc != 7)
		return 2;
	check_enter(argc, argv);
	tasks = atoi(argv[4]);
	calls = atol(argv[5]);
	seconds = atol(argv[6]);
	if (pipe(gate) || tasks > 200)
		return 2;
	for (int task = 0; task < tasks; task++) {
		snprintf(own, sizeof own, "task-%d", task);
		if ((mkdir(own, 0755) && errno != EEXIST) || chdir(own) || ops_prepare()) {
			perror(own);
			return 3;
		}
		if (!fork()) {
			time_t end;
			char byte;

			close(gate[1]);
			while (read(gate[0], &byte, 1) > 0)
				;
			end = time(NULL) + seconds;
			for (long i = 0; i < calls && time(NULL) < end; i++) {
				const struct op *op = &ops[(i * 7 + task) % OPS_COUNT];

				if (rare(op) && i % 64)
					op = &ops[8 + (i + task) % 10];
				count[2 * task]++;
				if (op->run())
					count[2 * task + 1]++;
			}
			_exit(0);
		}
		if (chdir(".."))
			return 3;
	}
	snprintf(options, sizeof options, "on=all,kind=%s,every=%s", argv[2], argv[3]);
	if (change(argv[1], options))
		return 4;
	close(gate[0]);
	close(gate[1]);
	while (wait(&status) > 0)
		crashed += !WIFEXITED(status) || WEXITSTATUS(status);
	if (change(argv[1], "on="))
		return 5;
	for (int task = 0; task < tasks; task++) {
		total += count[2 * task];
		failed += count[2 * task + 1];
	}
	printf("%ld calls, %ld failed\n", total, failed);
	return crashed ? 1 : 0;
}
