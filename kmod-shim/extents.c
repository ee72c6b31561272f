// SPDX-License-Identifier: GPL-2.0
/*
 * What is known of where the bytes of a file lie: mapped, unwritten, a hole, or
 * delayed, which only the shim knows (CONTRACT D3). The handlers are asked once
 * and told when something changes; what they answer is checked before it is
 * believed.
 *
 * `calls` serialises what is asked and told about one inode, `lock` the map.
 * Order: folio lock -> calls -> gate; lock is innermost.
 */
#include <linux/blkdev.h>
#include <linux/rbtree.h>
#include <linux/slab.h>

#include "extents.h"
#include "iomap.h"

#define BENTO_PIECES_MAX 16384 /* a MiB; of a map, and more while it is pinned */
#define BENTO_ASK 8 /* extents in one answer */
#define BENTO_ALLOCATE_MAX ((loff_t)SZ_1G) /* bytes in one allocation */
#define BENTO_RETRIES 3

static struct kmem_cache *bento_piece_cache;

int bento_map_init(void)
{
	bento_piece_cache = KMEM_CACHE(bento_piece, SLAB_RECLAIM_ACCOUNT | SLAB_ACCOUNT);
	return bento_piece_cache ? 0 : -ENOMEM;
}

void bento_map_exit(void)
{
	kmem_cache_destroy(bento_piece_cache);
}

void bento_map_once(struct bento_map *map)
{
	spin_lock_init(&map->lock);
	mutex_init(&map->calls);
	map->tree = RB_ROOT;
	map->hint = NULL;
	map->count = map->pins = 0;
	map->delayed = map->reserved = map->seq = 0;
	map->owed = false;
	bento_done_once(map);
}

static struct bento_map *bento_map(const struct inode *inode)
{
	return &bento_ki(inode)->map;
}

static loff_t bento_block_down(const struct inode *inode, loff_t pos)
{
	return pos & ~((loff_t)i_blocksize(inode) - 1);
}

/* Never beyond what a loff_t holds. */
static loff_t bento_block_up(const struct inode *inode, loff_t pos)
{
	loff_t mask = i_blocksize(inode) - 1;

	return pos > LLONG_MAX - mask ? LLONG_MAX & ~mask : (pos + mask) & ~mask;
}

/* ---- the tree: under `lock` ---- */

/* The piece with `pos`, or the first one behind it. */
static struct bento_piece *bento_piece_at(struct bento_map *map, loff_t pos)
{
	struct bento_piece *piece = map->hint, *best = NULL;
	struct rb_node *node;

	if (piece && piece->start <= pos) {
		if (pos < piece->end)
			return piece;
		/* Who goes through a file wants the next one. */
		node = rb_next(&piece->node);
		piece = node ? rb_entry(node, struct bento_piece, node) : NULL;
		if (!piece || pos < piece->end) {
			if (piece && piece->start <= pos)
				map->hint = piece;
			return piece;
		}
	}
	node = map->tree.rb_node;
	while (node) {
		piece = rb_entry(node, struct bento_piece, node);
		if (pos < piece->end) {
			best = piece;
			node = node->rb_left;
		} else {
			node = node->rb_right;
		}
	}
	if (best && best->start <= pos)
		map->hint = best;
	return best;
}

static struct bento_piece *bento_piece_next(struct bento_piece *piece)
{
	struct rb_node *node = rb_next(&piece->node);

	return node ? rb_entry(node, struct bento_piece, node) : NULL;
}

static struct bento_piece *bento_piece_prev(struct bento_piece *piece)
{
	struct rb_node *node = rb_prev(&piece->node);

	return node ? rb_entry(node, struct bento_piece, node) : NULL;
}

static void bento_piece_add(struct bento_map *map, struct bento_piece *piece)
{
	struct rb_node **link = &map->tree.rb_node, *parent = NULL;

	while (*link) {
		parent = *link;
		link = piece->start < rb_entry(parent, struct bento_piece, node)->start ?
			       &parent->rb_left : &parent->rb_right;
	}
	rb_link_node(&piece->node, parent, link);
	rb_insert_color(&piece->node, &map->tree);
	map->count++;
}

static void bento_piece_drop(struct bento_map *map, struct bento_piece *piece)
{
	if (map->hint == piece)
		map->hint = NULL;
	rb_erase(&piece->node, &map->tree);
	map->count--;
	kmem_cache_free(bento_piece_cache, piece);
}

static bool bento_type_placed(enum bento_piece_type type)
{
	return type >= BENTO_PIECE_UNWRITTEN;
}

/* Does `b` go on where `a` ends? */
static bool bento_piece_joins(const struct bento_piece *a, loff_t b_start,
			      enum bento_piece_type type, u64 b_addr)
{
	return a->type == type && a->end == b_start &&
	       (!bento_type_placed(type) || a->addr + (a->end - a->start) == b_addr);
}

/* At most two pieces are needed for one change. */
struct bento_spare {
	struct bento_piece *piece[2];
};

static void bento_spare_refill(struct bento_spare *spare)
{
	int i;

	for (i = 0; i < 2; i++)
		if (!spare->piece[i])
			spare->piece[i] = kmem_cache_alloc(bento_piece_cache,
							   GFP_NOFS | __GFP_NOFAIL);
}

static void bento_spare_fill(struct bento_spare *spare)
{
	*spare = (struct bento_spare){};
	bento_spare_refill(spare);
}

static void bento_spare_free(struct bento_spare *spare)
{
	int i;

	for (i = 0; i < 2; i++)
		if (spare->piece[i])
			kmem_cache_free(bento_piece_cache, spare->piece[i]);
}

static struct bento_piece *bento_spare_take(struct bento_spare *spare)
{
	struct bento_piece *piece = spare->piece[1] ?: spare->piece[0];

	if (spare->piece[1])
		spare->piece[1] = NULL;
	else
		spare->piece[0] = NULL;
	return piece;
}

static void bento_count_delayed(struct inode *inode, loff_t bytes)
{
	bento_map(inode)->delayed += bytes >> inode->i_blkbits;
}

/* Nothing is known of the range afterwards. */
static void bento_map_clear(struct inode *inode, loff_t start, loff_t end,
			    struct bento_spare *spare)
{
	struct bento_map *map = bento_map(inode);
	struct bento_piece *piece = bento_piece_at(map, start), *next, *tail;

	for (; piece && piece->start < end; piece = next) {
		loff_t from = max(start, piece->start), to = min(end, piece->end);

		next = bento_piece_next(piece);
		if (piece->type == BENTO_PIECE_DELAYED)
			bento_count_delayed(inode, from - to);
		if (from > piece->start && to < piece->end) {
			tail = bento_spare_take(spare);
			tail->start = to;
			tail->end = piece->end;
			tail->type = piece->type;
			tail->addr = piece->addr + (to - piece->start);
			piece->end = from;
			bento_piece_add(map, tail);
			return;
		}
		if (from > piece->start) {
			piece->end = from;
		} else if (to < piece->end) {
			piece->addr += to - piece->start;
			piece->start = to;
		} else {
			bento_piece_drop(map, piece);
		}
	}
}

static void bento_map_set(struct inode *inode, loff_t start, loff_t end,
			  enum bento_piece_type type, u64 addr,
			  struct bento_spare *spare)
{
	struct bento_map *map = bento_map(inode);
	struct bento_piece *piece, *next, *prev;
	struct rb_node *last;

	bento_map_clear(inode, start, end, spare);
	if (type == BENTO_PIECE_UNKNOWN)
		return;
	if (type == BENTO_PIECE_DELAYED)
		bento_count_delayed(inode, end - start);
	next = bento_piece_at(map, end);
	if (next && next->start != end)
		next = NULL;
	if (next) {
		prev = bento_piece_prev(next);
	} else {
		/* The last one that begins before. */
		prev = bento_piece_at(map, start);
		if (prev) {
			prev = bento_piece_prev(prev);
		} else {
			last = rb_last(&map->tree);
			prev = last ? rb_entry(last, struct bento_piece, node) : NULL;
		}
	}
	if (prev && bento_piece_joins(prev, start, type, addr)) {
		prev->end = end;
		piece = prev;
	} else {
		piece = bento_spare_take(spare);
		piece->start = start;
		piece->end = end;
		piece->type = type;
		piece->addr = addr;
		bento_piece_add(map, piece);
	}
	if (next && bento_piece_joins(piece, next->start, next->type, next->addr)) {
		piece->end = next->end;
		bento_piece_drop(map, next);
	}
	map->hint = piece;
}

/* Too many: all goes that a handler can be asked again. */
static void bento_map_trim(struct inode *inode)
{
	struct bento_map *map = bento_map(inode);
	struct rb_node *node, *next;

	if (likely(map->count <= BENTO_PIECES_MAX) || map->pins)
		return;
	for (node = rb_first(&map->tree); node; node = next) {
		struct bento_piece *piece = rb_entry(node, struct bento_piece, node);

		next = rb_next(node);
		if (piece->type != BENTO_PIECE_DELAYED && piece->type != BENTO_PIECE_OWED)
			bento_piece_drop(map, piece);
	}
}

static void bento_map_stale(struct bento_map *map)
{
	WRITE_ONCE(map->seq, map->seq + 1);
}

/* Under `lock`. What a version did may mean something else to the next one. */
u64 bento_map_cookie(const struct inode *inode)
{
	return READ_ONCE(bento_map(inode)->seq) +
	       ((u64)READ_ONCE(bento_isb(inode)->slot.generation) << 48);
}

static void bento_found_set(struct inode *inode, const struct bento_piece *piece,
			    struct bento_found *found)
{
	*found = (struct bento_found){
		.start = piece->start,
		.end = piece->end,
		.addr = piece->addr,
		.type = piece->type,
		.cookie = bento_map_cookie(inode),
	};
}

/* ---- what handlers answer ---- */

s64 bento_retry(struct inode *inode, enum bento_op op, void *args)
{
	struct bento_super *bs = bento_isb(inode);
	struct bento_kcall kc __uninitialized;
	int tries = 0;
	s64 r;

	do {
		bento_kcall_init(&kc);
		r = bento_invoke_kc(bs, op, args, &kc);
		/* A panic: the next call waits for the instance that follows. */
	} while (unlikely(r == -EIO && kc.pub.outcome != BENTO_OUTCOME_RETURNED &&
			  ++tries < BENTO_RETRIES));
	return r;
}

static int bento_extent_check(struct inode *inode, enum bento_op op,
			      const struct bento_extent *ext, u64 expected)
{
	struct bento_super *bs = bento_isb(inode);
	u64 mask = i_blocksize(inode) - 1;
	u64 device = bdev_nr_bytes(inode->i_sb->s_bdev);
	u32 kind = ext->flags & ~BENTO_EXTENT_NEW;

	if (ext->offset != expected || !ext->len || (ext->offset | ext->len) & mask ||
	    ext->len > LLONG_MAX || ext->offset > LLONG_MAX - ext->len)
		return bento_bad(bs, op,
				 "returned %llu bytes at %llu of inode %lu where %llu is next",
				 ext->len, ext->offset, inode->i_ino, expected);
	if (!ext->flags)
		return op != BENTO_OP_allocate_extents ? 0 :
			bento_bad(bs, op, "left a hole at %llu of inode %lu",
				  ext->offset, inode->i_ino);
	if (kind != BENTO_EXTENT_MAPPED && kind != BENTO_EXTENT_UNWRITTEN)
		return bento_bad(bs, op, "returned extent flags %#x for inode %lu",
				 ext->flags, inode->i_ino);
	if (!ext->addr || ext->addr & mask || ext->len > device ||
	    ext->addr > device - ext->len)
		return bento_bad(bs, op,
				 "put %llu bytes of inode %lu at %llu of %llu of the device",
				 ext->len, inode->i_ino, ext->addr, device);
	if (bento_journal_overlaps(bs, ext->addr >> inode->i_blkbits,
				   ext->len >> inode->i_blkbits))
		return bento_bad(bs, op,
				 "put %llu bytes of inode %lu into the journal, at %llu",
				 ext->len, inode->i_ino, ext->addr);
	return 0;
}

static enum bento_piece_type bento_extent_type(const struct bento_extent *ext)
{
	return ext->flags & BENTO_EXTENT_UNWRITTEN ? BENTO_PIECE_UNWRITTEN :
	       ext->flags & BENTO_EXTENT_MAPPED	   ? BENTO_PIECE_MAPPED :
						     BENTO_PIECE_HOLE;
}

static int bento_answer_check(struct inode *inode, enum bento_op op,
			      const struct bento_map_args *args)
{
	u64 next = args->offset;
	int err;
	u32 i;

	if (!args->count || args->count > args->cap)
		return bento_bad(bento_isb(inode), op,
				 "returned %u extents of inode %lu", args->count,
				 inode->i_ino);
	for (i = 0; i < args->count; i++) {
		err = bento_extent_check(inode, op, &args->extents[i], next);
		if (err)
			return err;
		next += args->extents[i].len;
	}
	return 0;
}

/* ---- looking up ---- */

bool bento_map_peek(struct inode *inode, loff_t pos, struct bento_found *found)
{
	struct bento_map *map = bento_map(inode);
	struct bento_piece *piece;
	bool known;

	/* No file has the last block there could be. */
	if (unlikely(pos >= bento_block_up(inode, LLONG_MAX))) {
		*found = (struct bento_found){
			.start = bento_block_up(inode, LLONG_MAX),
			.end = LLONG_MAX,
			.type = BENTO_PIECE_HOLE,
			.cookie = bento_map_cookie(inode),
		};
		return true;
	}

	spin_lock(&map->lock);
	piece = bento_piece_at(map, pos);
	known = piece && piece->start <= pos;
	if (known)
		bento_found_set(inode, piece, found);
	spin_unlock(&map->lock);
	return known;
}

/* Under `calls`, so nothing else becomes known of a gap meanwhile. */
static int bento_map_ask(struct inode *inode, loff_t pos)
{
	struct bento_map *map = bento_map(inode);
	struct bento_extent extents[BENTO_ASK];
	struct bento_map_args args = {
		.inode = bento_pub(inode),
		.extents = extents,
		.cap = BENTO_ASK,
	};
	loff_t start = bento_block_down(inode, pos);
	loff_t gap = bento_block_up(inode, LLONG_MAX);
	struct bento_spare spare = {};
	struct bento_piece *piece;
	u32 i;
	s64 r;

	spin_lock(&map->lock);
	piece = bento_piece_at(map, start);
	if (piece)
		gap = min(gap, piece->start);
	spin_unlock(&map->lock);
	args.offset = start;
	args.len = gap - start;
	r = bento_retry(inode, BENTO_OP_map_extents, &args);
	if (r < 0)
		return r;
	r = bento_answer_check(inode, BENTO_OP_map_extents, &args);
	if (r)
		return r;
	for (i = 0; i < args.count && start < gap; i++) {
		loff_t end = min_t(u64, start + extents[i].len, gap);

		bento_spare_refill(&spare);
		spin_lock(&map->lock);
		bento_map_set(inode, start, end, bento_extent_type(&extents[i]),
			      extents[i].addr, &spare);
		spin_unlock(&map->lock);
		start = end;
	}
	bento_spare_free(&spare);
	return 0;
}

static int bento_map_find_locked(struct inode *inode, loff_t pos,
				 struct bento_found *found)
{
	int err;

	if (bento_map_peek(inode, pos, found))
		return 0;
	spin_lock(&bento_map(inode)->lock);
	bento_map_trim(inode);
	spin_unlock(&bento_map(inode)->lock);
	err = bento_map_ask(inode, pos);
	if (err)
		return err;
	return bento_map_peek(inode, pos, found) ? 0 : -EIO;
}

int bento_map_find(struct inode *inode, loff_t pos, struct bento_found *found)
{
	struct bento_map *map = bento_map(inode);
	int err;

	if (likely(bento_map_peek(inode, pos, found)))
		return 0;
	mutex_lock(&map->calls);
	err = bento_map_find_locked(inode, pos, found);
	mutex_unlock(&map->calls);
	return err;
}

void bento_map_fresh(struct inode *inode)
{
	struct bento_map *map = bento_map(inode);
	struct bento_spare spare;

	if (!S_ISREG(inode->i_mode) || inode->i_blocks || i_size_read(inode))
		return;
	bento_spare_fill(&spare);
	spin_lock(&map->lock);
	bento_map_set(inode, 0, bento_block_up(inode, LLONG_MAX), BENTO_PIECE_HOLE,
		      0, &spare);
	spin_unlock(&map->lock);
	bento_spare_free(&spare);
}

/* ---- delayed allocation ---- */

/* The common case, an append: the delayed piece before grows. No memory. */
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
	struct bento_spare spare = {};
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
again:
	spin_lock(&map->lock);
	piece = bento_piece_at(map, start);
	if (piece && piece->start <= start && piece->type == BENTO_PIECE_HOLE) {
		if (end > piece->end) {
			surplus += (end - piece->end) >> inode->i_blkbits;
			end = piece->end;
		}
		if (!bento_map_grow(inode, piece, start, end)) {
			if (!spare.piece[0]) {
				spin_unlock(&map->lock);
				bento_spare_fill(&spare);
				goto again;
			}
			bento_map_set(inode, start, end, BENTO_PIECE_DELAYED, 0,
				      &spare);
		}
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
	bento_spare_free(&spare);
	if (surplus)
		bento_space_unreserve(bento_isb(inode), surplus);
	return 0;
}

/* Reservations that no delayed block needs any more. Under `lock`; the caller
 * gives them back. */
static u64 bento_map_surplus(struct bento_map *map)
{
	u64 surplus = map->reserved > map->delayed ? map->reserved - map->delayed : 0;

	map->reserved -= surplus;
	return surplus;
}

void bento_map_undelay(struct inode *inode, loff_t start, loff_t end)
{
	struct bento_map *map = bento_map(inode);
	struct bento_spare spare;
	struct bento_piece *piece;
	u64 surplus = 0;

	start = bento_block_down(inode, start);
	end = bento_block_up(inode, end);
	while (start < end) {
		loff_t stop = end;

		bento_spare_fill(&spare);
		spin_lock(&map->lock);
		piece = bento_piece_at(map, start);
		while (piece && piece->type != BENTO_PIECE_DELAYED)
			piece = bento_piece_next(piece);
		if (piece && piece->start < end) {
			start = max(start, piece->start);
			stop = min(end, piece->end);
			bento_map_set(inode, start, stop, BENTO_PIECE_HOLE, 0, &spare);
			bento_map_stale(map);
			surplus += bento_map_surplus(map);
		}
		spin_unlock(&map->lock);
		bento_spare_free(&spare);
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
	struct bento_spare spare;
	u32 i;

	for (i = 0; i < args->count && start < end; i++) {
		const struct bento_extent *ext = &args->extents[i];
		loff_t stop = min_t(u64, start + ext->len, end);

		bento_spare_fill(&spare);
		spin_lock(&map->lock);
		bento_map_set(inode, start, stop, bento_extent_type(ext), ext->addr,
			      &spare);
		bento_map_stale(map);
		if (!i) {
			bento_found_set(inode, bento_piece_at(map, start), found);
			found->fresh = (ext->flags & BENTO_EXTENT_NEW) &&
				       (ext->flags & BENTO_EXTENT_MAPPED);
		}
		spin_unlock(&map->lock);
		bento_spare_free(&spare);
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
	struct bento_spare spare;
	int err = bento_convert(inode, start, end, addr);

	bento_spare_fill(&spare);
	spin_lock(&map->lock);
	bento_map_set(inode, start, end, err ? BENTO_PIECE_OWED : BENTO_PIECE_MAPPED,
		      addr, &spare);
	if (err && !map->owed) {
		map->owed = true;
		atomic_inc(&bento_isb(inode)->owing);
	}
	bento_map_stale(map);
	bento_map_trim(inode);
	spin_unlock(&map->lock);
	bento_spare_free(&spare);
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

static void bento_map_owes_nothing(struct inode *inode)
{
	struct bento_map *map = bento_map(inode);

	if (map->owed)
		atomic_dec(&bento_isb(inode)->owing);
	map->owed = false;
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

/* ---- changes from outside ---- */

void bento_map_pin(struct inode *inode)
{
	struct bento_map *map = bento_map(inode);

	spin_lock(&map->lock);
	map->pins++;
	spin_unlock(&map->lock);
}

void bento_map_unpin(struct inode *inode)
{
	struct bento_map *map = bento_map(inode);

	spin_lock(&map->lock);
	map->pins--;
	bento_map_trim(inode);
	spin_unlock(&map->lock);
}

void bento_map_change(struct inode *inode)
{
	mutex_lock(&bento_map(inode)->calls);
}

void bento_map_changed(struct inode *inode, loff_t start, loff_t end, bool hole)
{
	struct bento_map *map = bento_map(inode);
	struct bento_spare spare;
	u64 surplus;

	end = bento_block_up(inode, end);
	bento_spare_fill(&spare);
	spin_lock(&map->lock);
	if (start < end)
		bento_map_set(inode, start, end,
			      hole ? BENTO_PIECE_HOLE : BENTO_PIECE_UNKNOWN, 0, &spare);
	bento_map_stale(map);
	surplus = bento_map_surplus(map);
	spin_unlock(&map->lock);
	mutex_unlock(&map->calls);
	bento_spare_free(&spare);
	if (surplus)
		bento_space_unreserve(bento_isb(inode), surplus);
}

u64 bento_map_delayed(const struct inode *inode)
{
	return READ_ONCE(bento_map(inode)->delayed);
}

/* Eviction: nobody else has the inode. */
void bento_map_end(struct inode *inode)
{
	struct bento_map *map = bento_map(inode);
	struct bento_piece *piece, *next;

	rbtree_postorder_for_each_entry_safe(piece, next, &map->tree, node)
		kmem_cache_free(bento_piece_cache, piece);
	map->tree = RB_ROOT;
	map->hint = NULL;
	map->count = 0;
	if (map->reserved)
		bento_space_unreserve(bento_isb(inode), map->reserved);
	if (map->owed && inode->i_nlink)
		bento_msg(bento_isb(inode), KERN_ERR,
			  "inode %lu leaves the cache with data that its handler was not told of",
			  inode->i_ino);
	map->delayed = map->reserved = 0;
	bento_map_owes_nothing(inode);
}
