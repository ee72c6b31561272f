/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What every program of the suites shares: one line per check, "ok" or "not ok"
 * with the errno or values seen, and an exit code that tells whether all held.
 */
#ifndef CHECK_H
#define CHECK_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int check_failed;

static inline void check_report(int good, const char *what, const char *file, int line, long got)
{
	int saved = errno;

	if (good) {
		printf("ok %s\n", what);
	} else {
		printf("not ok %s (%s:%d: got %ld, errno %d %s)\n", what, file, line, got, saved, strerror(saved));
		check_failed++;
	}
	fflush(stdout);
}

/* The expression holds. */
#define OK(what, expr)                                                         \
	do {                                                                   \
		errno = 0;                                                     \
		long check_value = (long)(expr);                               \
		check_report(check_value != 0, what, __FILE__, __LINE__, check_value); \
	} while (0)

/* The call gives exactly this. */
#define GIVES(what, value, call)                                               \
	do {                                                                   \
		errno = 0;                                                     \
		long check_value = (long)(call);                               \
		check_report(check_value == (long)(value), what, __FILE__, __LINE__, check_value); \
	} while (0)

/* The call fails with this errno. */
#define FAILS(what, number, call)                                              \
	do {                                                                   \
		errno = 0;                                                     \
		long check_value = (long)(call);                               \
		check_report(check_value == -1 && errno == (number), what, __FILE__, __LINE__, check_value); \
	} while (0)

static inline int check_done(void)
{
	return check_failed ? 1 : 0;
}

/* argv[1] is the folder to work in. */
static inline void check_enter(int argc, char **argv)
{
	if (argc < 2 || chdir(argv[1])) {
		fprintf(stderr, "%s: give the folder to work in\n", argv[0]);
		exit(2);
	}
	umask(022);
}

#endif
