// SPDX-License-Identifier: GPL-2.0
/*
 * The page cache of files whose bytes lie behind the handlers `read` and
 * `write`. Readahead and writeback each make one call for a whole run of
 * folios. Rust copies through bento_sink_put and bento_source_get; it never
 * holds a pointer into a page (C4).
 *
 * Inside the gate nothing here waits (G3): folios are locked, or under
 * writeback, before it is entered, so they stay where they are in the cache.
 */
#include <linux/backing-dev.h>
#include <linux/highmem.h>
#include <linux/mm.h>

#include "pages.h"

#define BENTO_WRITE_MAX (1u << (20 - PAGE_SHIFT)) /* pages in one write call */

/* A run of bytes in folios that this task has locked or put under writeback. */
struct bento_folio_run {
	struct address_space *mapping;
	loff_t pos; /* of the first byte */
	u64 len;
	struct folio *folio; /* the one touched last, referenced */
};

struct bento_sink {
	struct bento_folio_run run;
	u64 filled; /* bytes from the start that hold a value */
};

struct bento_source {
	struct bento_folio_run run;
};

/* The folio with byte `at` of the run. */
static struct folio *bento_run_folio(struct bento_folio_run *run, u64 at)
{
	pgoff_t index = (run->pos + at) >> PAGE_SHIFT;

	if (run->folio && folio_contains(run->folio, index))
		return run->folio;
	if (run->folio)
		folio_put(run->folio);
	run->folio = bento_find_folio(run->mapping, index);
	return run->folio;
}

static void bento_run_end(struct bento_folio_run *run)
{
	if (run->folio)
		folio_put(run->folio);
	run->folio = NULL;
}

/* Copy in (`from`), zero (neither) or copy out (`to`) part of a run. */
static int bento_run_copy(struct bento_folio_run *run, u64 at, const u8 *from, u8 *to,
			  u64 len)
{
	while (len) {
		struct folio *folio = bento_run_folio(run, at);
		size_t offset, n;
		void *addr;

		if (WARN_ON_ONCE(!folio))
			return -EINVAL;
		offset = offset_in_folio(folio, run->pos + at);
		/* One page at a time: that is what kmap_local maps. */
		n = min_t(u64, len, PAGE_SIZE - offset_in_page(offset));
		addr = kmap_local_folio(folio, offset);
		if (from)
			memcpy(addr, from, n);
		else if (to)
			memcpy(to, addr, n);
		else
			memset(addr, 0, n);
		kunmap_local(addr);
		if (from)
			from += n;
		if (to)
			to += n;
		at += n;
		len -= n;
	}
	return 0;
}

int32_t bento_sink_put(struct bento_call *call, struct bento_sink *sink,
		       uint64_t pos, const uint8_t *ptr, size_t len)
{
	int err = 0;

	if (pos > sink->run.len || len > sink->run.len - pos)
		return -EINVAL;
	if (pos > sink->filled)
		err = bento_run_copy(&sink->run, sink->filled, NULL, NULL,
				     pos - sink->filled);
	if (!err && len)
		err = bento_run_copy(&sink->run, pos, ptr, NULL, len);
	if (!err)
		sink->filled = max_t(u64, sink->filled, pos + len);
	return err;
}
EXPORT_SYMBOL_GPL(bento_sink_put);

int32_t bento_source_get(struct bento_call *call, struct bento_source *source,
			 uint64_t pos, uint8_t *ptr, size_t len)
{
	if (pos > source->run.len || len > source->run.len - pos)
		return -EINVAL;
	return len ? bento_run_copy(&source->run, pos, NULL, ptr, len) : 0;
}
EXPORT_SYMBOL_GPL(bento_source_get);

/* ---- reading ---- */

/* Fill a run of locked folios that are not up to date: bytes the handler did
 * not put, and those past the file's end, are zero. */
static int bento_read_run(struct address_space *mapping, loff_t pos, u64 len)
{
	struct inode *inode = mapping->host;
	loff_t size = i_size_read(inode);
	struct bento_sink sink = {
		.run = { .mapping = mapping, .pos = pos },
	};
	s64 r = 0;

	if (pos < size && !bento_has(bento_isb(inode), BENTO_OP_read)) {
		r = -EINVAL;
	} else if (pos < size) {
		struct bento_read_args args = {
			.inode = bento_pub(inode),
			.offset = pos,
			.len = min_t(u64, len, size - pos),
			.sink = &sink,
		};

		sink.run.len = args.len;
		r = bento_call(bento_isb(inode), read, &args);
	}
	if (r >= 0)
		r = bento_run_copy(&sink.run, sink.filled, NULL, NULL,
				   len - sink.filled);
	bento_run_end(&sink.run);
	return bento_errno(r);
}

static int bento_bytes_read_folio(struct file *file, struct folio *folio)
{
	int err = bento_read_run(folio->mapping, folio_pos(folio),
				 folio_size(folio));

	if (!err)
		folio_mark_uptodate(folio);
	folio_unlock(folio);
	return err;
}

/* A failure leaves the folios as they are: reading one of them tries it alone
 * and reports its own error. */
static void bento_bytes_readahead(struct readahead_control *rac)
{
	int err = bento_read_run(rac->mapping, readahead_pos(rac),
				 readahead_length(rac));
	struct folio *folio;

	while ((folio = readahead_folio(rac))) {
		if (!err)
			folio_mark_uptodate(folio);
		folio_unlock(folio);
	}
}

/* ---- writing into the cache ---- */

static int bento_bytes_begin(struct address_space *mapping, loff_t pos,
			     unsigned int len, struct folio **foliop)
{
	struct folio *folio = bento_grab_folio(mapping, pos >> PAGE_SHIFT, len);
	loff_t start, end, size;
	int err;

	if (IS_ERR(folio))
		return PTR_ERR(folio);
	*foliop = folio;
	if (folio_test_uptodate(folio))
		return 0;
	start = folio_pos(folio);
	end = start + folio_size(folio);
	size = i_size_read(mapping->host);
	if (pos <= start && pos + len >= end)
		return 0;
	if (start >= size || (pos <= start && pos + len >= size)) {
		/* Nothing behind it that this write leaves alone. */
		folio_zero_segments(folio, 0, offset_in_folio(folio, pos),
				    min(pos + len, end) - start,
				    folio_size(folio));
		return 0;
	}
	err = bento_read_run(mapping, start, folio_size(folio));
	if (err) {
		folio_unlock(folio);
		folio_put(folio);
		return err;
	}
	folio_mark_uptodate(folio);
	return 0;
}

static int bento_bytes_end(struct address_space *mapping, loff_t pos,
			   unsigned int len, unsigned int copied,
			   struct folio *folio)
{
	struct inode *inode = mapping->host;
	loff_t size = inode->i_size;

	if (!folio_test_uptodate(folio)) {
		/* Bytes in the middle have no value: have it tried again. */
		if (copied < len)
			copied = 0;
		else
			folio_mark_uptodate(folio);
	}
	if (copied) {
		if (pos + copied > size)
			i_size_write(inode, pos + copied);
		folio_mark_dirty(folio);
	}
	folio_unlock(folio);
	folio_put(folio);
	if (copied && pos + copied > size) {
		pagecache_isize_extended(inode, size, pos + copied);
		bento_dirty(inode);
	}
	return copied;
}

BENTO_WRITE_AOPS(bento_bytes)

/* As the generic one, and kept out while a hole is punched or the file cut:
 * what was written back before the handler was told stays clean meanwhile. */
static vm_fault_t bento_bytes_page_mkwrite(struct vm_fault *vmf)
{
	struct folio *folio = page_folio(vmf->page);
	struct file *file = vmf->vma->vm_file;
	struct address_space *mapping = file->f_mapping;
	vm_fault_t ret = VM_FAULT_LOCKED;

	sb_start_pagefault(mapping->host->i_sb);
	file_update_time(file);
	filemap_invalidate_lock_shared(mapping);
	folio_lock(folio);
	if (folio->mapping != mapping ||
	    folio_pos(folio) >= i_size_read(mapping->host)) {
		folio_unlock(folio);
		ret = VM_FAULT_NOPAGE;
	} else {
		folio_mark_dirty(folio);
		folio_wait_stable(folio);
	}
	filemap_invalidate_unlock_shared(mapping);
	sb_end_pagefault(mapping->host->i_sb);
	return ret;
}

const struct vm_operations_struct bento_bytes_vm_ops = {
	.fault = filemap_fault,
	.map_pages = filemap_map_pages,
	.page_mkwrite = bento_bytes_page_mkwrite,
};

/* ---- writeback ---- */

struct bento_writeback {
	struct address_space *mapping;
	pgoff_t start, end; /* gathered: under writeback, unlocked */
	int error; /* the first one */
};

/* One write call for what was gathered. Its failure is the file's: fsync and
 * close report it, and the pages are clean, as after a failed disk write. */
static void bento_write_gathered(struct bento_writeback *wb)
{
	struct address_space *mapping = wb->mapping;
	struct inode *inode = mapping->host;
	loff_t pos = (loff_t)wb->start << PAGE_SHIFT;
	loff_t end = min_t(loff_t, (loff_t)wb->end << PAGE_SHIFT,
			   i_size_read(inode));
	s64 r = 0;

	if (pos < end) {
		struct bento_source source = {
			.run = { .mapping = mapping, .pos = pos, .len = end - pos },
		};
		struct bento_write_args args = {
			.inode = bento_pub(inode),
			.offset = pos,
			.len = end - pos,
			.source = &source,
			.write_life = inode->i_write_hint,
		};

		r = bento_call(bento_isb(inode), write, &args);
		bento_run_end(&source.run);
	}
	if (r < 0) {
		mapping_set_error(mapping, r);
		if (!wb->error)
			wb->error = r;
	}
	while (wb->start < wb->end) {
		struct folio *folio = bento_find_folio(mapping, wb->start);

		if (WARN_ON_ONCE(!folio))
			break;
		wb->start = folio_next_index(folio);
		folio_end_writeback(folio);
		folio_put(folio);
	}
	wb->start = wb->end;
}

/* Locked, and no longer marked dirty. */
static int bento_gather(struct folio *folio, struct bento_writeback *wb)
{
	loff_t size = i_size_read(wb->mapping->host);
	loff_t pos = folio_pos(folio);

	if (wb->start < wb->end &&
	    (folio->index != wb->end ||
	     wb->end - wb->start + folio_nr_pages(folio) > BENTO_WRITE_MAX))
		bento_write_gathered(wb);
	if (pos >= size) { /* being cut off */
		folio_unlock(folio);
		return 0;
	}
	/* A mapping may have written past the end; that is not file data. */
	if (pos + folio_size(folio) > size)
		folio_zero_segment(folio, size - pos, folio_size(folio));
	folio_start_writeback(folio);
	folio_unlock(folio);
	if (wb->start == wb->end)
		wb->start = folio->index;
	wb->end = folio_next_index(folio);
	return 0;
}

BENTO_WRITEPAGE(bento_writepage, bento_gather)

static int bento_bytes_writepages(struct address_space *mapping,
				  struct writeback_control *wbc)
{
	struct bento_writeback wb = { .mapping = mapping };
	int err = write_cache_pages(mapping, wbc, bento_writepage, &wb);

	if (wb.start < wb.end)
		bento_write_gathered(&wb);
	return err ?: wb.error;
}

const struct address_space_operations bento_bytes_aops = {
	.read_folio = bento_bytes_read_folio,
	.readahead = bento_bytes_readahead,
	.write_begin = bento_bytes_write_begin,
	.write_end = bento_bytes_write_end,
	.writepages = bento_bytes_writepages,
	.dirty_folio = filemap_dirty_folio,
	.migrate_folio = filemap_migrate_folio,
};
