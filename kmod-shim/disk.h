/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What device.c, journal.c and tx.c share: buffers, and jbd2 below them.
 */
#ifndef BENTO_DISK_H
#define BENTO_DISK_H

#include <linux/buffer_head.h>
#include <linux/jbd2.h>

#include "shim.h"

/* Of a buffer: what the file system verified of it holds. jbd2 has the first
 * private bits. */
#define BENTO_BH_CHECKED BH_JBDPrivateStart

struct bento_sum {
	struct jbd2_buffer_trigger_type trigger;
	struct bento_checksum sum;
};

int bento_no_device(struct bento_call *call);
u64 bento_device_blocks(const struct bento_super *bs);
int bento_block_range(struct bento_call *call, u64 number, u64 count);
/* The buffer of a slot, or NULL. */
struct buffer_head *bento_slot_block(struct bento_kcall *kc, u32 slot);
/* Into a slot, with the reference. */
void bento_block_lend(struct bento_kcall *kc, struct buffer_head *bh,
		      struct bento_block *out);

/* discard.c: on their way to the device, with their transaction. */
struct bento_range {
	u64 start, count;
};

void bento_discard_queue(struct bento_super *bs, u32 tid,
			 const struct bento_range *ranges, u32 count);
void bento_discard_committed(journal_t *journal, transaction_t *transaction);
void bento_discard_init(struct bento_disk *disk);
void bento_discard_exit(struct bento_disk *disk);

/* One of the mount's checksums; NULL for 0 or a number that is none. */
struct bento_sum *bento_sum_get(struct bento_super *bs, u32 checksum);
void bento_sum_set(const struct bento_sum *sum, struct buffer_head *bh, void *data);
/* Nothing is written any more; true the first time. */
bool bento_disk_stop(struct bento_super *bs, const char *why);
u32 bento_journal_max_credits(const journal_t *journal);
bool bento_journal_is_empty(journal_t *journal);
int bento_journal_write_apart(struct bento_super *bs, struct buffer_head *bh);

#endif
