// SPDX-License-Identifier: GPL-2.0
/*
 * Inodes being created (SAFETY.md S4): allocated, owned and labelled first, then
 * numbered by the handler, then checked and hashed.
 */
#include <linux/random.h>
#include <linux/security.h>
#include <linux/slab.h>

#include "shim.h"

/* Takes over `value`; a full list or no memory frees it. */
static int bento_new_xattr(struct bento_making *mk, const char *prefix,
			   const char *name, void *value, size_t len)
{
	char *full = kasprintf(GFP_KERNEL, "%s%s", prefix, name);

	if (!full || mk->count == BENTO_NEW_XATTRS) {
		kfree(full);
		kfree(value);
		return full ? -ENOSPC : -ENOMEM;
	}
	mk->xattrs[mk->count++] = (struct bento_xattr){
		.name = bento_bytes(full, strlen(full)),
		.value = bento_bytes(value, len),
	};
	return 0;
}

static int bento_new_acl(struct bento_making *mk, const char *name,
			 const struct posix_acl *acl)
{
	size_t size;
	void *value;
	int err;

	if (!acl)
		return 0;
	size = posix_acl_xattr_size(acl->a_count);
	value = kmalloc(size, GFP_KERNEL);
	if (!value)
		return -ENOMEM;
	err = posix_acl_to_xattr(&init_user_ns, acl, value, size);
	if (err < 0) {
		kfree(value);
		return err;
	}
	return bento_new_xattr(mk, "", name, value, size);
}

static int bento_new_security(struct inode *inode, const struct xattr *array,
			      void *data)
{
	struct bento_making *mk = data;
	int err = 0;

	for (; array->name && !err; array++) {
		void *value = kmemdup(array->value, array->value_len, GFP_KERNEL);

		if (!value)
			return -ENOMEM;
		err = bento_new_xattr(mk, XATTR_SECURITY_PREFIX, array->name,
				      value, array->value_len);
	}
	return err;
}

static int bento_new_labels(struct bento_making *mk, struct inode *dir,
			    const struct qstr *name)
{
	struct inode *inode = mk->inode;
	bool stored = bento_has(bento_isb(inode), BENTO_OP_setxattr);
	int err;

	err = posix_acl_create(dir, &inode->i_mode, &mk->default_acl, &mk->acl);
	if (!err && stored)
		err = bento_new_acl(mk, XATTR_NAME_POSIX_ACL_ACCESS, mk->acl);
	if (!err && stored)
		err = bento_new_acl(mk, XATTR_NAME_POSIX_ACL_DEFAULT,
				    mk->default_acl);
	if (err)
		return err;
	err = security_inode_init_security(inode, dir, name,
					   stored ? bento_new_security : NULL, mk);
	return err == -EOPNOTSUPP ? 0 : err;
}

static void bento_new_free(struct bento_making *mk)
{
	while (mk->count) {
		mk->count--;
		kfree(mk->xattrs[mk->count].name.ptr);
		kfree(mk->xattrs[mk->count].value.ptr);
	}
	posix_acl_release(mk->acl);
	posix_acl_release(mk->default_acl);
	mk->acl = mk->default_acl = NULL;
}

/* Given back: nobody has seen it. */
static void bento_new_drop(struct bento_making *mk)
{
	struct inode *inode = mk->inode;

	bento_new_free(mk);
	bento_forget(inode);
	iput(inode);
	mk->inode = NULL;
}

int bento_new_prepare(struct bento_making *mk, bento_idmap *idmap,
		      struct inode *dir, const struct qstr *name, umode_t mode,
		      dev_t rdev)
{
	struct timespec64 now;
	struct inode *inode;
	int err;

	mk->count = 0;
	mk->acl = mk->default_acl = NULL;
	inode = mk->inode = new_inode(dir->i_sb);
	if (!inode)
		return -ENOMEM;
	if (!bento_count_inode(inode)) {
		bento_new_drop(mk);
		return -ENOSPC;
	}
	inode_init_owner(idmap, inode, dir, mode);
	inode->i_rdev = rdev;
	inode->i_generation = get_random_u32();
	now = inode_set_ctime_current(inode);
	inode_set_mtime_to_ts(inode, now);
	inode_set_atime_to_ts(inode, now);
	bento_ki(inode)->btime = now;
	set_nlink(inode, S_ISDIR(mode) ? 2 : 1);
	err = bento_new_labels(mk, dir, name);
	if (err) {
		bento_new_drop(mk);
		return err;
	}
	bento_init_ops(inode);
	mk->node = (struct bento_new){
		.inode = bento_pub(inode),
		.mode = inode->i_mode,
		.uid = __kuid_val(inode->i_uid),
		.gid = __kgid_val(inode->i_gid),
		.rdev_major = MAJOR(rdev),
		.rdev_minor = MINOR(rdev),
		.xattrs = mk->xattrs,
		.xattr_count = mk->count,
	};
	return 0;
}

static int bento_new_number(struct inode *inode, const struct bento_new *node,
			    enum bento_op op)
{
	struct bento_super *bs = bento_isb(inode);
	u64 ino = bento_pub(inode)->ino;

	if (!node->assigned)
		return bento_bad(bs, op, "assigned no inode number");
	if (!ino || ino > ULONG_MAX)
		return bento_bad(bs, op, "assigned inode number %llu", ino);
	bento_wait_orphan(bs, ino);
	inode->i_ino = ino;
	if (insert_inode_locked(inode) < 0)
		return bento_bad(bs, op,
				 "assigned inode number %llu, which is in use", ino);
	return 0;
}

int bento_new_finish(struct bento_making *mk, const struct bento_new *node,
		     enum bento_op op, s64 result,
		     const struct bento_bytes *target)
{
	struct inode *inode = mk->inode;
	int err = bento_errno(result);

	if (!err)
		err = bento_new_number(inode, node, op);
	if (err) {
		bento_new_drop(mk);
		return err;
	}
	if (target) {
		bento_set_link(inode, target->ptr, target->len);
		i_size_write(inode, target->len);
		bento_ki(inode)->disk_size = target->len;
	}
	cache_no_acl(inode);
	if (mk->acl)
		set_cached_acl(inode, ACL_TYPE_ACCESS, mk->acl);
	if (mk->default_acl)
		set_cached_acl(inode, ACL_TYPE_DEFAULT, mk->default_acl);
	bento_new_free(mk);
	inode_has_no_xattr(inode); /* none that a write would remove */
	set_bit(BENTO_KI_LOADED, &bento_ki(inode)->state);
	if (op != BENTO_OP_tmpfile)
		bento_nlink_changed(inode);
	/* The generation, for one, is only ours to tell. A disk file system's
	 * handler has been told, and has stored it. */
	if (!bento_extents(bento_isb(inode)))
		bento_dirty(inode);
	else
		bento_map_fresh(inode);
	return 0;
}
