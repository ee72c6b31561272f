/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What each inode of a disk file system has for its data: iomap.c and extents.c.
 */
#ifndef BENTO_IOMAP_H
#define BENTO_IOMAP_H

#include <linux/mutex.h>
#include <linux/rbtree.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/workqueue.h>

struct bento_piece;

/* In every inode's memory; as bento_map_once() leaves it unless it is a regular
 * file with data = "extents". */
struct bento_map {
	spinlock_t lock; /* of what follows */
	struct rb_root tree; /* of bento_piece: no two overlap */
	struct bento_piece *hint; /* found last */
	struct bento_piece *spare; /* two at most, which is what one change may need */
	u32 count, pins;
	u64 delayed; /* blocks */
	u64 reserved; /* blocks that really are: rarely fewer than `delayed` */
	u64 seq; /* see bento_map_cookie */
	bool owed; /* there may be BENTO_PIECE_OWED */
	struct mutex calls; /* what is asked and told about the mapping */
	spinlock_t done_lock; /* from interrupts */
	struct list_head done; /* I/O that has ended */
	struct work_struct done_work;
};

int bento_map_init(void);
void bento_map_exit(void);
/* As the slab makes an inode's memory. */
void bento_map_once(struct bento_map *map);
void bento_done_once(struct bento_map *map);
void bento_done_init(struct bento_map *map); /* each time an inode is allocated */

#endif
