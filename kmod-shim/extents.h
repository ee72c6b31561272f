/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The shim's map of where a file's bytes lie (data = "extents"): extents.c keeps
 * it, delalloc.c gets blocks for it, iomap.c reads it.
 */
#ifndef BENTO_EXTENTS_H
#define BENTO_EXTENTS_H

#include "pages.h"

enum bento_piece_type {
	BENTO_PIECE_UNKNOWN, /* never in the map */
	BENTO_PIECE_HOLE,
	BENTO_PIECE_DELAYED, /* blocks are reserved, none allocated; dirty */
	BENTO_PIECE_UNWRITTEN,
	BENTO_PIECE_MAPPED,
	/* Data are on the device, and the handler could not be told yet. */
	BENTO_PIECE_OWED,
};

/* Bytes from `start` up to `end`, multiples of the block size. */
struct bento_piece {
	union {
		struct rb_node node;
		struct bento_piece *spare; /* the next one */
	};
	loff_t start, end;
	u64 addr; /* on the device */
	enum bento_piece_type type;
};

/* What a look-up found; `cookie` as bento_map_cookie() was then. */
struct bento_found {
	loff_t start, end;
	u64 addr;
	enum bento_piece_type type;
	u64 cookie;
	bool fresh; /* allocated just now, and what is there is not zero */
};

/* Which changes make an iomap stale, those of the code above us included. */
u64 bento_map_cookie(const struct inode *inode);
/* The piece with byte `pos`, if it is known: no Rust. */
bool bento_map_peek(struct inode *inode, loff_t pos, struct bento_found *found);
/* The same, asking the handler if need be. */
int bento_map_find(struct inode *inode, loff_t pos, struct bento_found *found);
/* A hole from pos, up to `end` at most, becomes delayed: `found` is a delayed
 * piece, and `added` says where its new part ends, or is 0. -ENOSPC. */
int bento_map_delay(struct inode *inode, loff_t pos, loff_t end,
		    struct bento_found *found, loff_t *added);
/* What is delayed in the range is a hole again. */
void bento_map_undelay(struct inode *inode, loff_t start, loff_t end);
/* A hole or a delayed piece at pos gets blocks, up to `end` at most. */
int bento_map_allocate(struct inode *inode, loff_t pos, loff_t end,
		       struct bento_found *found);
/* Each delayed piece of the range. */
int bento_map_allocate_range(struct inode *inode, loff_t start, loff_t end);
bool bento_map_has_delayed(struct inode *inode, loff_t start, loff_t end);
/* The bytes at `addr` have reached the device. Without an error the handler
 * knows, or will be told. */
int bento_map_written(struct inode *inode, loff_t start, loff_t end, u64 addr);
/* What is unwritten in the range has been written. */
int bento_map_written_range(struct inode *inode, loff_t start, loff_t end);
/* Tells what is owed. */
int bento_map_settle(struct inode *inode);
/* Nothing is forgotten for want of room until unpinned. */
void bento_map_pin(struct inode *inode);
void bento_map_unpin(struct inode *inode);
/*
 * A handler changes the mapping: between these nobody else asks one about this
 * inode. `end` forgets what was known of the range, or knows it is a hole.
 */
void bento_map_change(struct inode *inode);
void bento_map_changed(struct inode *inode, loff_t start, loff_t end, bool hole);

/* One call of an op on this inode that may be repeated: a panic of it is, when
 * the instance has been restarted. */
s64 bento_retry(struct inode *inode, enum bento_op op, void *args);

#endif
