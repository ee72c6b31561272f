// SPDX-License-Identifier: GPL-2.0
/*
 * From mount(2) to a live instance and back: options, the mount and unmount
 * thunks, what the handler chose checked, reconfigure.
 */
#include <linux/blkdev.h>
#include <linux/buffer_head.h>
#include <linux/fs_parser.h>
#include <linux/kmod.h>
#include <linux/slab.h>
#include <linux/wait_bit.h>
#include <linux/workqueue.h>

#include "shim.h"

/* Options that are not the VFS's, as the handler will read them. */
struct bento_mount_ctx {
	size_t len;
	char options[PAGE_SIZE - 64];
};

static int bento_parse_param(struct fs_context *fc, struct fs_parameter *param)
{
	struct bento_mount_ctx *ctx = fc->fs_private;
	size_t room = sizeof(ctx->options) - ctx->len;
	const char *sep = ctx->len ? "," : "";
	size_t len;

	if (!strcmp(param->key, "source"))
		return -ENOPARAM; /* the VFS takes it */
	switch (param->type) {
	case fs_value_is_flag:
		len = snprintf(ctx->options + ctx->len, room, "%s%s", sep, param->key);
		break;
	case fs_value_is_string:
		if (strchr(param->string, ','))
			return invalf(fc, "%s: the value of %s has a comma in it",
				      fc->fs_type->name, param->key);
		len = snprintf(ctx->options + ctx->len, room, "%s%s=%s", sep,
			       param->key, param->string);
		break;
	default:
		return invalf(fc, "%s: option %s must be text", fc->fs_type->name,
			      param->key);
	}
	if (len >= room) {
		ctx->options[ctx->len] = 0;
		return invalf(fc, "%s: more than %zu bytes of options",
			      fc->fs_type->name, sizeof(ctx->options) - 1);
	}
	ctx->len += len;
	return 0;
}

static void bento_fill_tables(struct bento_super *bs, struct bento_tables *t)
{
	struct inode_operations *each[] = { &t->dir_iops, &t->file_iops,
					    &t->symlink_iops, &t->special_iops };
	int i;

	for (i = 0; i < ARRAY_SIZE(each); i++) {
		bento_fill_common_iops(bs, each[i]);
		bento_fill_xattr_iops(bs, each[i]);
	}
	bento_fill_dir_iops(bs, &t->dir_iops);
	bento_fill_file_iops(bs, &t->file_iops);
	bento_fill_symlink_iops(bs, &t->symlink_iops);
	bento_fill_dir_fops(bs, &t->dir_fops);
	bento_fill_file_fops(bs, &t->file_fops);
	bento_fill_ioctl_fops(bs, &t->dir_fops);
	bento_fill_ioctl_fops(bs, &t->file_fops);
	bento_fill_aops(bs, &t->aops);
	bento_fill_super_ops(bs, &t->super);
	bento_fill_export(bs, &t->export);
}

/*
 * Before the gate closes for a version with more handlers. The tables are in
 * use: each pointer changes in one store, and until the swap the new ones find
 * no thunk (bento_absent in call.c). `permission` is looked up once for each
 * inode; who did so while we store is told by the sweep. What the VFS notes
 * when a file is opened (may it be read?) stays for that file.
 */
int bento_grow_tables(struct bento_super *bs, u64 handlers)
{
	void **to = (void **)&bs->tables, **from;
	u64 add = handlers & ~bs->filled;
	struct super_block *sb = bs->sb;
	struct bento_tables *tables;
	struct inode *inode;
	size_t i;

	if (!add)
		return 0;
	if (add & 1ull << BENTO_OP_setxattr) {
		/* Unmounting holds it, and waits for us. */
		if (!down_read_trylock(&sb->s_umount))
			return -EAGAIN;
		sb->s_flags |= SB_POSIXACL;
		up_read(&sb->s_umount);
	}
	tables = kzalloc(sizeof(*tables), GFP_KERNEL);
	if (!tables)
		return -ENOMEM;
	bs->filled |= add;
	bento_fill_tables(bs, tables);
	from = (void **)tables;
	BUILD_BUG_ON(sizeof(*tables) % sizeof(void *));
	for (i = 0; i < sizeof(*tables) / sizeof(void *); i++)
		if (from[i] != to[i])
			WRITE_ONCE(to[i], from[i]);
	kfree(tables);
	if (add & 1ull << BENTO_OP_get_parent)
		WRITE_ONCE(sb->s_export_op, &bs->tables.export);
	if (!(add & 1ull << BENTO_OP_permission))
		return 0;
	spin_lock(&sb->s_inode_list_lock);
	list_for_each_entry(inode, &sb->s_inodes, i_sb_list) {
		spin_lock(&inode->i_lock);
		inode->i_opflags &= ~IOP_FASTPERM;
		spin_unlock(&inode->i_lock);
	}
	spin_unlock(&sb->s_inode_list_lock);
	return 0;
}

/* What the handler chose for its mount; limits and formats are the shim's. */
static int bento_mount_check(struct super_block *sb,
			     const struct bento_mount_args *args)
{
	struct bento_super *bs = bento_sb(sb);

	if (!args->instance)
		return bento_bad(bs, BENTO_OP_mount, "returned no instance");
	if (!args->root_ino)
		return bento_bad(bs, BENTO_OP_mount, "returned root inode number 0");
	if (!is_power_of_2(args->block_size) || args->block_size < 512 ||
	    args->block_size > PAGE_SIZE)
		return bento_bad(bs, BENTO_OP_mount,
				 "returned block size %u, not a power of two from 512 to %lu",
				 args->block_size, PAGE_SIZE);
	if (!args->max_file_size || args->max_file_size > MAX_LFS_FILESIZE)
		return bento_bad(bs, BENTO_OP_mount,
				 "returned largest file size %llu",
				 args->max_file_size);
	if (!args->time_granularity || args->time_granularity > NSEC_PER_SEC)
		return bento_bad(bs, BENTO_OP_mount,
				 "returned time granularity %u ns",
				 args->time_granularity);
	if (args->time_min >= args->time_max)
		return bento_bad(bs, BENTO_OP_mount,
				 "returned times from %lld to %lld",
				 args->time_min, args->time_max);
	if (!args->name_max || args->name_max > BENTO_NAME_MAX)
		return bento_bad(bs, BENTO_OP_mount, "returned longest name %u",
				 args->name_max);
	if (args->max_bytes > LLONG_MAX || args->max_inodes > LLONG_MAX)
		return bento_bad(bs, BENTO_OP_mount,
				 "returned limits of %llu bytes and %llu inodes",
				 args->max_bytes, args->max_inodes);
	if (bento_extents(bs) && args->block_size != sb->s_blocksize)
		return bento_bad(bs, BENTO_OP_mount,
				 "returned block size %u, and set the device's to %lu",
				 args->block_size, sb->s_blocksize);
	return 0;
}

static struct bento_mount_args bento_mount_ask(struct bento_super *bs,
					       const char *options, u32 why)
{
	return (struct bento_mount_args){
		.source = bento_bytes(bs->source, strlen(bs->source)),
		.options = bento_bytes(options ?: "", options ? strlen(options) : 0),
		.flags = sb_rdonly(bs->sb) ? BENTO_MOUNT_RDONLY : 0,
		.why = why,
		.root_ino = BENTO_ROOT_INO,
		.max_file_size = MAX_LFS_FILESIZE,
		.block_size = bento_extents(bs) ? bs->sb->s_blocksize : PAGE_SIZE,
		.magic = BENTO_ABI_MAGIC,
		.time_granularity = 1,
		.time_min = TIME64_MIN,
		.time_max = TIME64_MAX,
		.name_max = BENTO_NAME_MAX,
	};
}

/* Limits, sizes and names stay the live mount's. */
int bento_remount(struct bento_super *bs, struct bento_epoch *epoch,
		  struct bento_kcall *kc)
{
	struct bento_mount_args args;
	char *options = NULL;
	int err = 0;

	spin_lock(&bs->options_lock);
	if (bs->options) {
		options = kstrdup(bs->options, GFP_ATOMIC);
		if (!options)
			err = -ENOMEM;
	}
	spin_unlock(&bs->options_lock);
	if (err)
		return err;
	args = bento_mount_ask(bs, options, BENTO_WHY_RESTART);
	bs->disk.sums_added = 0;
	/* A new instance cannot know which blocks are free only from the commit
	 * on: then none is. Nobody is inside, so no handle holds it up. An error
	 * is the journal's end, and nothing is written after that. */
	if (bs->disk.journal)
		bento_journal_sync(bs, true);
	err = bento_errno(bento_direct(bs, epoch, BENTO_OP_mount, &args, kc));
	kfree(options);
	epoch->instance = args.instance;
	if (!err)
		err = bento_mount_check(bs->sb, &args);
	if (!err && args.root_ino != bs->root_ino)
		err = bento_bad(bs, BENTO_OP_mount,
				"returned root inode number %llu, it was %llu",
				args.root_ino, bs->root_ino);
	return err;
}

static int bento_mount_call(struct super_block *sb, struct fs_context *fc)
{
	struct bento_super *bs = bento_sb(sb);
	struct bento_mount_args args = bento_mount_ask(bs, bs->options,
						       BENTO_WHY_MOUNT);
	int err = bento_errno(bento_call(bs, mount, &args));

	if (err) {
		if (fc->log.log && bs->last_error[0])
			errorf(fc, "%s: %s", bs->fs->name, bs->last_error);
		return err;
	}
	bs->slot.instance = bs->slot.now->instance = args.instance;
	err = bento_mount_check(sb, &args);
	if (err)
		return err;
	if (args.flags & BENTO_MOUNT_RDONLY && !sb_rdonly(sb)) {
		sb->s_flags |= SB_RDONLY;
		WRITE_ONCE(bs->disk.writable, false);
	}
	bs->root_ino = args.root_ino;
	bs->magic = args.magic;
	bs->name_max = args.name_max;
	bs->max_bytes = args.max_bytes;
	bs->max_inodes = args.max_inodes;
	if (bento_extents(bs)) {
		bs->disk.auto_da_alloc = !(args.flags & BENTO_MOUNT_NOAUTO_DA_ALLOC);
		err = bento_disk_mounted(bs, &args);
		if (err)
			return err;
	}
	sb->s_magic = args.magic;
	sb->s_maxbytes = args.max_file_size;
	sb->s_time_gran = args.time_granularity;
	sb->s_time_min = args.time_min;
	sb->s_time_max = args.time_max;
	sb->s_blocksize = args.block_size;
	sb->s_blocksize_bits = ilog2(args.block_size);
	return 0;
}

static int bento_make_root(struct super_block *sb)
{
	struct bento_super *bs = bento_sb(sb);
	struct inode *root = bento_iget(sb, bs->root_ino, BENTO_OP_mount);

	if (IS_ERR(root)) {
		bento_msg(bs, KERN_ERR, "its root, inode %llu, cannot be had: errno %ld",
			  bs->root_ino, -PTR_ERR(root));
		return PTR_ERR(root);
	}
	if (!S_ISDIR(root->i_mode)) {
		bento_bad(bs, BENTO_OP_load_inode,
			  "returned mode %#o for the root, not a directory",
			  root->i_mode);
		iput(root);
		return -EUCLEAN;
	}
	sb->s_root = d_make_root(root);
	return sb->s_root ? 0 : -ENOMEM;
}

/* On failure bento_kill_sb() takes apart what has been made. */
static int bento_fill_super(struct super_block *sb, struct fs_context *fc)
{
	struct bento_fs *fs = container_of(fc->fs_type, struct bento_fs, type);
	struct bento_mount_ctx *ctx = fc->fs_private;
	struct bento_version *version;
	struct bento_super *bs;
	int err;

	version = bento_version_get(fs, 0);
	if (!version) {
		errorf(fc, "%s: no version of it is loaded; insmod its module",
		       fs->name);
		return -ENODEV;
	}
	bs = kzalloc(sizeof(*bs), GFP_KERNEL);
	err = bs ? bento_slot_init(&bs->slot) : -ENOMEM;
	if (err) {
		kfree(bs);
		bento_version_put(version);
		return err;
	}
	bs->sb = sb;
	bs->fs = fs;
	bs->slot.now = bento_epoch_new(version, bs->slot.generation);
	if (!bs->slot.now) {
		bento_slot_exit(&bs->slot);
		kfree(bs);
		return -ENOMEM;
	}
	bs->slot.ops = version->ops;
	bs->handlers = bs->filled = version->ops->handlers;
	bs->data = version->ops->data;
	spin_lock_init(&bs->options_lock);
	bento_orphans_init(bs);
	bento_swap_init(bs);
	ratelimit_state_init(&bs->log_limit, 5 * HZ, 50);
	ratelimit_state_init(&bs->panic_limit, 5 * HZ, 100);
	bento_sysfs_init_super(bs);
	sb->s_fs_info = bs;

	bs->source = kstrdup(fc->source ?: "none", GFP_KERNEL);
	if (ctx->len)
		bs->options = kstrdup(ctx->options, GFP_KERNEL);
	if (!bs->source || (ctx->len && !bs->options))
		return -ENOMEM;
	bento_fill_tables(bs, &bs->tables);
	sb->s_op = &bs->tables.super;
	sb->s_xattr = bento_xattr_table;
	if (bento_has(bs, BENTO_OP_get_parent))
		sb->s_export_op = &bs->tables.export;
	if (bento_has(bs, BENTO_OP_setxattr))
		sb->s_flags |= SB_POSIXACL;
	/* A write asks for security.capability once, not each time. */
	sb->s_flags |= SB_NOSEC;
	/* A resident mount has nowhere to write to: noop, as in ramfs. A device
	 * brings its own. */
	if (bento_extents(bs)) {
		/* Small enough for whatever lies at its beginning. */
		if (!sb_min_blocksize(sb, SZ_1K))
			return -EINVAL;
		bento_disk_init(bs);
	} else if (!bento_resident(bs)) {
		err = super_setup_bdi(sb);
		if (err)
			return err;
		/* A large read() becomes one handler call. */
		sb->s_bdi->io_pages = SZ_1M >> PAGE_SHIFT;
	}
	err = bento_mount_call(sb, fc);
	if (!err)
		err = bento_make_root(sb);
	if (!err) {
		/* Before anybody can ask for a swap. */
		bs->live = true;
		if (bento_extents(bs))
			err = bento_disk_ready(bs);
		err = err ?: bento_sysfs_add_super(bs);
	}
	return err;
}

static int bento_get_tree(struct fs_context *fc)
{
	struct bento_fs *fs = container_of(fc->fs_type, struct bento_fs, type);

	/* The name outlives its modules, so the VFS will not load one. */
	if (list_empty_careful(&fs->versions))
		request_module("fs-%s", fs->name);
	if (fs->type.fs_flags & FS_REQUIRES_DEV)
		return get_tree_bdev(fc, bento_fill_super);
	return get_tree_nodev(fc, bento_fill_super);
}

static int bento_reconfigure_call(struct fs_context *fc)
{
	struct super_block *sb = fc->root->d_sb;
	struct bento_super *bs = bento_sb(sb);
	struct bento_mount_ctx *ctx = fc->fs_private;
	struct bento_reconfigure_args args = {
		/* Without any they stay what they are, as /proc/mounts goes on to say. */
		.options = ctx->len || !bs->options ?
				   bento_bytes(ctx->options, ctx->len) :
				   bento_bytes(bs->options, strlen(bs->options)),
		.flags = (fc->sb_flags & SB_RDONLY ? BENTO_MOUNT_RDONLY : 0) |
			 (bs->disk.auto_da_alloc ? 0 : BENTO_MOUNT_NOAUTO_DA_ALLOC),
		.max_bytes = bs->max_bytes,
		.max_inodes = bs->max_inodes,
	};
	char *options = NULL;
	int err;

	if (!bento_has(bs, BENTO_OP_reconfigure)) {
		if (ctx->len && strcmp(ctx->options, bs->options ?: ""))
			return invalf(fc, "%s: options cannot change while mounted",
				      bs->fs->name);
		return 0;
	}
	if (ctx->len) {
		options = kstrdup(ctx->options, GFP_KERNEL);
		if (!options)
			return -ENOMEM;
	}
	err = bento_errno(bento_call(bs, reconfigure, &args));
	if (!err && (args.max_bytes > LLONG_MAX || args.max_inodes > LLONG_MAX))
		err = bento_bad(bs, BENTO_OP_reconfigure,
				"returned limits of %llu bytes and %llu inodes",
				args.max_bytes, args.max_inodes);
	if (err) {
		kfree(options);
		return err;
	}
	WRITE_ONCE(bs->max_bytes, args.max_bytes);
	WRITE_ONCE(bs->max_inodes, args.max_inodes);
	if (bento_extents(bs))
		bento_disk_reconfigured(bs, &args);
	if (options) {
		spin_lock(&bs->options_lock);
		swap(options, bs->options);
		spin_unlock(&bs->options_lock);
		kfree(options);
	}
	return 0;
}

/*
 * Of a disk file system, read-write and back. The handler may run transactions
 * either way: it is the first that writes, or the last. The VFS changes its own
 * flag when we are done.
 */
static int bento_reconfigure_disk(struct fs_context *fc)
{
	struct super_block *sb = fc->root->d_sb;
	struct bento_super *bs = bento_sb(sb);
	struct bento_disk *disk = &bs->disk;
	bool ro = fc->sb_flags & SB_RDONLY, was = sb_rdonly(sb);
	int err;

	if (!ro && was) {
		if (disk->failed)
			return invalf(fc, "%s: it has failed: unmount it and check it first",
				      bs->fs->name);
		if (disk->skipped)
			return invalf(fc, "%s: its journal was left alone: unmount it and mount it read-write",
				      bs->fs->name);
		err = bento_disk_writable(bs);
		if (err)
			return err;
	}
	/* As before the last call of a mount. */
	if (ro && !was && disk->writable)
		bento_journal_empty(bs);
	err = bento_reconfigure_call(fc);
	if (!err && !ro && was)
		err = bento_disk_ready(bs);
	if (!err && ro && !was) {
		err = bento_journal_empty(bs);
		/* Read-only it is, whatever became of the journal. */
		if (disk->failed)
			err = 0;
	}
	if (!ro && was && err)
		bento_journal_empty(bs);
	if (err ? was : ro)
		WRITE_ONCE(disk->writable, false);
	return err;
}

static int bento_reconfigure(struct fs_context *fc)
{
	struct super_block *sb = fc->root->d_sb;

	sync_filesystem(sb);
	return bento_extents(bento_sb(sb)) ? bento_reconfigure_disk(fc) :
					     bento_reconfigure_call(fc);
}

static void bento_free_fc(struct fs_context *fc)
{
	kfree(fc->fs_private);
}

static const struct fs_context_operations bento_context_ops = {
	.free = bento_free_fc,
	.parse_param = bento_parse_param,
	.get_tree = bento_get_tree,
	.reconfigure = bento_reconfigure,
};

int bento_init_fs_context(struct fs_context *fc)
{
	fc->fs_private = kzalloc(sizeof(struct bento_mount_ctx), GFP_KERNEL);
	if (!fc->fs_private)
		return -ENOMEM;
	fc->ops = &bento_context_ops;
	return 0;
}

/* The last call, when no inode is left. */
static void bento_unmount(struct bento_super *bs)
{
	struct bento_unmount_args args = {};
	struct bento_slot *slot = &bs->slot;

	flush_work(&bs->orphan_work);
	/* In quarantine too: nobody else is left to enter. */
	if (slot->now->instance && !slot->now->abandoned) {
		/* What the handler writes last says that there is nothing to
		 * replay: all else is at its place by then. */
		if (bento_extents(bs) && bs->disk.writable)
			bento_journal_empty(bs);
		bento_direct(bs, slot->now, BENTO_OP_unmount, &args, NULL);
		slot->now->instance = NULL;
	}
	if (bento_extents(bs))
		bento_disk_exit(bs);
}

/* Before the VFS forgets that the device is in use. */
void bento_put_super(struct super_block *sb)
{
	bento_unmount(bento_sb(sb));
}

/* Abandoned, it stays in memory for ever and so does its module (SAFETY.md C2). */
static void bento_end_instance(struct bento_super *bs)
{
	struct bento_slot *slot = &bs->slot;
	struct bento_epoch *epoch, *newer;

	list_for_each_entry_safe_reverse(epoch, newer, &slot->old, list) {
		list_del(&epoch->list);
		bento_epoch_end(bs, epoch);
	}
	slot->instance = NULL;
	bento_epoch_end(bs, slot->now);
	bento_slot_exit(slot);
}

void bento_kill_sb(struct super_block *sb)
{
	struct bento_super *bs = bento_sb(sb);
	bool device = sb->s_type->fs_flags & FS_REQUIRES_DEV;
	dev_t dev = sb->s_dev;

	if (bs) {
		bento_swap_stop(bs);
		/* Work that holds inodes ends before they are taken away; writing
		 * them back may begin some. */
		if (sb->s_root)
			sync_filesystem(sb);
		wait_var_event(&bs->deferred, !atomic_read(&bs->deferred));
		flush_work(&bs->orphan_work);
		if (bento_resident(bs))
			bento_unpin_all(sb);
	}
	if (bs && device && !sb->s_root)
		bento_unmount(bs); /* else in bento_put_super */
	if (device)
		kill_block_super(sb);
	else
		generic_shutdown_super(sb);
	/* s_umount is free now, an anonymous device number still ours. */
	if (bs) {
		bento_sysfs_del_super(bs);
		if (!device)
			bento_unmount(bs);
		bento_end_instance(bs);
		kobject_put(&bs->kobj);
	}
	if (!device)
		free_anon_bdev(dev);
}
