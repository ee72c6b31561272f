// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Fails the first, the second, the third… allocation of each call until none is left to fail (SAFETY.md C3). The caller
 * gets ENOMEM or what it gets anyway; the same call works afterwards.
 * Usage: failnth FS MOUNTPOINT
 */
#include "ops.h"

#define POINTS_MAX 2000

static const char *fs, *mountpoint;
static int fail_nth;

static void arm(int nth)
{
	char text[16];
	int len = snprintf(text, sizeof text, "%d", nth);

	if (pwrite(fail_nth, text, len, 0) != len) {
		perror("/proc/self/fail-nth");
		exit(2);
	}
}

/* Did the call have fewer allocations than that? */
static int unreached(void)
{
	char text[16] = "";

	if (pread(fail_nth, text, sizeof text - 1, 0) <= 0)
		exit(2);
	return atoi(text) != 0;
}

/* Some calls first make what they then remove: when the making fails they find nothing, or what was left. */
static int expected(int number, int other)
{
	return number == ENOMEM || number == other || number == ENOENT || number == EEXIST || number == ENODATA;
}

static int attach(void) { return ops_result(mount("none", mountpoint, fs, 0, "")); }
static int detach(void) { return ops_result(umount2(mountpoint, 0)); }

/* `undo` puts things back after a success, so that the next run has the same to do. */
static void each(const char *name, int (*run)(void), int (*undo)(void), int other)
{
	int nth, number, odd = 0, failed = 0;
	char what[128];

	for (nth = 1; nth < POINTS_MAX; nth++) {
		int last;

		arm(nth);
		number = run();
		last = unreached();
		arm(0);
		if (number)
			failed++;
		if (number && !expected(number, other))
			odd = number;
		if (last)
			break;
		if (!number && undo && undo())
			odd = errno;
	}
	snprintf(what, sizeof what, "%s on %s: %d of %d failed allocations reach the caller, as an errno", name, fs, failed,
		 nth - 1);
	check_report(nth < POINTS_MAX && !odd && (!number || number == other || number == EEXIST), what, __FILE__, __LINE__, odd ?: number);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	fs = argv[1];
	mountpoint = argv[2];
	fail_nth = open("/proc/self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fail_nth < 0)
		return 2;
	each("mount", attach, detach, 0);
	if (chdir(mountpoint) || ops_prepare())
		return 2;
	for (size_t i = 0; i < OPS_COUNT; i++) {
		/* What this file system has no handler for keeps its errno. */
		int usual = ops[i].run();

		ops_prepare();
		each(ops[i].name, ops[i].run, NULL, usual);
	}
	if (chdir("/"))
		return 2;
	each("umount", detach, attach, 0);
	return check_failed ? 1 : 0;
}
