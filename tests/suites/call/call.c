// SPDX-License-Identifier: GPL-2.0
/*
 * How long a getattr takes without the system call around it: `runs` times
 * `calls` of them on `path` when the module is loaded. Parameter `ns` is the
 * shortest run, which nobody interrupted.
 */
#include <linux/fs.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/namei.h>
#include <linux/stat.h>

static char *path;
module_param(path, charp, 0444);
static unsigned long calls = 1000;
module_param(calls, ulong, 0444);
static unsigned long runs = 1000;
module_param(runs, ulong, 0444);
static unsigned long ns = ULONG_MAX;
module_param(ns, ulong, 0444);

static int __init call_init(void)
{
	struct kstat stat;
	struct path at;
	unsigned long run;
	int err;

	err = kern_path(path ?: "", LOOKUP_FOLLOW, &at);
	if (err)
		return err;
	for (run = 0; run < runs && !err; run++) {
		u64 since = ktime_get_ns();
		unsigned long i;

		for (i = 0; i < calls && !err; i++)
			err = vfs_getattr_nosec(&at, &stat, STATX_BASIC_STATS,
						AT_STATX_SYNC_AS_STAT);
		ns = min_t(u64, ns, ktime_get_ns() - since);
	}
	path_put(&at);
	return err;
}

static void __exit call_exit(void)
{
}

module_init(call_init);
module_exit(call_exit);
MODULE_DESCRIPTION("Time of a getattr");
MODULE_LICENSE("GPL");
