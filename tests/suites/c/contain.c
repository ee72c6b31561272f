// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Containment: each kind of fault in each handler of bytesfs gives its caller an errno and the log one line; the mount
 * goes on, or answers EIO and can be unmounted.
 * Usage: contain MOUNTPOINT KIND...
 */
#include "ops.h"
#include <ctype.h>
#include <time.h>

static int kmsg;

static int attach(const char *mountpoint, const char *options)
{
	return mount("contained", mountpoint, "bytesfs", 0, options) ? errno : 0;
}

/* By its whole path: "." would ask the permission handler. */
static int change(const char *mountpoint, const char *options)
{
	return mount("contained", mountpoint, "bytesfs", MS_REMOUNT, options) ? errno : 0;
}

/* What a place in the source of bytesfs begins with. */
#define AUTHOR " at tests/fs/bytesfs/src/"

/* Counts the lines since the last call that name the handler, and those without a place in the author's source. */
static int reported(const char *op, int *unplaced)
{
	char line[8192], want[80], *at;
	ssize_t len;
	int count = 0;

	snprintf(want, sizeof want, "handler %s panicked", op);
	*unplaced = 0;
	while ((len = read(kmsg, line, sizeof line - 1)) > 0 || errno == EPIPE) {
		if (len <= 0)
			continue;
		line[len] = 0;
		if (!strstr(line, want))
			continue;
		count++;
		at = strstr(line, want) + strlen(want);
		if (strncmp(at, AUTHOR, strlen(AUTHOR)) || !(at = strstr(at, ".rs:")) || !isdigit(at[4]))
			++*unplaced;
	}
	return count;
}

/* The log names handler, file and line in each message, or says nothing. */
static void check_log(const char *kind, const char *op, int lines)
{
	char what[256];
	int unplaced, seen = reported(op, &unplaced);

	snprintf(what, sizeof what, "%s in %s: %s", kind, op,
		 lines ? "the log names handler, file and line" : "the log says nothing");
	check_report(lines ? seen >= 1 && !unplaced : !seen, what, __FILE__, __LINE__, lines ? unplaced : seen);
}

static int leave(const char *mountpoint)
{
	int tries = 100;

	if (chdir("/"))
		return errno;
	while (umount(mountpoint)) {
		struct timespec pause = { 0, 10 * 1000 * 1000 };

		if (errno != EBUSY || !--tries)
			return errno;
		nanosleep(&pause, NULL);
	}
	return 0;
}

static int alive(void)
{
	char buffer[8] = "";
	int fd = open("alive", O_CREAT | O_RDWR | O_TRUNC, 0644);
	int good = fd >= 0 && write(fd, "alive", 5) == 5 && !fsync(fd) && pread(fd, buffer, 5, 0) == 5;

	if (fd >= 0)
		close(fd);
	return good && !strcmp(buffer, "alive") && !unlink("alive");
}

int main(int argc, char **argv)
{
	const char *mountpoint = argv[1];
	char what[256], options[128];
	int unplaced;

	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	if (argc < 3 || kmsg < 0)
		return 2;
	lseek(kmsg, 0, SEEK_END);
	for (int k = 2; k < argc; k++) {
		const char *kind = argv[k];
		int abandons = !strcmp(kind, "drop") || !strcmp(kind, "recursion");
		int want = !strcmp(kind, "alloc") ? ENOMEM : !strcmp(kind, "error") ? ENOSPC : EIO;
		int lines = strcmp(kind, "error") != 0;

		for (size_t i = 0; i < OPS_COUNT; i++) {
			const struct op *op = &ops[i];
			int number;
			/* A failed thaw leaves the mount frozen: only every second one fails. */
			int every = strcmp(op->name, "thaw") ? 1 : 2;

			if (attach(mountpoint, "") || chdir(mountpoint) || ops_prepare()) {
				snprintf(what, sizeof what, "%s in %s: mounts", kind, op->name);
				check_report(0, what, __FILE__, __LINE__, errno);
				leave(mountpoint);
				continue;
			}
			ops_drop_caches();
			snprintf(options, sizeof options, "on=%s,kind=%s,every=%d,errno=%d", op->name, kind, every, ENOSPC);
			number = change(mountpoint, options);
			snprintf(what, sizeof what, "%s in %s: set by remount", kind, op->name);
			check_report(number == 0, what, __FILE__, __LINE__, number);
			number = op->run();
			if (every == 2 && !number && !abandons)
				number = op->run();
			check_log(kind, op->name, lines);
			/* exportfs lets ENOMEM through */
			int other = want == ENOMEM && op->other == ESTALE ? 0 : op->other;
			int expected = op->silent ? 0 : other ? other : want;
			snprintf(what, sizeof what, "%s in %s: the caller gets %s", kind, op->name,
				 expected ? strerrorname_np(expected) ?: "POLLERR" : "no error");
			/* Abandoned before the call that reports it: EIO wherever the VFS lets an error through. */
			check_report(number == expected || (abandons && !op->silent && number == EIO), what, __FILE__, __LINE__,
				     number);
			if (abandons) {
				struct statfs fs;

				number = statfs(".", &fs) ? errno : 0;
				snprintf(what, sizeof what, "%s in %s: the mount answers EIO from then on", kind, op->name);
				check_report(number == EIO, what, __FILE__, __LINE__, number);
			} else {
				struct statfs fs;

				number = change(mountpoint, "on=");
				/* A lock of the instance: whoever meets it again, a remount too, has it quarantined. */
				int locked = !strcmp(kind, "lock") && statfs(".", &fs) && errno == EIO;

				if (locked)
					number = 0;
				snprintf(what, sizeof what, "%s in %s: the mount %s", kind, op->name,
					 locked ? "is quarantined" : "goes on");
				check_report(!number && (locked || alive()), what, __FILE__, __LINE__, number);
			}
			number = leave(mountpoint);
			snprintf(what, sizeof what, "%s in %s: unmounts", kind, op->name);
			check_report(!number, what, __FILE__, __LINE__, number);
			reported(op->name, &unplaced);
		}

		snprintf(options, sizeof options, "on=mount,kind=%s,errno=%d", kind, ENOSPC);
		int number = attach(mountpoint, options);
		snprintf(what, sizeof what, "%s in mount: mount fails with %s", kind, strerrorname_np(want));
		check_report(number == want, what, __FILE__, __LINE__, number);
		check_log(kind, "mount", lines);
		if (!number)
			leave(mountpoint);
		snprintf(options, sizeof options, "on=unmount,kind=%s,errno=%d", kind, ENOSPC);
		number = attach(mountpoint, options);
		if (!number)
			number = leave(mountpoint);
		snprintf(what, sizeof what, "%s in unmount: unmounts", kind);
		check_report(!number, what, __FILE__, __LINE__, number);
		check_log(kind, "unmount", lines);
	}
	return check_done();
}
