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
#include <linux/pagemap.h>
#include <linux/splice.h>
#include <linux/writeback.h>

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

/* 6.6 and 6.7: times behind accessors. Late 6.1 stable releases have some of
 * the names already, hence ours shadow them. */
#if !BENTO_KERNEL(6, 6)
#define inode_get_ctime bento_get_ctime
#define inode_set_ctime_to_ts bento_set_ctime_to_ts
#define inode_set_ctime_current bento_set_ctime_current
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

/* ---- ACLs, xattrs, sysfs ---- */

/* 6.2: the dentry rather than the inode; get_acl() became get_inode_acl(). */
#if BENTO_KERNEL(6, 2)
#define bento_acl_chmod(idmap, dentry, mode) posix_acl_chmod(idmap, dentry, mode)
#define bento_cached_acl(inode, type) get_inode_acl(inode, type)
#else
#define bento_acl_chmod(idmap, dentry, mode) \
	posix_acl_chmod(idmap, d_inode(dentry), mode)
#define bento_cached_acl(inode, type) get_acl(inode, type)
#endif

/* 6.6: the list of handlers is const itself. */
#if BENTO_KERNEL(6, 6)
#define bento_xattr_table bento_xattr_handlers
#else
#define bento_xattr_table ((const struct xattr_handler **)bento_xattr_handlers)
#endif

/* 6.13: what a binary attribute's read gets is const. */
#if BENTO_KERNEL(6, 13)
#define BENTO_BIN_ATTR const struct bin_attribute
#else
#define BENTO_BIN_ATTR struct bin_attribute
#endif

/* ---- page cache ---- */

/* 6.4: "not there" and "no memory" became error pointers. */
static inline struct folio *bento_find_folio(struct address_space *mapping,
					     pgoff_t index)
{
	struct folio *folio = filemap_get_folio(mapping, index);

	return IS_ERR_OR_NULL(folio) ? NULL : folio;
}

static inline struct folio *bento_find_lock_folio(struct address_space *mapping,
						  pgoff_t index)
{
	struct folio *folio = filemap_lock_folio(mapping, index);

	return IS_ERR_OR_NULL(folio) ? NULL : folio;
}

/* Found or new, locked, not under writeback; large where that is possible. */
static inline struct folio *bento_grab_folio(struct address_space *mapping,
					     pgoff_t index, size_t len)
{
#if BENTO_KERNEL(6, 6)
	return __filemap_get_folio(mapping, index,
				   FGP_WRITEBEGIN | fgf_set_order(len),
				   mapping_gfp_mask(mapping));
#else
	struct folio *folio;

	folio = __filemap_get_folio(mapping, index,
				    FGP_LOCK | FGP_WRITE | FGP_CREAT | FGP_STABLE,
				    mapping_gfp_mask(mapping));
	return folio ?: ERR_PTR(-ENOMEM);
#endif
}

/* 6.12: write() fills a large folio in one go; before, only a page of it. */
static inline void bento_large_folios(struct address_space *mapping)
{
#if BENTO_KERNEL(6, 12)
	mapping_set_large_folios(mapping);
#endif
}

/*
 * 6.12: write_begin and write_end speak of folios. `prefix_begin(mapping, pos,
 * len, &folio)` and `prefix_end(mapping, pos, len, copied, folio)` are what is
 * written here; prefix_write_begin/_end are what goes into the table.
 */
#if BENTO_KERNEL(6, 12)
#define BENTO_WRITE_AOPS(prefix)                                               \
	static int prefix##_write_begin(struct file *file,                     \
					struct address_space *mapping,         \
					loff_t pos, unsigned int len,          \
					struct folio **foliop, void **fsdata)  \
	{                                                                      \
		return prefix##_begin(mapping, pos, len, foliop);              \
	}                                                                      \
	static int prefix##_write_end(struct file *file,                       \
				      struct address_space *mapping,           \
				      loff_t pos, unsigned int len,            \
				      unsigned int copied,                     \
				      struct folio *folio, void *fsdata)       \
	{                                                                      \
		return prefix##_end(mapping, pos, len, copied, folio);         \
	}
#else
#define BENTO_WRITE_AOPS(prefix)                                               \
	static int prefix##_write_begin(struct file *file,                     \
					struct address_space *mapping,         \
					loff_t pos, unsigned int len,          \
					struct page **pagep, void **fsdata)    \
	{                                                                      \
		struct folio *folio;                                           \
		int err = prefix##_begin(mapping, pos, len, &folio);           \
									       \
		if (!err)                                                      \
			*pagep = folio_file_page(folio, pos >> PAGE_SHIFT);    \
		return err;                                                    \
	}                                                                      \
	static int prefix##_write_end(struct file *file,                       \
				      struct address_space *mapping,           \
				      loff_t pos, unsigned int len,            \
				      unsigned int copied, struct page *page,  \
				      void *fsdata)                            \
	{                                                                      \
		return prefix##_end(mapping, pos, len, copied,                 \
				    page_folio(page));                         \
	}
#endif

/* 6.3: write_cache_pages hands out folios. Pages here are their folios: bytes
 * files have large ones from 6.12 only. */
#if BENTO_KERNEL(6, 3)
#define BENTO_WRITEPAGE(name, body)                                            \
	static int name(struct folio *folio, struct writeback_control *wbc,    \
			void *data)                                            \
	{                                                                      \
		return body(folio, data);                                      \
	}
#else
#define BENTO_WRITEPAGE(name, body)                                            \
	static int name(struct page *page, struct writeback_control *wbc,      \
			void *data)                                            \
	{                                                                      \
		return body(page_folio(page), data);                           \
	}
#endif

/* 6.5: splice from the page cache by itself; 6.1 calls read_iter on a pipe,
 * which takes pages by reference where it can. */
#if BENTO_KERNEL(6, 5)
#define bento_splice_read_cached filemap_splice_read
#define bento_splice_read_copied copy_splice_read
#else
#define bento_splice_read_cached generic_file_splice_read
#define bento_splice_read_copied generic_file_splice_read
#endif

/* ---- jbd2 ---- */

/* In files that include linux/jbd2.h. 6.8: errors as such. 6.12, and stable
 * releases since: a transaction's own blocks counted apart. */
#define bento_journal_init(bdev, start, len, size)                             \
	({                                                                     \
		journal_t *__j = jbd2_journal_init_dev(bdev, bdev, start, len, size); \
		__j ?: (journal_t *)ERR_PTR(-EINVAL);                          \
	})
#if BENTO_KERNEL(6, 11)
#define bento_journal_room(journal)                                            \
	((journal)->j_max_transaction_buffers -                                \
	 (journal)->j_transaction_overhead_buffers)
#else
#define bento_journal_room(journal) ((journal)->j_max_transaction_buffers)
#endif

/* ---- iomap ---- */

/*
 * 6.12 and 6.1 differ in names (folio_ops, folios in tables), in where an ioend
 * keeps its bio, in how unused delayed allocations are found, and in that 6.1
 * does not look for dirty pages above unwritten blocks when it zeroes (D5).
 * `BENTO_PUNCH(name, body)`: body(inode, start, end). `BENTO_MAP_BLOCKS(name,
 * body)`: body(wpc, inode, offset).
 */
#if BENTO_KERNEL(6, 12)
#define bento_iomap_folio_ops(iomap) ((iomap)->folio_ops)
#define bento_ioend_bio(ioend) (&(ioend)->io_bio)
#define bento_bio_ioend(bio) iomap_ioend_from_bio(bio)
#define bento_iomap_dirty_folio iomap_dirty_folio
#define BENTO_ERROR_REMOVE .error_remove_folio = generic_error_remove_folio
#define bento_iomap_write(iocb, from, ops)                                     \
	iomap_file_buffered_write(iocb, from, ops, NULL)
#define bento_iomap_zero(inode, pos, len, ops)                                 \
	iomap_zero_range(inode, pos, len, NULL, ops)
#define BENTO_PUNCH(name, body)                                                \
	static void name(struct inode *inode, loff_t offset, loff_t length,    \
			 struct iomap *iomap)                                  \
	{                                                                      \
		body(inode, offset, offset + length);                          \
	}
#define bento_release_delayed(inode, pos, length, written, flags, iomap, punch) \
	do {                                                                   \
		filemap_invalidate_lock((inode)->i_mapping);                   \
		iomap_write_delalloc_release(                                  \
			inode, iomap_last_written_block(inode, pos, written),  \
			round_up((pos) + (length), i_blocksize(inode)), flags, \
			iomap, punch);                                         \
		filemap_invalidate_unlock((inode)->i_mapping);                 \
	} while (0)
#define BENTO_MAP_BLOCKS(name, body)                                           \
	static int name(struct iomap_writepage_ctx *wpc, struct inode *inode,  \
			loff_t offset, unsigned int len)                       \
	{                                                                      \
		return body(wpc, inode, offset);                               \
	}
#else
#define iomap_folio_ops iomap_page_ops
#define bento_iomap_folio_ops(iomap) ((iomap)->page_ops)
#define bento_ioend_bio(ioend) ((ioend)->io_bio)
#define bento_bio_ioend(bio) ((struct iomap_ioend *)(bio)->bi_private)
#define bento_iomap_dirty_folio filemap_dirty_folio
#define BENTO_ERROR_REMOVE .error_remove_page = generic_error_remove_page
#define bento_iomap_write(iocb, from, ops)                                     \
	iomap_file_buffered_write_at(iocb, from, ops)
#define iomap_file_buffered_write_at(iocb, from, ops)                          \
	({                                                                     \
		ssize_t __written = iomap_file_buffered_write(iocb, from, ops);\
									       \
		if (__written > 0)                                             \
			(iocb)->ki_pos += __written;                           \
		__written;                                                     \
	})
#define bento_iomap_zero(inode, pos, len, ops)                                 \
	(filemap_write_and_wait_range((inode)->i_mapping, pos,                 \
				      (pos) + (len) - 1) ?:                    \
		 iomap_zero_range(inode, pos, len, NULL, ops))
#define BENTO_PUNCH(name, body)                                                \
	static int name(struct inode *inode, loff_t offset, loff_t length)     \
	{                                                                      \
		body(inode, offset, offset + length);                          \
		return 0;                                                      \
	}
#define bento_release_delayed(inode, pos, length, written, flags, iomap, punch) \
	iomap_file_buffered_write_punch_delalloc(inode, iomap, pos, length,    \
						 written, punch)
#define BENTO_MAP_BLOCKS(name, body)                                           \
	static int name(struct iomap_writepage_ctx *wpc, struct inode *inode,  \
			loff_t offset)                                         \
	{                                                                      \
		return body(wpc, inode, offset);                               \
	}
#endif

/* ---- ACLs ---- */

/* 6.2: the VFS handles ACL xattrs itself; get_acl became get_inode_acl; set_acl
 * takes a dentry. 6.7: the handler array is const. */
#if BENTO_KERNEL(6, 2)
#define BENTO_ACL_XATTR_HANDLERS
#define BENTO_GET_ACL_FIELD get_inode_acl
#define BENTO_SET_ACL(name, body)                                              \
	static int name(bento_idmap *idmap, struct dentry *dentry,             \
			struct posix_acl *acl, int type)                       \
	{                                                                      \
		return body(idmap, d_inode(dentry), acl, type);                \
	}
#else
#define BENTO_ACL_XATTR_HANDLERS                                               \
	&posix_acl_access_xattr_handler, &posix_acl_default_xattr_handler,
#define BENTO_GET_ACL_FIELD get_acl
#define BENTO_SET_ACL(name, body)                                              \
	static int name(bento_idmap *idmap, struct inode *inode,               \
			struct posix_acl *acl, int type)                       \
	{                                                                      \
		return body(idmap, inode, acl, type);                          \
	}
#endif

#endif
