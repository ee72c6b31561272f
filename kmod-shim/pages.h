/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files about file data share: pages.c (bytes), resident.c, file.c.
 */
#ifndef BENTO_PAGES_H
#define BENTO_PAGES_H

#include <linux/fs.h> /* before falloc.h, which needs its types */
#include <linux/falloc.h>
#include <linux/pagemap.h>

#include "shim.h"

/* pages.c */
extern const struct address_space_operations bento_bytes_aops;
extern const struct vm_operations_struct bento_bytes_vm_ops;

/* iomap.c */
extern const struct address_space_operations bento_extents_aops;
extern const struct vm_operations_struct bento_extents_vm_ops;
ssize_t bento_extents_read(struct kiocb *iocb, struct iov_iter *to);
ssize_t bento_extents_write(struct kiocb *iocb, struct iov_iter *from);
loff_t bento_extents_seek(struct inode *inode, loff_t offset, int whence);
int bento_extents_fiemap(struct inode *inode, struct fiemap_extent_info *info,
			 u64 start, u64 len);
/* Under i_rwsem and invalidate_lock. */
int bento_extents_fallocate(struct inode *inode, int mode, loff_t offset,
			    loff_t len, loff_t size);

/* resident.c */
extern const struct address_space_operations bento_resident_aops;
/* Uncharge what left the page cache since: under invalidate_lock, or when
 * nobody else can reach the inode. */
void bento_resident_settle(struct inode *inode);
ssize_t bento_resident_read(struct kiocb *iocb, struct iov_iter *to);
ssize_t bento_resident_splice_read(struct file *file, loff_t *ppos,
				   struct pipe_inode_info *pipe, size_t len,
				   unsigned int flags);
int bento_resident_fallocate(struct inode *inode, int mode, loff_t offset,
			     loff_t len);
loff_t bento_resident_seek(struct inode *inode, loff_t offset, int whence);

#endif
