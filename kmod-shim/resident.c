// SPDX-License-Identifier: GPL-2.0
/*
 * Files that live in the page cache alone, as in ramfs: pages are unevictable
 * and never cleaned, no call into Rust is made for their bytes. Unlike ramfs a
 * mount may have a limit, and reading a hole takes no memory.
 *
 * Pages are charged before they enter the cache and uncharged by comparing
 * what the inode was charged with what the cache holds (bento_resident_settle).
 *
 * Folios are dirty for ever, which keeps drop_caches off them, without being
 * accounted as dirty. Splitting a large one at the end of the file would
 * account what it drops as cleaned (6.12, in split_huge_page): hence all of
 * them are single pages, as in ramfs.
 */
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/pagevec.h>
#include <linux/sched/signal.h>
#include <linux/uio.h>

#include "pages.h"

static bool bento_charge_pages(struct inode *inode, unsigned long pages)
{
	s64 bytes = (s64)pages << PAGE_SHIFT;

	if (!bento_charge_bytes(bento_isb(inode), bytes))
		return false;
	spin_lock(&inode->i_lock);
	bento_ki(inode)->charged += bytes;
	spin_unlock(&inode->i_lock);
	return true;
}

static void bento_uncharge_pages(struct inode *inode, unsigned long pages)
{
	s64 bytes = (s64)pages << PAGE_SHIFT;

	spin_lock(&inode->i_lock);
	bento_ki(inode)->charged -= bytes;
	spin_unlock(&inode->i_lock);
	bento_uncharge_bytes(bento_isb(inode), bytes);
}

void bento_resident_settle(struct inode *inode)
{
	s64 excess;

	spin_lock(&inode->i_lock);
	excess = bento_ki(inode)->charged -
		 ((s64)READ_ONCE(inode->i_mapping->nrpages) << PAGE_SHIFT);
	if (excess > 0)
		bento_ki(inode)->charged -= excess;
	spin_unlock(&inode->i_lock);
	if (excess > 0)
		bento_uncharge_bytes(bento_isb(inode), excess);
}

/* The folio at `index`, locked, referenced and charged; a new one is not up to
 * date. */
static struct folio *bento_resident_grab(struct inode *inode, pgoff_t index)
{
	struct address_space *mapping = inode->i_mapping;
	struct folio *folio = bento_find_lock_folio(mapping, index);

	if (folio && likely(folio_test_uptodate(folio)))
		return folio;
	if (folio) {
		folio_unlock(folio);
		folio_put(folio);
	}
	if (!bento_charge_pages(inode, 1))
		return ERR_PTR(-ENOSPC);
	folio = bento_grab_folio(mapping, index, PAGE_SIZE);
	/* No memory, or another task was first. */
	if (IS_ERR(folio) || folio_test_uptodate(folio))
		bento_uncharge_pages(inode, 1);
	return folio;
}

/* Holes that are mapped take a page, as in tmpfs. */
static int bento_resident_read_folio(struct file *file, struct folio *folio)
{
	int err = -ENOSPC;

	if (bento_charge_pages(folio->mapping->host, folio_nr_pages(folio))) {
		folio_zero_range(folio, 0, folio_size(folio));
		folio_mark_uptodate(folio);
		folio_mark_dirty(folio); /* or drop_caches takes it, still charged */
		err = 0;
	}
	folio_unlock(folio);
	return err;
}

static int bento_resident_begin(struct address_space *mapping, loff_t pos,
				unsigned int len, struct folio **foliop)
{
	struct folio *folio = bento_resident_grab(mapping->host,
						  pos >> PAGE_SHIFT);

	if (IS_ERR(folio))
		return PTR_ERR(folio);
	*foliop = folio;
	if (!folio_test_uptodate(folio)) {
		size_t from = offset_in_folio(folio, pos);
		size_t to = min_t(size_t, folio_size(folio), from + len);

		folio_zero_segments(folio, 0, from, to, folio_size(folio));
	}
	return 0;
}

static int bento_resident_end(struct address_space *mapping, loff_t pos,
			      unsigned int len, unsigned int copied,
			      struct folio *folio)
{
	struct inode *inode = mapping->host;
	loff_t size = inode->i_size;

	if (!folio_test_uptodate(folio)) {
		if (copied < len)
			folio_zero_range(folio,
					 offset_in_folio(folio, pos) + copied,
					 len - copied);
		folio_mark_uptodate(folio);
	}
	if (copied && pos + copied > size)
		i_size_write(inode, pos + copied);
	if (!folio_test_dirty(folio))
		folio_mark_dirty(folio);
	folio_unlock(folio);
	folio_put(folio);
	if (copied && pos + copied > size) {
		pagecache_isize_extended(inode, size, pos + copied);
		bento_dirty(inode);
	}
	return copied;
}

BENTO_WRITE_AOPS(bento_resident)

const struct address_space_operations bento_resident_aops = {
	.read_folio = bento_resident_read_folio,
	.write_begin = bento_resident_write_begin,
	.write_end = bento_resident_write_end,
	.dirty_folio = noop_dirty_folio,
	.migrate_folio = filemap_migrate_folio,
};

/* ---- reading ---- */

/* A folio without a value is being written under its lock, or was left behind
 * by a fault that met the limit: then it is a hole. */
static int bento_resident_has_value(struct folio *folio)
{
	int err;

	if (likely(folio_test_uptodate(folio)))
		return 1;
	err = folio_lock_killable(folio);
	if (err)
		return err;
	folio_unlock(folio);
	return folio_test_uptodate(folio);
}

static size_t bento_read_hole(struct iov_iter *to, size_t len)
{
	size_t done = 0;

	/* Copying the zero page is faster than clear_user(). */
	while (user_backed_iter(to) && done < len) {
		size_t n = min_t(size_t, len - done, PAGE_SIZE);
		size_t copied = copy_page_to_iter(ZERO_PAGE(0), 0, n, to);

		done += copied;
		if (copied < n)
			return done;
	}
	return done < len ? done + iov_iter_zero(len - done, to) : done;
}

/* Part of `folio` from *pos on, at most up to `end`; moves *pos. */
static int bento_read_part(struct folio *folio, loff_t *pos, loff_t end,
			   struct iov_iter *to)
{
	size_t offset = offset_in_folio(folio, *pos);
	size_t n = min_t(loff_t, folio_size(folio) - offset, end - *pos);
	int value = bento_resident_has_value(folio);
	size_t copied;

	if (value < 0)
		return value;
	n = min(n, iov_iter_count(to));
	copied = value ? copy_folio_to_iter(folio, offset, n, to) :
			 bento_read_hole(to, n);
	*pos += copied;
	return copied < n ? -EFAULT : 0;
}

ssize_t bento_resident_read(struct kiocb *iocb, struct iov_iter *to)
{
	struct file *file = iocb->ki_filp;
	struct address_space *mapping = file->f_mapping;
	struct folio_batch batch;
	loff_t pos = iocb->ki_pos;
	int err = 0;

	folio_batch_init(&batch);
	while (iov_iter_count(to) && !err) {
		/* Read again each time: a truncation may have come between. */
		loff_t size = i_size_read(mapping->host);
		loff_t end = min_t(loff_t, size, pos + iov_iter_count(to));
		pgoff_t index = pos >> PAGE_SHIFT;
		unsigned int i;

		if (pos >= size)
			break;
		if (!filemap_get_folios_contig(mapping, &index,
					       (end - 1) >> PAGE_SHIFT, &batch)) {
			size_t n = min_t(loff_t, end - pos,
					 PAGE_SIZE - offset_in_page(pos));
			size_t copied = bento_read_hole(to, n);

			pos += copied;
			err = copied < n ? -EFAULT : 0;
		}
		for (i = 0; i < folio_batch_count(&batch); i++) {
			struct folio *folio = batch.folios[i];

			if (!err && pos < end && pos >= folio_pos(folio) &&
			    pos < folio_pos(folio) + folio_size(folio))
				err = bento_read_part(folio, &pos, end, to);
			folio_put(folio);
		}
		folio_batch_init(&batch);
		cond_resched();
	}
	file_accessed(file);
	if (pos == iocb->ki_pos)
		return err;
	swap(iocb->ki_pos, pos);
	return iocb->ki_pos - pos;
}

ssize_t bento_resident_splice_read(struct file *file, loff_t *ppos,
				   struct pipe_inode_info *pipe, size_t len,
				   unsigned int flags)
{
	struct inode *inode = file_inode(file);
	u64 pages = DIV_ROUND_UP_ULL(i_size_read(inode), PAGE_SIZE);

	/* Taking pages by reference would first fill the holes. */
	if (READ_ONCE(inode->i_mapping->nrpages) < pages)
		return bento_splice_read_copied(file, ppos, pipe, len, flags);
	return bento_splice_read_cached(file, ppos, pipe, len, flags);
}

/* ---- holes ---- */

/* The first page with a value in [index, last], or last + 1. */
static pgoff_t bento_next_value(struct address_space *mapping, pgoff_t index,
				pgoff_t last)
{
	struct folio_batch batch;
	pgoff_t found = last + 1;

	folio_batch_init(&batch);
	while (found > last && index <= last &&
	       filemap_get_folios(mapping, &index, last, &batch)) {
		unsigned int i;

		for (i = 0; i < folio_batch_count(&batch); i++) {
			struct folio *folio = batch.folios[i];

			if (found > last && folio_test_uptodate(folio))
				found = folio->index;
			folio_put(folio);
		}
		folio_batch_init(&batch);
		cond_resched();
	}
	return found;
}

/* The first page without one in [index, last], or last + 1. */
static pgoff_t bento_next_hole(struct address_space *mapping, pgoff_t index,
			       pgoff_t last)
{
	while (index <= last) {
		struct folio *folio = bento_find_folio(mapping, index);
		pgoff_t next = index;

		if (folio) {
			if (folio_test_uptodate(folio))
				next = folio_next_index(folio);
			folio_put(folio);
		}
		if (next == index)
			return index;
		index = next;
		cond_resched();
	}
	return last + 1;
}

/* SEEK_DATA and SEEK_HOLE. Under i_rwsem. */
loff_t bento_resident_seek(struct inode *inode, loff_t offset, int whence)
{
	struct address_space *mapping = inode->i_mapping;
	loff_t size = i_size_read(inode), found;
	pgoff_t index = offset >> PAGE_SHIFT, last;

	if (offset < 0 || offset >= size)
		return -ENXIO;
	last = (size - 1) >> PAGE_SHIFT;
	if (whence == SEEK_DATA)
		index = bento_next_value(mapping, index, last);
	else
		index = bento_next_hole(mapping, index, last);
	found = max(offset, (loff_t)index << PAGE_SHIFT);
	if (index > last)
		return whence == SEEK_DATA ? -ENXIO : size;
	return found;
}

/* Give every page of [start, end) memory. */
static int bento_resident_allocate(struct inode *inode, loff_t start, loff_t end)
{
	while (start < end) {
		struct folio *folio = bento_resident_grab(inode,
							  start >> PAGE_SHIFT);

		if (IS_ERR(folio))
			return PTR_ERR(folio);
		if (!folio_test_uptodate(folio)) {
			folio_zero_range(folio, 0, folio_size(folio));
			folio_mark_uptodate(folio);
			folio_mark_dirty(folio);
		}
		start = folio_pos(folio) + folio_size(folio);
		folio_unlock(folio);
		folio_put(folio);
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

/* Under i_rwsem and invalidate_lock; i_size is the caller's. */
int bento_resident_fallocate(struct inode *inode, int mode, loff_t offset,
			     loff_t len)
{
	u64 limit = READ_ONCE(bento_isb(inode)->max_bytes);
	loff_t size = i_size_read(inode);
	int err;

	switch (mode & ~FALLOC_FL_KEEP_SIZE) {
	case FALLOC_FL_PUNCH_HOLE:
	case FALLOC_FL_ZERO_RANGE:
		truncate_pagecache_range(inode, offset, offset + len - 1);
		bento_resident_settle(inode);
		if (mode & FALLOC_FL_PUNCH_HOLE)
			return 0;
		break;
	case 0:
		break;
	default:
		return -EOPNOTSUPP;
	}
	if (limit && len > limit)
		return -ENOSPC;
	err = bento_resident_allocate(inode, offset, offset + len);
	/* Zeroes inside the file change nothing; past its end they would only
	 * be in the way of whoever needs the space. */
	if (err && offset + len > size) {
		truncate_inode_pages_range(inode->i_mapping,
					   round_up(max(offset, size), PAGE_SIZE),
					   round_up(offset + len, PAGE_SIZE) - 1);
		bento_resident_settle(inode);
	}
	return err;
}
