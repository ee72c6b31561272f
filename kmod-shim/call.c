// SPDX-License-Identifier: GPL-2.0
/*
 * One call into Rust (SAFETY.md C1, G3, G4, G6): gate, nofs scope, trampoline,
 * and what the call borrowed given back however it ended.
 */
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
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
	bento_invalidate(container_of(work, struct bento_deferred, work));
}

/*
 * References are dropped here and not by Rust: the last one evicts, which
 * enters the gate again (G4). Invalidating waits for folio locks, and a call
 * for file data runs under some, so that kind goes to a worker.
 */
static void bento_drain(struct bento_kcall *kc)
{
	struct bento_more_refs *more;
	struct bento_deferred *d;

	while ((d = kc->deferred)) {
		kc->deferred = d->next;
		if (kc->pub.op == BENTO_OP_read || kc->pub.op == BENTO_OP_write) {
			INIT_WORK(&d->work, bento_invalidate_work);
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

s64 bento_invoke_kc(struct bento_super *bs, enum bento_op op, void *args,
		    struct bento_kcall *kc)
{
	struct bento_slot *slot = &bs->slot;
	unsigned int nofs, depth;
	bento_thunk thunk;
	s64 ret;
	int err;

	if (unlikely(bento_stack_short())) {
		bento_bad(bs, op, "not entered: too little stack");
		return -ENOMEM;
	}
	err = bento_slot_enter(slot);
	if (unlikely(err))
		return err;
	nofs = memalloc_nofs_save();
	thunk = (&((bento_thunk *)&slot->ops->mount)[0])[op];
	kc->pub = (struct bento_call){
		.instance = slot->instance,
		.sb = bs,
		.op = op,
		.outcome = BENTO_OUTCOME_RETURNED,
		.stack_limit = (unsigned long)task_stack_page(current) +
			       BENTO_STACK_RESERVE,
		.generation = slot->generation,
	};
	depth = bento_locks_held();
	ret = bento_trampoline(&kc->pub, thunk, args);
	memalloc_nofs_restore(nofs);
	if (unlikely(kc->pub.outcome == BENTO_OUTCOME_ABANDONED)) {
		bento_slot_poison(slot);
		bento_locks_abandoned(depth);
	}
	bento_slot_leave(slot);
	if (unlikely(kc->nrefs || kc->more || kc->deferred))
		bento_drain(kc);
	/* 512 and up are the kernel's own (restart, queued): never a handler's */
	if (unlikely(ret < 0 && ret <= -512))
		return bento_bad(bs, op, "returned errno %lld", -ret);
	return ret;
}

s64 bento_invoke(struct bento_super *bs, enum bento_op op, void *args)
{
	struct bento_kcall kc;

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

/* From mcount, on what is left of the stack: `sp` lies below the Rust frames.
 * Left sideways, so it must not mark red zones that only a return clears. */
asmlinkage __no_sanitize_address void bento_stack_overflow(unsigned long *sp)
{
	struct bento_record *record = bento_find_record((unsigned long)sp);
	struct bento_call *call;

	if (!record)
		return;
	call = record->call;
	call->outcome = BENTO_OUTCOME_ABANDONED;
	bento_panicked(call, bento_bytes("stack overflow", 14), NULL, -EIO);
	bento_poison(call);
	bento_abandon(record, -EIO);
}

void bento_poison(struct bento_call *call)
{
	bento_slot_poison(&call->sb->slot);
}
EXPORT_SYMBOL_GPL(bento_poison);

EXPORT_SYMBOL_GPL(bento_abandon);
EXPORT_SYMBOL_GPL(bento_resume);

EXPORT_SYMBOL(mcount);
