// SPDX-License-Identifier: GPL-2.0
/*
 * The journal of a mount: jbd2, told by us where its blocks lie (SAFETY.md T5:
 * its thread never reaches Rust), and what waits for it: fsync, sync, freeze,
 * unmount. Checksums of blocks are computed in its triggers.
 */
#include <linux/blkdev.h>
#include <linux/crc32c.h>
#include <linux/mm.h>
#include <linux/panic.h>
#include <linux/slab.h>

#include "disk.h"

/* ext4's fast commits begin with a block that begins with this tag. */
#define BENTO_FC_TAG_HEAD 9

/* ---- where it lies ---- */

bool bento_journal_overlaps(const struct bento_super *bs, u64 number, u64 count)
{
	const struct bento_disk *disk = &bs->disk;
	size_t i;

	for (i = 0; i < disk->run_count; i++)
		if (number < disk->runs[i].physical + disk->runs[i].count &&
		    disk->runs[i].physical < number + count)
			return true;
	return false;
}

static int bento_journal_bmap(journal_t *journal, sector_t *block)
{
	struct super_block *sb = journal->j_private;
	const struct bento_disk *disk = &bento_sb(sb)->disk;
	size_t i;

	for (i = 0; i < disk->run_count; i++) {
		const struct bento_run *run = &disk->runs[i];

		if (*block >= run->logical && *block - run->logical < run->count) {
			*block = run->physical + (*block - run->logical);
			return 0;
		}
	}
	return -EIO;
}

/* The shim believes no run; 0 or -EUCLEAN. `total` is the journal's length. */
static int bento_copy_runs(struct bento_call *call, const struct bento_journal *journal,
			   u64 *total)
{
	struct bento_disk *disk = &call->sb->disk;
	size_t i;
	int err;

	*total = 0;
	if (!journal->count || journal->count > SZ_64K)
		return bento_bad(call->sb, call->op, "has a journal in %zu pieces",
				 journal->count);
	disk->runs = kvmalloc_array(journal->count, sizeof(*disk->runs), GFP_KERNEL);
	if (!disk->runs)
		return -ENOMEM;
	memcpy(disk->runs, journal->runs, journal->count * sizeof(*disk->runs));
	for (i = 0; i < journal->count; i++) {
		const struct bento_run *run = &disk->runs[i];

		if (run->logical != *total || !run->count)
			return bento_bad(call->sb, call->op,
					 "has a journal with %llu blocks at %llu, where %llu was due",
					 run->count, run->logical, *total);
		err = bento_block_range(call, run->physical, run->count);
		if (!err && (!run->physical || bento_journal_overlaps(call->sb, run->physical, run->count)))
			err = bento_bad(call->sb, call->op,
					"has a journal with a piece at block %llu, which is in use",
					run->physical);
		if (err)
			return err;
		*total += run->count;
		disk->run_count = i + 1;
	}
	if (*total > INT_MAX)
		return bento_bad(call->sb, call->op, "has a journal of %llu blocks", *total);
	return 0;
}

/* ---- what is in it ---- */

struct bento_log { /* of its superblock */
	u32 sequence; /* of the first transaction in it */
	bool dirty; /* there is one */
	bool old; /* version 1: no features, no revokes */
	s32 error;
	u32 first_fast, fasts; /* fast-commit blocks, or 0 */
};

static int bento_log_read(struct bento_super *bs, u64 total, struct bento_log *log)
{
	struct buffer_head *bh = sb_bread(bs->sb, bs->disk.runs[0].physical);
	const journal_superblock_t *js;
	int err = 0;
	u32 length;

	*log = (struct bento_log){};
	if (!bh) {
		bento_msg(bs, KERN_ERR, "the journal's first block %llu cannot be read",
			  bs->disk.runs[0].physical);
		return -EIO;
	}
	js = (const journal_superblock_t *)bh->b_data;
	length = be32_to_cpu(js->s_maxlen);
	log->sequence = be32_to_cpu(js->s_sequence);
	log->dirty = js->s_start;
	log->error = be32_to_cpu(js->s_errno);
	log->old = js->s_header.h_blocktype == cpu_to_be32(JBD2_SUPERBLOCK_V1);
	if (js->s_header.h_magic != cpu_to_be32(JBD2_MAGIC_NUMBER) ||
	    js->s_blocksize != cpu_to_be32(bs->sb->s_blocksize) || length > total ||
	    be32_to_cpu(js->s_start) >= max(length, 1u)) {
		bento_msg(bs, KERN_ERR,
			  "block %llu is no journal's superblock: magic %#x, blocks of %u bytes, %u of %llu",
			  bs->disk.runs[0].physical, be32_to_cpu(js->s_header.h_magic),
			  be32_to_cpu(js->s_blocksize), length, total);
		err = -EUCLEAN;
	} else if (!log->old && js->s_feature_incompat &
				cpu_to_be32(JBD2_FEATURE_INCOMPAT_FAST_COMMIT)) {
		log->fasts = be32_to_cpu(js->s_num_fc_blks) ?:
				     JBD2_DEFAULT_FAST_COMMIT_BLOCKS;
		if (log->fasts < length)
			log->first_fast = length - log->fasts + 1;
		else
			log->fasts = 0;
	}
	if (log->error < -MAX_ERRNO || log->error > MAX_ERRNO)
		log->error = -EIO;
	brelse(bh);
	return err;
}

/*
 * jbd2 would drop fast commits without a word (T6). Older ones than the log, of
 * transactions that have been committed since, do no harm.
 */
static int bento_log_check_fast(struct bento_super *bs, const struct bento_log *log,
				journal_t *journal)
{
	sector_t block = log->first_fast;
	struct buffer_head *bh;
	bool found = false;
	u32 tid;

	if (!log->dirty || !log->first_fast)
		return 0;
	bh = bento_journal_bmap(journal, &block) ? NULL : sb_bread(bs->sb, block);
	if (!bh)
		return -EIO;
	/* tag, length; features, transaction: all little-endian */
	if (le16_to_cpup((__le16 *)bh->b_data) == BENTO_FC_TAG_HEAD) {
		tid = le32_to_cpup((__le32 *)(bh->b_data + 8));
		found = tid_geq(tid, log->sequence);
	}
	brelse(bh);
	if (!found)
		return 0;
	bento_msg(bs, KERN_ERR,
		  "the journal holds fast commits, which cannot be replayed here: run e2fsck, or mount it with ext4 once");
	return -EOPNOTSUPP;
}

/* ---- opening ---- */

static int bento_journal_features(struct bento_super *bs, journal_t *journal)
{
	u32 flags = bs->disk.journal_flags;
	unsigned long incompat = JBD2_FEATURE_INCOMPAT_REVOKE;

	if (flags & BENTO_JOURNAL_64BIT)
		incompat |= JBD2_FEATURE_INCOMPAT_64BIT;
	jbd2_journal_clear_features(journal, JBD2_FEATURE_COMPAT_CHECKSUM, 0,
				    JBD2_FEATURE_INCOMPAT_CSUM_V2 |
					    (flags & BENTO_JOURNAL_CHECKSUMS ?
						     0 : JBD2_FEATURE_INCOMPAT_CSUM_V3));
	if (flags & BENTO_JOURNAL_CHECKSUMS)
		incompat |= JBD2_FEATURE_INCOMPAT_CSUM_V3;
	if (jbd2_journal_set_features(journal, 0, 0, incompat))
		return 0;
	bento_msg(bs, KERN_ERR, "the journal cannot have features %#lx", incompat);
	return -EOPNOTSUPP;
}

/* After so many seconds a transaction commits by itself; 0 leaves it as it is. */
static void bento_journal_interval(journal_t *journal, u32 seconds)
{
	if (!seconds)
		return;
	write_lock(&journal->j_state_lock);
	journal->j_commit_interval = min_t(u64, seconds, 24 * 3600) * HZ;
	write_unlock(&journal->j_state_lock);
}

static int bento_journal_start(struct bento_super *bs, struct bento_journal *args,
			       const struct bento_log *log, int total)
{
	struct bento_disk *disk = &bs->disk;
	journal_t *journal;
	int err;

	journal = bento_journal_init(bs->sb->s_bdev, disk->runs[0].physical, total,
				     bs->sb->s_blocksize);
	if (IS_ERR(journal)) {
		bento_msg(bs, KERN_ERR, "the journal cannot be opened: errno %ld",
			  -PTR_ERR(journal));
		return PTR_ERR(journal);
	}
	journal->j_private = bs->sb;
	journal->j_bmap = bento_journal_bmap;
	journal->j_commit_callback = bento_discard_committed;
	bento_journal_interval(journal, args->commit_interval);
	if (!(args->flags & BENTO_JOURNAL_NO_BARRIER))
		journal->j_flags |= JBD2_BARRIER;
	if (args->flags & BENTO_JOURNAL_DISCARD)
		err = jbd2_journal_wipe(journal, disk->writable);
	else
		err = bento_log_check_fast(bs, log, journal);
	if (!err)
		err = jbd2_journal_load(journal);
	if (!err && log->dirty && !(args->flags & BENTO_JOURNAL_DISCARD))
		args->replayed = (u32)(journal->j_transaction_sequence - 1 - log->sequence);
	disk->journal_flags = args->flags;
	if (!err && disk->writable)
		err = bento_journal_features(bs, journal);
	if (err) {
		bento_msg(bs, KERN_ERR, "the journal cannot be used: errno %d", -err);
		jbd2_journal_destroy(journal);
		return err;
	}
	/* Else nothing could begin; on the device until the mount has succeeded. */
	jbd2_journal_clear_err(journal);
	disk->journal = journal;
	return 0;
}

u32 bento_journal_max_credits(const journal_t *journal)
{
	return max(bento_journal_room(journal), 0);
}

/* Below a live mount: it is open, and what it holds is newer than the device. */
static s32 bento_journal_again(struct bento_super *bs, struct bento_journal *journal)
{
	if (bs->disk.journal)
		journal->max_credits = bento_journal_max_credits(bs->disk.journal);
	else
		journal->max_credits = U32_MAX;
	return 0;
}

s32 bento_journal_open(struct bento_call *call, struct bento_journal *journal)
{
	struct bento_kcall *kc = container_of(call, struct bento_kcall, pub);
	struct bento_super *bs = call->sb;
	struct bento_disk *disk = &bs->disk;
	struct bento_log log;
	u64 total;
	int err;

	if (!bento_extents(bs))
		return bento_no_device(call);
	journal->replayed = 0;
	journal->error = 0;
	if (call->op != BENTO_OP_mount || kc->tx)
		return -EINVAL;
	if (bs->live)
		return bento_journal_again(bs, journal);
	if (disk->opened)
		return -EBUSY;
	disk->opened = true;
	err = bento_copy_runs(call, journal, &total);
	if (!err)
		err = bento_log_read(bs, total, &log);
	if (err)
		return err;
	if (log.old && disk->writable) {
		bento_msg(bs, KERN_ERR, "the journal is of version 1, which cannot be written");
		return -EOPNOTSUPP;
	}
	journal->error = log.error;
	disk->journal_error = log.error;
	/* Read-only as well: replaying is not what a reader may leave out. */
	if (log.dirty && bdev_read_only(bs->sb->s_bdev) &&
	    !(journal->flags & BENTO_JOURNAL_DISCARD)) {
		bento_msg(bs, KERN_ERR,
			  "the journal must be replayed, and the device is read-only");
		return -EROFS;
	}
	if (journal->flags & BENTO_JOURNAL_DISCARD && !disk->writable) {
		disk->skipped = true;
		journal->max_credits = 0;
		return 0;
	}
	err = bento_journal_start(bs, journal, &log, total);
	if (err)
		return err;
	disk->settled = true;
	journal->max_credits = bento_journal_max_credits(disk->journal);
	if (journal->replayed)
		bento_msg(bs, KERN_INFO, "%llu transactions of the journal replayed",
			  journal->replayed);
	return 0;
}
EXPORT_SYMBOL_GPL(bento_journal_open);

/* ---- checksums ---- */

struct bento_sum *bento_sum_get(struct bento_super *bs, u32 checksum)
{
	return checksum && checksum <= bs->disk.sum_count ?
		       &bs->disk.sums[checksum - 1] : NULL;
}

void bento_sum_set(const struct bento_sum *sum, struct buffer_head *bh, void *data)
{
	__le64 number = cpu_to_le64(bh->b_blocknr);
	u32 crc = sum->sum.seed;

	if (sum->sum.flags & BENTO_CHECKSUM_NUMBER)
		crc = crc32c(crc, &number, sizeof(number));
	crc = crc32c(crc, data + sum->sum.from, sum->sum.len);
	*(__le32 *)(data + sum->sum.at) = cpu_to_le32(crc);
}

static void bento_sum_frozen(struct jbd2_buffer_trigger_type *trigger,
			     struct buffer_head *bh, void *data, size_t size)
{
	bento_sum_set(container_of(trigger, struct bento_sum, trigger), bh, data);
}

static bool bento_sum_ok(const struct bento_checksum *sum, u32 size)
{
	return sum->from <= size && sum->len <= size - sum->from &&
	       sum->at <= size - 4 && IS_ALIGNED(sum->at, 4) &&
	       (sum->at + 4 <= sum->from || sum->at >= sum->from + sum->len) &&
	       !(sum->flags & ~BENTO_CHECKSUM_NUMBER);
}

/* A mount after the first says again what it said then (S3): buffers in the
 * journal point at what is here. */
s32 bento_checksum_add(struct bento_call *call, const struct bento_checksum *sum)
{
	struct bento_super *bs = call->sb;
	struct bento_disk *disk = &bs->disk;
	u32 n = disk->sums_added;

	if (!bento_extents(bs))
		return bento_no_device(call);
	if (call->op != BENTO_OP_mount)
		return -EINVAL;
	if (n == BENTO_CHECKSUMS_MAX)
		return -ENOSPC;
	if (!bento_sum_ok(sum, bs->sb->s_blocksize))
		return bento_bad(bs, call->op,
				 "wants a checksum of %u+%u at %u in a block of %lu",
				 sum->from, sum->len, sum->at, bs->sb->s_blocksize);
	if (n < disk->sum_count) {
		if (memcmp(&disk->sums[n].sum, sum, sizeof(*sum)))
			return bento_bad(bs, call->op,
					 "wants another checksum %u than it had", n + 1);
	} else {
		if (bs->live)
			return bento_bad(bs, call->op,
					 "wants more than the %u checksums it had", n);
		if (!disk->sums)
			disk->sums = kcalloc(BENTO_CHECKSUMS_MAX, sizeof(*disk->sums),
					     GFP_KERNEL);
		if (!disk->sums)
			return -ENOMEM;
		disk->sums[n].sum = *sum;
		disk->sums[n].trigger.t_frozen = bento_sum_frozen;
		disk->sum_count = n + 1;
	}
	return disk->sums_added = n + 1;
}
EXPORT_SYMBOL_GPL(bento_checksum_add);

/* ---- waiting for it ---- */

void bento_journal_loaded(struct inode *inode)
{
	struct bento_kinode *ki = bento_ki(inode);
	journal_t *journal = bento_isb(inode)->disk.journal;
	const transaction_t *transaction;

	ki->stored_size = ki->disk_size;
	if (!journal)
		return;
	read_lock(&journal->j_state_lock);
	transaction = journal->j_running_transaction ?:
			      journal->j_committing_transaction;
	ki->sync_tid = transaction ? transaction->t_tid : journal->j_commit_sequence;
	read_unlock(&journal->j_state_lock);
	ki->datasync_tid = ki->sync_tid;
}

void bento_journal_touched(struct inode *inode, u32 tid, bool data)
{
	struct bento_kinode *ki = bento_ki(inode);

	WRITE_ONCE(ki->sync_tid, tid);
	if (data || ki->stored_size != READ_ONCE(ki->disk_size))
		WRITE_ONCE(ki->datasync_tid, tid);
	ki->stored_size = READ_ONCE(ki->disk_size);
}

static int bento_device_flush(struct bento_super *bs)
{
	int err = blkdev_issue_flush(bs->sb->s_bdev);

	return err == -EOPNOTSUPP ? 0 : err;
}

int bento_journal_wait(struct inode *inode, bool datasync)
{
	struct bento_super *bs = bento_isb(inode);
	struct bento_kinode *ki = bento_ki(inode);
	journal_t *journal = bs->disk.journal;
	bool flush;
	tid_t tid;
	int err;

	if (!journal) {
		if (sb_rdonly(bs->sb))
			return 0;
		err = sync_blockdev(bs->sb->s_bdev);
		return err ?: bento_device_flush(bs);
	}
	tid = READ_ONCE(*(datasync ? &ki->datasync_tid : &ki->sync_tid));
	/* A commit that is still to come flushes the device's cache, too. */
	flush = journal->j_flags & JBD2_BARRIER &&
		!jbd2_trans_will_send_data_barrier(journal, tid);
	err = jbd2_complete_transaction(journal, tid);
	if (!err && is_journal_aborted(journal))
		err = -EIO;
	if (!err && flush)
		err = bento_device_flush(bs);
	return err;
}

int bento_journal_sync(struct bento_super *bs, bool wait)
{
	journal_t *journal = bs->disk.journal;
	bool flush = false;
	tid_t tid;
	int err = 0;

	if (sb_rdonly(bs->sb) || !READ_ONCE(bs->disk.writable))
		return 0;
	if (!journal) /* the VFS writes the device's buffers when it waits */
		return wait ? sync_blockdev(bs->sb->s_bdev) ?: bento_device_flush(bs) : 0;
	if (jbd2_journal_start_commit(journal, &tid)) {
		flush = wait && journal->j_flags & JBD2_BARRIER &&
			!jbd2_trans_will_send_data_barrier(journal, tid);
		if (wait)
			err = jbd2_log_wait_commit(journal, tid);
	} else {
		flush = wait && journal->j_flags & JBD2_BARRIER;
	}
	/* Of commits that others began and that are over but for this, too. */
	if (wait)
		bento_discard_wait(bs, READ_ONCE(journal->j_commit_sequence));
	if (!err && wait && is_journal_aborted(journal))
		err = -EIO;
	return err ?: flush ? bento_device_flush(bs) : 0;
}

/*
 * A handle in a log that is full waits for I/O, and so does who closes the gate
 * if it is begun inside (G3): one that is begun and ended before. Others may
 * fill the log again meanwhile; that is as rare as it was then.
 */
void bento_journal_make_room(struct bento_super *bs)
{
	journal_t *journal = bs->disk.journal;
	unsigned long most = READ_ONCE(journal->j_max_transaction_buffers);
	handle_t *handle;
	bool full;

	/* What jbd2 asks, less what a commit will still take: at most as much. */
	if (likely(READ_ONCE(journal->j_free) > 2 * most + 32))
		return;
	read_lock(&journal->j_state_lock);
	full = jbd2_log_space_left(journal) < most;
	read_unlock(&journal->j_state_lock);
	if (!full || current->journal_info)
		return;
	handle = jbd2__journal_start(journal, 1, 0, 0, GFP_NOFS, 0, 0);
	if (!IS_ERR(handle))
		jbd2_journal_stop(handle);
}

/* On the device, and nothing on its way there. */
bool bento_journal_is_empty(journal_t *journal)
{
	bool empty;

	read_lock(&journal->j_state_lock);
	spin_lock(&journal->j_list_lock);
	empty = journal->j_flags & JBD2_FLUSHED && !journal->j_running_transaction &&
		!journal->j_committing_transaction && !journal->j_checkpoint_transactions;
	spin_unlock(&journal->j_list_lock);
	read_unlock(&journal->j_state_lock);
	return empty;
}

/* A block past the empty log: what it says must be durable before the log is used. */
int bento_journal_write_apart(struct bento_super *bs, struct buffer_head *bh)
{
	blk_opf_t durable = bs->disk.journal->j_flags & JBD2_BARRIER ? REQ_FUA : 0;
	int err = __sync_dirty_buffer(bh, REQ_SYNC | durable);

	if (err) {
		/* Its bytes are still those in memory, which the undo writes anew. */
		clear_buffer_write_io_error(bh);
		set_buffer_uptodate(bh);
	}
	return err;
}

int bento_journal_empty(struct bento_super *bs)
{
	journal_t *journal = bs->disk.journal;
	int err;

	if (!journal)
		return bento_journal_sync(bs, true);
	jbd2_journal_lock_updates(journal);
	err = jbd2_journal_flush(journal, 0);
	/* Nobody writes: the VFS has seen to that. */
	jbd2_journal_unlock_updates(journal);
	if (err && is_journal_aborted(journal))
		bento_disk_stop(bs, "its journal has stopped");
	else if (err)
		bento_msg(bs, KERN_ERR, "the journal could not be emptied: errno %d", -err);
	return err;
}

/* ---- the end ---- */

void bento_disk_init(struct bento_super *bs)
{
	spin_lock_init(&bs->disk.space.lock);
	bento_discard_init(&bs->disk);
	bs->disk.writable = !sb_rdonly(bs->sb) && !bdev_read_only(bs->sb->s_bdev);
}

int bento_disk_mounted(struct bento_super *bs, const struct bento_mount_args *args)
{
	struct bento_space *space = &bs->disk.space;
	u64 blocks = bento_device_blocks(bs);

	if (args->space_free > blocks || args->space_root > blocks ||
	    args->space_margin > blocks)
		return bento_bad(bs, BENTO_OP_mount,
				 "returned %llu free blocks (%llu for root, %llu kept back) on a device of %llu",
				 args->space_free, args->space_root,
				 args->space_margin, blocks);
	space->free = args->space_free;
	space->root = args->space_root;
	space->margin = args->space_margin;
	space->uid = KUIDT_INIT(args->space_uid);
	space->gid = KGIDT_INIT(args->space_gid);
	bs->disk.settled = true;
	return 0;
}

void bento_disk_reconfigured(struct bento_super *bs,
			     const struct bento_reconfigure_args *args)
{
	WRITE_ONCE(bs->disk.auto_da_alloc, !(args->flags & BENTO_MOUNT_NOAUTO_DA_ALLOC));
	if (bs->disk.journal)
		bento_journal_interval(bs->disk.journal, args->commit_interval);
}

int bento_disk_writable(struct bento_super *bs)
{
	journal_t *journal = bs->disk.journal;
	int err = journal ? bento_journal_features(bs, journal) : 0;

	if (!err)
		WRITE_ONCE(bs->disk.writable, true);
	return err;
}

int bento_disk_ready(struct bento_super *bs)
{
	struct bento_disk *disk = &bs->disk;
	struct bento_recover_args args = {};
	int err = 0;

	if (!disk->writable)
		return 0;
	if (!xchg(&disk->recovered, true) && bento_has(bs, BENTO_OP_recover))
		err = bento_errno(bento_call(bs, recover, &args));
	if (err) {
		bento_msg(bs, KERN_ERR, "what was left by the last mount could not be put right: errno %d",
			  -err);
		return err;
	}
	/* Before, the next mount was to hear of it as well. */
	if (disk->journal && disk->journal_error)
		jbd2_journal_update_sb_errno(disk->journal);
	disk->journal_error = 0;
	/* That the device is in use is to be read from it, not only from the
	 * journal, before anything else is in there. */
	return bento_journal_empty(bs);
}

void bento_disk_exit(struct bento_super *bs)
{
	struct bento_disk *disk = &bs->disk;
	int err;

	disk->writable = false;
	if (disk->journal) {
		err = jbd2_journal_destroy(disk->journal);
		disk->journal = NULL;
		if (err && !disk->failed)
			bento_msg(bs, KERN_ERR, "the journal could not be closed: errno %d",
				  -err);
	}
	bento_discard_exit(disk);
	kvfree(disk->runs);
	disk->runs = NULL;
	disk->run_count = 0;
	kfree(disk->sums);
	disk->sums = NULL;
	disk->sum_count = 0;
}

bool bento_disk_stop(struct bento_super *bs, const char *why)
{
	struct bento_disk *disk = &bs->disk;

	if (xchg(&disk->failed, true))
		return false;
	WRITE_ONCE(disk->writable, false);
	if (bs->live && !sb_rdonly(bs->sb)) {
		bento_msg(bs, KERN_ERR, "read-only from now on: %s", why);
		/* Before others see this, nothing more begins. */
		smp_wmb();
		bs->sb->s_flags |= SB_RDONLY;
	}
	return true;
}

void bento_fail(struct bento_call *call, u32 what)
{
	struct bento_super *bs = call->sb;
	struct bento_disk *disk = &bs->disk;

	if (!bento_extents(bs)) {
		bento_no_device(call);
		return;
	}
	if (what == BENTO_FAIL_PANIC)
		panic("bento: %s(%s): the file system is corrupt, and errors=panic asks for this",
		      bs->fs->name, bs->source ?: "none");
	if (what == BENTO_FAIL_RDONLY && bento_disk_stop(bs, "the file system is corrupt") &&
	    disk->journal)
		jbd2_journal_abort(disk->journal, -EIO);
}
EXPORT_SYMBOL_GPL(bento_fail);
