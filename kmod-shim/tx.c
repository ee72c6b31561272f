// SPDX-License-Identifier: GPL-2.0
/*
 * Transactions (SAFETY.md T1 to T4): all that a call changes in blocks goes
 * through its undo log, so that what does not commit has never been. With a
 * journal a transaction is a handle of jbd2's; nothing that jbd2 is told before
 * the commit has to be taken back. Without one it is the undo log alone.
 */
#include <linux/slab.h>

#include "disk.h"

#define BENTO_UNDO_INLINE 1024
#define BENTO_UNDO_CHUNK 4096
#define BENTO_WRITTEN_INLINE 16
#define BENTO_STAGED_INLINE 3
#define BENTO_FORGET_INLINE 4
#define BENTO_DISCARD_INLINE 4

struct bento_written {
	struct buffer_head *bh;
	struct bento_sum *sum;
	bool fresh; /* held nothing before */
	bool forgotten;
};

struct bento_staged {
	struct inode *inode;
	struct bento_attr attr;
	u32 valid;
};

struct bento_tx {
	handle_t *handle; /* NULL: no journal, or not through it */
	u32 blocks, revokes; /* what was asked for */
	bool apart; /* past the journal, which is empty */
	u32 written_count, written_cap;
	u32 staged_count, staged_cap;
	u32 forget_count, forget_cap;
	u32 discard_count, discard_cap;
	struct bento_written *written;
	struct bento_staged *staged;
	u64 *forget;
	struct bento_range *discard;
	u64 claimed, promised, released; /* promised: of `claimed` */
	struct bento_written written_inline[BENTO_WRITTEN_INLINE];
	struct bento_staged staged_inline[BENTO_STAGED_INLINE];
	u64 forget_inline[BENTO_FORGET_INLINE];
	struct bento_range discard_inline[BENTO_DISCARD_INLINE];
	struct bento_undo first;
	u8 room[BENTO_UNDO_INLINE]; /* behind `first` */
};

static struct kmem_cache *bento_tx_cache;

/* Nothing: but kernels that zero all memory they hand out leave alone what has a
 * constructor, and this is two KiB for each transaction. What is read is set. */
static void bento_tx_once(void *tx)
{
}

int bento_tx_init(void)
{
	BUILD_BUG_ON(offsetof(struct bento_tx, room) !=
		     offsetof(struct bento_tx, first) + sizeof(struct bento_undo));
	bento_tx_cache = kmem_cache_create("bento_tx", sizeof(struct bento_tx),
					   __alignof__(struct bento_tx),
					   SLAB_RECLAIM_ACCOUNT, bento_tx_once);
	return bento_tx_cache ? 0 : -ENOMEM;
}

void bento_tx_exit(void)
{
	kmem_cache_destroy(bento_tx_cache);
}

/* Room for one more in one of the lists; memory does not fail here. */
static void *bento_tx_grow(void *list, void *inlined, u32 *cap, u32 count, size_t size)
{
	void *more;

	if (count < *cap)
		return list;
	more = kvmalloc_array(2 * *cap, size, GFP_NOFS | __GFP_NOFAIL);
	memcpy(more, list, count * size);
	if (list != inlined)
		kvfree(list);
	*cap *= 2;
	return more;
}

#define BENTO_TX_GROW(tx, list)                                                \
	((tx)->list = bento_tx_grow((tx)->list, (tx)->list##_inline,           \
				    &(tx)->list##_cap, (tx)->list##_count,     \
				    sizeof(*(tx)->list)))

static __printf(2, 3) int bento_tx_wrong(struct bento_call *call, const char *fmt, ...)
{
	struct bento_super *bs = call->sb;
	struct va_format vaf;
	va_list args;

	if (!___ratelimit(&bs->log_limit, "bento_tx"))
		return -EINVAL;
	va_start(args, fmt);
	vaf.fmt = fmt;
	vaf.va = &args;
	bento_msg(bs, KERN_ERR, "%s %pV", bento_op_names[call->op], &vaf);
	va_end(args);
	return -EINVAL;
}

/* ---- begin ---- */

/*
 * A mount's first word and its last, that there may be something to replay, go
 * straight to their block while the log is empty: whoever finds them unset will
 * not look into the log. Nobody else runs a transaction at that time. One that
 * changes a second block joins the journal.
 */
static bool bento_tx_apart(const struct bento_call *call)
{
	return (call->op == BENTO_OP_unmount ||
		(call->op == BENTO_OP_mount && !call->sb->live)) &&
	       bento_journal_is_empty(call->sb->disk.journal);
}

static int bento_tx_handle(struct bento_call *call, struct bento_tx *tx)
{
	journal_t *journal = call->sb->disk.journal;
	handle_t *handle = jbd2__journal_start(journal, tx->blocks, 0, tx->revokes,
					       GFP_NOFS, 0, 0);

	if (IS_ERR(handle)) {
		if (is_journal_aborted(journal))
			bento_disk_stop(call->sb, "its journal has stopped");
		return PTR_ERR(handle);
	}
	tx->handle = handle;
	return 0;
}

static int bento_tx_join(struct bento_call *call, struct bento_tx *tx)
{
	int err = bento_tx_handle(call, tx);
	u32 i;

	for (i = 0; i < tx->written_count && !err; i++)
		err = jbd2_journal_get_write_access(tx->handle, tx->written[i].bh);
	if (err && tx->handle) {
		jbd2_journal_stop(tx->handle);
		tx->handle = NULL;
	}
	tx->apart = err;
	return err;
}

/* From here on it goes through the journal, if there is one. */
static int bento_tx_joined(struct bento_call *call, struct bento_tx *tx)
{
	return unlikely(tx->apart) ? bento_tx_join(call, tx) : 0;
}

static int bento_tx_start(struct bento_call *call, struct bento_tx *tx)
{
	journal_t *journal = call->sb->disk.journal;
	u32 max, need;

	tx->handle = NULL;
	tx->apart = false;
	if (!journal)
		return 0;
	max = bento_journal_max_credits(journal);
	need = DIV_ROUND_UP(tx->revokes, max(journal->j_revoke_records_per_block, 1));
	if (tx->blocks > max || need > max - tx->blocks) {
		bento_tx_wrong(call, "wants a transaction of %u blocks and %u revokes, the journal has room for %u",
			       tx->blocks, tx->revokes, max);
		return -ENOSPC;
	}
	tx->apart = bento_tx_apart(call);
	return tx->apart ? 0 : bento_tx_handle(call, tx);
}

s32 bento_tx_begin(struct bento_call *call, u32 blocks, u32 revokes)
{
	struct bento_kcall *kc = container_of(call, struct bento_kcall, pub);
	struct bento_super *bs = call->sb;
	struct bento_tx *tx;
	int err;

	if (unlikely(!bento_extents(bs)))
		return bento_no_device(call);
	if (unlikely(kc->tx || (kc->nested && call->op != BENTO_OP_unmount) ||
		     WARN_ON_ONCE(current->journal_info))) {
		bento_tx_wrong(call, "begins a transaction inside of another");
		return -EDEADLK;
	}
	if (unlikely(!READ_ONCE(bs->disk.writable)))
		return -EROFS;
	if (unlikely(bento_stack_short_io(call)))
		return -ENOMEM;
	if (unlikely(blocks > INT_MAX / 2 || revokes > INT_MAX / 2))
		return -ENOSPC;
	tx = kmem_cache_alloc(bento_tx_cache, GFP_NOFS | __GFP_NOFAIL);
	tx->blocks = blocks;
	tx->revokes = revokes;
	err = bento_tx_start(call, tx);
	if (unlikely(err)) {
		kmem_cache_free(bento_tx_cache, tx);
		return err;
	}
	tx->written = tx->written_inline;
	tx->staged = tx->staged_inline;
	tx->forget = tx->forget_inline;
	tx->discard = tx->discard_inline;
	tx->written_cap = BENTO_WRITTEN_INLINE;
	tx->staged_cap = BENTO_STAGED_INLINE;
	tx->forget_cap = BENTO_FORGET_INLINE;
	tx->discard_cap = BENTO_DISCARD_INLINE;
	tx->written_count = tx->staged_count = tx->forget_count = tx->discard_count = 0;
	tx->claimed = tx->promised = tx->released = 0;
	tx->first = (struct bento_undo){ .cap = BENTO_UNDO_INLINE };
	kc->tx = tx;
	call->undo = &tx->first;
	return 0;
}
EXPORT_SYMBOL_GPL(bento_tx_begin);

s32 bento_tx_extend(struct bento_call *call, u32 blocks, u32 revokes)
{
	struct bento_tx *tx = container_of(call, struct bento_kcall, pub)->tx;
	int err;

	if (!tx)
		return bento_tx_wrong(call, "extends a transaction it has not");
	if (blocks > INT_MAX / 2 - tx->blocks || revokes > INT_MAX / 2 - tx->revokes)
		return -ENOSPC;
	err = bento_tx_joined(call, tx);
	if (tx->handle && !err)
		err = jbd2_journal_extend(tx->handle, blocks, revokes);
	if (err)
		return err > 0 ? -ENOSPC : err;
	tx->blocks += blocks;
	tx->revokes += revokes;
	return 0;
}
EXPORT_SYMBOL_GPL(bento_tx_extend);

/* ---- blocks ---- */

static struct bento_written *bento_tx_find(struct bento_tx *tx,
					   const struct buffer_head *bh)
{
	u32 i = tx->written_count;

	while (i--)
		if (tx->written[i].bh == bh)
			return &tx->written[i];
	return NULL;
}

/* Write access, from now to the end; NULL in `*out` if it was had before. */
static int bento_tx_access(struct bento_call *call, struct bento_tx *tx,
			   struct buffer_head *bh, struct bento_written **out)
{
	struct bento_written *written;
	int err;

	*out = NULL;
	if (unlikely(tx->written_count >= tx->blocks)) {
		bento_tx_wrong(call, "changes more than the %u blocks its transaction is for",
			       tx->blocks);
		return -ENOSPC;
	}
	if (unlikely(bento_journal_overlaps(call->sb, bh->b_blocknr, 1)))
		return bento_bad(call->sb, call->op, "changes block %llu of the journal",
				 (u64)bh->b_blocknr);
	if (tx->written_count) {
		err = bento_tx_joined(call, tx);
		if (err)
			return err;
	}
	BENTO_TX_GROW(tx, written);
	if (tx->handle) {
		err = jbd2_journal_get_write_access(tx->handle, bh);
		if (unlikely(err))
			return err;
	}
	get_bh(bh);
	written = &tx->written[tx->written_count++];
	*written = (struct bento_written){ .bh = bh };
	*out = written;
	return 0;
}

s32 bento_tx_write(struct bento_call *call, u32 slot, u32 checksum)
{
	struct bento_kcall *kc = container_of(call, struct bento_kcall, pub);
	struct bento_sum *sum = bento_sum_get(call->sb, checksum);
	struct bento_tx *tx = kc->tx;
	struct bento_written *written;
	struct buffer_head *bh;
	int err;

	if (unlikely(!tx))
		return bento_tx_wrong(call, "changes a block outside of a transaction");
	bh = bento_slot_block(kc, slot);
	if (unlikely(!bh || (checksum && !sum)))
		return bento_tx_wrong(call, "changes a block with checksum %u, which is none",
				      checksum);
	written = bento_tx_find(tx, bh);
	if (!written) {
		err = bento_tx_access(call, tx, bh, &written);
		if (unlikely(err))
			return err;
	}
	if (sum) {
		written->sum = sum;
		/* Until the commit it is wrong, and nobody is to look at it. */
		set_bit(BENTO_BH_CHECKED, &bh->b_state);
	}
	return 0;
}
EXPORT_SYMBOL_GPL(bento_tx_write);

/* A record of the undo log: `len` bytes at `at`, as they are now. */
static int bento_tx_note(struct bento_call *call, u8 *at, size_t len)
{
	struct bento_undo_record *record;
	size_t need = sizeof(*record) + ALIGN(len, 8);
	int err = bento_tx_undo_room(call, need);

	if (err)
		return err;
	record = (void *)(call->undo + 1) + call->undo->used;
	*record = (struct bento_undo_record){ .at = at, .len = len };
	memcpy(record + 1, at, len);
	call->undo->used += need;
	return 0;
}

/*
 * What the block held is of no interest, if it was free. Should it not have been,
 * it is as it was when this does not commit; so it is not jbd2's `create`
 * access, which trusts the caller in that.
 */
s32 bento_block_new(struct bento_call *call, u64 number, struct bento_block *out)
{
	struct bento_kcall *kc = container_of(call, struct bento_kcall, pub);
	struct bento_written *written;
	struct bento_tx *tx = kc->tx;
	struct buffer_head *bh;
	int err;

	if (unlikely(!bento_extents(call->sb)))
		return bento_no_device(call);
	if (unlikely(!tx))
		return bento_tx_wrong(call, "makes a block outside of a transaction");
	err = bento_block_range(call, number, 1);
	if (err)
		return err;
	bh = sb_getblk(call->sb->sb, number);
	if (!bh)
		return -ENOMEM;
	written = bento_tx_find(tx, bh);
	if (!written)
		err = bento_tx_access(call, tx, bh, &written);
	lock_buffer(bh);
	if (!err && buffer_uptodate(bh) && !written->fresh)
		err = bento_tx_note(call, bh->b_data, bh->b_size);
	else if (!err)
		written->fresh = true;
	if (!err) {
		memset(bh->b_data, 0, bh->b_size);
		set_buffer_uptodate(bh);
	}
	unlock_buffer(bh);
	if (err) {
		brelse(bh);
		return err;
	}
	written->sum = NULL;
	if (tx->handle)
		jbd2_journal_set_triggers(bh, NULL);
	bento_block_lend(kc, bh, out);
	return 0;
}
EXPORT_SYMBOL_GPL(bento_block_new);

s32 bento_tx_undo_room(struct bento_call *call, size_t len)
{
	struct bento_undo *chunk = call->undo;
	size_t cap;

	if (!chunk)
		return bento_tx_wrong(call, "changes a block outside of a transaction");
	if (chunk->cap - chunk->used > len)
		return 0;
	if (len > SZ_1M)
		return -ENOMEM;
	cap = max_t(size_t, BENTO_UNDO_CHUNK - sizeof(*chunk), ALIGN(len + 8, 8));
	chunk = kmalloc(sizeof(*chunk) + cap,
			GFP_NOFS | (cap + sizeof(*chunk) <= 2 * PAGE_SIZE ? __GFP_NOFAIL : __GFP_NOWARN));
	if (!chunk)
		return -ENOMEM;
	*chunk = (struct bento_undo){ .older = call->undo, .cap = cap };
	call->undo = chunk;
	return 0;
}
EXPORT_SYMBOL_GPL(bento_tx_undo_room);

s32 bento_tx_forget(struct bento_call *call, u64 number)
{
	struct bento_tx *tx = container_of(call, struct bento_kcall, pub)->tx;
	int err;

	if (!tx)
		return bento_tx_wrong(call, "forgets a block outside of a transaction");
	err = bento_block_range(call, number, 1);
	if (err)
		return err;
	if (bento_journal_overlaps(call->sb, number, 1))
		return bento_bad(call->sb, call->op, "forgets block %llu of the journal",
				 number);
	if (tx->forget_count >= tx->revokes) {
		bento_tx_wrong(call, "forgets more than the %u blocks its transaction is for",
			       tx->revokes);
		return -ENOSPC;
	}
	err = bento_tx_joined(call, tx);
	if (err)
		return err;
	BENTO_TX_GROW(tx, forget);
	tx->forget[tx->forget_count++] = number;
	return 0;
}
EXPORT_SYMBOL_GPL(bento_tx_forget);

/* ---- attributes and space ---- */

s32 bento_tx_inode(struct bento_call *call, struct bento_inode *pub,
		   const struct bento_attr *attr, u32 valid)
{
	struct bento_tx *tx = container_of(call, struct bento_kcall, pub)->tx;
	struct inode *inode = bento_vfs(pub);
	struct bento_staged *staged;
	int err;
	u32 i;

	if (!tx)
		return bento_tx_wrong(call, "changes an inode outside of a transaction");
	err = bento_attr_check(call, inode, attr, valid);
	if (err)
		return err;
	for (i = 0; i < tx->staged_count; i++) {
		if (tx->staged[i].inode == inode) {
			bento_attr_merge(&tx->staged[i].attr, attr, valid);
			tx->staged[i].valid |= valid;
			return 0;
		}
	}
	BENTO_TX_GROW(tx, staged);
	staged = &tx->staged[tx->staged_count++];
	staged->inode = inode;
	staged->attr = *attr;
	staged->valid = valid;
	return 0;
}
EXPORT_SYMBOL_GPL(bento_tx_inode);

s32 bento_tx_claim(struct bento_call *call, u64 blocks)
{
	struct bento_kcall *kc = container_of(call, struct bento_kcall, pub);
	struct bento_tx *tx = kc->tx;
	u64 before = kc->reserved;
	int err;

	if (!tx)
		return bento_tx_wrong(call, "claims blocks outside of a transaction");
	err = bento_space_claim(call->sb, blocks, &kc->reserved,
				call->op == BENTO_OP_allocate_extents ||
				call->op == BENTO_OP_convert_extents);
	if (err)
		return err;
	tx->claimed += blocks;
	tx->promised += before - kc->reserved;
	return 0;
}
EXPORT_SYMBOL_GPL(bento_tx_claim);

void bento_tx_release(struct bento_call *call, u64 blocks)
{
	struct bento_tx *tx = container_of(call, struct bento_kcall, pub)->tx;

	if (tx)
		tx->released += blocks;
	else
		bento_tx_wrong(call, "releases blocks outside of a transaction");
}
EXPORT_SYMBOL_GPL(bento_tx_release);

static u64 bento_tx_tid(const struct bento_tx *tx)
{
	return tx->handle && tx->handle->h_transaction ?
		       tx->handle->h_transaction->t_tid : 0;
}

s32 bento_tx_discard(struct bento_call *call, u64 number, u64 count)
{
	struct bento_tx *tx = container_of(call, struct bento_kcall, pub)->tx;
	int err;

	if (!tx)
		return bento_tx_wrong(call, "discards blocks outside of a transaction");
	err = bento_tx_joined(call, tx);
	if (err)
		return err;
	if (!tx->handle)
		return -EOPNOTSUPP;
	err = bento_block_range(call, number, count);
	if (err || !count)
		return err;
	if (bento_journal_overlaps(call->sb, number, count))
		return bento_bad(call->sb, call->op, "discards block %llu of the journal",
				 number);
	BENTO_TX_GROW(tx, discard);
	tx->discard[tx->discard_count++] = (struct bento_range){ number, count };
	return 0;
}
EXPORT_SYMBOL_GPL(bento_tx_discard);

u64 bento_tx_id(struct bento_call *call)
{
	struct bento_tx *tx = container_of(call, struct bento_kcall, pub)->tx;

	if (!tx)
		return 0;
	/* Who asks means to wait for a commit: there is to be one. */
	bento_tx_joined(call, tx);
	return bento_tx_tid(tx);
}
EXPORT_SYMBOL_GPL(bento_tx_id);

s32 bento_tx_is_committed(struct bento_call *call, u64 id)
{
	journal_t *journal = call->sb->disk.journal;

	return !journal || (jbd2_transaction_committed(journal, id) &&
			    !bento_discard_pending(call->sb, id));
}
EXPORT_SYMBOL_GPL(bento_tx_is_committed);

/* ---- the end ---- */

static void bento_tx_free(struct bento_kcall *kc)
{
	struct bento_tx *tx = kc->tx;
	struct bento_undo *chunk;

	while ((chunk = kc->pub.undo) && chunk != &tx->first) {
		kc->pub.undo = chunk->older;
		kfree(chunk);
	}
	kc->pub.undo = NULL;
	while (tx->written_count)
		brelse(tx->written[--tx->written_count].bh);
	if (tx->written != tx->written_inline)
		kvfree(tx->written);
	if (tx->staged != tx->staged_inline)
		kvfree(tx->staged);
	if (tx->forget != tx->forget_inline)
		kvfree(tx->forget);
	if (tx->discard != tx->discard_inline)
		kvfree(tx->discard);
	kmem_cache_free(bento_tx_cache, tx);
	kc->tx = NULL;
}

/* From its newest record to its oldest. They lie one behind the other: on the way
 * there the place of each is noted in the length of the next. */
static void bento_undo_chunk(struct bento_undo *chunk)
{
	u8 *records = (u8 *)(chunk + 1);
	struct bento_undo_record *record;
	u32 at = 0, last = U32_MAX;

	while (at < chunk->used) {
		u32 len;

		record = (void *)(records + at);
		len = record->len;
		record->len = len | (u64)last << 32;
		last = at;
		at += sizeof(*record) + ALIGN(len, 8);
	}
	while (last != U32_MAX) {
		record = (void *)(records + last);
		memcpy(record->at, record + 1, (u32)record->len);
		last = record->len >> 32;
	}
}

/* In memory as the commit leaves it to be written. */
static void bento_written_dirty(const struct bento_written *written)
{
	struct buffer_head *bh = written->bh;

	/* Two that sum up at once would leave the older sum. */
	lock_buffer(bh);
	if (written->sum)
		bento_sum_set(written->sum, bh, bh->b_data);
	mark_buffer_dirty(bh);
	unlock_buffer(bh);
}

static void bento_tx_undo(struct bento_kcall *kc)
{
	struct bento_undo *chunk;
	struct bento_tx *tx = kc->tx;
	u32 i;

	for (chunk = kc->pub.undo; chunk; chunk = chunk->older)
		bento_undo_chunk(chunk);
	for (i = 0; i < tx->written_count; i++) {
		struct bento_written *written = &tx->written[i];

		if (written->fresh) {
			clear_bit(BENTO_BH_CHECKED, &written->bh->b_state);
			lock_buffer(written->bh);
			clear_buffer_uptodate(written->bh);
			unlock_buffer(written->bh);
		} else if (!tx->handle) {
			/* A neighbour's commit may have put our bytes in its sum,
			 * and on the device. */
			bento_written_dirty(written);
		}
	}
	if (tx->claimed) {
		bento_space_unclaim(kc->pub.sb, tx->claimed, tx->promised);
		kc->reserved += tx->promised;
	}
	if (tx->handle)
		jbd2_journal_stop(tx->handle);
	bento_tx_free(kc);
}

void bento_tx_drop(struct bento_kcall *kc)
{
	bento_tx_undo(kc);
}

/* May anything of this instance reach the device? (T4) */
static int bento_tx_allowed(struct bento_kcall *kc)
{
	struct bento_super *bs = kc->pub.sb;
	struct bento_tx *tx = kc->tx;

	if (unlikely(READ_ONCE(bs->slot.health) != BENTO_OK ||
		     kc->pub.outcome == BENTO_OUTCOME_ABANDONED))
		return -EIO;
	if (unlikely(!READ_ONCE(bs->disk.writable)))
		return -EROFS;
	return unlikely(tx->handle && is_handle_aborted(tx->handle)) ? -EROFS : 0;
}

/* An error leaves buffers that will be written as they were before. */
static int bento_tx_dirty(const struct bento_call *call, struct bento_tx *tx)
{
	u32 i, k;
	int err = 0;

	for (i = 0; i < tx->forget_count; i++)
		for (k = 0; k < tx->written_count; k++)
			if (tx->written[k].bh->b_blocknr == tx->forget[i])
				tx->written[k].forgotten = true;
	for (i = 0; i < tx->written_count && !err; i++) {
		struct bento_written *written = &tx->written[i];

		if (written->forgotten)
			continue;
		if (!tx->handle) {
			bento_written_dirty(written);
			if (tx->apart)
				err = bento_journal_write_apart(call->sb, written->bh);
			continue;
		}
		if (written->sum)
			jbd2_journal_set_triggers(written->bh, &written->sum->trigger);
		err = jbd2_journal_dirty_metadata(tx->handle, written->bh);
	}
	return err;
}

static void bento_tx_forget_now(struct bento_kcall *kc, u64 number)
{
	struct super_block *sb = kc->pub.sb->sb;
	handle_t *handle = kc->tx->handle;
	struct buffer_head *bh;
	int err;

	if (handle) {
		err = jbd2_journal_revoke(handle, number, NULL);
		if (err) {
			bento_msg(kc->pub.sb, KERN_ERR,
				  "%s freed block %llu, which cannot be revoked: errno %d",
				  bento_op_names[kc->pub.op], number, -err);
			return;
		}
	}
	bh = sb_find_get_block(sb, number);
	if (!bh)
		return;
	clear_bit(BENTO_BH_CHECKED, &bh->b_state);
	if (!handle)
		bforget(bh);
	else if (jbd2_journal_forget(handle, bh) == -EROFS)
		brelse(bh);
}

static void bento_tx_note_inodes(struct bento_kcall *kc, u32 tid)
{
	const struct bento_tx *tx = kc->tx;
	struct bento_inode *pub[4];
	unsigned int i, n = bento_inodes_of(kc, pub);
	bool data = kc->pub.op != BENTO_OP_write_inode &&
		    kc->pub.op != BENTO_OP_setattr;

	for (i = 0; i < n; i++)
		if (pub[i])
			bento_journal_touched(bento_vfs(pub[i]), tid, data);
	for (i = 0; i < tx->staged_count; i++)
		bento_journal_touched(tx->staged[i].inode, tid,
				      tx->staged[i].valid &
					      (BENTO_ATTR_SIZE | BENTO_ATTR_BLOCKS));
}

s32 bento_tx_end(struct bento_call *call, u32 commit)
{
	struct bento_kcall *kc = container_of(call, struct bento_kcall, pub);
	struct bento_super *bs = call->sb;
	struct bento_tx *tx = kc->tx;
	int err;
	u32 i;

	if (unlikely(!tx))
		return bento_tx_wrong(call, "ends a transaction it has not");
	err = commit ? bento_tx_allowed(kc) : 0;
	if (commit && !err)
		err = bento_tx_dirty(call, tx);
	if (unlikely(err || !commit)) {
		bento_tx_undo(kc);
		return err;
	}
	for (i = 0; i < tx->forget_count; i++)
		bento_tx_forget_now(kc, tx->forget[i]);
	for (i = 0; i < tx->staged_count; i++)
		bento_attr_store(tx->staged[i].inode, &tx->staged[i].attr,
				 tx->staged[i].valid);
	bento_tx_note_inodes(kc, bento_tx_tid(tx));
	if (tx->released) {
		bento_space_unclaim(bs, tx->released, 0);
		bento_space_freed(bs, bento_tx_tid(tx));
	}
	if (tx->discard_count) {
		bento_discard_queue(bs, bento_tx_tid(tx), tx->discard, tx->discard_count);
		bento_space_freed(bs, bento_tx_tid(tx));
	}
	/* An error here is the journal's end; who waits for it will hear. */
	if (tx->handle)
		jbd2_journal_stop(tx->handle);
	bento_tx_free(kc);
	return 0;
}
EXPORT_SYMBOL_GPL(bento_tx_end);
