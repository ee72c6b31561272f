// SPDX-License-Identifier: GPL-2.0
/*
 * File data of disk file systems: page cache, delayed allocation, writeback and
 * direct I/O by the kernel's iomap. It reads the map of extents.c, which asks the
 * handlers; no Rust is called where that map knows.
 *
 * Blocks are allocated unwritten when data are written back (or directly), and
 * converted when the I/O is done: what a crash leaves is never somebody else's
 * bytes (SAFETY.md D1). Writeback allocates first and touches pages then: while a
 * handler refuses, data stay dirty (D2).
 */
#include <linux/backing-dev.h>
#include <linux/blkdev.h>
#include <linux/buffer_head.h>
#include <linux/fiemap.h>
#include <linux/iomap.h>
#include <linux/swap.h>
#include <linux/uio.h>

#include "extents.h"

struct workqueue_struct *bento_done_wq;

static struct bento_map *bento_map(const struct inode *inode)
{
	return &bento_ki(inode)->map;
}

/* ---- maps for iomap ---- */

static bool bento_iomap_valid(struct inode *inode, const struct iomap *iomap)
{
	return iomap->validity_cookie == bento_map_cookie(inode);
}

static const struct iomap_folio_ops bento_folio_ops = {
	.iomap_valid = bento_iomap_valid,
};

static void bento_fill_iomap(struct inode *inode, const struct bento_found *found,
			     struct iomap *iomap)
{
	static const u16 types[] = {
		[BENTO_PIECE_HOLE] = IOMAP_HOLE,
		[BENTO_PIECE_DELAYED] = IOMAP_DELALLOC,
		[BENTO_PIECE_UNWRITTEN] = IOMAP_UNWRITTEN,
		[BENTO_PIECE_MAPPED] = IOMAP_MAPPED,
		[BENTO_PIECE_OWED] = IOMAP_MAPPED,
	};

	iomap->offset = found->start;
	iomap->length = found->end - found->start;
	iomap->type = types[found->type];
	iomap->addr = found->type >= BENTO_PIECE_UNWRITTEN ? found->addr :
							     IOMAP_NULL_ADDR;
	iomap->bdev = inode->i_sb->s_bdev;
	iomap->flags = 0;
	iomap->validity_cookie = found->cookie;
}

/* What is known, or else what the handler says: that may sleep. */
static int bento_iomap_find(struct inode *inode, loff_t pos, unsigned int flags,
			    struct bento_found *found)
{
	if (bento_map_peek(inode, pos, found))
		return 0;
	return flags & IOMAP_NOWAIT ? -EAGAIN : bento_map_find(inode, pos, found);
}

static int bento_read_begin(struct inode *inode, loff_t pos, loff_t length,
			    unsigned int flags, struct iomap *iomap,
			    struct iomap *srcmap)
{
	struct bento_found found;
	int err = bento_iomap_find(inode, pos, flags, &found);

	if (err)
		return err;
	/* A mapping's write since its pages were written back: as if it came
	 * later. */
	if (flags & IOMAP_DIRECT && found.type == BENTO_PIECE_DELAYED)
		found.type = BENTO_PIECE_HOLE;
	bento_fill_iomap(inode, &found, iomap);
	return 0;
}

static const struct iomap_ops bento_read_ops = {
	.iomap_begin = bento_read_begin,
};

/* Writing into the page cache, and zeroing there (IOMAP_ZERO alone), which has
 * nothing to do where nothing is allocated. */
static int bento_write_begin(struct inode *inode, loff_t pos, loff_t length,
			     unsigned int flags, struct iomap *iomap,
			     struct iomap *srcmap)
{
	struct bento_found found;
	loff_t added = 0;
	int err;

	/* What will never be written back must not fill the memory. */
	if (unlikely(READ_ONCE(bento_isb(inode)->slot.health) == BENTO_QUARANTINED))
		return -EIO;
	for (;;) {
		if (!bento_map_peek(inode, pos, &found)) {
			if (flags & IOMAP_NOWAIT)
				return -EAGAIN;
			err = bento_map_find(inode, pos, &found);
			if (err)
				return err;
		}
		if (found.type != BENTO_PIECE_HOLE || !(flags & IOMAP_WRITE))
			break;
		err = bento_map_delay(inode, pos, pos + length, &found, &added);
		if (err)
			return err;
		if (added) {
			found.end = added;
			break;
		}
	}
	bento_fill_iomap(inode, &found, iomap);
	if (added)
		iomap->flags |= IOMAP_F_NEW;
	bento_iomap_folio_ops(iomap) = &bento_folio_ops;
	return 0;
}

BENTO_PUNCH(bento_punch_delayed, bento_map_undelay)

/* Reserved just now, and not dirty after all. */
static int bento_write_end(struct inode *inode, loff_t pos, loff_t length,
			   ssize_t written, unsigned int flags, struct iomap *iomap)
{
	if (iomap->type == IOMAP_DELALLOC && iomap->flags & IOMAP_F_NEW &&
	    written < length && !(flags & IOMAP_FAULT))
		bento_release_delayed(inode, pos, length, written, flags, iomap,
				      bento_punch_delayed);
	return 0;
}

static const struct iomap_ops bento_write_ops = {
	.iomap_begin = bento_write_begin,
	.iomap_end = bento_write_end,
};

static int bento_direct_begin(struct inode *inode, loff_t pos, loff_t length,
			      unsigned int flags, struct iomap *iomap,
			      struct iomap *srcmap)
{
	struct bento_found found;
	int err = bento_iomap_find(inode, pos, flags, &found);

	if (err)
		return err;
	if (found.type == BENTO_PIECE_HOLE || found.type == BENTO_PIECE_DELAYED) {
		if (flags & (IOMAP_NOWAIT | IOMAP_OVERWRITE_ONLY))
			return -EAGAIN;
		err = bento_map_allocate(inode, pos, pos + length, &found);
		if (err)
			return err;
	}
	if (found.type == BENTO_PIECE_UNWRITTEN)
		clean_bdev_aliases(inode->i_sb->s_bdev,
				   (found.addr + (pos - found.start)) >> inode->i_blkbits,
				   (min(found.end - pos, length) >> inode->i_blkbits) + 1);
	/* Told of the write, told again: the handler may just store it twice. */
	if (found.type == BENTO_PIECE_OWED)
		found.type = BENTO_PIECE_UNWRITTEN;
	bento_fill_iomap(inode, &found, iomap);
	/* O_DSYNC waits for the journal, whatever is in it of this file. */
	iomap->flags |= IOMAP_F_DIRTY;
	if (found.fresh)
		iomap->flags |= IOMAP_F_NEW;
	return 0;
}

static const struct iomap_ops bento_direct_ops = {
	.iomap_begin = bento_direct_begin,
};

/* Zeroes in the page cache; holes and unwritten blocks stay what they are. */
static int bento_zero(struct inode *inode, loff_t pos, loff_t end)
{
	if (pos >= end)
		return 0;
	return bento_iomap_zero(inode, pos, end - pos, &bento_write_ops);
}

/* ---- read ---- */

static int bento_extents_read_folio(struct file *file, struct folio *folio)
{
	return iomap_read_folio(folio, &bento_read_ops);
}

static void bento_extents_readahead(struct readahead_control *rac)
{
	iomap_readahead(rac, &bento_read_ops);
}

static sector_t bento_extents_bmap(struct address_space *mapping, sector_t block)
{
	return iomap_bmap(mapping, block, &bento_read_ops);
}

static int bento_swap_activate(struct swap_info_struct *sis, struct file *file,
			       sector_t *span)
{
	sis->bdev = file_inode(file)->i_sb->s_bdev;
	return iomap_swapfile_activate(sis, file, span, &bento_read_ops);
}

/* Direct I/O goes by the device's sectors; what does not fit them goes through
 * the page cache. */
static bool bento_direct_fits(const struct kiocb *iocb, const struct iov_iter *iter)
{
	struct block_device *bdev = file_inode(iocb->ki_filp)->i_sb->s_bdev;

	return !((iocb->ki_pos | iov_iter_count(iter)) &
		 (bdev_logical_block_size(bdev) - 1)) &&
	       bdev_iter_is_aligned(bdev, (struct iov_iter *)iter);
}

ssize_t bento_extents_read(struct kiocb *iocb, struct iov_iter *to)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	ssize_t ret;

	if (!(iocb->ki_flags & IOCB_DIRECT))
		return filemap_read(iocb, to, 0);
	if (!iov_iter_count(to))
		return 0;
	if (!bento_direct_fits(iocb, to)) {
		iocb->ki_flags &= ~IOCB_DIRECT;
		return filemap_read(iocb, to, 0);
	}
	file_accessed(iocb->ki_filp);
	inode_lock_shared(inode);
	ret = iomap_dio_rw(iocb, to, &bento_read_ops, NULL, 0, NULL, 0);
	inode_unlock_shared(inode);
	return ret;
}

loff_t bento_extents_seek(struct inode *inode, loff_t offset, int whence)
{
	return whence == SEEK_HOLE ? iomap_seek_hole(inode, offset, &bento_read_ops) :
				     iomap_seek_data(inode, offset, &bento_read_ops);
}

int bento_extents_fiemap(struct inode *inode, struct fiemap_extent_info *info,
			 u64 start, u64 len)
{
	int err;

	inode_lock_shared(inode);
	err = iomap_fiemap(inode, info, start, len, &bento_read_ops);
	inode_unlock_shared(inode);
	return err;
}

/* ---- write ---- */

/* Data up to there are on the device: the size may be stored. */
static void bento_disk_grows(struct inode *inode, loff_t end)
{
	struct bento_kinode *ki = bento_ki(inode);
	bool grows;

	spin_lock(&inode->i_lock);
	end = min(end, i_size_read(inode));
	grows = end > (loff_t)ki->disk_size;
	if (grows)
		WRITE_ONCE(ki->disk_size, end);
	spin_unlock(&inode->i_lock);
	if (grows)
		bento_dirty(inode);
}

static int bento_direct_done(struct kiocb *iocb, ssize_t size, int error,
			     unsigned int flags)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	loff_t pos = iocb->ki_pos, old = i_size_read(inode);

	if (error || size <= 0)
		return error;
	/* Under i_rwsem: whoever may extend has it, and waits for this. The size
	 * first: data beyond it must not be on the device for good. */
	if (pos + size > old)
		i_size_write(inode, pos + size);
	if (flags & IOMAP_DIO_UNWRITTEN) {
		error = bento_map_written_range(inode, pos, pos + size);
		if (error) {
			if (pos + size > old)
				i_size_write(inode, old);
			return error;
		}
	}
	bento_disk_grows(inode, pos + size);
	return 0;
}

static const struct iomap_dio_ops bento_dio_ops = {
	.end_io = bento_direct_done,
};

/* Under i_rwsem, after generic_write_checks(): what lies between the old end and
 * the place of the write reads as zero. */
static int bento_write_gap(struct inode *inode, loff_t pos)
{
	loff_t size = i_size_read(inode);

	return pos > size ? bento_zero(inode, size, pos) : 0;
}

static ssize_t bento_buffered_locked(struct kiocb *iocb, struct iov_iter *from)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	int err = bento_write_gap(inode, iocb->ki_pos);

	if (!err)
		err = kiocb_modified(iocb);
	return err ?: bento_iomap_write(iocb, from, &bento_write_ops);
}

/* Bytes that were meant to be written directly reach the device now, and are not
 * cached any longer. */
static ssize_t bento_push_out(struct kiocb *iocb, loff_t pos, ssize_t written)
{
	struct address_space *mapping = iocb->ki_filp->f_mapping;
	int err;

	if (written <= 0)
		return written;
	err = filemap_write_and_wait_range(mapping, pos, pos + written - 1);
	if (err)
		return err;
	invalidate_mapping_pages(mapping, pos >> PAGE_SHIFT,
				 (pos + written - 1) >> PAGE_SHIFT);
	return written;
}

static ssize_t bento_buffered_write(struct kiocb *iocb, struct iov_iter *from)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	bool direct = iocb->ki_flags & IOCB_DIRECT;
	ssize_t ret;

	iocb->ki_flags &= ~IOCB_DIRECT;
	inode_lock(inode);
	ret = generic_write_checks(iocb, from);
	if (ret > 0)
		ret = bento_buffered_locked(iocb, from);
	inode_unlock(inode);
	if (direct)
		ret = bento_push_out(iocb, iocb->ki_pos - max_t(ssize_t, ret, 0), ret);
	if (ret > 0)
		ret = generic_write_sync(iocb, ret);
	return ret;
}

/* Overwriting inside the file, block by block, needs no more than to keep
 * truncate out. */
static bool bento_direct_shared(struct kiocb *iocb, size_t count)
{
	struct inode *inode = file_inode(iocb->ki_filp);

	return !(iocb->ki_flags & IOCB_APPEND) && IS_NOSEC(inode) &&
	       IS_ALIGNED(iocb->ki_pos | count, i_blocksize(inode)) &&
	       iocb->ki_pos + count <= i_size_read(inode);
}

static ssize_t bento_direct_write(struct kiocb *iocb, struct iov_iter *from)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	bool shared = bento_direct_shared(iocb, iov_iter_count(from));
	ssize_t ret, more;
	loff_t pos;

again:
	if (shared)
		inode_lock_shared(inode);
	else
		inode_lock(inode);
	ret = generic_write_checks(iocb, from);
	if (ret <= 0)
		goto out;
	if (shared && !bento_direct_shared(iocb, iov_iter_count(from))) {
		inode_unlock_shared(inode);
		shared = false;
		goto again;
	}
	ret = kiocb_modified(iocb);
	if (ret)
		goto out;
	if (!shared) {
		/* Two may share a block, and neither know the other's half. */
		inode_dio_wait(inode);
		ret = bento_write_gap(inode, iocb->ki_pos);
		if (ret)
			goto out;
	}
	ret = iomap_dio_rw(iocb, from, &bento_direct_ops, &bento_dio_ops,
			   shared ? 0 : IOMAP_DIO_FORCE_WAIT, NULL, 0);
	if (ret == -ENOTBLK)
		ret = 0;
out:
	if (shared)
		inode_unlock_shared(inode);
	else
		inode_unlock(inode);
	/* Pages that would not go away, or part of it was done. */
	if (ret < 0 || !iov_iter_count(from) || iocb->ki_flags & IOCB_NOWAIT)
		return ret;
	iocb->ki_flags &= ~IOCB_DIRECT;
	inode_lock(inode);
	pos = iocb->ki_pos;
	more = bento_buffered_locked(iocb, from);
	inode_unlock(inode);
	more = bento_push_out(iocb, pos, more);
	if (more > 0)
		more = generic_write_sync(iocb, more);
	return more < 0 ? (ret ?: more) : ret + more;
}

ssize_t bento_extents_write(struct kiocb *iocb, struct iov_iter *from)
{
	if (iocb->ki_flags & IOCB_DIRECT && bento_direct_fits(iocb, from))
		return bento_direct_write(iocb, from);
	return bento_buffered_write(iocb, from);
}

static vm_fault_t bento_extents_page_mkwrite(struct vm_fault *vmf)
{
	struct inode *inode = file_inode(vmf->vma->vm_file);
	vm_fault_t ret;

	sb_start_pagefault(inode->i_sb);
	file_update_time(vmf->vma->vm_file);
	filemap_invalidate_lock_shared(inode->i_mapping);
	ret = iomap_page_mkwrite(vmf, &bento_write_ops);
	filemap_invalidate_unlock_shared(inode->i_mapping);
	sb_end_pagefault(inode->i_sb);
	return ret;
}

const struct vm_operations_struct bento_extents_vm_ops = {
	.fault = filemap_fault,
	.map_pages = filemap_map_pages,
	.page_mkwrite = bento_extents_page_mkwrite,
};

/* ---- writeback ---- */

/* I/O of one run of the file has ended. The inode stays at least until the last
 * of its folios is no longer under writeback. */
static void bento_ioend_done(struct iomap_ioend *ioend)
{
	struct inode *inode = ioend->io_inode;
	loff_t start = ioend->io_offset, end = start + ioend->io_size;
	u64 addr = (u64)ioend->io_sector << SECTOR_SHIFT;
	int err = blk_status_to_errno(bento_ioend_bio(ioend)->bi_status);

	if (!err) {
		if (ioend->io_type == IOMAP_UNWRITTEN)
			bento_map_written(inode, start, end, addr);
		bento_disk_grows(inode, end);
	}
	iomap_finish_ioends(ioend, err);
}

static void bento_done_work(struct work_struct *work)
{
	struct bento_map *map = container_of(work, struct bento_map, done_work);
	struct iomap_ioend *ioend;
	unsigned long flags;
	LIST_HEAD(done);

	spin_lock_irqsave(&map->done_lock, flags);
	list_splice_init(&map->done, &done);
	spin_unlock_irqrestore(&map->done_lock, flags);
	/* From here on the map may go with the last ioend. */
	iomap_sort_ioends(&done);
	while ((ioend = list_first_entry_or_null(&done, struct iomap_ioend, io_list))) {
		list_del_init(&ioend->io_list);
		iomap_ioend_try_merge(ioend, &done);
		bento_ioend_done(ioend);
		cond_resched();
	}
}

void bento_done_once(struct bento_map *map)
{
	spin_lock_init(&map->done_lock);
	INIT_LIST_HEAD(&map->done);
}

void bento_done_init(struct bento_map *map)
{
	INIT_WORK(&map->done_work, bento_done_work);
}

static void bento_end_bio(struct bio *bio)
{
	struct iomap_ioend *ioend = bento_bio_ioend(bio);
	struct bento_map *map = bento_map(ioend->io_inode);
	unsigned long flags;

	spin_lock_irqsave(&map->done_lock, flags);
	if (list_empty(&map->done))
		queue_work(bento_done_wq, &map->done_work);
	list_add_tail(&ioend->io_list, &map->done);
	spin_unlock_irqrestore(&map->done_lock, flags);
}

static int bento_prepare_ioend(struct iomap_ioend *ioend, int status)
{
	struct inode *inode = ioend->io_inode;
	bool unwritten = ioend->io_type == IOMAP_UNWRITTEN;

	/* Blocks that were metadata until now may still be cached as such. */
	if (unwritten)
		clean_bdev_aliases(inode->i_sb->s_bdev,
				   ioend->io_sector >> (inode->i_blkbits - SECTOR_SHIFT),
				   (ioend->io_size + i_blocksize(inode) - 1) >>
					   inode->i_blkbits);
	if (unwritten ||
	    ioend->io_offset + ioend->io_size > READ_ONCE(bento_ki(inode)->disk_size))
		bento_ioend_bio(ioend)->bi_end_io = bento_end_bio;
	return status;
}

/* What writeback has prepared is in the map; only what was dirtied since is not
 * allocated yet. */
static int bento_map_blocks(struct iomap_writepage_ctx *wpc, struct inode *inode,
			    loff_t offset)
{
	struct bento_found found;
	int err;

	if (offset >= wpc->iomap.offset &&
	    offset < wpc->iomap.offset + wpc->iomap.length &&
	    wpc->iomap.type != IOMAP_HOLE && bento_iomap_valid(inode, &wpc->iomap))
		return 0;
	err = bento_map_find(inode, offset, &found);
	if (!err && found.type == BENTO_PIECE_DELAYED)
		err = bento_map_allocate(inode, offset, found.end, &found);
	if (err)
		return err;
	/* Still to be told: once more, when this is done. */
	if (found.type == BENTO_PIECE_OWED)
		found.type = BENTO_PIECE_UNWRITTEN;
	bento_fill_iomap(inode, &found, &wpc->iomap);
	return 0;
}

BENTO_MAP_BLOCKS(bento_writeback_map, bento_map_blocks)

static const struct iomap_writeback_ops bento_writeback_ops = {
	.map_blocks = bento_writeback_map,
	.prepare_ioend = bento_prepare_ioend,
};

static int bento_extents_writepages(struct address_space *mapping,
				    struct writeback_control *wbc)
{
	struct inode *inode = mapping->host;
	struct iomap_writepage_ctx wpc = {};
	loff_t start = wbc->range_cyclic ? 0 : wbc->range_start;
	loff_t end = wbc->range_cyclic ? LLONG_MAX : wbc->range_end;
	int err, later;

	end = min_t(loff_t, end, i_size_read(inode) - 1);
	later = bento_map_settle(inode);
	bento_map_pin(inode);
	err = end < start ? 0 : bento_map_allocate_range(inode, start, end + 1);
	if (!err)
		err = iomap_writepages(mapping, wbc, &wpc, &bento_writeback_ops);
	bento_map_unpin(inode);
	err = err ?: later;
	/* What was refused stays dirty. fsync gives the error back; syncfs looks
	 * only here. */
	if (err && wbc->sync_mode == WB_SYNC_ALL)
		errseq_set(&inode->i_sb->s_wb_err, err);
	return err;
}

const struct address_space_operations bento_extents_aops = {
	.read_folio = bento_extents_read_folio,
	.readahead = bento_extents_readahead,
	.writepages = bento_extents_writepages,
	.dirty_folio = bento_iomap_dirty_folio,
	.release_folio = iomap_release_folio,
	.invalidate_folio = iomap_invalidate_folio,
	.migrate_folio = filemap_migrate_folio,
	.is_partially_uptodate = iomap_is_partially_uptodate,
	BENTO_ERROR_REMOVE,
	.bmap = bento_extents_bmap,
	.swap_activate = bento_swap_activate,
};

/* ---- sizes ---- */

/* A stored size speaks for all bytes below it: those between what is stored now
 * and there are written first. */
static int bento_flush_size(struct inode *inode, loff_t size)
{
	loff_t stored = READ_ONCE(bento_ki(inode)->disk_size);
	loff_t end = min(size, i_size_read(inode));

	return end <= stored ? 0 :
		filemap_write_and_wait_range(inode->i_mapping, stored, end - 1);
}

int bento_extents_resize(bento_idmap *idmap, struct inode *inode,
			 const struct iattr *ia)
{
	loff_t old = i_size_read(inode), size = ia->ia_size;
	loff_t mask = i_blocksize(inode) - 1;
	loff_t beyond = size > LLONG_MAX - mask ? LLONG_MAX : (size + mask) & ~mask;
	int err;

	inode_dio_wait(inode);
	/* Grown, or cut inside a block: what is beyond the end is zero. */
	err = size > old ? bento_zero(inode, old, size) :
			   bento_zero(inode, size, min(beyond, old));
	if (!err)
		err = bento_flush_size(inode, size);
	if (err)
		return err;
	truncate_setsize(inode, size);
	bento_map_change(inode);
	err = bento_ask_setattr(idmap, inode, ia);
	/* What was allocated beyond the end may stay when the file grows. */
	bento_map_changed(inode, beyond, LLONG_MAX, !err && size < old);
	/* What the device has, is what the file has: pages are gone. */
	if (err) {
		i_size_write(inode, size > old ? old :
				    max_t(loff_t, size, bento_ki(inode)->disk_size));
		return err;
	}
	WRITE_ONCE(bento_ki(inode)->disk_size, size);
	if (!size && READ_ONCE(bento_isb(inode)->disk.auto_da_alloc))
		set_bit(BENTO_KI_EMPTIED, &bento_ki(inode)->state);
	if (i_size_read(inode) != size)
		err = bento_bad(bento_isb(inode), BENTO_OP_setattr,
				"staged size %lld instead of %lld for inode %lu",
				i_size_read(inode), size, inode->i_ino);
	return err;
}

/* ---- files that replace others (auto_da_alloc) ---- */

/* Before `inode` takes the name of another file. A commit that has the rename
 * must have its bytes too, and the size that speaks for them: the size is stored
 * by the rename or before it, but only as far as bytes have reached the device.
 * To have begun to write them is not enough. */
int bento_extents_replaces(struct inode *inode)
{
	if (!S_ISREG(inode->i_mode) || !READ_ONCE(bento_isb(inode)->disk.auto_da_alloc))
		return 0;
	return filemap_write_and_wait(inode->i_mapping);
}

/* What was there before a file was emptied is gone with the next commit: what
 * was written since is on its way by then, if whoever wrote it is done. */
void bento_extents_close(struct inode *inode, struct file *file)
{
	unsigned long *state = &bento_ki(inode)->state;

	if (file->f_mode & FMODE_WRITE && test_bit(BENTO_KI_EMPTIED, state) &&
	    test_and_clear_bit(BENTO_KI_EMPTIED, state))
		filemap_flush(inode->i_mapping);
}

/* ---- fallocate ---- */

#define BENTO_FALLOC_SHIFTS (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)
#define BENTO_FALLOC_CLEARS (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)

/* Nothing of the range is dirty, and where the mapping changes below bytes that
 * are there, nothing of it is cached. */
static int bento_fallocate_flush(struct inode *inode, int mode, loff_t offset,
				 loff_t end)
{
	struct address_space *mapping = inode->i_mapping;
	loff_t unit = max_t(loff_t, PAGE_SIZE, i_blocksize(inode));
	loff_t from = round_down(offset, unit);
	int err;

	if (!(mode & (BENTO_FALLOC_SHIFTS | BENTO_FALLOC_CLEARS)))
		return bento_map_has_delayed(inode, offset, end) ?
			filemap_write_and_wait_range(mapping, offset, end - 1) : 0;
	if (mode & BENTO_FALLOC_SHIFTS || end > LLONG_MAX - unit)
		end = LLONG_MAX;
	else
		end = round_up(end, unit) - 1;
	err = filemap_write_and_wait_range(mapping, from, end);
	if (!err)
		truncate_pagecache_range(inode, from, end);
	return err;
}

/* `size`: the file's afterwards. */
int bento_extents_fallocate(struct inode *inode, int mode, loff_t offset,
			    loff_t len, loff_t size)
{
	struct bento_fallocate_args args = {
		.inode = bento_pub(inode),
		.a = offset,
		.b = len,
		.flags = mode,
	};
	struct bento_super *bs = bento_isb(inode);
	loff_t old = i_size_read(inode), end = offset + len;
	loff_t mask = i_blocksize(inode) - 1;
	int err = 0, tries = 0;

	inode_dio_wait(inode);
	if (size > old && !(mode & FALLOC_FL_INSERT_RANGE))
		err = bento_zero(inode, old, size);
	if (!err && size != old)
		err = bento_flush_size(inode, old);
	if (!err)
		err = bento_fallocate_flush(inode, mode, offset, end);
	if (err)
		return err;
	/* A hole inside of a block is zeroes. */
	if (!(mode & FALLOC_FL_PUNCH_HOLE) || ((offset + mask) & ~mask) < (end & ~mask)) {
		bento_map_change(inode);
		/* What shifts a file's blocks may have come half-way. */
		do {
			err = bento_errno(bento_call(bs, fallocate, &args));
		} while (!(mode & BENTO_FALLOC_SHIFTS) && bento_space_again(bs, err, &tries));
		bento_map_changed(inode, offset & ~mask,
				  mode & BENTO_FALLOC_SHIFTS ? LLONG_MAX : end, false);
		if (err)
			return err;
	}
	if (i_size_read(inode) != size)
		return bento_bad(bs, BENTO_OP_fallocate,
				 "staged size %lld instead of %lld for inode %lu",
				 i_size_read(inode), size, inode->i_ino);
	if (mode & BENTO_FALLOC_CLEARS)
		err = bento_zero(inode, offset, min(end, size));
	if (size > old)
		pagecache_isize_extended(inode, old, size);
	return err;
}
