/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The only place that asks which kernel this is. Code is written for 6.12;
 * where 6.1 lacks a name, it is given here.
 */
#ifndef BENTO_COMPAT_H
#define BENTO_COMPAT_H

#include <linux/version.h>
#include <linux/fs.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>

#define BENTO_KERNEL(a, b) (LINUX_VERSION_CODE >= KERNEL_VERSION(a, b, 0))

/* 6.3: an idmap where a user namespace was. The functions keep their names, so
 * only the type and the identity differ. */
#if BENTO_KERNEL(6, 3)
#include <linux/mnt_idmapping.h>
typedef struct mnt_idmap bento_idmap;
#define bento_nop_idmap (&nop_mnt_idmap)
#define bento_file_idmap(file) file_mnt_idmap(file)
#else
typedef struct user_namespace bento_idmap;
#define bento_nop_idmap (&init_user_ns)
#define bento_file_idmap(file) file_mnt_user_ns(file)
#endif

/* 6.6 and 6.7: times behind accessors. */
#if !BENTO_KERNEL(6, 6)
static inline struct timespec64 inode_get_ctime(const struct inode *inode)
{
	return inode->i_ctime;
}

static inline struct timespec64 inode_set_ctime_to_ts(struct inode *inode,
						      struct timespec64 ts)
{
	return inode->i_ctime = ts;
}

static inline struct timespec64 inode_set_ctime_current(struct inode *inode)
{
	return inode->i_ctime = current_time(inode);
}
#define bento_generic_fillattr(idmap, mask, inode, stat) \
	generic_fillattr(idmap, inode, stat)
#else
#define bento_generic_fillattr(idmap, mask, inode, stat) \
	generic_fillattr(idmap, mask, inode, stat)
#endif

#if !BENTO_KERNEL(6, 7)
static inline struct timespec64 inode_get_atime(const struct inode *inode)
{
	return inode->i_atime;
}

static inline struct timespec64 inode_get_mtime(const struct inode *inode)
{
	return inode->i_mtime;
}

static inline struct timespec64 inode_set_atime_to_ts(struct inode *inode,
						      struct timespec64 ts)
{
	return inode->i_atime = ts;
}

static inline struct timespec64 inode_set_mtime_to_ts(struct inode *inode,
						      struct timespec64 ts)
{
	return inode->i_mtime = ts;
}
#endif

#endif
