// SPDX-License-Identifier: GPL-2.0
/*
 * One call into Rust (SAFETY.md C1, G3, G4, G6): gate, nofs scope, trampoline,
 * and what the call borrowed given back however it ended.
 */
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/wait_bit.h>
#include <linux/workqueue.h>

#include "overflow.h"
#include "shim.h"

const char *const bento_op_names[BENTO_OP_COUNT] = {
#define X(name) #name,
	BENTO_FOR_EACH_OP(X)
#undef X
};

typedef s64 (*bento_thunk)(struct bento_call *call, void *args);

/* References of a call beyond the first few. */
struct bento_more_refs {
	struct bento_more_refs *next;
	unsigned int count;
	struct inode *refs[60];
};

/* Pages that a handler called stale; dropped once the call is over. */
struct bento_deferred {
	struct work_struct work;
	struct bento_deferred *next;
	struct inode *inode;
	loff_t start, end; /* bytes, end inclusive */
};

bool bento_stack_short(void)
{
	unsigned long room = (unsigned long)__builtin_frame_address(0) -
			     (unsigned long)task_stack_page(current);

	return room < BENTO_STACK_ENTRY;
}

bool bento_stack_short_io(struct bento_call *call)
{
	unsigned long room = (unsigned long)__builtin_frame_address(0) -
			     (unsigned long)task_stack_page(current);

	if (likely(room >= BENTO_STACK_IO))
		return false;
	bento_bad(call->sb, call->op, "does I/O with %lu bytes of stack left", room);
	return true;
}

static void bento_invalidate(struct bento_deferred *d)
{
	invalidate_inode_pages2_range(d->inode->i_mapping,
				      d->start >> PAGE_SHIFT,
				      d->end >> PAGE_SHIFT);
	iput(d->inode);
	kfree(d);
}

static void bento_invalidate_work(struct work_struct *work)
{
	struct bento_deferred *d = container_of(work, struct bento_deferred, work);
	struct bento_super *bs = bento_isb(d->inode);

	bento_invalidate(d);
	if (atomic_dec_and_test(&bs->deferred))
		wake_up_var(&bs->deferred);
}

/*
 * References are dropped here and not by Rust: the last one evicts, which
 * enters the gate again (G4). Invalidating waits for folio locks, and a call
 * for file data runs under some, so that kind goes to a worker.
 */
void bento_drain(struct bento_kcall *kc)
{
	struct bento_more_refs *more;
	struct bento_deferred *d;

	while ((d = kc->deferred)) {
		kc->deferred = d->next;
		if (kc->pub.op == BENTO_OP_read || kc->pub.op == BENTO_OP_write) {
			INIT_WORK(&d->work, bento_invalidate_work);
			atomic_inc(&kc->pub.sb->deferred);
			queue_work(bento_wq, &d->work);
		} else {
			bento_invalidate(d);
		}
	}
	while (kc->nrefs)
		iput(kc->refs[--kc->nrefs]);
	while ((more = kc->more)) {
		kc->more = more->next;
		while (more->count)
			iput(more->refs[--more->count]);
		kfree(more);
	}
}

/* Hand a reference to the ledger. Inside the gate. */
void bento_ledger_add(struct bento_kcall *kc, struct inode *inode)
{
	if (kc->nrefs < BENTO_INLINE_REFS) {
		kc->refs[kc->nrefs++] = inode;
		return;
	}
	if (!kc->more || kc->more->count == ARRAY_SIZE(kc->more->refs)) {
		struct bento_more_refs *more;

		more = kmalloc(sizeof(*more), GFP_NOFS | __GFP_NOFAIL);
		more->next = kc->more;
		more->count = 0;
		kc->more = more;
	}
	kc->more->refs[kc->more->count++] = inode;
}

bool bento_holds(const struct bento_super *bs, const struct bento_inode *pub,
		 const void *lock)
{
	return pub && pub->data && lock >= pub->data &&
	       lock < pub->data + bs->slot.ops->inode_data_size;
}

/* The inode among what it borrowed whose data `lock` lies in. */
struct bento_inode *bento_ledger_find(struct bento_kcall *kc, const void *lock)
{
	const struct bento_super *bs = kc->pub.sb;
	struct bento_more_refs *more;
	unsigned int i;

	for (i = 0; i < kc->nrefs; i++)
		if (bento_holds(bs, bento_pub(kc->refs[i]), lock))
			return bento_pub(kc->refs[i]);
	for (more = kc->more; more; more = more->next)
		for (i = 0; i < more->count; i++)
			if (bento_holds(bs, bento_pub(more->refs[i]), lock))
				return bento_pub(more->refs[i]);
	return NULL;
}

void bento_inode_invalidate(struct bento_call *call, struct bento_inode *pub,
			    u64 offset, u64 len)
{
	struct bento_kcall *kc = container_of(call, struct bento_kcall, pub);
	struct inode *inode = bento_vfs(pub);
	struct bento_deferred *d;
	u64 end;

	/* What a resident mount has in its pages is nowhere else. */
	if (bento_resident(call->sb) || offset > LLONG_MAX)
		return;
	if (!len || check_add_overflow(offset, len - 1, &end) || end > LLONG_MAX)
		end = LLONG_MAX;
	d = kmalloc(sizeof(*d), GFP_NOFS | __GFP_NOFAIL);
	ihold(inode);
	d->inode = inode;
	d->start = offset;
	d->end = end;
	d->next = kc->deferred;
	kc->deferred = d;
}
EXPORT_SYMBOL_GPL(bento_inode_invalidate);

/* Locks of the author's that an abandoned call held stay held; the validator is
 * told otherwise, or it would blame this task for them from now on. */
static unsigned int bento_locks_held(void)
{
#ifdef CONFIG_LOCKDEP
	return current->lockdep_depth;
#else
	return 0;
#endif
}

static void bento_locks_abandoned(unsigned int depth)
{
#ifdef CONFIG_LOCKDEP
	unsigned int n;

	for (n = current->lockdep_depth; n > depth; n--)
		lock_release(current->held_locks[n - 1].instance, _RET_IP_);
#endif
}

static noinline void bento_abandoned(struct bento_kcall *kc, unsigned int depth)
{
	bento_locks_abandoned(depth);
	if (kc->overflowed)
		bento_panicked(&kc->pub, bento_bytes("stack overflow", 14),
			       &kc->overflow, -EIO);
}

/*
 * A handler that the current version has not, though an earlier one did and the
 * tables still lead here: what a NULL in them would have meant. 0 where it
 * means that nobody is asked; permission's 1 is for its caller (attr.c).
 */
static const s16 bento_absent[BENTO_OP_COUNT] = {
	[BENTO_OP_lookup] = -ENOTDIR,	    [BENTO_OP_create] = -EACCES,
	[BENTO_OP_mkdir] = -EPERM,	    [BENTO_OP_mknod] = -EPERM,
	[BENTO_OP_symlink] = -EPERM,	    [BENTO_OP_link] = -EPERM,
	[BENTO_OP_unlink] = -EPERM,	    [BENTO_OP_rmdir] = -EPERM,
	[BENTO_OP_rename] = -EPERM,	    [BENTO_OP_tmpfile] = -EOPNOTSUPP,
	[BENTO_OP_get_link] = -EINVAL,	    [BENTO_OP_permission] = 1,
	[BENTO_OP_getxattr] = -EOPNOTSUPP,  [BENTO_OP_setxattr] = -EOPNOTSUPP,
	[BENTO_OP_removexattr] = -EOPNOTSUPP, [BENTO_OP_set_acl] = -EOPNOTSUPP,
	[BENTO_OP_fileattr_get] = -ENOTTY,  [BENTO_OP_fileattr_set] = -ENOTTY,
	[BENTO_OP_iterate] = -ENOTDIR,	    [BENTO_OP_read] = -EINVAL,
	[BENTO_OP_write] = -EINVAL,	    [BENTO_OP_fallocate] = -EOPNOTSUPP,
	[BENTO_OP_ioctl] = -ENOTTY,	    [BENTO_OP_get_parent] = -EACCES,
	[BENTO_OP_trim] = -ENOTTY,
};

static void bento_lend_reserved(const struct bento_map_args *args,
				struct bento_kcall *kc)
{
	kc->reserved = args->flags & BENTO_ALLOCATE_DELAYED ? args->reserved : 0;
}

static __always_inline s64 bento_run(struct bento_super *bs, void *instance,
				     const struct bento_ops *ops, u32 generation,
				     enum bento_op op, void *args,
				     struct bento_kcall *kc)
{
	bento_thunk thunk = (&((bento_thunk *)&ops->mount)[0])[op];
	unsigned int nofs, depth;
	s64 ret;

	kc->pub = (struct bento_call){
		.instance = instance,
		.sb = bs,
		.op = op,
		.outcome = BENTO_OUTCOME_RETURNED,
		.stack_limit = (unsigned long)task_stack_page(current) +
			       BENTO_STACK_RESERVE,
		.generation = generation,
	};
	kc->args = args;
	if (unlikely(!thunk))
		return bento_absent[op];
	nofs = memalloc_nofs_save();
	depth = bento_locks_held();
	if (unlikely(op == BENTO_OP_allocate_extents))
		bento_lend_reserved(args, kc);
	ret = bento_trampoline(&kc->pub, thunk, args);
	/* Nobody else is to meet what did not commit: inside the gate. */
	if (unlikely(kc->tx))
		bento_tx_drop(kc);
	if (kc->nblocks || kc->more_blocks)
		bento_blocks_release(kc);
	if (unlikely(op == BENTO_OP_allocate_extents))
		((struct bento_map_args *)args)->reserved = kc->reserved;
	memalloc_nofs_restore(nofs);
	if (unlikely(kc->pub.outcome == BENTO_OUTCOME_ABANDONED))
		bento_abandoned(kc, depth);
	/* 512 and up are the kernel's own (restart, queued): never a handler's */
	if (unlikely(ret < 0 && ret <= -512))
		return bento_bad(bs, op, "returned errno %lld", -ret);
	return ret;
}

static __always_inline s64 bento_enter_run(struct bento_super *bs, enum bento_op op,
					   void *args, struct bento_kcall *kc)
{
	struct bento_slot *slot = &bs->slot;
	s64 ret = bento_run(bs, slot->instance, slot->ops, slot->generation, op,
			    args, kc);

	if (unlikely(kc->pub.outcome == BENTO_OUTCOME_ABANDONED))
		bento_epoch_abandoned(bs, slot->now);
	return ret;
}

s64 bento_inside(struct bento_super *bs, enum bento_op op, void *args,
		 struct bento_kcall *kc)
{
	return bento_enter_run(bs, op, args, kc);
}

/* Handlers that begin transactions. */
static const u64 bento_begins =
	BIT_ULL(BENTO_OP_create) | BIT_ULL(BENTO_OP_mkdir) | BIT_ULL(BENTO_OP_mknod) |
	BIT_ULL(BENTO_OP_symlink) | BIT_ULL(BENTO_OP_link) | BIT_ULL(BENTO_OP_unlink) |
	BIT_ULL(BENTO_OP_rmdir) | BIT_ULL(BENTO_OP_rename) | BIT_ULL(BENTO_OP_tmpfile) |
	BIT_ULL(BENTO_OP_setattr) | BIT_ULL(BENTO_OP_setxattr) |
	BIT_ULL(BENTO_OP_removexattr) | BIT_ULL(BENTO_OP_set_acl) |
	BIT_ULL(BENTO_OP_fileattr_set) |
	BIT_ULL(BENTO_OP_fallocate) | BIT_ULL(BENTO_OP_write_inode) |
	BIT_ULL(BENTO_OP_evict_inode) | BIT_ULL(BENTO_OP_allocate_extents) |
	BIT_ULL(BENTO_OP_convert_extents) | BIT_ULL(BENTO_OP_trim);

s64 bento_invoke_kc(struct bento_super *bs, enum bento_op op, void *args,
		    struct bento_kcall *kc)
{
	struct bento_slot *slot = &bs->slot;
	s64 ret;
	int err;

	if (unlikely(bento_stack_short())) {
		bento_bad(bs, op, "not entered: too little stack");
		return -ENOMEM;
	}
	if (bs->disk.journal && bento_begins & BIT_ULL(op))
		bento_journal_make_room(bs);
	err = bento_slot_enter(slot);
	if (unlikely(err))
		return err;
	ret = bento_enter_run(bs, op, args, kc);
	bento_slot_leave(slot);
	if (unlikely(kc->nrefs || kc->more || kc->deferred))
		bento_drain(kc);
	return ret;
}

/* What a nested call borrowed is given back with the outer one's. */
static void bento_hand_over(struct bento_kcall *kc, struct bento_kcall *outer)
{
	struct bento_deferred **deferred = &outer->deferred;
	struct bento_more_refs **more = &outer->more;

	while (kc->nrefs)
		bento_ledger_add(outer, kc->refs[--kc->nrefs]);
	while (*more)
		more = &(*more)->next;
	*more = kc->more;
	while (*deferred)
		deferred = &(*deferred)->next;
	*deferred = kc->deferred;
}

s64 bento_direct(struct bento_super *bs, struct bento_epoch *epoch,
		 enum bento_op op, void *args, struct bento_kcall *outer)
{
	struct bento_kcall kc __uninitialized;
	s64 ret;

	bento_kcall_init(&kc);
	kc.nested = true;
	ret = bento_run(bs, epoch->instance, epoch->ops, epoch->generation, op,
			args, &kc);
	if (unlikely(kc.pub.outcome == BENTO_OUTCOME_ABANDONED))
		bento_epoch_abandoned(bs, epoch);
	if (outer)
		bento_hand_over(&kc, outer);
	else
		bento_drain(&kc);
	return ret;
}

s64 bento_invoke(struct bento_super *bs, enum bento_op op, void *args)
{
	struct bento_kcall kc __uninitialized;

	bento_kcall_init(&kc);
	return bento_invoke_kc(bs, op, args, &kc);
}

/* The record of the innermost call above `sp`. NULL outside of calls. */
struct bento_record *bento_find_record(unsigned long sp)
{
	unsigned long top = (unsigned long)task_stack_page(current) + THREAD_SIZE;

	/* Frames of all kinds lie there: no access check knows better. */
	for (sp = ALIGN(sp, sizeof(long)); sp < top - sizeof(long); sp += sizeof(long))
		if (READ_ONCE_NOCHECK(*(unsigned long *)sp) == (BENTO_RECORD_MAGIC ^ sp))
			return (struct bento_record *)sp;
	return NULL;
}

/* From mcount, on what is left of the stack, with the registers of the function
 * that was about to begin. Left sideways: no red zones and no tracer's notes,
 * which only a return clears. */
asmlinkage notrace __no_sanitize_address void
bento_stack_overflow(const struct bento_regs *regs)
{
	struct bento_record *record = bento_find_record(regs->rsp);
	struct bento_place_args place = { .regs = regs };
	struct bento_epoch *epoch;
	struct bento_kcall *kc;

	if (!record)
		return;
	kc = container_of(record->call, struct bento_kcall, pub);
	epoch = bento_epoch_find(&kc->pub.sb->slot, kc->pub.generation);
	/* Through the trampoline: Rust wants its stack aligned. */
	if (epoch && epoch->ops->place)
		bento_trampoline(&kc->pub, epoch->ops->place, &place);
	/* The report is for where the stack is whole again: a console may need
	 * more than is left of it here. */
	kc->overflowed = true;
	kc->overflow = place.at;
	kc->pub.outcome = BENTO_OUTCOME_ABANDONED;
	bento_abandon(record, -EIO);
}

void bento_poison(struct bento_call *call)
{
	struct bento_epoch *epoch = bento_epoch_find(&call->sb->slot,
						     call->generation);

	if (epoch)
		bento_epoch_abandoned(call->sb, epoch);
}
EXPORT_SYMBOL_GPL(bento_poison);

EXPORT_SYMBOL_GPL(bento_abandon);
EXPORT_SYMBOL_GPL(bento_resume);

EXPORT_SYMBOL(mcount);
