// SPDX-License-Identifier: GPL-2.0
/*
 * The device of a mount with data = "extents" and its metadata blocks, in the
 * buffer cache. A call borrows buffers by slots of its ledger (SAFETY.md C1), so
 * that whatever becomes of the call they are given back.
 */
#include <linux/blkdev.h>
#include <linux/buffer_head.h>
#include <linux/crc32c.h>
#include <linux/slab.h>

#include "disk.h"

/* Slots of a call beyond the first few. */
struct bento_more_blocks {
	struct bento_more_blocks *next;
	struct buffer_head *blocks[62];
};

#define BENTO_MORE_BLOCKS ARRAY_SIZE(((struct bento_more_blocks *)0)->blocks)

int bento_no_device(struct bento_call *call)
{
	struct bento_super *bs = call->sb;

	if (___ratelimit(&bs->log_limit, "bento_no_device"))
		bento_msg(bs, KERN_ERR,
			  "%s wants a device or a transaction, which only data = \"extents\" has",
			  bento_op_names[call->op]);
	return -ENODEV;
}

u64 bento_device_blocks(const struct bento_super *bs)
{
	return bdev_nr_bytes(bs->sb->s_bdev) >> bs->sb->s_blocksize_bits;
}

void bento_device(struct bento_call *call, struct bento_device *out)
{
	struct bento_super *bs = call->sb;

	*out = (struct bento_device){};
	if (!bento_extents(bs)) {
		bento_no_device(call);
		return;
	}
	out->size = bdev_nr_bytes(bs->sb->s_bdev);
	out->block_size = bs->sb->s_blocksize;
	if (!READ_ONCE(bs->disk.writable))
		out->flags = BENTO_DEVICE_RDONLY;
}
EXPORT_SYMBOL_GPL(bento_device);

/* Blocks that are held would be taken away below the handler. */
s32 bento_device_block_size(struct bento_call *call, u32 size)
{
	struct bento_kcall *kc = container_of(call, struct bento_kcall, pub);
	struct bento_super *bs = call->sb;

	if (!bento_extents(bs))
		return bento_no_device(call);
	if (call->op != BENTO_OP_mount)
		return -EINVAL;
	if (size == bs->sb->s_blocksize)
		return 0;
	/* Checksums have been compared with the size it has. */
	if (kc->nblocks || kc->tx || bs->disk.journal || bs->disk.sum_count)
		return -EBUSY;
	if (bs->live || !is_power_of_2(size) || size < 512 || size > PAGE_SIZE) {
		bento_msg(bs, KERN_ERR, "a block size of %u bytes cannot be had", size);
		return -EINVAL;
	}
	if (!sb_set_blocksize(bs->sb, size)) {
		bento_msg(bs, KERN_ERR,
			  "a block size of %u bytes is too small for the device's sectors of %u",
			  size, bdev_logical_block_size(bs->sb->s_bdev));
		return -EINVAL;
	}
	return 0;
}
EXPORT_SYMBOL_GPL(bento_device_block_size);

/* ---- slots ---- */

static struct buffer_head **bento_slot_at(struct bento_kcall *kc, u32 slot)
{
	struct bento_more_blocks *more = kc->more_blocks;

	if (slot < BENTO_INLINE_BLOCKS)
		return &kc->blocks[slot];
	for (slot -= BENTO_INLINE_BLOCKS; slot >= BENTO_MORE_BLOCKS;
	     slot -= BENTO_MORE_BLOCKS)
		more = more->next;
	return &more->blocks[slot];
}

/* The slot for `bh`, whose reference it takes over. */
static u32 bento_slot_take(struct bento_kcall *kc, struct buffer_head *bh)
{
	struct bento_more_blocks **more = &kc->more_blocks;
	u32 slot;

	/* Most give back what they took last. */
	if (kc->nblocks >= BENTO_INLINE_BLOCKS) {
		for (slot = 0; slot < kc->nblocks; slot++) {
			struct buffer_head **at = bento_slot_at(kc, slot);

			if (!*at) {
				*at = bh;
				return slot;
			}
		}
		while (*more)
			more = &(*more)->next;
		if (!((kc->nblocks - BENTO_INLINE_BLOCKS) % BENTO_MORE_BLOCKS) &&
		    kc->nblocks >= kc->block_room)
			*more = kzalloc(sizeof(**more), GFP_NOFS | __GFP_NOFAIL);
	}
	slot = kc->nblocks++;
	kc->block_room = max(kc->block_room, kc->nblocks);
	*bento_slot_at(kc, slot) = bh;
	return slot;
}

struct buffer_head *bento_slot_block(struct bento_kcall *kc, u32 slot)
{
	return slot < kc->nblocks ? *bento_slot_at(kc, slot) : NULL;
}

void bento_block_put(struct bento_call *call, u32 slot)
{
	struct bento_kcall *kc = container_of(call, struct bento_kcall, pub);
	struct buffer_head **at;

	if (WARN_ON_ONCE(slot >= kc->nblocks))
		return;
	at = bento_slot_at(kc, slot);
	brelse(*at);
	*at = NULL;
	while (kc->nblocks && !*bento_slot_at(kc, kc->nblocks - 1))
		kc->nblocks--;
}
EXPORT_SYMBOL_GPL(bento_block_put);

void bento_blocks_release(struct bento_kcall *kc)
{
	struct bento_more_blocks *more;

	while (kc->nblocks)
		brelse(*bento_slot_at(kc, --kc->nblocks));
	while ((more = kc->more_blocks)) {
		kc->more_blocks = more->next;
		kfree(more);
	}
	kc->block_room = 0;
}

/* ---- blocks ---- */

/* Inside the device; 0 or -EUCLEAN, told. */
int bento_block_range(struct bento_call *call, u64 number, u64 count)
{
	u64 blocks = bento_device_blocks(call->sb);

	if (likely(number < blocks && count <= blocks - number))
		return 0;
	return bento_bad(call->sb, call->op,
			 "asked for block %llu (%llu of them), the device has %llu",
			 number, count, blocks);
}

void bento_block_lend(struct bento_kcall *kc, struct buffer_head *bh,
		      struct bento_block *out)
{
	*out = (struct bento_block){
		.data = bh->b_data,
		.number = bh->b_blocknr,
		.size = bh->b_size,
		.slot = bento_slot_take(kc, bh),
		.flags = test_bit(BENTO_BH_CHECKED, &bh->b_state) ?
				 BENTO_BLOCK_CHECKED : 0,
	};
}

/* The buffer of a block, whatever is in it. */
static int bento_block_buffer(struct bento_call *call, u64 number,
			      struct buffer_head **out)
{
	int err;

	if (unlikely(!bento_extents(call->sb)))
		return bento_no_device(call);
	err = bento_block_range(call, number, 1);
	if (unlikely(err))
		return err;
	*out = sb_getblk(call->sb->sb, number);
	return likely(*out) ? 0 : -ENOMEM;
}

/* From the device, after the neighbours that are to be on the way as well. */
static noinline int bento_block_fetch(struct bento_call *call, struct buffer_head *bh,
				      u64 first, u32 count)
{
	if (bento_stack_short_io(call))
		return -ENOMEM;
	if (count)
		bento_block_ahead(call, first, count);
	/* What was verified is not what is read now. */
	clear_bit(BENTO_BH_CHECKED, &bh->b_state);
	if (bh_read(bh, REQ_META | REQ_PRIO) >= 0)
		return 0;
	if (___ratelimit(&call->sb->log_limit, "bento_block_read"))
		bento_msg(call->sb, KERN_ERR, "%s: block %llu cannot be read",
			  bento_op_names[call->op], (u64)bh->b_blocknr);
	return -EIO;
}

s32 bento_block_read_near(struct bento_call *call, u64 number, u64 first, u32 count,
			  struct bento_block *out)
{
	struct bento_kcall *kc = container_of(call, struct bento_kcall, pub);
	struct buffer_head *bh;
	int err = bento_block_buffer(call, number, &bh);

	if (unlikely(err))
		return err;
	if (unlikely(!buffer_uptodate(bh))) {
		err = bento_block_fetch(call, bh, first, count);
		if (err) {
			brelse(bh);
			return err;
		}
	}
	bento_block_lend(kc, bh, out);
	return 0;
}
EXPORT_SYMBOL_GPL(bento_block_read_near);

s32 bento_block_read(struct bento_call *call, u64 number, struct bento_block *out)
{
	return bento_block_read_near(call, number, 0, 0, out);
}
EXPORT_SYMBOL_GPL(bento_block_read);

s32 bento_block_blank(struct bento_call *call, u64 number, struct bento_block *out)
{
	struct bento_kcall *kc = container_of(call, struct bento_kcall, pub);
	struct buffer_head *bh;
	int err = bento_block_buffer(call, number, &bh);

	if (unlikely(err))
		return err;
	if (!buffer_uptodate(bh)) {
		lock_buffer(bh);
		if (!buffer_uptodate(bh)) {
			memset(bh->b_data, 0, bh->b_size);
			clear_bit(BENTO_BH_CHECKED, &bh->b_state);
			set_buffer_uptodate(bh);
		}
		unlock_buffer(bh);
	}
	bento_block_lend(kc, bh, out);
	return 0;
}
EXPORT_SYMBOL_GPL(bento_block_blank);

/* Before the journal is open, what was verified may be replayed over. */
void bento_block_checked(struct bento_call *call, u32 slot)
{
	struct bento_kcall *kc = container_of(call, struct bento_kcall, pub);
	struct buffer_head *bh = bento_slot_block(kc, slot);

	if (!WARN_ON_ONCE(!bh) && READ_ONCE(call->sb->disk.settled))
		set_bit(BENTO_BH_CHECKED, &bh->b_state);
}
EXPORT_SYMBOL_GPL(bento_block_checked);

void bento_block_ahead(struct bento_call *call, u64 number, u32 count)
{
	struct super_block *sb = call->sb->sb;
	struct blk_plug plug;
	u64 blocks;

	if (!bento_extents(call->sb)) {
		bento_no_device(call);
		return;
	}
	blocks = bento_device_blocks(call->sb);
	if (number >= blocks)
		return;
	count = min_t(u64, min_t(u32, count, SZ_1M >> sb->s_blocksize_bits),
		      blocks - number);
	blk_start_plug(&plug);
	while (count--)
		sb_breadahead(sb, number++);
	blk_finish_plug(&plug);
}
EXPORT_SYMBOL_GPL(bento_block_ahead);

/* One may be cached all the same, by reading ahead. */
static void bento_zero_cached(struct super_block *sb, u64 number)
{
	struct buffer_head *bh = sb_find_get_block(sb, number);

	if (!bh)
		return;
	lock_buffer(bh);
	if (!buffer_jbd(bh)) {
		memset(bh->b_data, 0, bh->b_size);
		clear_bit(BENTO_BH_CHECKED, &bh->b_state);
	}
	unlock_buffer(bh);
	brelse(bh);
}

s32 bento_blocks_zero(struct bento_call *call, u64 number, u64 count)
{
	struct bento_super *bs = call->sb;
	int err;
	u64 i;

	if (!bento_extents(bs))
		return bento_no_device(call);
	err = bento_block_range(call, number, count);
	if (err)
		return err;
	if (!READ_ONCE(bs->disk.writable))
		return -EROFS;
	if (bento_journal_overlaps(bs, number, count))
		return bento_bad(bs, call->op, "zeroes blocks %llu+%llu of the journal",
				 number, count);
	err = count ? sb_issue_zeroout(bs->sb, number, count, GFP_NOFS) : 0;
	for (i = 0; !err && i < count; i++)
		bento_zero_cached(bs->sb, number + i);
	return err;
}
EXPORT_SYMBOL_GPL(bento_blocks_zero);

u32 bento_crc32c(u32 seed, const u8 *ptr, size_t len)
{
	return crc32c(seed, ptr, len);
}
EXPORT_SYMBOL_GPL(bento_crc32c);
