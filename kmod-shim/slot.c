// SPDX-License-Identifier: GPL-2.0
/*
 * The gate of one mount (SAFETY.md G1) and its health: bento-runtime/src/slot.rs.
 * Every call into Rust is a reader; who closes the gate waits until all have
 * left, or gives up, says for whom it waited, and takes it back.
 */
#include <linux/ktime.h>
#include <linux/lockdep.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "shim.h"

/* Readers inside while a closer counts: those that came before it, and since. */
static bool bento_gate_empty(struct bento_slot *slot)
{
	return !(READ_ONCE(slot->before) + atomic_long_read(&slot->since));
}

int bento_slot_init(struct bento_slot *slot)
{
	static struct lock_class_key key;

	init_waitqueue_head(&slot->wait);
	mutex_init(&slot->closing);
	mutex_init(&slot->swapping);
	INIT_LIST_HEAD(&slot->old);
	spin_lock_init(&slot->waiters_lock);
	INIT_LIST_HEAD(&slot->waiters);
	slot->generation = 1;
#ifdef CONFIG_LOCKDEP
	lockdep_init_map(&slot->dep_map, "bento_gate", &key, 0);
#else
	(void)key;
#endif
	slot->inside = alloc_percpu(long);
	return slot->inside ? 0 : -ENOMEM;
}

/* Nobody can be inside: the superblock is gone. */
void bento_slot_exit(struct bento_slot *slot)
{
	free_percpu(slot->inside);
	mutex_destroy(&slot->closing);
	mutex_destroy(&slot->swapping);
}

static void bento_gate_acquired(struct bento_slot *slot)
{
#ifdef CONFIG_LOCKDEP
	const struct bento_super *bs = container_of(slot, struct bento_super, slot);

	/* A task inside the gate that enters again would deadlock with whoever
	 * closes it in between. */
	WARN_ON_ONCE(lock_is_held(&slot->dep_map) == LOCK_STATE_HELD);
	/* Nobody closes the gate of a mount in the making, and `mount` may take
	 * locks that are outside of the gate later: the device's inode. */
	rwsem_acquire_read(&slot->dep_map, bs->live ? 0 : 1, 0, _RET_IP_);
#endif
}

/*
 * An open gate costs a count of this processor's. A reader may leave on another
 * one: only the sum says how many are inside.
 */
static __always_inline bool bento_enter(struct bento_slot *slot)
{
	bool in;

	preempt_disable();
	in = likely(!READ_ONCE(slot->health) &&
		    smp_load_acquire(&slot->gate) == BENTO_GATE_OPEN);
	if (in)
		this_cpu_inc(*slot->inside);
	preempt_enable();
	if (in)
		bento_gate_acquired(slot);
	return in;
}

static noinline void bento_leave_counted(struct bento_slot *slot)
{
	smp_mb__before_atomic(); /* what the call wrote, before it has left */
	atomic_long_dec(&slot->since);
	smp_mb__after_atomic(); /* the count, then the gate: bento_slot_close */
	if (smp_load_acquire(&slot->gate) == BENTO_GATE_CLOSED &&
	    bento_gate_empty(slot))
		wake_up_all(&slot->wait);
}

/* Past a gate that somebody is about to close, one by one. */
static bool bento_enter_counted(struct bento_slot *slot)
{
	/* Who would only turn back shall not wake the closer. */
	if (READ_ONCE(slot->gate) == BENTO_GATE_CLOSED)
		return false;
	atomic_long_inc(&slot->since);
	smp_mb__after_atomic(); /* the count, then the gate: bento_slot_close */
	if (smp_load_acquire(&slot->gate) != BENTO_GATE_CLOSED) {
		bento_gate_acquired(slot);
		return true;
	}
	bento_leave_counted(slot);
	return false;
}

/* Apart, so that an open gate pays nothing for the waiting. */
static noinline int bento_enter_slow(struct bento_slot *slot)
{
	for (;;) {
		u32 health = READ_ONCE(slot->health);

		if (health == BENTO_QUARANTINED)
			return -EIO;
		if (health == BENTO_OK && bento_enter_counted(slot)) {
			/* It may have fallen ill while we entered. */
			if (likely(!READ_ONCE(slot->health)))
				return 0;
			bento_slot_leave(slot);
		}
		wait_event(slot->wait,
			   READ_ONCE(slot->health) == BENTO_QUARANTINED ||
				   (READ_ONCE(slot->health) == BENTO_OK &&
				    READ_ONCE(slot->gate) != BENTO_GATE_CLOSED));
	}
}

int bento_slot_enter(struct bento_slot *slot)
{
	/* might_sleep() would also offer the processor, at each call. */
	__might_sleep(__FILE__, __LINE__);
	return likely(bento_enter(slot)) ? 0 : bento_enter_slow(slot);
}

/* Without waiting; also into a slot in quarantine, to take away what it has. */
bool bento_slot_try_enter(struct bento_slot *slot)
{
	return likely(bento_enter(slot)) ||
	       (READ_ONCE(slot->health) != BENTO_RESTARTING &&
		bento_enter_counted(slot));
}

/* To take away what a slot in quarantine has left behind. */
void bento_slot_enter_any(struct bento_slot *slot)
{
	while (!bento_enter_counted(slot))
		wait_event(slot->wait, READ_ONCE(slot->gate) != BENTO_GATE_CLOSED);
}

void bento_slot_leave(struct bento_slot *slot)
{
	bool counted;

#ifdef CONFIG_LOCKDEP
	rwsem_release(&slot->dep_map, _RET_IP_);
#endif
	preempt_disable();
	counted = unlikely(READ_ONCE(slot->gate) != BENTO_GATE_OPEN);
	if (!counted)
		this_cpu_dec(*slot->inside);
	preempt_enable();
	if (counted)
		bento_leave_counted(slot);
}

/* Words of a stack that its task may be using, or be about to lose. */
static bool bento_peek(unsigned long *to, unsigned long from, size_t words)
{
#ifdef CONFIG_THREAD_INFO_IN_TASK
	return !copy_from_kernel_nofault(to, (void *)from, words * sizeof(long));
#else
	/* RCU keeps the stack with its task. */
	while (words--)
		to[words] = READ_ONCE_NOCHECK(((unsigned long *)from)[words]);
	return true;
#endif
}

/* The call that a task is in, on this mount: its record lies on its stack. */
static int bento_task_op(struct bento_super *bs, unsigned long bottom)
{
	const unsigned long end = bottom + THREAD_SIZE;
	unsigned long chunk[32], call[3], at, i;

	for (at = bottom; at < end; at += sizeof(chunk)) {
		if (!bento_peek(chunk, at, ARRAY_SIZE(chunk)))
			return -1;
		for (i = 0; i < ARRAY_SIZE(chunk) - 1; i++) {
			u32 op;

			/* A record begins at every other word. */
			if (chunk[i] != (BENTO_RECORD_MAGIC ^ (at + i * sizeof(long))) ||
			    chunk[i + 1] <= at || chunk[i + 1] > end - sizeof(call) ||
			    !bento_peek(call, chunk[i + 1], ARRAY_SIZE(call)))
				continue;
			BUILD_BUG_ON(offsetof(struct bento_call, sb) != 8 ||
				     offsetof(struct bento_call, op) != 16);
			op = (u32)call[2];
			if (call[1] == (unsigned long)bs && op < BENTO_OP_COUNT)
				return op;
		}
	}
	return -1;
}

/* Whom a closer waits for. Looked for only when it has given up, so that calls
 * need not say that they are inside. */
static void bento_name_inside(struct bento_super *bs, char *who, size_t size)
{
	struct task_struct *p, *t;
	size_t at = 0;

	rcu_read_lock();
	for_each_process_thread(p, t) {
		unsigned long stack = (unsigned long)READ_ONCE(t->stack);
		int op = stack ? bento_task_op(bs, stack) : -1;

		if (op >= 0 && at < size)
			at += snprintf(who + at, size - at, "%s%s of %s (pid %d)",
				       at ? ", " : "", bento_op_names[op], t->comm,
				       task_pid_nr(t));
	}
	rcu_read_unlock();
	if (!at)
		snprintf(who, size, "a call that has just left");
}

/*
 * Close the gate and wait until nobody is inside. In two steps: once a grace
 * period has passed, every reader sees that somebody counts and uses the one
 * atomic count, so that the processors' counts stand still and can be added up.
 * Readers enter all the while; only then is the gate closed, and the pause is
 * theirs alone. On timeout (in jiffies) the gate is open again: -ETIMEDOUT.
 * After 0 the caller owns the instance until bento_slot_reopen().
 */
int bento_slot_close(struct bento_slot *slot, unsigned long timeout, char *who,
		     size_t size)
{
	long before = 0;
	int cpu;

	mutex_lock(&slot->closing);
	WRITE_ONCE(slot->gate, BENTO_GATE_COUNTED);
	/* Entering and leaving have preemption off. Expedited: a file system
	 * that has failed serves nobody meanwhile. */
	synchronize_rcu_expedited();
	for_each_possible_cpu(cpu)
		before += READ_ONCE(*per_cpu_ptr(slot->inside, cpu));
	WRITE_ONCE(slot->before, before);
	slot->closed_at = ktime_get_ns();
	smp_store_release(&slot->gate, BENTO_GATE_CLOSED);
	smp_mb(); /* the gate, then the count */
#ifdef CONFIG_LOCKDEP
	rwsem_acquire(&slot->dep_map, 0, 0, _RET_IP_);
#endif
	if (!wait_event_timeout(slot->wait, bento_gate_empty(slot), timeout)) {
		if (who)
			bento_name_inside(container_of(slot, struct bento_super, slot),
					  who, size);
		bento_slot_reopen(slot);
		WRITE_ONCE(slot->pause_ns, -ETIMEDOUT);
		return -ETIMEDOUT;
	}
	smp_mb(); /* their last writes, before the instance is the caller's */
	return 0;
}

void bento_slot_reopen(struct bento_slot *slot)
{
#ifdef CONFIG_LOCKDEP
	rwsem_release(&slot->dep_map, _RET_IP_);
#endif
	/* A new instance, before who enters sees an open gate. */
	smp_store_release(&slot->gate, BENTO_GATE_OPEN);
	WRITE_ONCE(slot->pause_ns, ktime_get_ns() - slot->closed_at);
	wake_up_all(&slot->wait);
	mutex_unlock(&slot->closing);
}

/* More than so many restarts in a minute mend nothing. */
static bool bento_restart_allowed(struct bento_super *bs)
{
	bool allowed = false;

	spin_lock(&bs->act_lock);
	if (!bs->restarts_lately || time_after(jiffies, bs->restarts_since + 60 * HZ)) {
		bs->restarts_since = jiffies;
		bs->restarts_lately = 0;
	}
	if (!bs->dying && bs->live) {
		allowed = !bs->restart_limit ||
			  bs->restarts_lately < bs->restart_limit;
		bs->restarts_lately++;
		if (allowed)
			queue_work(bento_urgent_wq, &bs->restart_work);
	}
	spin_unlock(&bs->act_lock);
	return allowed;
}

/*
 * This instance goes on no more: nothing enters from here on. A resident mount
 * whose instance was abandoned has nothing to make a new one from.
 */
void bento_slot_fail(struct bento_super *bs, const char *why)
{
	struct bento_slot *slot = &bs->slot;

	if (cmpxchg(&slot->health, BENTO_OK, BENTO_RESTARTING) != BENTO_OK)
		return;
	if (slot->ops->on_panic == BENTO_ON_PANIC_RESTART &&
	    !(slot->now->abandoned && bento_resident(bs))) {
		if (bento_restart_allowed(bs))
			return;
		if (bs->live && !bs->dying)
			bento_msg(bs, KERN_ERR, "more than %u restarts within a minute",
				  bs->restart_limit);
	}
	WRITE_ONCE(slot->health, BENTO_QUARANTINED);
	wake_up_all(&slot->wait);
	if (bs->live && !bs->dying)
		bento_msg(bs, KERN_ERR,
			  "quarantined, %s: every call gets EIO until it is upgraded or unmounted",
			  why);
}
