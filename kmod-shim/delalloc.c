// SPDX-License-Identifier: GPL-2.0
/*
 * Blocks for a file: reserved when bytes are written to its pages, allocated when
 * those are to be written out, converted when they have been (SAFETY.md D1). The
 * order of locks is that of extents.c.
 */
#include <linux/sizes.h>

#include "iomap.h"
#include "pieces.h"

#define BENTO_ALLOCATE_MAX ((loff_t)SZ_1G) /* bytes in one allocation */

/* ---- delayed allocation ---- */

/* The common case, an append: the delayed piece before grows. Takes no spare piece. */
static bool bento_map_grow(struct inode *inode, struct bento_piece *hole,
			   loff_t start, loff_t end)
{
	struct bento_piece *prev;

	if (hole->start != start)
		return false;
	prev = bento_piece_prev(hole);
	if (!prev || !bento_piece_joins(prev, start, BENTO_PIECE_DELAYED, 0))
		return false;
	if (hole->end == end)
		bento_piece_drop(bento_map(inode), hole);
	else
		hole->start = end;
	prev->end = end;
	bento_count_delayed(inode, end - start);
	bento_map(inode)->hint = prev;
	return true;
}

/* Blocks for [start, *end): fewer when there is no room for all. */
static int bento_reserve_some(struct inode *inode, loff_t start, loff_t *end)
{
	struct bento_super *bs = bento_isb(inode);
	u64 blocks = (*end - start) >> inode->i_blkbits;

	for (;;) {
		if (!bento_space_reserve(bs, blocks))
			break;
		if (blocks == 1)
			return -ENOSPC;
		blocks /= 2;
	}
	*end = start + ((loff_t)blocks << inode->i_blkbits);
	return 0;
}

int bento_map_delay(struct inode *inode, loff_t pos, loff_t end,
		    struct bento_found *found, loff_t *added)
{
	struct bento_map *map = bento_map(inode);
	struct bento_piece *piece;
	loff_t start = bento_block_down(inode, pos);
	u64 surplus = 0;
	int err;

	*added = 0;
	end = min(bento_block_up(inode, end), found->end);
	if (unlikely(end - start < i_blocksize(inode)))
		return -EFBIG;
	err = bento_reserve_some(inode, start, &end);
	if (err)
		return err;
	bento_map_lock(map);
	piece = bento_piece_at(map, start);
	if (piece && piece->start <= start && piece->type == BENTO_PIECE_HOLE) {
		if (end > piece->end) {
			surplus += (end - piece->end) >> inode->i_blkbits;
			end = piece->end;
		}
		if (!bento_map_grow(inode, piece, start, end))
			bento_map_set(inode, start, end, BENTO_PIECE_DELAYED, 0);
		map->reserved += (end - start) >> inode->i_blkbits;
		*added = end;
		piece = bento_piece_at(map, start);
		bento_found_set(inode, piece, found);
	} else {
		/* Another came first: a fault, or it has been forgotten. */
		surplus += (end - start) >> inode->i_blkbits;
		if (piece && piece->start <= start)
			bento_found_set(inode, piece, found);
		else
			found->type = BENTO_PIECE_UNKNOWN;
	}
	spin_unlock(&map->lock);
	if (surplus)
		bento_space_unreserve(bento_isb(inode), surplus);
	return 0;
}

void bento_map_undelay(struct inode *inode, loff_t start, loff_t end)
{
	struct bento_map *map = bento_map(inode);
	struct bento_piece *piece;
	u64 surplus = 0;

	start = bento_block_down(inode, start);
	end = bento_block_up(inode, end);
	while (start < end) {
		loff_t stop = end;

		bento_map_lock(map);
		piece = bento_piece_at(map, start);
		while (piece && piece->type != BENTO_PIECE_DELAYED)
			piece = bento_piece_next(piece);
		if (piece && piece->start < end) {
			start = max(start, piece->start);
			stop = min(end, piece->end);
			bento_map_set(inode, start, stop, BENTO_PIECE_HOLE, 0);
			bento_map_stale(map);
			surplus += bento_map_surplus(map);
		}
		spin_unlock(&map->lock);
		start = stop;
	}
	if (surplus)
		bento_space_unreserve(bento_isb(inode), surplus);
}

/* ---- allocation ---- */

/* The answer becomes known. Returns where it ends. */
static loff_t bento_map_believe(struct inode *inode, const struct bento_map_args *args,
				loff_t end, struct bento_found *found)
{
	struct bento_map *map = bento_map(inode);
	loff_t start = args->offset;
	u32 i;

	for (i = 0; i < args->count && start < end; i++) {
		const struct bento_extent *ext = &args->extents[i];
		loff_t stop = min_t(u64, start + ext->len, end);

		bento_map_lock(map);
		bento_map_set(inode, start, stop, bento_extent_type(ext), ext->addr);
		bento_map_stale(map);
		if (!i) {
			bento_found_set(inode, bento_piece_at(map, start), found);
			found->fresh = (ext->flags & BENTO_EXTENT_NEW) &&
				       (ext->flags & BENTO_EXTENT_MAPPED);
		}
		spin_unlock(&map->lock);
		start = stop;
	}
	return start;
}

/*
 * What was lent to the call and not taken comes back; it may be less than what
 * is delayed still, when the handler needed some for metadata.
 */
static void bento_map_repay(struct inode *inode, u64 left)
{
	struct bento_super *bs = bento_isb(inode);
	struct bento_map *map = bento_map(inode);
	u64 surplus, lacking;

	spin_lock(&map->lock);
	map->reserved += left;
	surplus = bento_map_surplus(map);
	lacking = map->delayed - map->reserved;
	spin_unlock(&map->lock);
	if (surplus)
		bento_space_unreserve(bs, surplus);
	if (lacking && !bento_space_reserve(bs, lacking)) {
		spin_lock(&map->lock);
		map->reserved += lacking;
		spin_unlock(&map->lock);
	}
}

int bento_map_allocate(struct inode *inode, loff_t pos, loff_t end,
		       struct bento_found *found)
{
	struct bento_super *bs = bento_isb(inode);
	struct bento_map *map = bento_map(inode);
	struct bento_extent extents[BENTO_ASK];
	struct bento_map_args args = {
		.inode = bento_pub(inode),
		.extents = extents,
		.cap = BENTO_ASK,
	};
	loff_t start = bento_block_down(inode, pos);
	bool synced = false;
	s64 r;

	mutex_lock(&map->calls);
again:
	r = bento_map_find_locked(inode, start, found);
	if (r || (found->type != BENTO_PIECE_HOLE && found->type != BENTO_PIECE_DELAYED))
		goto out;
	end = min3(bento_block_up(inode, end), found->end, start + BENTO_ALLOCATE_MAX);
	args.offset = start;
	args.len = end - start;
	args.count = 0;
	args.flags = 0;
	args.reserved = 0;
	if (found->type == BENTO_PIECE_DELAYED) {
		args.flags = BENTO_ALLOCATE_DELAYED;
		spin_lock(&map->lock);
		args.reserved = min_t(u64, args.len >> inode->i_blkbits, map->reserved);
		map->reserved -= args.reserved;
		spin_unlock(&map->lock);
	}
	r = bento_retry(inode, BENTO_OP_allocate_extents, &args);
	if (r >= 0)
		r = bento_answer_check(inode, BENTO_OP_allocate_extents, &args);
	if (!r)
		bento_map_believe(inode, &args, end, found);
	if (args.flags & BENTO_ALLOCATE_DELAYED)
		bento_map_repay(inode, args.reserved);
	if (r == -ENOSPC && !synced) {
		/* Freed blocks are free once that has been committed. */
		synced = true;
		mutex_unlock(&map->calls);
		r = bento_journal_sync(bs, true);
		mutex_lock(&map->calls);
		if (!r)
			goto again;
		r = -ENOSPC;
	}
out:
	mutex_unlock(&map->calls);
	return r;
}

/* The first delayed byte in the range, or -1; `end` of that piece. */
static loff_t bento_next_delayed(struct inode *inode, loff_t start, loff_t *end)
{
	struct bento_map *map = bento_map(inode);
	struct bento_piece *piece;
	loff_t found = -1;

	if (!READ_ONCE(map->delayed))
		return -1;
	spin_lock(&map->lock);
	piece = bento_piece_at(map, start);
	while (piece && piece->start < *end && piece->type != BENTO_PIECE_DELAYED)
		piece = bento_piece_next(piece);
	if (piece && piece->start < *end) {
		found = max(start, piece->start);
		*end = min(*end, piece->end);
	}
	spin_unlock(&map->lock);
	return found;
}

bool bento_map_has_delayed(struct inode *inode, loff_t start, loff_t end)
{
	return bento_next_delayed(inode, start, &end) >= 0;
}

int bento_map_allocate_range(struct inode *inode, loff_t start, loff_t end)
{
	struct bento_found found;
	loff_t stop;
	int err;

	for (; start < end; start = found.end) {
		stop = end;
		start = bento_next_delayed(inode, start, &stop);
		if (start < 0)
			return 0;
		err = bento_map_allocate(inode, start, stop, &found);
		if (err)
			return err;
		cond_resched();
	}
	return 0;
}

/* ---- what has been written ---- */

static int bento_convert(struct inode *inode, loff_t start, loff_t end, u64 addr)
{
	struct bento_extent extent = {
		.offset = start,
		.len = end - start,
		.addr = addr,
		.flags = BENTO_EXTENT_UNWRITTEN,
	};
	struct bento_map_args args = {
		.inode = bento_pub(inode),
		.offset = start,
		.len = end - start,
		.extents = &extent,
		.cap = 1,
		.count = 1,
	};

	return bento_errno(bento_retry(inode, BENTO_OP_convert_extents, &args));
}

/* Under `calls`. */
static int bento_map_tell(struct inode *inode, loff_t start, loff_t end, u64 addr)
{
	struct bento_map *map = bento_map(inode);
	int err = bento_convert(inode, start, end, addr);

	bento_map_lock(map);
	bento_map_set(inode, start, end, err ? BENTO_PIECE_OWED : BENTO_PIECE_MAPPED, addr);
	if (err && !map->owed) {
		map->owed = true;
		atomic_inc(&bento_isb(inode)->owing);
	}
	bento_map_stale(map);
	bento_map_trim(inode);
	spin_unlock(&map->lock);
	if (err) {
		pr_warn_ratelimited("bento: %s(%s): inode %lu: %lld bytes at %lld are written and not told yet: error %d\n",
				    bento_isb(inode)->fs->name,
				    bento_isb(inode)->source ?: "none", inode->i_ino,
				    end - start, start, err);
		/* Whoever syncs tries again, in write_inode. As I_DIRTY_PAGES
		 * that would be forgotten: no page is dirty. */
		mark_inode_dirty_sync(inode);
	}
	return err;
}

int bento_map_written(struct inode *inode, loff_t start, loff_t end, u64 addr)
{
	struct bento_map *map = bento_map(inode);
	int err;

	start = bento_block_down(inode, start);
	end = bento_block_up(inode, end);
	mutex_lock(&map->calls);
	err = bento_map_tell(inode, start, end, addr);
	mutex_unlock(&map->calls);
	return err;
}

int bento_map_written_range(struct inode *inode, loff_t start, loff_t end)
{
	struct bento_map *map = bento_map(inode);
	struct bento_found found;
	int err = 0, later = 0;

	start = bento_block_down(inode, start);
	end = bento_block_up(inode, end);
	mutex_lock(&map->calls);
	for (; start < end; start = found.end) {
		err = bento_map_find_locked(inode, start, &found);
		if (err)
			break;
		found.end = min(found.end, end);
		if (found.type == BENTO_PIECE_UNWRITTEN || found.type == BENTO_PIECE_OWED) {
			err = bento_map_tell(inode, start, found.end,
					     found.addr + (start - found.start));
			later = later ?: err;
		}
	}
	mutex_unlock(&map->calls);
	return later ?: err;
}

int bento_map_settle(struct inode *inode)
{
	struct bento_map *map = bento_map(inode);
	struct bento_piece *piece;
	struct bento_found found = {};
	int err = 0;

	if (likely(!READ_ONCE(map->owed)))
		return 0;
	mutex_lock(&map->calls);
	for (;;) {
		spin_lock(&map->lock);
		piece = bento_piece_at(map, found.end);
		while (piece && piece->type != BENTO_PIECE_OWED)
			piece = bento_piece_next(piece);
		if (piece)
			bento_found_set(inode, piece, &found);
		else
			bento_map_owes_nothing(inode);
		spin_unlock(&map->lock);
		if (!piece)
			break;
		err = bento_map_tell(inode, found.start, found.end, found.addr);
		if (err)
			break;
	}
	mutex_unlock(&map->calls);
	return err;
}
