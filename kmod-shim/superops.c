// SPDX-License-Identifier: GPL-2.0
/*
 * The super_operations: memory of inodes, writing them back, statfs, sync,
 * freeze, and the options as /proc/mounts shows them.
 */
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/statfs.h>
#include <linux/writeback.h>

#include "extents.h"

static struct inode *bento_alloc_inode(struct super_block *sb)
{
	struct bento_kinode *ki = alloc_inode_sb(sb, bento_inode_cache, GFP_KERNEL);

	if (!ki)
		return NULL;
	ki->pub = (struct bento_inode){};
	ki->btime = (struct timespec64){};
	ki->fsflags = 0;
	ki->blksize = 0;
	ki->state = 0;
	ki->charged = 0;
	ki->made = 0;
	ki->failures = 0;
	ki->disk_size = ki->stored_size = 0;
	ki->project = 0;
	ki->sync_tid = ki->datasync_tid = 0;
	/* Not once for all: who tracks objects forgets one that is freed. */
	bento_done_init(&ki->map);
	bento_epoch_count(bento_sb(sb), ki);
	return &ki->vfs;
}

/* After a grace period; the superblock may be gone. */
static void bento_free_inode(struct inode *inode)
{
	if (S_ISLNK(inode->i_mode))
		kfree(inode->i_link);
	/* Never got as far as to be evicted; the mount is still there. */
	if (unlikely(bento_ki(inode)->epoch))
		bento_epoch_uncount(bento_ki(inode));
	kmem_cache_free(bento_inode_cache, bento_ki(inode));
}

static int bento_write_inode(struct inode *inode, struct writeback_control *wbc)
{
	struct bento_write_inode_args args = {
		.inode = bento_pub(inode),
		.flags = wbc->sync_mode == WB_SYNC_ALL,
	};

	int owed = bento_extents(bento_isb(inode)) ? bento_map_settle(inode) : 0;

	/* Into the journal: who wants it on the device (fsync, sync, nfsd) waits
	 * for that once, when all of it is there. */
	return bento_errno(bento_call(bento_isb(inode), write_inode, &args)) ?: owed;
}

static void bento_limit_statfs(struct bento_super *bs, struct kstatfs *st)
{
	u64 max = READ_ONCE(bs->max_bytes), inodes = READ_ONCE(bs->max_inodes);

	if (max) {
		u64 used = max_t(s64, atomic64_read(&bs->used_bytes), 0);

		st->f_blocks = max / st->f_bsize;
		st->f_bfree = used < max ? (max - used) / st->f_bsize : 0;
		st->f_bavail = st->f_bfree;
	}
	if (inodes) {
		u64 used = max_t(s64, atomic64_read(&bs->used_inodes), 0);

		st->f_files = inodes;
		st->f_ffree = used < inodes ? inodes - used : 0;
	}
}

static int bento_statfs(struct dentry *dentry, struct kstatfs *st)
{
	struct bento_super *bs = bento_sb(dentry->d_sb);
	struct bento_statfs_args args;
	int err;

	simple_statfs(dentry, st);
	st->f_type = bs->magic;
	st->f_bsize = dentry->d_sb->s_blocksize;
	st->f_namelen = bs->name_max;
	bento_limit_statfs(bs, st);
	if (bento_extents(bs))
		bento_space_statfs(bs, &st->f_bfree, &st->f_bavail);
	if (!bento_has(bs, BENTO_OP_statfs))
		return 0;
	args = (struct bento_statfs_args){
		.blocks = st->f_blocks,
		.bfree = st->f_bfree,
		.bavail = st->f_bavail,
		.files = st->f_files,
		.ffree = st->f_ffree,
		.bsize = st->f_bsize,
		.frsize = st->f_bsize,
		.namelen = st->f_namelen,
		.fsid_lo = st->f_fsid.val[0],
		.fsid_hi = st->f_fsid.val[1],
	};
	err = bento_errno(bento_call(bs, statfs, &args));
	if (err)
		return err;
	if (!args.bsize || !args.frsize)
		return bento_bad(bs, BENTO_OP_statfs,
				 "returned block size %u, fragment size %u",
				 args.bsize, args.frsize);
	if (args.bfree > args.blocks || args.bavail > args.blocks)
		return bento_bad(bs, BENTO_OP_statfs,
				 "returned %llu free and %llu available of %llu blocks",
				 args.bfree, args.bavail, args.blocks);
	if (args.ffree > args.files)
		return bento_bad(bs, BENTO_OP_statfs,
				 "returned %llu free of %llu inodes", args.ffree,
				 args.files);
	st->f_blocks = args.blocks;
	st->f_bfree = args.bfree;
	st->f_bavail = args.bavail;
	st->f_files = args.files;
	st->f_ffree = args.ffree;
	st->f_bsize = args.bsize;
	st->f_frsize = args.frsize;
	st->f_namelen = args.namelen;
	st->f_fsid.val[0] = args.fsid_lo;
	st->f_fsid.val[1] = args.fsid_hi;
	return 0;
}

static int bento_sync_fs(struct super_block *sb, int wait)
{
	struct bento_sync_fs_args args = { .wait = wait };
	struct bento_super *bs = bento_sb(sb);
	int err = 0, later = 0;

	/* Refused since their inodes were written: those are dirty again. */
	if (wait && atomic_read(&bs->owing)) {
		sync_inodes_sb(sb);
		if (atomic_read(&bs->owing))
			later = -EIO;
	}
	if (bento_has(bs, BENTO_OP_sync_fs))
		err = bento_errno(bento_call(bs, sync_fs, &args));
	if (bento_extents(bs))
		later = bento_journal_sync(bs, wait) ?: later;
	return err ?: later;
}

static int bento_freeze_fs(struct super_block *sb)
{
	struct bento_freeze_args args = {};
	struct bento_super *bs = bento_sb(sb);
	int err = 0;

	if (bento_has(bs, BENTO_OP_freeze))
		err = bento_errno(bento_call(bs, freeze, &args));
	if (err || !bento_extents(bs) || sb_rdonly(sb))
		return err;
	err = bento_journal_empty(bs);
	if (err && bento_has(bs, BENTO_OP_thaw))
		bento_call(bs, thaw, &args);
	return err;
}

static int bento_unfreeze_fs(struct super_block *sb)
{
	struct bento_thaw_args args = {};

	return bento_errno(bento_call(bento_sb(sb), thaw, &args));
}

static int bento_show_options(struct seq_file *m, struct dentry *root)
{
	struct bento_super *bs = bento_sb(root->d_sb);

	spin_lock(&bs->options_lock);
	if (bs->options) {
		seq_putc(m, ',');
		seq_escape(m, bs->options, " \t\n\\");
	}
	spin_unlock(&bs->options_lock);
	return 0;
}

void bento_fill_super_ops(struct bento_super *bs, struct super_operations *ops)
{
	ops->alloc_inode = bento_alloc_inode;
	ops->free_inode = bento_free_inode;
	ops->evict_inode = bento_evict_inode;
	ops->statfs = bento_statfs;
	ops->show_options = bento_show_options;
	if ((bento_had(bs, BENTO_OP_write_inode) && !bento_resident(bs)) ||
	    bento_extents(bs))
		ops->write_inode = bento_write_inode;
	if (bento_extents(bs))
		ops->put_super = bento_put_super;
	if (bento_had(bs, BENTO_OP_sync_fs) || bento_extents(bs))
		ops->sync_fs = bento_sync_fs;
	if (bento_had(bs, BENTO_OP_freeze) || bento_extents(bs))
		ops->freeze_fs = bento_freeze_fs;
	if (bento_had(bs, BENTO_OP_thaw))
		ops->unfreeze_fs = bento_unfreeze_fs;
}
