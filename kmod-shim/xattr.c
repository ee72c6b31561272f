// SPDX-License-Identifier: GPL-2.0
/*
 * Extended attributes and POSIX ACLs. Rust knows them by their full names;
 * ACLs are the two system.posix_acl_* among them, cached by the VFS.
 */
#include <linux/capability.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "shim.h"

#define BENTO_ACL_INLINE 256 /* 31 entries */
#define BENTO_LIST_FIRST 1024

/* The value's size; with size 0 nothing is copied. */
static int bento_get_value(struct inode *inode, const char *name, void *value,
			   size_t size)
{
	struct bento_super *bs = bento_isb(inode);
	struct bento_getxattr_args args = {
		.inode = bento_pub(inode),
		.name = bento_bytes(name, strlen(name)),
		.value = { .ptr = value, .cap = value ? size : 0 },
	};
	s64 r;

	if (!bento_has(bs, BENTO_OP_getxattr))
		return -EOPNOTSUPP;
	r = bento_call(bs, getxattr, &args);
	if (r < 0)
		return r;
	if (args.value.len > BENTO_XATTR_SIZE_MAX)
		return bento_bad(bs, BENTO_OP_getxattr,
				 "returned %zu bytes for \"%s\"", args.value.len, name);
	if (size && args.value.len > size)
		return -ERANGE;
	return args.value.len;
}

static int bento_set_value(struct inode *inode, const char *name,
			   const void *value, size_t size, int flags)
{
	struct bento_super *bs = bento_isb(inode);
	struct bento_setxattr_args args = {
		.inode = bento_pub(inode),
		.name = bento_bytes(name, strlen(name)),
		.value = bento_bytes(value, size),
	};

	int tries = 0;
	s64 r;

	if (!bento_has(bs, BENTO_OP_setxattr))
		return -EOPNOTSUPP;
	if (flags & XATTR_CREATE)
		args.flags |= BENTO_XATTR_CREATE;
	if (flags & XATTR_REPLACE)
		args.flags |= BENTO_XATTR_REPLACE;
	do {
		r = bento_call(bs, setxattr, &args);
	} while (bento_space_again(bs, r, &tries));
	return bento_errno(r);
}

static int bento_remove_value(struct inode *inode, const char *name)
{
	struct bento_super *bs = bento_isb(inode);
	struct bento_removexattr_args args = {
		.inode = bento_pub(inode),
		.name = bento_bytes(name, strlen(name)),
	};

	if (!bento_has(bs, BENTO_OP_removexattr))
		return -EOPNOTSUPP;
	return bento_errno(bento_call(bs, removexattr, &args));
}

static int bento_xattr_get(const struct xattr_handler *handler,
			   struct dentry *dentry, struct inode *inode,
			   const char *name, void *value, size_t size)
{
	return bento_get_value(inode, xattr_full_name(handler, name), value, size);
}

static int bento_xattr_set(const struct xattr_handler *handler,
			   bento_idmap *idmap, struct dentry *dentry,
			   struct inode *inode, const char *name,
			   const void *value, size_t size, int flags)
{
	const char *full = xattr_full_name(handler, name);
	int err;

	if (value)
		err = bento_set_value(inode, full, value, size, flags);
	else
		err = bento_remove_value(inode, full);
	if (!err)
		bento_touch_ctime(inode);
	return err;
}

#define BENTO_XATTR_HANDLER(name, text)                                        \
	static const struct xattr_handler bento_##name##_xattrs = {            \
		.prefix = text,                                                \
		.get = bento_xattr_get,                                        \
		.set = bento_xattr_set,                                        \
	}

BENTO_XATTR_HANDLER(user, XATTR_USER_PREFIX);
BENTO_XATTR_HANDLER(trusted, XATTR_TRUSTED_PREFIX);
BENTO_XATTR_HANDLER(security, XATTR_SECURITY_PREFIX);

const struct xattr_handler *const bento_xattr_handlers[] = {
	&bento_user_xattrs,
	&bento_trusted_xattrs,
	&bento_security_xattrs,
	BENTO_ACL_XATTR_HANDLERS
	NULL,
};

/* ---- listing ---- */

/* All names in a buffer of our own, to be kvfree'd; its length. */
static ssize_t bento_all_names(struct inode *inode, char **out)
{
	struct bento_super *bs = bento_isb(inode);
	size_t cap = BENTO_LIST_FIRST;

	for (;;) {
		struct bento_listxattr_args args = {
			.inode = bento_pub(inode),
			.names = { .ptr = kvmalloc(cap, GFP_KERNEL), .cap = cap },
		};
		size_t len;
		s64 r;

		if (!args.names.ptr)
			return -ENOMEM;
		*out = args.names.ptr;
		r = bento_call(bs, listxattr, &args);
		len = args.names.len;
		if (r >= 0 && len > XATTR_LIST_MAX)
			r = bento_bad(bs, BENTO_OP_listxattr,
				      "returned %zu bytes of names", len);
		else if (r >= 0 && len <= cap)
			return len;
		kvfree(*out);
		*out = NULL;
		if (r < 0)
			return r;
		/* Grown meanwhile? Once more with all the room there may be. */
		cap = cap == BENTO_LIST_FIRST ? len : XATTR_LIST_MAX;
	}
}

static bool bento_name_shown(struct inode *inode, const char *name)
{
	if (!strncmp(name, XATTR_TRUSTED_PREFIX, XATTR_TRUSTED_PREFIX_LEN))
		return ns_capable_noaudit(&init_user_ns, CAP_SYS_ADMIN);
	if (!strcmp(name, XATTR_NAME_POSIX_ACL_ACCESS) ||
	    !strcmp(name, XATTR_NAME_POSIX_ACL_DEFAULT))
		return IS_POSIXACL(inode);
	return true;
}

static ssize_t bento_listxattr(struct dentry *dentry, char *list, size_t size)
{
	struct inode *inode = d_inode(dentry);
	char *names;
	ssize_t len = bento_all_names(inode, &names), at = 0, used = 0;

	if (len < 0)
		return len;
	while (at < len) {
		size_t n = strnlen(names + at, len - at);

		if (!n || n > XATTR_NAME_MAX || at + n == len) {
			used = bento_bad(bento_isb(inode), BENTO_OP_listxattr,
					 "returned a name of %zu bytes at byte %zd of %zd",
					 n, at, len);
			break;
		}
		if (bento_name_shown(inode, names + at)) {
			if (size && used + n + 1 > size) {
				used = -ERANGE;
				break;
			}
			if (size)
				memcpy(list + used, names + at, n + 1);
			used += n + 1;
		}
		at += n + 1;
	}
	kvfree(names);
	return used;
}

/* ---- ACLs ---- */

static const char *bento_acl_name(int type)
{
	return type == ACL_TYPE_ACCESS ? XATTR_NAME_POSIX_ACL_ACCESS :
					 XATTR_NAME_POSIX_ACL_DEFAULT;
}

/* The VFS caches what this returns, NULL included. */
static struct posix_acl *bento_read_acl(struct inode *inode, int type, bool rcu)
{
	const char *name = bento_acl_name(type);
	char on_stack[BENTO_ACL_INLINE];
	void *value = on_stack;
	struct posix_acl *acl;
	int len;

	if (rcu)
		return ERR_PTR(-ECHILD);
	len = bento_get_value(inode, name, value, sizeof(on_stack));
	if (len == -ERANGE) {
		value = kvmalloc(BENTO_XATTR_SIZE_MAX, GFP_KERNEL);
		if (!value)
			return ERR_PTR(-ENOMEM);
		len = bento_get_value(inode, name, value, BENTO_XATTR_SIZE_MAX);
	}
	if (len == -ENODATA || len == -EOPNOTSUPP)
		acl = NULL;
	else if (len < 0)
		acl = ERR_PTR(len);
	else
		acl = posix_acl_from_xattr(&init_user_ns, value, len);
	if (len >= 0 && IS_ERR(acl) && PTR_ERR(acl) != -ENOMEM)
		acl = ERR_PTR(bento_bad(bento_isb(inode), BENTO_OP_getxattr,
					"returned a malformed \"%s\" of %d bytes",
					name, len));
	if (value != on_stack)
		kvfree(value);
	return acl;
}

/* With a device the handler has the mode as well: in one transaction if it has a
 * handler for that, else as chmod's, before the ACL. */
static int bento_store_value(struct inode *inode, const char *name,
			     const void *value, size_t size, umode_t mode)
{
	struct bento_super *bs = bento_isb(inode);
	struct bento_set_acl_args args = {
		.inode = bento_pub(inode),
		.name = bento_bytes(name, strlen(name)),
		.value = bento_bytes(value, size),
		.mode = mode,
	};
	int err = 0, tries = 0;

	if (bento_has(bs, BENTO_OP_set_acl)) {
		do {
			err = bento_errno(bento_call(bs, set_acl, &args));
		} while (bento_space_again(bs, err, &tries));
		return err;
	}
	if (mode != inode->i_mode && bento_extents(bs))
		err = bento_set_mode(inode, mode);
	if (err)
		return err;
	if (value)
		return bento_set_value(inode, name, value, size, 0);
	err = bento_remove_value(inode, name);
	return err == -ENODATA ? 0 : err;
}

static int bento_store_acl(struct inode *inode, struct posix_acl *acl, int type,
			   umode_t mode)
{
	const char *name = bento_acl_name(type);
	void *value = NULL;
	size_t size = 0;
	int err;

	if (acl) {
		size = posix_acl_xattr_size(acl->a_count);
		value = kmalloc(size, GFP_KERNEL);
		if (!value)
			return -ENOMEM;
		err = posix_acl_to_xattr(&init_user_ns, acl, value, size);
		if (err < 0)
			goto out;
		size = err;
	}
	err = bento_store_value(inode, name, value, size, mode);
	if (!err)
		set_cached_acl(inode, type, acl);
out:
	kfree(value);
	return err;
}

/* chmod of a file with an ACL, where a handler stores both: 1. 0: there is no
 * such handler or no ACL. */
int bento_chmod_acl(struct inode *inode, umode_t mode)
{
	struct posix_acl *acl;
	int err;

	if (!bento_has(bento_isb(inode), BENTO_OP_set_acl) || !IS_POSIXACL(inode) ||
	    S_ISLNK(inode->i_mode))
		return 0;
	acl = bento_cached_acl(inode, ACL_TYPE_ACCESS);
	if (IS_ERR_OR_NULL(acl))
		return PTR_ERR_OR_ZERO(acl);
	err = __posix_acl_chmod(&acl, GFP_KERNEL, mode);
	if (err)
		return err;
	err = bento_store_acl(inode, acl, ACL_TYPE_ACCESS, mode);
	posix_acl_release(acl);
	return err ?: 1;
}

static int bento_do_set_acl(bento_idmap *idmap, struct inode *inode,
			    struct posix_acl *acl, int type)
{
	umode_t mode = inode->i_mode;
	int err;

	if (type == ACL_TYPE_DEFAULT && !S_ISDIR(mode))
		return acl ? -EACCES : 0;
	if (type == ACL_TYPE_ACCESS && acl) {
		/* An ACL that says no more than the mode becomes the mode. */
		err = posix_acl_update_mode(idmap, inode, &mode, &acl);
		if (err)
			return err;
	}
	err = bento_store_acl(inode, acl, type, mode);
	if (err)
		return err;
	if (!bento_extents(bento_isb(inode)))
		inode->i_mode = mode;
	bento_touch_ctime(inode);
	return 0;
}

BENTO_SET_ACL(bento_set_acl, bento_do_set_acl)

void bento_fill_xattr_iops(struct bento_super *bs, struct inode_operations *iops)
{
	if (bento_had(bs, BENTO_OP_listxattr))
		iops->listxattr = bento_listxattr;
	if (bento_had(bs, BENTO_OP_getxattr))
		iops->BENTO_GET_ACL_FIELD = bento_read_acl;
	if (bento_had(bs, BENTO_OP_setxattr))
		iops->set_acl = bento_set_acl;
}
