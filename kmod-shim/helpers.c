// SPDX-License-Identifier: GPL-2.0
/*
 * What Rust calls back during a call, apart from memory (alloc.c), locks
 * (lockdep.c) and file data (file.c). Nothing here waits for I/O, a folio
 * lock or a commit (SAFETY.md G3).
 */
#include <linux/cred.h>
#include <linux/poll.h>
#include <linux/random.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/timekeeping.h>
#include <linux/uidgid.h>
#include <linux/wait_bit.h>

#include "shim.h"

static int bento_len(struct bento_bytes bytes)
{
	return min_t(size_t, bytes.len, 768);
}

void bento_log(struct bento_super *bs, u32 level, struct bento_bytes message)
{
	if (level <= BENTO_LOG_WARN &&
	    !___ratelimit(&bs->log_limit, "bento_log"))
		return;
	switch (level) {
	case BENTO_LOG_ERR:
		/* mount(2) has one errno; fsconfig(2) can show the reason */
		snprintf(bs->last_error, sizeof(bs->last_error), "%.*s",
			 bento_len(message), message.ptr);
		bento_msg(bs, KERN_ERR, "%.*s", bento_len(message), message.ptr);
		break;
	case BENTO_LOG_WARN:
		bento_msg(bs, KERN_WARNING, "%.*s", bento_len(message), message.ptr);
		break;
	case BENTO_LOG_INFO:
		bento_msg(bs, KERN_INFO, "%.*s", bento_len(message), message.ptr);
		break;
	default:
		bento_msg(bs, KERN_DEBUG, "%.*s", bento_len(message), message.ptr);
	}
}
EXPORT_SYMBOL_GPL(bento_log);

void bento_panicked(struct bento_call *call, struct bento_bytes message,
		    const struct bento_location *at, s32 errno_)
{
	struct bento_super *bs = call->sb;
	const char *op = call->op < BENTO_OP_COUNT ? bento_op_names[call->op] : "?";
	char place[160] = "";

	atomic64_inc(&bs->panics);
	if (!___ratelimit(&bs->panic_limit, "bento_panicked"))
		return;
	if (at && at->line)
		snprintf(place, sizeof(place), " at %.*s:%u:%u", bento_len(at->file),
			 at->file.ptr, at->line, at->column);
	/* What a swap failed for is told in its own line. */
	if (call->op >= BENTO_HANDLER_COUNT || call->op == BENTO_OP_mount)
		snprintf(bs->last_error, sizeof(bs->last_error), "%s panicked%s: %.*s",
			 op, place, bento_len(message), message.ptr);
	bento_msg(bs, KERN_ERR, "handler %s panicked%s: %.*s; caller got %s", op,
		  place, bento_len(message), message.ptr,
		  abs(errno_) == ENOMEM ? "ENOMEM" : "EIO");
}
EXPORT_SYMBOL_GPL(bento_panicked);

int bento_bad(struct bento_super *bs, enum bento_op op, const char *fmt, ...)
{
	struct va_format vaf;
	va_list args;

	atomic64_inc(&bs->bad_values);
	if (!___ratelimit(&bs->log_limit, "bento_bad"))
		return -EUCLEAN;
	va_start(args, fmt);
	vaf.fmt = fmt;
	vaf.va = &args;
	bento_msg(bs, KERN_ERR, "%s %pV", bento_op_names[op], &vaf);
	va_end(args);
	return -EUCLEAN;
}

/* ---- inodes ---- */

static int bento_match_live(struct inode *inode, unsigned long ino, void *data)
{
	int found = 0;

	if (inode->i_ino != ino)
		return 0;
	spin_lock(&inode->i_lock);
	/* Waiting for one that comes or goes is not allowed in here; to the
	 * handler it is not cached. -1 ends the search. */
	if (inode->i_state & (I_FREEING | I_WILL_FREE | I_NEW | I_CREATING)) {
		found = -1;
	} else {
		__iget(inode);
		found = 1;
	}
	spin_unlock(&inode->i_lock);
	return found;
}

s32 bento_inode_get(struct bento_call *call, u64 ino, struct bento_inode **out)
{
	struct bento_kcall *kc = container_of(call, struct bento_kcall, pub);
	struct inode *inode;

	inode = find_inode_nowait(call->sb->sb, ino, bento_match_live, NULL);
	if (!inode)
		return -ENOENT;
	bento_ledger_add(kc, inode);
	if (!test_bit(BENTO_KI_LOADED, &bento_ki(inode)->state))
		return -ENOENT;
	*out = bento_pub(inode);
	if (likely(smp_load_acquire(&(*out)->data_generation) == call->generation))
		return 0;
	/* An inode that is being settled waits for no other. */
	return kc->nested ? -ENOENT : bento_inode_resolve(call, *out);
}
EXPORT_SYMBOL_GPL(bento_inode_get);

void bento_inode_wake(struct bento_call *call, struct bento_inode *pub)
{
	wake_up_poll(&bento_ki(bento_vfs(pub))->poll_wait,
		     EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLERR | EPOLLHUP);
}
EXPORT_SYMBOL_GPL(bento_inode_wake);

/*
 * The VFS's own check. An ACL that is not cached cannot be fetched from inside
 * the gate: the permission call notes it and is made again with it cached
 * (attr.c); anybody else is refused.
 */
s32 bento_generic_permission(struct bento_call *call, struct bento_inode *pub,
			     u32 mask)
{
	struct bento_kcall *kc = container_of(call, struct bento_kcall, pub);
	struct inode *inode = bento_vfs(pub);
	int err;

	rcu_read_lock();
	err = generic_permission(kc->idmap ?: bento_nop_idmap, inode,
				 (mask & (MAY_READ | MAY_WRITE | MAY_EXEC)) |
					 MAY_NOT_BLOCK);
	rcu_read_unlock();
	if (err == -ECHILD) {
		kc->need_acl = inode;
		return -EACCES;
	}
	return err;
}
EXPORT_SYMBOL_GPL(bento_generic_permission);

/* ---- who, when, chance ---- */

void bento_cred(struct bento_call *call, struct bento_cred *out)
{
	*out = (struct bento_cred){
		.uid = from_kuid_munged(&init_user_ns, current_fsuid()),
		.gid = from_kgid_munged(&init_user_ns, current_fsgid()),
	};
	if (current->flags & PF_KTHREAD)
		return;
	out->pid = task_tgid_nr(current);
	out->tid = task_pid_nr(current);
	BUILD_BUG_ON(sizeof(out->comm) != TASK_COMM_LEN);
	memcpy(out->comm, current->comm, sizeof(out->comm));
}
EXPORT_SYMBOL_GPL(bento_cred);

void bento_now(struct bento_call *call, struct bento_time *out)
{
	struct timespec64 now;

	/* The clock inode times are made of. */
	ktime_get_coarse_real_ts64(&now);
	*out = bento_time(now);
}
EXPORT_SYMBOL_GPL(bento_now);

void bento_random(u8 *ptr, size_t len)
{
	get_random_bytes(ptr, len);
}
EXPORT_SYMBOL_GPL(bento_random);

/* ---- sleeping on a word (C6) ---- */

/* On a list, so that who abandons an instance finds those that sleep in it. */
struct bento_waiter {
	struct list_head list;
	const u32 *word;
};

/* False when the instance was abandoned meanwhile. A function of its own: its
 * frame is gone when the caller leaves sideways. */
static noinline bool bento_wait_change(const u32 *word, u32 expected,
				       struct bento_slot *slot,
				       const struct bento_epoch *epoch)
{
	struct bento_waiter waiter = { .word = word };

	spin_lock(&slot->waiters_lock);
	list_add(&waiter.list, &slot->waiters);
	spin_unlock(&slot->waiters_lock);
	wait_var_event((void *)word, READ_ONCE(*word) != expected ||
					     READ_ONCE(epoch->abandoned));
	spin_lock(&slot->waiters_lock);
	list_del(&waiter.list);
	spin_unlock(&slot->waiters_lock);
	/* The word may have changed and be as it was again: then look once more. */
	return !READ_ONCE(epoch->abandoned) || READ_ONCE(*word) != expected;
}

void bento_wake_waiters(struct bento_slot *slot)
{
	struct bento_waiter *waiter;

	spin_lock(&slot->waiters_lock);
	list_for_each_entry(waiter, &slot->waiters, list)
		wake_up_var((void *)waiter->word);
	spin_unlock(&slot->waiters_lock);
}

/*
 * Whoever was abandoned never lets go of the locks it held, so a call that waits
 * for one in the same instance is abandoned as well (C2). Left sideways: no red
 * zones and no tracer's notes, which only a return clears.
 */
notrace __no_sanitize_address void bento_wait(const u32 *word, u32 expected)
{
	struct bento_record *record =
		bento_find_record((unsigned long)__builtin_frame_address(0));
	struct bento_epoch *epoch;
	struct bento_slot *slot;

	if (WARN_ON_ONCE(!record))
		return;
	slot = &record->call->sb->slot;
	epoch = bento_epoch_find(slot, record->call->generation);
	if (WARN_ON_ONCE(!epoch))
		return;
	if (likely(bento_wait_change(word, expected, slot, epoch)))
		return;
	record->call->outcome = BENTO_OUTCOME_ABANDONED;
	bento_abandon(record, -EIO);
}
EXPORT_SYMBOL_GPL(bento_wait);

/* The hashed queue wakes every waiter of the word, `n` or more: Rust's locks
 * take a wake-up for a hint. */
void bento_wake(const u32 *word, u32 n)
{
	smp_mb(); /* the word's new value before the look at the queue */
	wake_up_var((void *)word);
}
EXPORT_SYMBOL_GPL(bento_wake);

const struct bento_host bento_kernel_host = {
	.size = sizeof(struct bento_host),
	.abi = BENTO_ABI_VERSION,
	.flags = IS_ENABLED(CONFIG_LOCKDEP) ? BENTO_HOST_LOCKDEP : 0,
	.log = bento_log,
	.panicked = bento_panicked,
	.poison = bento_poison,
	.lock_poisoned = bento_lock_poisoned,
	.lock_refused = bento_lock_refused,
	.alloc = bento_alloc,
	.dealloc = bento_dealloc,
	.realloc = bento_realloc,
	.inode_attr = bento_inode_attr,
	.inode_update = bento_inode_update,
	.inode_get = bento_inode_get,
	.inode_resolve = bento_inode_resolve,
	.inode_wake = bento_inode_wake,
	.inode_invalidate = bento_inode_invalidate,
	.generic_permission = bento_generic_permission,
	.cred = bento_cred,
	.now = bento_now,
	.random = bento_random,
	.sink_put = bento_sink_put,
	.source_get = bento_source_get,
	.state_put = bento_state_put,
	.wait = bento_wait,
	.wake = bento_wake,
	.lock_acquired = bento_lock_acquired,
	.lock_released = bento_lock_released,
	.abandon = bento_abandon,
	.resume = bento_resume,
	.device = bento_device,
	.device_block_size = bento_device_block_size,
	.block_read = bento_block_read,
	.block_read_near = bento_block_read_near,
	.block_blank = bento_block_blank,
	.block_new = bento_block_new,
	.block_put = bento_block_put,
	.block_checked = bento_block_checked,
	.block_ahead = bento_block_ahead,
	.blocks_zero = bento_blocks_zero,
	.crc32c = bento_crc32c,
	.journal_open = bento_journal_open,
	.checksum_add = bento_checksum_add,
	.tx_begin = bento_tx_begin,
	.tx_extend = bento_tx_extend,
	.tx_write = bento_tx_write,
	.tx_undo_room = bento_tx_undo_room,
	.tx_forget = bento_tx_forget,
	.tx_inode = bento_tx_inode,
	.tx_claim = bento_tx_claim,
	.tx_release = bento_tx_release,
	.tx_discard = bento_tx_discard,
	.tx_id = bento_tx_id,
	.tx_is_committed = bento_tx_is_committed,
	.tx_end = bento_tx_end,
	.fail = bento_fail,
};
