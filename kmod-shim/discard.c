// SPDX-License-Identifier: GPL-2.0
/*
 * Telling the device which blocks are free: what transactions free with
 * `discard`, and FITRIM. Until the device has heard of them they are nobody's:
 * to handlers their transaction has not been committed (tx.c). The journal's
 * thread does it, or for FITRIM whoever asked, outside the gate (G3).
 */
#include <linux/blkdev.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/jbd2.h>
#include <linux/mount.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "disk.h"

struct bento_discards {
	struct list_head list; /* of the disk's, in the order of transactions */
	u32 tid, count;
	struct bento_range ranges[];
};

/* Before the handle is given back: the transaction cannot commit yet. */
void bento_discard_queue(struct bento_super *bs, u32 tid,
			 const struct bento_range *ranges, u32 count)
{
	struct bento_disk *disk = &bs->disk;
	struct bento_discards *new;

	new = kvmalloc(struct_size(new, ranges, count), GFP_NOFS | __GFP_NOFAIL);
	new->tid = tid;
	new->count = count;
	memcpy(new->ranges, ranges, count * sizeof(*ranges));
	spin_lock(&disk->discard_lock);
	list_add_tail(&new->list, &disk->discards);
	spin_unlock(&disk->discard_lock);
}

bool bento_discard_pending(struct bento_super *bs, u32 tid)
{
	struct bento_disk *disk = &bs->disk;
	struct bento_discards *first;
	bool pending;

	if (likely(list_empty_careful(&disk->discards)))
		return false;
	spin_lock(&disk->discard_lock);
	first = list_first_entry_or_null(&disk->discards, struct bento_discards, list);
	pending = first && tid_geq(tid, first->tid);
	spin_unlock(&disk->discard_lock);
	return pending;
}

void bento_discard_wait(struct bento_super *bs, u32 tid)
{
	wait_event(bs->disk.discard_wait, !bento_discard_pending(bs, tid));
}

static void bento_discard_now(struct bento_super *bs, const struct bento_discards *some)
{
	u32 i;
	int err = 0;

	for (i = 0; i < some->count && !err; i++)
		err = sb_issue_discard(bs->sb, some->ranges[i].start,
				       some->ranges[i].count, GFP_NOFS, 0);
	/* Nothing is lost; but who wanted it will want to know, once. */
	if (err && err != -EOPNOTSUPP && !xchg(&bs->disk.discard_failed, true))
		bento_msg(bs, KERN_WARNING, "the device did not take a discard: errno %d", -err);
}

/* jbd2 has committed it, and not told anybody yet. Only its thread takes from the list. */
void bento_discard_committed(journal_t *journal, transaction_t *transaction)
{
	struct bento_super *bs = bento_sb(journal->j_private);
	struct bento_disk *disk = &bs->disk;
	struct bento_discards *first;

	for (;;) {
		spin_lock(&disk->discard_lock);
		first = list_first_entry_or_null(&disk->discards, struct bento_discards, list);
		spin_unlock(&disk->discard_lock);
		if (!first || tid_gt(first->tid, transaction->t_tid))
			break;
		/* What an aborted journal has freed is in use on the device. */
		if (!is_journal_aborted(journal))
			bento_discard_now(bs, first);
		spin_lock(&disk->discard_lock);
		list_del_init(&first->list);
		spin_unlock(&disk->discard_lock);
		kvfree(first);
	}
	wake_up_all(&disk->discard_wait);
}

void bento_discard_init(struct bento_disk *disk)
{
	spin_lock_init(&disk->discard_lock);
	INIT_LIST_HEAD(&disk->discards);
	init_waitqueue_head(&disk->discard_wait);
}

/* The journal is gone, and with it who would do it. */
void bento_discard_exit(struct bento_disk *disk)
{
	struct bento_discards *some, *next;

	list_for_each_entry_safe(some, next, &disk->discards, list)
		kvfree(some);
	INIT_LIST_HEAD(&disk->discards);
}

/* ---- FITRIM ---- */

static int bento_trim_step(struct bento_super *bs, struct bento_trim_args *args)
{
	journal_t *journal = bs->disk.journal;
	int err = bento_errno(bento_call(bs, trim, args));
	tid_t tid;

	if (err)
		return err;
	if (args->next <= args->start || args->trimmed > args->next - args->start)
		return bento_bad(bs, BENTO_OP_trim, "went from byte %llu to %llu for %llu bytes",
				 args->start, args->next, args->trimmed);
	if (!journal || !args->trimmed)
		return 0;
	/* What a step holds is nobody's until then: not all at once. */
	tid = READ_ONCE(bs->disk.space.tid);
	err = jbd2_complete_transaction(journal, tid);
	if (!err)
		bento_discard_wait(bs, tid);
	return err;
}

static int bento_trim(struct bento_super *bs, struct fstrim_range *range)
{
	struct bento_trim_args args = {
		.start = range->start,
		.least = max_t(u64, range->minlen, bdev_discard_granularity(bs->sb->s_bdev)),
	};
	int err = 0;

	if (check_add_overflow(range->start, range->len, &args.end))
		args.end = U64_MAX;
	range->len = 0;
	do {
		args.next = args.trimmed = 0;
		err = bento_trim_step(bs, &args);
		if (err)
			break;
		range->len += args.trimmed;
		args.start = args.next;
		if (fatal_signal_pending(current))
			err = -EINTR;
		cond_resched();
	} while (!err && args.start < args.end);
	return err;
}

long bento_fitrim(struct file *file, void __user *user)
{
	struct super_block *sb = file_inode(file)->i_sb;
	struct fstrim_range range;
	long err;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (!bdev_max_discard_sectors(sb->s_bdev))
		return -EOPNOTSUPP;
	if (copy_from_user(&range, user, sizeof(range)))
		return -EFAULT;
	err = mnt_want_write_file(file);
	if (err)
		return err;
	err = bento_trim(bento_sb(sb), &range);
	mnt_drop_write_file(file);
	if (!err && copy_to_user(user, &range, sizeof(range)))
		err = -EFAULT;
	return err;
}
