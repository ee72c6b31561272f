// SPDX-License-Identifier: GPL-2.0
/*
 * Names: lookup and every change of a directory. The handler decides first;
 * link counts and times follow here, in one place, once it said yes; those of a
 * disk file system it has changed itself (bento_tx_inode), together with what it
 * stores. What it returns is a number: the inode behind it is fetched after the
 * gate (S4).
 */
#include "shim.h"

static int bento_check_name(struct bento_super *bs, const struct qstr *name)
{
	return name->len > bs->name_max ? -ENAMETOOLONG : 0;
}

/* File systems may keep directories at nlink 1 (not counted) and hostile ones
 * anything: never below what the kernel would warn about. */
static void bento_drop_link(struct inode *inode)
{
	if (inode->i_nlink)
		drop_nlink(inode);
	bento_nlink_changed(inode);
}

static void bento_drop_subdir(struct inode *dir)
{
	if (dir->i_nlink > 2)
		drop_nlink(dir);
}

static void bento_add_subdir(struct inode *dir)
{
	if (dir->i_nlink > 1 && dir->i_nlink < U32_MAX)
		inc_nlink(dir);
}

/* No name leads to it any more. */
static void bento_gone(struct inode *inode)
{
	if (bento_extents(bento_isb(inode)))
		return;
	if (S_ISDIR(inode->i_mode)) {
		clear_nlink(inode);
		bento_nlink_changed(inode);
	} else {
		bento_drop_link(inode);
	}
	bento_touch_ctime(inode);
}

static struct dentry *bento_lookup(struct inode *dir, struct dentry *dentry,
				   unsigned int flags)
{
	struct bento_super *bs = bento_isb(dir);
	struct bento_lookup_args args = {
		.dir = bento_pub(dir),
		.name = bento_name(&dentry->d_name),
	};
	struct inode *inode = NULL;
	s64 r = bento_check_name(bs, &dentry->d_name);

	if (r)
		return ERR_PTR(r);
	r = bento_call(bs, lookup, &args);
	if (r >= 0)
		inode = bento_iget(dir->i_sb, args.ino, BENTO_OP_lookup);
	else if (r != -ENOENT)
		return ERR_PTR(r);
	/* NULL makes a negative dentry, which the dcache keeps. */
	return d_splice_alias(inode, dentry);
}

/* create, mkdir, mknod and symlink differ in the handler and the mode. */
static int bento_make_once(bento_idmap *idmap, struct inode *dir,
			   struct dentry *dentry, umode_t mode, dev_t rdev,
			   enum bento_op op, const char *target, u32 flags)
{
	struct bento_super *bs = bento_isb(dir);
	struct bento_make_args args = {
		.dir = bento_pub(dir),
		.name = bento_name(&dentry->d_name),
		.flags = flags,
	};
	struct bento_making mk;
	int err = bento_check_name(bs, &dentry->d_name);
	s64 r;

	if (err)
		return err;
	if (target)
		args.target = bento_bytes(target, strlen(target));
	err = bento_new_prepare(&mk, idmap, dir, &dentry->d_name, mode, rdev);
	if (err)
		return err;
	args.node = mk.node;
	r = bento_invoke(bs, op, &args);
	err = bento_new_finish(&mk, &args.node, op, r,
			       target ? &args.target : NULL);
	if (err)
		return err;
	if (S_ISDIR(mode) && !bento_extents(bs))
		bento_add_subdir(dir);
	bento_touch(dir);
	d_instantiate_new(dentry, mk.inode);
	return 0;
}

static int bento_make(bento_idmap *idmap, struct inode *dir,
		      struct dentry *dentry, umode_t mode, dev_t rdev,
		      enum bento_op op, const char *target, u32 flags)
{
	int err, tries = 0;

	do {
		err = bento_make_once(idmap, dir, dentry, mode, rdev, op, target,
				      flags);
	} while (bento_space_again(bento_isb(dir), err, &tries));
	return err ?: bento_journal_dirsync(dir);
}

static int bento_create(bento_idmap *idmap, struct inode *dir,
			struct dentry *dentry, umode_t mode, bool excl)
{
	return bento_make(idmap, dir, dentry, mode, 0, BENTO_OP_create, NULL,
			  excl);
}

static int bento_mkdir(bento_idmap *idmap, struct inode *dir,
		       struct dentry *dentry, umode_t mode)
{
	return bento_make(idmap, dir, dentry, mode | S_IFDIR, 0, BENTO_OP_mkdir,
			  NULL, 0);
}

static int bento_mknod(bento_idmap *idmap, struct inode *dir,
		       struct dentry *dentry, umode_t mode, dev_t rdev)
{
	return bento_make(idmap, dir, dentry, mode, rdev, BENTO_OP_mknod, NULL,
			  0);
}

static int bento_symlink(bento_idmap *idmap, struct inode *dir,
			 struct dentry *dentry, const char *target)
{
	return bento_make(idmap, dir, dentry, S_IFLNK | 0777, 0,
			  BENTO_OP_symlink, target, 0);
}

static int bento_tmpfile(bento_idmap *idmap, struct inode *dir,
			 struct file *file, umode_t mode)
{
	struct bento_make_args args = { .dir = bento_pub(dir) };
	struct bento_making mk;
	int err;
	s64 r;

	err = bento_new_prepare(&mk, idmap, dir, &empty_name, mode, 0);
	if (err)
		return finish_open_simple(file, err);
	args.node = mk.node;
	r = bento_call(bento_isb(dir), tmpfile, &args);
	err = bento_new_finish(&mk, &args.node, BENTO_OP_tmpfile, r, NULL);
	if (!err) {
		/* d_tmpfile takes the link away that others start with. */
		set_nlink(mk.inode, 1);
		d_tmpfile(file, mk.inode);
		unlock_new_inode(mk.inode);
	}
	return finish_open_simple(file, err);
}

static int bento_link(struct dentry *old_dentry, struct inode *dir,
		      struct dentry *dentry)
{
	struct inode *inode = d_inode(old_dentry);
	struct bento_super *bs = bento_isb(dir);
	struct bento_link_args args = {
		.dir = bento_pub(dir),
		.name = bento_name(&dentry->d_name),
		.inode = bento_pub(inode),
	};
	s64 r = bento_check_name(bs, &dentry->d_name);
	int tries = 0;

	if (r)
		return r;
	if (inode->i_nlink == U32_MAX)
		return -EMLINK;
	do {
		r = bento_call(bs, link, &args);
	} while (bento_space_again(bs, r, &tries));
	if (r < 0)
		return r;
	ihold(inode);
	if (!bento_extents(bs)) {
		inc_nlink(inode);
		bento_nlink_changed(inode);
		bento_touch_ctime(inode);
		bento_touch(dir);
	}
	d_instantiate(dentry, inode);
	return bento_journal_dirsync(dir);
}

static int bento_unlink(struct inode *dir, struct dentry *dentry)
{
	struct inode *inode = d_inode(dentry);
	struct bento_unlink_args args = {
		.dir = bento_pub(dir),
		.name = bento_name(&dentry->d_name),
		.inode = bento_pub(inode),
	};
	s64 r = bento_call(bento_isb(dir), unlink, &args);

	if (r < 0)
		return r;
	bento_touch(dir);
	bento_gone(inode);
	return bento_journal_dirsync(dir);
}

static int bento_rmdir(struct inode *dir, struct dentry *dentry)
{
	struct inode *inode = d_inode(dentry);
	struct bento_rmdir_args args = {
		.dir = bento_pub(dir),
		.name = bento_name(&dentry->d_name),
		.inode = bento_pub(inode),
	};
	s64 r = bento_call(bento_isb(dir), rmdir, &args);

	if (r < 0)
		return r;
	if (!bento_extents(bento_isb(dir)))
		bento_drop_subdir(dir);
	bento_touch(dir);
	bento_gone(inode);
	return bento_journal_dirsync(dir);
}

/* Link counts of the parents after `inode` left `from` for `to`. */
static void bento_moved_subdir(struct inode *inode, struct inode *from,
			       struct inode *to)
{
	if (!S_ISDIR(inode->i_mode) || from == to)
		return;
	bento_drop_subdir(from);
	bento_add_subdir(to);
}

static void bento_renamed(struct inode *old_dir, struct inode *inode,
			  struct inode *new_dir, struct inode *target,
			  unsigned int flags)
{
	bento_moved_subdir(inode, old_dir, new_dir);
	if (flags & RENAME_EXCHANGE) {
		bento_moved_subdir(target, new_dir, old_dir);
		bento_touch_ctime(target);
	} else if (target) {
		if (S_ISDIR(target->i_mode))
			bento_drop_subdir(new_dir);
		bento_gone(target);
	}
	bento_touch_ctime(inode);
	bento_touch(old_dir);
	if (new_dir != old_dir)
		bento_touch(new_dir);
}

/* NOREPLACE was settled by the VFS, under the locks we run in. */
static int bento_rename(bento_idmap *idmap, struct inode *old_dir,
			struct dentry *old_dentry, struct inode *new_dir,
			struct dentry *new_dentry, unsigned int flags)
{
	struct bento_super *bs = bento_isb(old_dir);
	struct inode *inode = d_inode(old_dentry);
	struct inode *target = d_inode(new_dentry);
	struct bento_rename_args args = {
		.old_dir = bento_pub(old_dir),
		.old_name = bento_name(&old_dentry->d_name),
		.inode = bento_pub(inode),
		.new_dir = bento_pub(new_dir),
		.new_name = bento_name(&new_dentry->d_name),
		.target = bento_pub(target),
	};
	struct bento_making mk;
	s64 r = bento_check_name(bs, &new_dentry->d_name);
	int tries = 0;

	if (r)
		return r;
	if (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT))
		return -EINVAL;
	if (target && !(flags & RENAME_EXCHANGE) && bento_extents(bs)) {
		r = bento_extents_replaces(inode);
		if (r)
			return r;
	}
	if (flags & RENAME_NOREPLACE)
		args.flags |= BENTO_RENAME_NOREPLACE;
	if (flags & RENAME_EXCHANGE)
		args.flags |= BENTO_RENAME_EXCHANGE;
	if (!(flags & RENAME_WHITEOUT)) {
		do {
			r = bento_call(bs, rename, &args);
		} while (bento_space_again(bs, r, &tries));
	} else {
		args.flags |= BENTO_RENAME_WHITEOUT;
		r = bento_new_prepare(&mk, idmap, old_dir, &old_dentry->d_name,
				      S_IFCHR | WHITEOUT_MODE, WHITEOUT_DEV);
		if (r)
			return r;
		args.whiteout = &mk.node;
		r = bento_call(bs, rename, &args);
		r = bento_new_finish(&mk, &mk.node, BENTO_OP_rename, r, NULL);
		if (r == 0) {
			/* No dentry: the next lookup of the old name finds it. */
			unlock_new_inode(mk.inode);
			iput(mk.inode);
		}
	}
	if (r < 0)
		return r;
	if (!bento_extents(bs))
		bento_renamed(old_dir, inode, new_dir, target, flags);
	return bento_journal_dirsync(old_dir) ?: bento_journal_dirsync(new_dir);
}

void bento_fill_dir_iops(struct bento_super *bs, struct inode_operations *iops)
{
	bento_fill_common_iops(bs, iops);
	bento_fill_xattr_iops(bs, iops);
#define SET(op) if (bento_had(bs, BENTO_OP_##op)) iops->op = bento_##op
	SET(lookup);
	SET(create);
	SET(mkdir);
	SET(mknod);
	SET(symlink);
	SET(link);
	SET(unlink);
	SET(rmdir);
	SET(rename);
	SET(tmpfile);
#undef SET
}
