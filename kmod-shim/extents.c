// SPDX-License-Identifier: GPL-2.0
/*
 * What is known of where the bytes of a file lie: mapped, unwritten, a hole, or
 * delayed, which only the shim knows (SAFETY.md D3). The handlers are asked once
 * and told when something changes; what they answer is checked before it is
 * believed.
 *
 * `calls` serialises what is asked and told about one inode, `lock` the map.
 * Order: folio lock -> calls -> gate; lock is innermost.
 */
#include <linux/blkdev.h>
#include <linux/slab.h>

#include "iomap.h"
#include "pieces.h"

#define BENTO_PIECES_MAX 16384 /* a MiB; of a map, and more while it is pinned */
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
	map->hint = map->spare = NULL;
	map->count = map->pins = 0;
	map->delayed = map->reserved = map->seq = 0;
	map->owed = false;
	bento_done_once(map);
}

/* ---- spare pieces: under `lock` ---- */

static bool bento_spare_have(const struct bento_map *map)
{
	return map->spare && map->spare->spare;
}

static void bento_spare_put(struct bento_map *map, struct bento_piece *piece)
{
	if (bento_spare_have(map)) {
		kmem_cache_free(bento_piece_cache, piece);
		return;
	}
	piece->spare = map->spare;
	map->spare = piece;
}

static struct bento_piece *bento_spare_take(struct bento_map *map)
{
	struct bento_piece *piece = map->spare;

	map->spare = piece->spare;
	return piece;
}

void bento_map_lock(struct bento_map *map)
{
	struct bento_piece *piece;

	spin_lock(&map->lock);
	while (unlikely(!bento_spare_have(map))) {
		spin_unlock(&map->lock);
		piece = kmem_cache_alloc(bento_piece_cache, GFP_NOFS | __GFP_NOFAIL);
		spin_lock(&map->lock);
		bento_spare_put(map, piece);
	}
}

/* ---- the tree: under `lock` ---- */

struct bento_piece *bento_piece_at(struct bento_map *map, loff_t pos)
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

void bento_piece_drop(struct bento_map *map, struct bento_piece *piece)
{
	if (map->hint == piece)
		map->hint = NULL;
	rb_erase(&piece->node, &map->tree);
	map->count--;
	bento_spare_put(map, piece);
}

/* Nothing is known of the range afterwards. */
static void bento_map_clear(struct inode *inode, loff_t start, loff_t end)
{
	struct bento_map *map = bento_map(inode);
	struct bento_piece *piece = bento_piece_at(map, start), *next, *tail;

	for (; piece && piece->start < end; piece = next) {
		loff_t from = max(start, piece->start), to = min(end, piece->end);

		next = bento_piece_next(piece);
		if (piece->type == BENTO_PIECE_DELAYED)
			bento_count_delayed(inode, from - to);
		if (from > piece->start && to < piece->end) {
			tail = bento_spare_take(map);
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

void bento_map_set(struct inode *inode, loff_t start, loff_t end,
		   enum bento_piece_type type, u64 addr)
{
	struct bento_map *map = bento_map(inode);
	struct bento_piece *piece, *next, *prev;
	struct rb_node *last;

	bento_map_clear(inode, start, end);
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
		piece = bento_spare_take(map);
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

void bento_map_trim(struct inode *inode)
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

/* Under `lock`. What a version did may mean something else to the next one. */
u64 bento_map_cookie(const struct inode *inode)
{
	return READ_ONCE(bento_map(inode)->seq) +
	       ((u64)READ_ONCE(bento_isb(inode)->slot.generation) << 48);
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

int bento_answer_check(struct inode *inode, enum bento_op op,
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

		bento_map_lock(map);
		bento_map_set(inode, start, end, bento_extent_type(&extents[i]),
			      extents[i].addr);
		spin_unlock(&map->lock);
		start = end;
	}
	return 0;
}

int bento_map_find_locked(struct inode *inode, loff_t pos,
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

	if (!S_ISREG(inode->i_mode) || inode->i_blocks || i_size_read(inode))
		return;
	bento_map_lock(map);
	bento_map_set(inode, 0, bento_block_up(inode, LLONG_MAX), BENTO_PIECE_HOLE, 0);
	spin_unlock(&map->lock);
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
	u64 surplus;

	end = bento_block_up(inode, end);
	bento_map_lock(map);
	if (start < end)
		bento_map_set(inode, start, end,
			      hole ? BENTO_PIECE_HOLE : BENTO_PIECE_UNKNOWN, 0);
	bento_map_stale(map);
	surplus = bento_map_surplus(map);
	spin_unlock(&map->lock);
	mutex_unlock(&map->calls);
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
	for (piece = map->spare; piece; piece = next) {
		next = piece->spare;
		kmem_cache_free(bento_piece_cache, piece);
	}
	map->tree = RB_ROOT;
	map->hint = map->spare = NULL;
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
