/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What extents.c, which keeps the map of an inode, and delalloc.c, which gets
 * blocks for it, have in common. Under the map's `lock` unless something else is
 * said.
 */
#ifndef BENTO_PIECES_H
#define BENTO_PIECES_H

#include <linux/rbtree.h>

#include "extents.h"

#define BENTO_ASK 8 /* extents in one answer */

static inline struct bento_map *bento_map(const struct inode *inode)
{
	return &bento_ki(inode)->map;
}

static inline loff_t bento_block_down(const struct inode *inode, loff_t pos)
{
	return pos & ~((loff_t)i_blocksize(inode) - 1);
}

/* Never beyond what a loff_t holds. */
static inline loff_t bento_block_up(const struct inode *inode, loff_t pos)
{
	loff_t mask = i_blocksize(inode) - 1;

	return pos > LLONG_MAX - mask ? LLONG_MAX & ~mask : (pos + mask) & ~mask;
}

/* The piece with `pos`, or the first one behind it. */
struct bento_piece *bento_piece_at(struct bento_map *map, loff_t pos);
void bento_piece_drop(struct bento_map *map, struct bento_piece *piece);

static inline struct bento_piece *bento_piece_next(struct bento_piece *piece)
{
	struct rb_node *node = rb_next(&piece->node);

	return node ? rb_entry(node, struct bento_piece, node) : NULL;
}

static inline struct bento_piece *bento_piece_prev(struct bento_piece *piece)
{
	struct rb_node *node = rb_prev(&piece->node);

	return node ? rb_entry(node, struct bento_piece, node) : NULL;
}

static inline bool bento_type_placed(enum bento_piece_type type)
{
	return type >= BENTO_PIECE_UNWRITTEN;
}

/* Does `b` go on where `a` ends? */
static inline bool bento_piece_joins(const struct bento_piece *a, loff_t b_start,
				     enum bento_piece_type type, u64 b_addr)
{
	return a->type == type && a->end == b_start &&
	       (!bento_type_placed(type) || a->addr + (a->end - a->start) == b_addr);
}

/* Locks the map, with memory for one change; waits for memory. */
void bento_map_lock(struct bento_map *map);

static inline void bento_count_delayed(struct inode *inode, loff_t bytes)
{
	bento_map(inode)->delayed += bytes >> inode->i_blkbits;
}

/* The range is of this type, whatever it was. Once after each bento_map_lock(). */
void bento_map_set(struct inode *inode, loff_t start, loff_t end,
		   enum bento_piece_type type, u64 addr);
/* Too many: all goes that a handler can be asked again. */
void bento_map_trim(struct inode *inode);

static inline void bento_map_stale(struct bento_map *map)
{
	WRITE_ONCE(map->seq, map->seq + 1);
}

static inline void bento_found_set(struct inode *inode,
				   const struct bento_piece *piece,
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

/* Reservations that no delayed block needs any more. Under `lock`; the caller
 * gives them back. */
static inline u64 bento_map_surplus(struct bento_map *map)
{
	u64 surplus = map->reserved > map->delayed ? map->reserved - map->delayed : 0;

	map->reserved -= surplus;
	return surplus;
}

static inline void bento_map_owes_nothing(struct inode *inode)
{
	struct bento_map *map = bento_map(inode);

	if (map->owed)
		atomic_dec(&bento_isb(inode)->owing);
	map->owed = false;
}

static inline enum bento_piece_type bento_extent_type(const struct bento_extent *ext)
{
	return ext->flags & BENTO_EXTENT_UNWRITTEN ? BENTO_PIECE_UNWRITTEN :
	       ext->flags & BENTO_EXTENT_MAPPED	   ? BENTO_PIECE_MAPPED :
						     BENTO_PIECE_HOLE;
}

/* Is that an answer to what was asked? */
int bento_answer_check(struct inode *inode, enum bento_op op,
		       const struct bento_map_args *args);
/* bento_map_find() under `calls`. */
int bento_map_find_locked(struct inode *inode, loff_t pos, struct bento_found *found);

#endif
