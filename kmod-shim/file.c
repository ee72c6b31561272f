// SPDX-License-Identifier: GPL-2.0
/*
 * Open files: what the VFS asks of a descriptor. Bytes move in pages.c and
 * resident.c; here are sizes, order of locks, and which call Rust hears of.
 */
#include <linux/backing-dev.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/uio.h>

#include "extents.h"

/* ---- open, close, fsync: directories too ---- */

int bento_open(struct inode *inode, struct file *file)
{
	struct bento_open_args args = {
		.inode = bento_pub(inode),
		.flags = file->f_flags,
	};
	struct bento_super *bs = bento_isb(inode);
	int err;

	if (S_ISREG(inode->i_mode)) {
		err = generic_file_open(inode, file);
		if (err)
			return err;
		/* Served from the page cache, as tmpfs does. */
		file->f_mode |= FMODE_CAN_ODIRECT;
	}
	if (!bento_has(bs, BENTO_OP_open))
		return 0;
	return bento_errno(bento_call(bs, open, &args));
}

int bento_release(struct inode *inode, struct file *file)
{
	struct bento_release_args args = {
		.inode = bento_pub(inode),
		.flags = file->f_flags,
	};
	struct bento_super *bs = bento_isb(inode);

	if (bento_extents(bs) && S_ISREG(inode->i_mode))
		bento_extents_close(inode, file);
	if (bento_has(bs, BENTO_OP_release))
		bento_call(bs, release, &args);
	return 0;
}

/* close(2): the handler sees what was written through any descriptor so far.
 * A failed writeback shows here without being used up: fsync tells it again. */
static int bento_flush(struct file *file, fl_owner_t id)
{
	struct inode *inode = file_inode(file);
	struct bento_super *bs = bento_isb(inode);
	struct bento_flush_args args = { .inode = bento_pub(inode) };
	bool bytes = !bento_resident(bs) && file->f_mode & FMODE_WRITE;
	s64 r = 0;
	int err = 0;

	if (bento_has(bs, BENTO_OP_flush)) {
		if (bytes)
			filemap_write_and_wait_range(file->f_mapping, 0, LLONG_MAX);
		r = bento_call(bs, flush, &args);
	}
	if (bytes)
		err = filemap_check_wb_err(file->f_mapping,
					   READ_ONCE(file->f_wb_err));
	return err ?: bento_errno(r);
}

static int bento_sync_attributes(struct inode *inode, int datasync)
{
	if (!(inode->i_state & I_DIRTY_ALL))
		return 0;
	if (datasync && !(inode->i_state & I_DIRTY_DATASYNC))
		return 0;
	return sync_inode_metadata(inode, 1);
}

int bento_fsync(struct file *file, loff_t start, loff_t end, int datasync)
{
	struct inode *inode = file_inode(file);
	struct bento_super *bs = bento_isb(inode);
	struct bento_fsync_args args = {
		.inode = bento_pub(inode),
		.flags = datasync,
	};
	int err;

	if (!bento_resident(bs)) {
		err = file_write_and_wait_range(file, start, end);
		if (!err && S_ISREG(inode->i_mode) && bento_extents(bs))
			err = bento_map_settle(inode);
		if (err)
			return err;
	}
	err = bento_sync_attributes(inode, datasync);
	if (!err && bento_has(bs, BENTO_OP_fsync))
		err = bento_errno(bento_call(bs, fsync, &args));
	if (!err && bento_extents(bs))
		err = bento_journal_wait(inode, datasync);
	return err;
}

/* ---- read and write ---- */

static ssize_t bento_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	struct bento_super *bs = bento_isb(file_inode(iocb->ki_filp));

	if (bento_extents(bs))
		return bento_extents_read(iocb, to);
	iocb->ki_flags &= ~IOCB_DIRECT;
	if (bento_resident(bs))
		return bento_resident_read(iocb, to);
	return filemap_read(iocb, to, 0);
}

/* A mapping may have left bytes past the end of the file in its last page;
 * they must not become data when the file grows to `to`. */
static void bento_zero_tail(struct inode *inode, loff_t to)
{
	loff_t size = i_size_read(inode);
	struct folio *folio;

	if (to <= size || !offset_in_page(size))
		return;
	folio = bento_find_lock_folio(inode->i_mapping, size >> PAGE_SHIFT);
	if (!folio)
		return;
	if (folio_test_uptodate(folio))
		folio_zero_segment(folio, offset_in_folio(folio, size),
				   min_t(loff_t, to - folio_pos(folio),
					 folio_size(folio)));
	folio_unlock(folio);
	folio_put(folio);
}

static ssize_t bento_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	ssize_t ret;

	if (bento_extents(bento_isb(inode)))
		return bento_extents_write(iocb, from);
	iocb->ki_flags &= ~IOCB_DIRECT;
	inode_lock(inode);
	ret = generic_write_checks(iocb, from);
	if (ret > 0) {
		bento_zero_tail(inode, iocb->ki_pos);
		/* Also drops setuid and security.capability, updates times. */
		ret = __generic_file_write_iter(iocb, from);
	}
	inode_unlock(inode);
	if (ret > 0)
		ret = generic_write_sync(iocb, ret);
	return ret;
}

static int bento_bytes_mmap(struct file *file, struct vm_area_struct *vma)
{
	file_accessed(file);
	vma->vm_ops = bento_extents(bento_isb(file_inode(file))) ?
			      &bento_extents_vm_ops :
			      &bento_bytes_vm_ops;
	return 0;
}

/* ---- positions ---- */

/* The handler knows what was written back only. */
static loff_t bento_bytes_seek(struct file *file, loff_t offset, int whence)
{
	struct inode *inode = file_inode(file);
	struct bento_seek_args args = {
		.inode = bento_pub(inode),
		.a = offset,
		.flags = whence,
	};
	loff_t size = i_size_read(inode);
	s64 r;

	args.out = whence == SEEK_DATA ? offset : size; /* nobody to ask */
	if (offset < 0 || offset >= size)
		return -ENXIO;
	r = filemap_write_and_wait_range(file->f_mapping, offset, LLONG_MAX);
	if (r)
		return r;
	r = bento_call(bento_isb(inode), seek, &args);
	if (r < 0)
		return r;
	if (args.out < offset || args.out > LLONG_MAX)
		return bento_bad(bento_isb(inode), BENTO_OP_seek,
				 "returned offset %llu for %lld", args.out, offset);
	/* The end of the file is a hole, and the handler's idea of it is old. */
	if (args.out >= size)
		return whence == SEEK_DATA ? -ENXIO : size;
	return args.out;
}

static loff_t bento_llseek(struct file *file, loff_t offset, int whence)
{
	struct inode *inode = file_inode(file);
	struct bento_super *bs = bento_isb(inode);
	loff_t r;

	if ((whence != SEEK_DATA && whence != SEEK_HOLE) ||
	    !(bento_resident(bs) || bento_extents(bs) ||
	      bento_has(bs, BENTO_OP_seek)))
		return generic_file_llseek(file, offset, whence);
	inode_lock_shared(inode);
	r = bento_resident(bs) ? bento_resident_seek(inode, offset, whence) :
	    bento_extents(bs)  ? bento_extents_seek(inode, offset, whence) :
				 bento_bytes_seek(file, offset, whence);
	inode_unlock_shared(inode);
	return r < 0 ? r : vfs_setpos(file, r, inode->i_sb->s_maxbytes);
}

/* ---- sizes ---- */

int bento_setsize_prepare(struct inode *inode, loff_t size)
{
	if (bento_resident(bento_isb(inode)) || size >= i_size_read(inode))
		return 0;
	/* Nothing may be dirty past the new end while the handler cuts: a
	 * writeback behind it would bring the bytes back. A failure is kept for
	 * fsync and must not keep a full file system from being emptied. */
	filemap_write_and_wait_range(inode->i_mapping,
				     round_down(size, PAGE_SIZE), LLONG_MAX);
	return 0;
}

void bento_setsize_apply(struct inode *inode, loff_t size)
{
	/* truncate(2) brings no times along, unlike ftruncate(2). */
	if (size != i_size_read(inode))
		inode_set_mtime_to_ts(inode, inode_set_ctime_current(inode));
	bento_zero_tail(inode, size);
	truncate_setsize(inode, size);
	if (bento_resident(bento_isb(inode)))
		bento_resident_settle(inode);
}

void bento_evict_pages(struct inode *inode)
{
	truncate_inode_pages_final(&inode->i_data);
	if (S_ISREG(inode->i_mode) && bento_extents(bento_isb(inode)))
		bento_map_end(inode);
	if (bento_resident(bento_isb(inode)) && bento_ki(inode)->charged)
		bento_resident_settle(inode);
}

u64 bento_file_blocks(const struct inode *inode)
{
	if (bento_resident(bento_isb(inode)) && S_ISREG(inode->i_mode))
		return (u64)READ_ONCE(inode->i_mapping->nrpages)
		       << (PAGE_SHIFT - SECTOR_SHIFT);
	if (bento_extents(bento_isb(inode)))
		return inode->i_blocks + (bento_map_delayed(inode)
					  << (inode->i_blkbits - SECTOR_SHIFT));
	return inode->i_blocks;
}

void bento_init_mapping(struct inode *inode)
{
	if (bento_resident(bento_isb(inode)))
		mapping_set_unevictable(inode->i_mapping);
	else if (bento_extents(bento_isb(inode)))
		mapping_set_large_folios(inode->i_mapping);
	else
		bento_large_folios(inode->i_mapping);
}

/* ---- fallocate ---- */

#define BENTO_FALLOC_SHIFTS (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)
#define BENTO_FALLOC_CLEARS (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)

/* The file's size afterwards, or an errno. */
static loff_t bento_fallocate_size(struct inode *inode, int mode, loff_t offset,
				   loff_t len)
{
	loff_t size = i_size_read(inode), after = size;
	int err;

	if (mode & FALLOC_FL_COLLAPSE_RANGE) {
		if (offset + len >= size)
			return -EINVAL;
		after = size - len;
	} else if (mode & FALLOC_FL_INSERT_RANGE) {
		if (offset >= size)
			return -EINVAL;
		if (len > inode->i_sb->s_maxbytes - size)
			return -EFBIG;
		after = size + len;
	} else if (!(mode & FALLOC_FL_KEEP_SIZE)) {
		after = max(size, offset + len);
	}
	if (mode & BENTO_FALLOC_SHIFTS && !IS_ALIGNED(offset | len, i_blocksize(inode)))
		return -EINVAL;
	err = after > size ? inode_newsize_ok(inode, after) : 0;
	return err ?: after;
}

/* Under i_rwsem and invalidate_lock. */
static int bento_bytes_fallocate(struct inode *inode, int mode, loff_t offset,
				 loff_t len)
{
	struct bento_fallocate_args args = {
		.inode = bento_pub(inode),
		.a = offset,
		.b = len,
		.flags = mode,
	};
	loff_t end = mode & BENTO_FALLOC_SHIFTS ? LLONG_MAX : offset + len - 1;
	s64 r;

	if (mode & (BENTO_FALLOC_SHIFTS | BENTO_FALLOC_CLEARS))
		filemap_write_and_wait_range(inode->i_mapping,
					     round_down(offset, PAGE_SIZE), end);
	r = bento_call(bento_isb(inode), fallocate, &args);
	if (r < 0)
		return r;
	if (mode & BENTO_FALLOC_SHIFTS)
		truncate_pagecache(inode, round_down(offset, PAGE_SIZE));
	else if (mode & BENTO_FALLOC_CLEARS)
		truncate_pagecache_range(inode, offset, end);
	return 0;
}

static int bento_resident_fallocate_asked(struct inode *inode, int mode,
					  loff_t offset, loff_t len)
{
	struct bento_super *bs = bento_isb(inode);
	struct bento_fallocate_args args = {
		.inode = bento_pub(inode),
		.a = offset,
		.b = len,
		.flags = mode,
	};
	s64 r = 0;

	/* The handler may refuse; the pages are ours to change. */
	if (bento_has(bs, BENTO_OP_fallocate))
		r = bento_call(bs, fallocate, &args);
	return r < 0 ? r : bento_resident_fallocate(inode, mode, offset, len);
}

static long bento_fallocate(struct file *file, int mode, loff_t offset, loff_t len)
{
	struct inode *inode = file_inode(file);
	struct address_space *mapping = file->f_mapping;
	loff_t size;
	int err;

	if (mode & ~(FALLOC_FL_KEEP_SIZE | BENTO_FALLOC_SHIFTS | BENTO_FALLOC_CLEARS))
		return -EOPNOTSUPP;
	inode_lock(inode);
	size = bento_fallocate_size(inode, mode, offset, len);
	if (size < 0) {
		inode_unlock(inode);
		return size;
	}
	filemap_invalidate_lock(mapping);
	if (bento_resident(bento_isb(inode)))
		err = bento_resident_fallocate_asked(inode, mode, offset, len);
	else if (bento_extents(bento_isb(inode)))
		err = bento_extents_fallocate(inode, mode, offset, len, size);
	else
		err = bento_bytes_fallocate(inode, mode, offset, len);
	if (!err && size != i_size_read(inode)) {
		loff_t old = i_size_read(inode);

		if (size > old)
			bento_zero_tail(inode, size);
		i_size_write(inode, size);
		if (size > old)
			pagecache_isize_extended(inode, old, size);
		bento_dirty(inode);
	}
	filemap_invalidate_unlock(mapping);
	if (!err)
		err = file_modified(file);
	inode_unlock(inode);
	return err;
}

static int bento_fadvise(struct file *file, loff_t offset, loff_t len, int advice)
{
	struct inode *inode = file_inode(file);
	struct bento_fadvise_args args = {
		.inode = bento_pub(inode),
		.a = offset,
		.b = len,
		.flags = advice,
	};
	s64 r;

	if (offset < 0 || len < 0)
		return -EINVAL;
	r = bento_call(bento_isb(inode), fadvise, &args);
	return r < 0 ? r : generic_fadvise(file, offset, len, advice);
}

/* ---- tables ---- */

void bento_fill_file_iops(struct bento_super *bs, struct inode_operations *iops)
{
	bento_fill_common_iops(bs, iops);
	bento_fill_xattr_iops(bs, iops);
	if (bento_extents(bs))
		iops->fiemap = bento_extents_fiemap;
}

/* Can bytes be read, and written? */
static bool bento_reads(const struct bento_super *bs)
{
	return bento_resident(bs) ||
	       bento_had(bs, bento_extents(bs) ? BENTO_OP_map_extents : BENTO_OP_read);
}

static bool bento_writes(const struct bento_super *bs)
{
	return bento_resident(bs) ||
	       bento_had(bs, bento_extents(bs) ? BENTO_OP_allocate_extents :
						 BENTO_OP_write);
}

void bento_fill_file_fops(struct bento_super *bs, struct file_operations *fops)
{
	bool resident = bento_resident(bs);

	fops->llseek = bento_llseek;
	fops->open = bento_open;
	fops->fsync = bento_fsync;
	if (bento_had(bs, BENTO_OP_release) || bento_extents(bs))
		fops->release = bento_release;
	if (!resident || bento_had(bs, BENTO_OP_flush))
		fops->flush = bento_flush;
	if (bento_had(bs, BENTO_OP_fadvise))
		fops->fadvise = bento_fadvise;
	if (resident || bento_had(bs, BENTO_OP_fallocate))
		fops->fallocate = bento_fallocate;
	if (bento_reads(bs)) {
		fops->read_iter = bento_read_iter;
		fops->splice_read = resident ? bento_resident_splice_read :
					       bento_splice_read_cached;
		fops->mmap = resident ? generic_file_mmap :
			     bento_writes(bs) ? bento_bytes_mmap :
							     generic_file_readonly_mmap;
	}
	if (bento_writes(bs)) {
		fops->write_iter = bento_write_iter;
		fops->splice_write = iter_file_splice_write;
	}
	bento_fill_ioctl_fops(bs, fops);
}

void bento_fill_aops(struct bento_super *bs, struct address_space_operations *aops)
{
	if (bento_resident(bs)) {
		*aops = bento_resident_aops;
		return;
	}
	if (bento_extents(bs)) {
		*aops = bento_extents_aops;
		return;
	}
	*aops = bento_bytes_aops;
	if (!bento_had(bs, BENTO_OP_read)) {
		aops->read_folio = NULL;
		aops->readahead = NULL;
	}
	if (!bento_had(bs, BENTO_OP_write)) {
		aops->write_begin = NULL;
		aops->write_end = NULL;
		aops->writepages = NULL;
		aops->dirty_folio = noop_dirty_folio;
	}
}
