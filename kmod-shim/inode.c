// SPDX-License-Identifier: GPL-2.0
/*
 * Inodes: found or loaded by number, their attributes as Rust sees and changes
 * them, and the pins that keep a resident mount's alive.
 */
#include <linux/slab.h>
#include <linux/uidgid.h>

#include "shim.h"

void bento_init_ops(struct inode *inode)
{
	struct bento_tables *t = &bento_isb(inode)->tables;

	switch (inode->i_mode & S_IFMT) {
	case S_IFREG:
		inode->i_op = &t->file_iops;
		inode->i_fop = &t->file_fops;
		inode->i_mapping->a_ops = &t->aops;
		bento_init_mapping(inode);
		break;
	case S_IFDIR:
		inode->i_op = &t->dir_iops;
		inode->i_fop = &t->dir_fops;
		break;
	case S_IFLNK:
		inode->i_op = &t->symlink_iops;
		break;
	default:
		init_special_inode(inode, inode->i_mode, inode->i_rdev);
		inode->i_op = &t->special_iops;
	}
}

void bento_set_fsflags(struct inode *inode, u32 fsflags)
{
	unsigned int flags = 0;

	if (fsflags & FS_SYNC_FL)
		flags |= S_SYNC;
	if (fsflags & FS_APPEND_FL)
		flags |= S_APPEND;
	if (fsflags & FS_IMMUTABLE_FL)
		flags |= S_IMMUTABLE;
	if (fsflags & FS_NOATIME_FL)
		flags |= S_NOATIME;
	if (fsflags & FS_DIRSYNC_FL)
		flags |= S_DIRSYNC;
	inode_set_flags(inode, flags, S_SYNC | S_APPEND | S_IMMUTABLE |
					      S_NOATIME | S_DIRSYNC);
	WRITE_ONCE(bento_ki(inode)->fsflags, fsflags);
}

void bento_fill_attr(const struct inode *inode, struct bento_attr *attr)
{
	const struct bento_kinode *ki = bento_ki(inode);

	*attr = (struct bento_attr){
		.ino = inode->i_ino,
		.size = i_size_read(inode),
		.blocks = S_ISREG(inode->i_mode) && bento_resident(bento_isb(inode)) ?
				  bento_file_blocks(inode) :
				  inode->i_blocks,
		.atime = bento_time(inode_get_atime(inode)),
		.mtime = bento_time(inode_get_mtime(inode)),
		.ctime = bento_time(inode_get_ctime(inode)),
		.btime = bento_time(ki->btime),
		.mode = inode->i_mode,
		.nlink = inode->i_nlink,
		/* The initial user namespace maps every id to itself. */
		.uid = __kuid_val(inode->i_uid),
		.gid = __kgid_val(inode->i_gid),
		.rdev_major = MAJOR(inode->i_rdev),
		.rdev_minor = MINOR(inode->i_rdev),
		.generation = inode->i_generation,
		.flags = READ_ONCE(ki->fsflags),
		.blksize = ki->blksize ?: i_blocksize(inode),
		.write_life = inode->i_write_hint,
		.disk_size = READ_ONCE(ki->disk_size),
		.project = READ_ONCE(ki->project),
	};
}

void bento_inode_attr(const struct bento_inode *pub, struct bento_attr *out)
{
	bento_fill_attr(bento_vfs(pub), out);
}
EXPORT_SYMBOL_GPL(bento_inode_attr);

static bool bento_time_ok(const struct bento_time *t)
{
	return t->nsec < NSEC_PER_SEC;
}

static struct timespec64 bento_ts(const struct inode *inode,
				  const struct bento_time *t)
{
	struct timespec64 ts = { .tv_sec = t->sec, .tv_nsec = t->nsec };

	return timestamp_truncate(ts, (struct inode *)inode);
}

/* NULL, or which field is impossible. */
static const char *bento_attr_bad(const struct inode *inode,
				  const struct bento_attr *attr, u32 valid,
				  u64 *value)
{
	u64 size_max = S_ISREG(inode->i_mode) ? inode->i_sb->s_maxbytes : LLONG_MAX;

	if (valid & BENTO_ATTR_SIZE && attr->size > size_max)
		return *value = attr->size, "size";
	if (valid & BENTO_ATTR_BLOCKS && attr->blocks > LLONG_MAX >> 9)
		return *value = attr->blocks, "blocks";
	if (valid & BENTO_ATTR_UID && attr->uid == (u32)-1)
		return *value = attr->uid, "uid";
	if (valid & BENTO_ATTR_GID && attr->gid == (u32)-1)
		return *value = attr->gid, "gid";
	if (valid & BENTO_ATTR_ATIME && !bento_time_ok(&attr->atime))
		return *value = attr->atime.nsec, "atime nanoseconds";
	if (valid & BENTO_ATTR_MTIME && !bento_time_ok(&attr->mtime))
		return *value = attr->mtime.nsec, "mtime nanoseconds";
	if (valid & BENTO_ATTR_CTIME && !bento_time_ok(&attr->ctime))
		return *value = attr->ctime.nsec, "ctime nanoseconds";
	if (valid & BENTO_ATTR_BTIME && !bento_time_ok(&attr->btime))
		return *value = attr->btime.nsec, "btime nanoseconds";
	return NULL;
}

static void bento_attr_apply(struct inode *inode, const struct bento_attr *attr,
			     u32 valid)
{
	struct bento_kinode *ki = bento_ki(inode);

	if (valid & BENTO_ATTR_MODE)
		inode->i_mode = (inode->i_mode & S_IFMT) | (attr->mode & 07777);
	if (valid & BENTO_ATTR_UID)
		inode->i_uid = KUIDT_INIT(attr->uid);
	if (valid & BENTO_ATTR_GID)
		inode->i_gid = KGIDT_INIT(attr->gid);
	if (valid & BENTO_ATTR_SIZE) {
		i_size_write(inode, attr->size);
		WRITE_ONCE(ki->disk_size, attr->size);
	}
	if (valid & BENTO_ATTR_BLOCKS)
		inode->i_blocks = attr->blocks;
	if (valid & BENTO_ATTR_ATIME)
		inode_set_atime_to_ts(inode, bento_ts(inode, &attr->atime));
	if (valid & BENTO_ATTR_MTIME)
		inode_set_mtime_to_ts(inode, bento_ts(inode, &attr->mtime));
	if (valid & BENTO_ATTR_CTIME)
		inode_set_ctime_to_ts(inode, bento_ts(inode, &attr->ctime));
	if (valid & BENTO_ATTR_BTIME)
		ki->btime = bento_ts(inode, &attr->btime);
	if (valid & BENTO_ATTR_NLINK)
		set_nlink(inode, attr->nlink);
	if (valid & BENTO_ATTR_FLAGS)
		bento_set_fsflags(inode, attr->flags);
	if (valid & BENTO_ATTR_GENERATION)
		inode->i_generation = attr->generation;
	if (valid & BENTO_ATTR_PROJECT)
		WRITE_ONCE(ki->project, attr->project);
}

void bento_attr_store(struct inode *inode, const struct bento_attr *attr, u32 valid)
{
	spin_lock(&inode->i_lock);
	bento_attr_apply(inode, attr, valid);
	spin_unlock(&inode->i_lock);
}

void bento_attr_merge(struct bento_attr *to, const struct bento_attr *attr, u32 valid)
{
#define MERGE(bit, field)                                                      \
	do {                                                                   \
		if (valid & BENTO_ATTR_##bit)                                  \
			to->field = attr->field;                               \
	} while (0)
	MERGE(MODE, mode);
	MERGE(UID, uid);
	MERGE(GID, gid);
	MERGE(SIZE, size);
	MERGE(ATIME, atime);
	MERGE(MTIME, mtime);
	MERGE(CTIME, ctime);
	MERGE(BTIME, btime);
	MERGE(NLINK, nlink);
	MERGE(BLOCKS, blocks);
	MERGE(FLAGS, flags);
	MERGE(GENERATION, generation);
	MERGE(PROJECT, project);
#undef MERGE
}

int bento_attr_check(struct bento_call *call, struct inode *inode,
		     const struct bento_attr *attr, u32 valid)
{
	const char *field;
	u64 value = 0;

	if (valid & BENTO_ATTR_MODE && attr->mode & S_IFMT &&
	    (attr->mode ^ inode->i_mode) & S_IFMT)
		return bento_bad(call->sb, call->op,
				 "changed the type in mode %#o to %#o",
				 inode->i_mode, attr->mode);
	field = bento_attr_bad(inode, attr, valid, &value);
	if (field)
		return bento_bad(call->sb, call->op, "set %s %llu", field, value);
	if (valid & BENTO_ATTR_NLINK &&
	    READ_ONCE(inode->i_state) & (I_FREEING | I_WILL_FREE))
		return bento_bad(call->sb, call->op,
				 "set the link count of an inode being evicted");
	return 0;
}

/* From inside the gate, so a pin that ends goes to the ledger. */
s32 bento_inode_update(struct bento_call *call, struct bento_inode *pub,
		       const struct bento_attr *attr, u32 valid)
{
	struct bento_kcall *kc = container_of(call, struct bento_kcall, pub);
	struct inode *inode = bento_vfs(pub);
	struct bento_kinode *ki = bento_ki(inode);
	int err = bento_attr_check(call, inode, attr, valid);

	if (err)
		return err;
	if (valid & BENTO_ATTR_SIZE && S_ISREG(inode->i_mode)) {
		/* A resident file's size and pages go together: setattr. */
		if (bento_resident(call->sb))
			return bento_bad(call->sb, call->op,
					 "set the size of a resident file");
		if (attr->size < i_size_read(inode))
			bento_inode_invalidate(call, pub, attr->size, 0);
	}

	bento_attr_store(inode, attr, valid);

	if (valid & BENTO_ATTR_NLINK && bento_resident(call->sb)) {
		if (!inode->i_nlink) {
			if (test_and_clear_bit(BENTO_KI_PINNED, &ki->state))
				bento_ledger_add(kc, inode);
		} else if (test_bit(BENTO_KI_LOADED, &ki->state) &&
			   !test_and_set_bit(BENTO_KI_PINNED, &ki->state)) {
			ihold(inode);
		}
	}
	bento_dirty(inode);
	return 0;
}
EXPORT_SYMBOL_GPL(bento_inode_update);

/* What load_inode said, all of it, before anything is believed. */
static int bento_load_apply(struct inode *inode, const struct bento_attr *attr)
{
	const u32 valid = BENTO_ATTR_UID | BENTO_ATTR_GID | BENTO_ATTR_SIZE |
			  BENTO_ATTR_ATIME | BENTO_ATTR_MTIME | BENTO_ATTR_CTIME |
			  BENTO_ATTR_BTIME | BENTO_ATTR_NLINK | BENTO_ATTR_BLOCKS |
			  BENTO_ATTR_FLAGS | BENTO_ATTR_GENERATION |
			  BENTO_ATTR_PROJECT;
	struct bento_super *bs = bento_isb(inode);
	const char *field;
	u64 value = 0;

	switch (attr->mode & S_IFMT) {
	case S_IFREG: case S_IFDIR: case S_IFLNK:
	case S_IFCHR: case S_IFBLK: case S_IFIFO: case S_IFSOCK:
		if (!(attr->mode & ~(S_IFMT | 07777)))
			break;
		fallthrough;
	default:
		return bento_bad(bs, BENTO_OP_load_inode,
				 "returned mode %#o for inode %lu", attr->mode,
				 inode->i_ino);
	}
	inode->i_mode = attr->mode;
	field = bento_attr_bad(inode, attr, valid, &value);
	if (!field && !attr->nlink)
		field = "nlink";
	if (!field && (S_ISCHR(attr->mode) || S_ISBLK(attr->mode))) {
		if (attr->rdev_major >> (32 - MINORBITS))
			field = "device major", value = attr->rdev_major;
		else if (attr->rdev_minor > MINORMASK)
			field = "device minor", value = attr->rdev_minor;
		inode->i_rdev = MKDEV(attr->rdev_major, attr->rdev_minor);
	}
	if (!field && attr->ino && attr->ino != inode->i_ino)
		field = "number", value = attr->ino;
	if (!field && attr->blksize &&
	    (!is_power_of_2(attr->blksize) || attr->blksize > SZ_16M))
		field = "block size", value = attr->blksize;
	if (field)
		return bento_bad(bs, BENTO_OP_load_inode,
				 "returned %s %llu for inode %lu", field, value,
				 inode->i_ino);
	bento_attr_apply(inode, attr, valid);
	bento_ki(inode)->blksize = attr->blksize;
	return 0;
}

static int bento_load(struct inode *inode)
{
	struct bento_kinode *ki = bento_ki(inode);
	struct bento_super *bs = bento_isb(inode);
	struct bento_load_inode_args args = { .inode = &ki->pub };
	int err;

	ki->pub.ino = inode->i_ino;
	err = bento_errno(bento_call(bs, load_inode, &args));
	if (!err)
		err = bento_load_apply(inode, &args.attr);
	if (err) {
		bento_forget(inode);
		return err;
	}
	if (!bento_has(bs, BENTO_OP_getxattr))
		cache_no_acl(inode);
	bento_init_ops(inode);
	bento_count_inode(inode);
	set_bit(BENTO_KI_LOADED, &ki->state);
	bento_nlink_changed(inode);
	if (bento_extents(bs))
		bento_journal_loaded(inode);
	return 0;
}

struct inode *bento_iget(struct super_block *sb, u64 ino, enum bento_op op)
{
	struct inode *inode;
	int err;

	if (!ino || ino > ULONG_MAX)
		return ERR_PTR(bento_bad(bento_sb(sb), op,
					 "returned inode number %llu", ino));
	inode = iget_locked(sb, ino);
	if (!inode)
		return ERR_PTR(-ENOMEM);
	if (!(inode->i_state & I_NEW)) {
		if (likely(!is_bad_inode(inode)))
			return inode;
		iput(inode);
		return ERR_PTR(-EIO);
	}
	bento_wait_orphan(bento_sb(sb), ino);
	err = bento_load(inode);
	if (err) {
		iget_failed(inode);
		return ERR_PTR(err);
	}
	unlock_new_inode(inode);
	return inode;
}

void bento_nlink_changed(struct inode *inode)
{
	struct bento_kinode *ki = bento_ki(inode);

	if (!bento_resident(bento_isb(inode)))
		return;
	if (inode->i_nlink) {
		if (!test_and_set_bit(BENTO_KI_PINNED, &ki->state))
			ihold(inode);
	} else if (test_and_clear_bit(BENTO_KI_PINNED, &ki->state)) {
		iput(inode);
	}
}

/* The mount is going: what its links kept may be evicted. */
void bento_unpin_all(struct super_block *sb)
{
	struct inode *inode, *put = NULL;

	spin_lock(&sb->s_inode_list_lock);
	list_for_each_entry(inode, &sb->s_inodes, i_sb_list) {
		if (!test_and_clear_bit(BENTO_KI_PINNED, &bento_ki(inode)->state))
			continue;
		/* The pin is a reference: it keeps our place in the list. */
		spin_unlock(&sb->s_inode_list_lock);
		iput(put);
		put = inode;
		cond_resched();
		spin_lock(&sb->s_inode_list_lock);
	}
	spin_unlock(&sb->s_inode_list_lock);
	iput(put);
}

void bento_dirty(struct inode *inode)
{
	struct bento_super *bs = bento_isb(inode);

	if (bento_has(bs, BENTO_OP_write_inode) && !bento_resident(bs))
		mark_inode_dirty(inode);
}

/* A disk file system's handlers have stored the times already, and staged them
 * with what else they changed. */
void bento_touch_ctime(struct inode *inode)
{
	if (bento_extents(bento_isb(inode)))
		return;
	inode_set_ctime_current(inode);
	bento_dirty(inode);
}

void bento_touch(struct inode *inode)
{
	if (bento_extents(bento_isb(inode)))
		return;
	inode_set_mtime_to_ts(inode, inode_set_ctime_current(inode));
	bento_dirty(inode);
}

/* ---- a resident mount's limits ---- */

static bool bento_charge(atomic64_t *used, u64 max, s64 n)
{
	s64 now = atomic64_add_return(n, used);

	if (!max || now <= (s64)max)
		return true;
	atomic64_sub(n, used);
	return false;
}

bool bento_charge_bytes(struct bento_super *bs, s64 bytes)
{
	return bento_charge(&bs->used_bytes, READ_ONCE(bs->max_bytes), bytes);
}

void bento_uncharge_bytes(struct bento_super *bs, s64 bytes)
{
	atomic64_sub(bytes, &bs->used_bytes);
}

/* False at the limit, which a loaded inode is not held to. */
bool bento_count_inode(struct inode *inode)
{
	struct bento_super *bs = bento_isb(inode);

	if (!bento_charge(&bs->used_inodes, READ_ONCE(bs->max_inodes), 1))
		return false;
	set_bit(BENTO_KI_COUNTED, &bento_ki(inode)->state);
	return true;
}
