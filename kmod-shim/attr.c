// SPDX-License-Identifier: GPL-2.0
/*
 * The inode operations every type shares: setattr, getattr, permission and file
 * attributes; get_link for symlinks.
 */
#include <linux/slab.h>
#include <linux/stat.h>

#include "shim.h"

/* ---- setattr ---- */

static u32 bento_from_iattr(bento_idmap *idmap, struct inode *inode,
			    const struct iattr *ia, struct bento_attr *attr)
{
	struct user_namespace *ns = i_user_ns(inode);
	u32 valid = 0;

	bento_fill_attr(inode, attr);
	if (ia->ia_valid & ATTR_MODE) {
		attr->mode = (inode->i_mode & S_IFMT) | (ia->ia_mode & 07777);
		valid |= BENTO_ATTR_MODE;
	}
	if (ia->ia_valid & ATTR_UID) {
		attr->uid = __kuid_val(from_vfsuid(idmap, ns, ia->ia_vfsuid));
		valid |= BENTO_ATTR_UID;
	}
	if (ia->ia_valid & ATTR_GID) {
		attr->gid = __kgid_val(from_vfsgid(idmap, ns, ia->ia_vfsgid));
		valid |= BENTO_ATTR_GID;
	}
	if (ia->ia_valid & ATTR_SIZE) {
		attr->size = ia->ia_size;
		valid |= BENTO_ATTR_SIZE;
	}
	if (ia->ia_valid & ATTR_ATIME) {
		attr->atime = bento_time(ia->ia_atime);
		valid |= BENTO_ATTR_ATIME;
	}
	if (ia->ia_valid & ATTR_MTIME) {
		attr->mtime = bento_time(ia->ia_mtime);
		valid |= BENTO_ATTR_MTIME;
	}
	if (ia->ia_valid & ATTR_CTIME) {
		attr->ctime = bento_time(ia->ia_ctime);
		valid |= BENTO_ATTR_CTIME;
	}
	return valid;
}

int bento_ask_setattr(bento_idmap *idmap, struct inode *inode,
		      const struct iattr *ia)
{
	struct bento_super *bs = bento_isb(inode);
	struct bento_attr attr;
	struct bento_setattr_args args = { .inode = bento_pub(inode), .attr = &attr };

	if (!bento_has(bs, BENTO_OP_setattr))
		return 0;
	args.valid = bento_from_iattr(idmap, inode, ia, &attr);
	return bento_errno(bento_call(bs, setattr, &args));
}

int bento_set_mode(struct inode *inode, umode_t mode)
{
	struct iattr ia = {
		.ia_valid = ATTR_MODE | ATTR_CTIME,
		.ia_mode = mode,
		.ia_ctime = current_time(inode),
	};

	return bento_ask_setattr(bento_nop_idmap, inode, &ia);
}

/* Pages, handler, size: nothing faults a page in between (G2 order). */
static int bento_resize(bento_idmap *idmap, struct inode *inode,
			const struct iattr *ia)
{
	int err;

	filemap_invalidate_lock(inode->i_mapping);
	if (bento_extents(bento_isb(inode))) {
		err = bento_extents_resize(idmap, inode, ia);
		filemap_invalidate_unlock(inode->i_mapping);
		return err;
	}
	err = bento_setsize_prepare(inode, ia->ia_size);
	if (!err)
		err = bento_ask_setattr(idmap, inode, ia);
	if (!err)
		bento_setsize_apply(inode, ia->ia_size);
	filemap_invalidate_unlock(inode->i_mapping);
	return err;
}

/* What may be changed. */
#define BENTO_ATTRS                                                            \
	(ATTR_MODE | ATTR_UID | ATTR_GID | ATTR_SIZE | ATTR_ATIME |            \
	 ATTR_MTIME | ATTR_CTIME)

/* The mode alone: `with_acl` when an ACL has followed it already. */
static int bento_chmod(bento_idmap *idmap, struct inode *inode,
		       const struct iattr *ia, bool *with_acl)
{
	umode_t mode = (inode->i_mode & S_IFMT) | (ia->ia_mode & 07777);
	int err = bento_chmod_acl(inode, mode);

	*with_acl = err > 0;
	return err > 0 ? 0 : err ?: bento_ask_setattr(idmap, inode, ia);
}

static int bento_setattr(bento_idmap *idmap, struct dentry *dentry,
			 struct iattr *ia)
{
	struct inode *inode = d_inode(dentry);
	bool with_acl = false;
	int err;

	err = setattr_prepare(idmap, dentry, ia);
	if (err)
		return err;
	/* truncate(2) brings no times along, unlike ftruncate(2). */
	if (ia->ia_valid & ATTR_SIZE && bento_extents(bento_isb(inode)) &&
	    ia->ia_size != i_size_read(inode) && !(ia->ia_valid & ATTR_MTIME)) {
		ia->ia_valid |= ATTR_MTIME;
		ia->ia_mtime = current_time(inode);
	}
	if (ia->ia_valid & ATTR_SIZE && S_ISREG(inode->i_mode))
		err = bento_resize(idmap, inode, ia);
	else if ((ia->ia_valid & BENTO_ATTRS) == (ATTR_MODE | ATTR_CTIME))
		err = bento_chmod(idmap, inode, ia, &with_acl);
	else
		err = bento_ask_setattr(idmap, inode, ia);
	if (err)
		return err;
	if (!bento_extents(bento_isb(inode))) {
		setattr_copy(idmap, inode, ia);
		bento_dirty(inode);
	} else if (unlikely(IS_SYNC(inode))) {
		err = bento_journal_wait(inode, false);
		if (err)
			return err;
	}
	if (ia->ia_valid & ATTR_MODE && inode->i_op->set_acl && !with_acl)
		err = bento_acl_chmod(idmap, dentry, inode->i_mode);
	return err;
}

/* ---- getattr ---- */

static void bento_stat_flags(const struct inode *inode, struct kstat *stat)
{
	u32 flags = READ_ONCE(bento_ki(inode)->fsflags);

	stat->attributes_mask |= STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND |
				 STATX_ATTR_NODUMP | STATX_ATTR_COMPRESSED |
				 STATX_ATTR_ENCRYPTED;
	if (flags & FS_IMMUTABLE_FL)
		stat->attributes |= STATX_ATTR_IMMUTABLE;
	if (flags & FS_APPEND_FL)
		stat->attributes |= STATX_ATTR_APPEND;
	if (flags & FS_NODUMP_FL)
		stat->attributes |= STATX_ATTR_NODUMP;
	if (flags & FS_COMPR_FL)
		stat->attributes |= STATX_ATTR_COMPRESSED;
	if (flags & FS_ENCRYPT_FL)
		stat->attributes |= STATX_ATTR_ENCRYPTED;
}

static struct timespec64 bento_stat_ts(const struct bento_time *t)
{
	return (struct timespec64){ .tv_sec = t->sec, .tv_nsec = t->nsec };
}

/* What the handler would rather show. Type, number and device stay. */
static int bento_stat_override(bento_idmap *idmap, struct inode *inode,
			       const struct bento_attr *attr, struct kstat *stat)
{
	struct bento_super *bs = bento_isb(inode);
	struct user_namespace *ns = i_user_ns(inode);

	if ((attr->mode ^ stat->mode) & ~07777)
		return bento_bad(bs, BENTO_OP_getattr, "returned mode %#o for %#o",
				 attr->mode, stat->mode);
	if (attr->size > LLONG_MAX || attr->blocks > LLONG_MAX >> 9)
		return bento_bad(bs, BENTO_OP_getattr,
				 "returned size %llu, blocks %llu", attr->size,
				 attr->blocks);
	if (attr->uid == (u32)-1 || attr->gid == (u32)-1)
		return bento_bad(bs, BENTO_OP_getattr, "returned uid %u, gid %u",
				 attr->uid, attr->gid);
	if (attr->atime.nsec >= NSEC_PER_SEC || attr->mtime.nsec >= NSEC_PER_SEC ||
	    attr->ctime.nsec >= NSEC_PER_SEC || attr->btime.nsec >= NSEC_PER_SEC)
		return bento_bad(bs, BENTO_OP_getattr,
				 "returned a time of more than 999999999 ns");
	stat->mode = attr->mode;
	stat->nlink = attr->nlink;
	stat->size = attr->size;
	stat->blocks = attr->blocks;
	stat->atime = bento_stat_ts(&attr->atime);
	stat->mtime = bento_stat_ts(&attr->mtime);
	stat->ctime = bento_stat_ts(&attr->ctime);
	stat->btime = bento_stat_ts(&attr->btime);
	if (attr->blksize && attr->blksize <= INT_MAX)
		stat->blksize = attr->blksize;
	if (attr->uid != __kuid_val(inode->i_uid))
		stat->uid = vfsuid_into_kuid(
			make_vfsuid(idmap, ns, KUIDT_INIT(attr->uid)));
	if (attr->gid != __kgid_val(inode->i_gid))
		stat->gid = vfsgid_into_kgid(
			make_vfsgid(idmap, ns, KGIDT_INIT(attr->gid)));
	return 0;
}

static int bento_getattr(bento_idmap *idmap, const struct path *path,
			 struct kstat *stat, u32 mask, unsigned int flags)
{
	struct inode *inode = d_inode(path->dentry);
	struct bento_kinode *ki = bento_ki(inode);
	struct bento_super *bs = bento_isb(inode);
	int err = 0;

	bento_generic_fillattr(idmap, mask, inode, stat);
	bento_stat_flags(inode, stat);
	stat->btime = ki->btime;
	if (ki->blksize)
		stat->blksize = ki->blksize;
	if (S_ISREG(inode->i_mode))
		stat->blocks = bento_file_blocks(inode);
	/* Handlers hear of allocated ones only: delayed ones come on top. */
	if (bento_has(bs, BENTO_OP_getattr)) {
		/* Not initialised as a whole: fstat is the cheapest call there
		 * is, and bento_fill_attr writes every field of attr. */
		struct bento_getattr_args args;

		args.inode = &ki->pub;
		args.attributes = 0;
		args.request_mask = mask;
		args.pad = 0;
		bento_fill_attr(inode, &args.attr);
		err = bento_errno(bento_call(bs, getattr, &args));
		if (!err)
			err = bento_stat_override(idmap, inode, &args.attr, stat);
		if (!err && S_ISREG(inode->i_mode) && bento_extents(bs))
			stat->blocks += bento_file_blocks(inode) - inode->i_blocks;
		stat->attributes |= args.attributes;
		stat->attributes_mask |= args.attributes;
	}
	if (stat->btime.tv_sec || stat->btime.tv_nsec)
		stat->result_mask |= STATX_BTIME;
	return err;
}

/* ---- permission ---- */

static int bento_permission(bento_idmap *idmap, struct inode *inode, int mask)
{
	struct bento_super *bs = bento_isb(inode);
	struct bento_inode_args args = {
		.inode = bento_pub(inode),
		.flags = mask & (MAY_READ | MAY_WRITE | MAY_EXEC | MAY_APPEND),
	};
	struct bento_kcall kc __uninitialized;
	int tries, err;
	s64 r;

	if (mask & MAY_NOT_BLOCK) /* RCU-walk cannot sleep (G5) */
		return -ECHILD;
	if (!bento_has(bs, BENTO_OP_permission)) /* a version before had it */
		return generic_permission(idmap, inode, mask);
	for (tries = 0; tries < 3; tries++) {
		struct posix_acl *acl;

		bento_kcall_init(&kc);
		kc.idmap = idmap;
		r = bento_invoke_kc(bs, BENTO_OP_permission, &args, &kc);
		if (r > 0) /* nobody to ask, since a moment ago */
			return generic_permission(idmap, inode, mask);
		err = r;
		if (kc.need_acl != inode)
			break;
		/* Now it will be cached: ask again. */
		acl = bento_cached_acl(inode, ACL_TYPE_ACCESS);
		if (IS_ERR(acl))
			return PTR_ERR(acl);
		posix_acl_release(acl);
	}
	return err;
}

/* ---- symlinks ---- */

/* Kept until the inode is freed: RCU-walk reads it without asking anybody. */
int bento_set_link(struct inode *inode, const void *target, size_t len)
{
	char *link = kmalloc(len + 1, GFP_KERNEL | __GFP_NOFAIL);

	memcpy(link, target, len);
	link[len] = 0;
	if (cmpxchg_release(&inode->i_link, NULL, link))
		kfree(link);
	return 0;
}

static const char *bento_get_link(struct dentry *dentry, struct inode *inode,
				  struct delayed_call *done)
{
	struct bento_get_link_args args = { .inode = bento_pub(inode) };
	struct bento_super *bs = bento_isb(inode);
	char *link = READ_ONCE(inode->i_link);
	char *buf;
	s64 err;

	if (link)
		return link;
	if (!dentry)
		return ERR_PTR(-ECHILD);
	if (!bento_has(bs, BENTO_OP_get_link))
		return ERR_PTR(-EINVAL);
	buf = kmalloc(PATH_MAX, GFP_KERNEL);
	if (!buf)
		return ERR_PTR(-ENOMEM);
	args.target.ptr = buf;
	args.target.cap = PATH_MAX - 1;
	err = bento_errno(bento_call(bs, get_link, &args));
	if (!err && (!args.target.len || args.target.len >= PATH_MAX))
		err = bento_bad(bs, BENTO_OP_get_link,
				"returned a target of %zu bytes", args.target.len);
	if (!err && memchr(buf, 0, args.target.len))
		err = bento_bad(bs, BENTO_OP_get_link,
				"returned a target with a NUL in it");
	if (!err)
		bento_set_link(inode, buf, args.target.len);
	kfree(buf);
	return err ? ERR_PTR(err) : READ_ONCE(inode->i_link);
}

/* ---- chattr, lsattr ---- */

static int bento_fileattr_get(struct dentry *dentry, struct fileattr *fa)
{
	struct inode *inode = d_inode(dentry);
	struct bento_fileattr_args args = {
		.inode = bento_pub(inode),
		.flags = READ_ONCE(bento_ki(inode)->fsflags),
	};
	int err = bento_errno(bento_call(bento_isb(inode), fileattr_get, &args));

	if (err)
		return err;
	fileattr_fill_flags(fa, args.flags);
	fa->fsx_projid = args.projid;
	return 0;
}

static int bento_fileattr_set(bento_idmap *idmap, struct dentry *dentry,
			      struct fileattr *fa)
{
	struct inode *inode = d_inode(dentry);
	struct bento_fileattr_args args = {
		.inode = bento_pub(inode),
		.flags = fa->flags,
		.projid = fa->fsx_projid,
	};
	int err;

	if (fileattr_has_fsx(fa) && (fa->fsx_xflags & ~FS_XFLAG_COMMON ||
				     fa->fsx_extsize || fa->fsx_cowextsize))
		return -EOPNOTSUPP;
	err = bento_errno(bento_call(bento_isb(inode), fileattr_set, &args));
	if (err)
		return err;
	if (bento_extents(bento_isb(inode)))
		return 0;
	bento_set_fsflags(inode, fa->flags);
	bento_touch_ctime(inode);
	return 0;
}

void bento_fill_common_iops(struct bento_super *bs, struct inode_operations *iops)
{
	iops->setattr = bento_setattr;
	iops->getattr = bento_getattr;
	if (bento_had(bs, BENTO_OP_permission))
		iops->permission = bento_permission;
	if (bento_had(bs, BENTO_OP_fileattr_get))
		iops->fileattr_get = bento_fileattr_get;
	if (bento_had(bs, BENTO_OP_fileattr_set))
		iops->fileattr_set = bento_fileattr_set;
}

void bento_fill_symlink_iops(struct bento_super *bs, struct inode_operations *iops)
{
	iops->get_link = bento_get_link;
}
