// SPDX-License-Identifier: GPL-2.0
/*
 * The gate of one mount (SAFETY.md G1). Every call into Rust is a reader; who
 * closes the gate waits until all have left, or gives up and takes it back.
 */
#include <linux/ktime.h>
#include <linux/lockdep.h>
#include <linux/sched/signal.h>

#include "shim.h"

/* The last reader of a closed gate has left. */
static void bento_gate_drained(struct percpu_ref *gate)
{
	struct bento_slot *slot = container_of(gate, struct bento_slot, gate);

	wake_up_all(&slot->wait);
}

int bento_slot_init(struct bento_slot *slot)
{
	static struct lock_class_key key;

	init_waitqueue_head(&slot->wait);
	mutex_init(&slot->closing);
	slot->poisoned = false;
	slot->closed = false;
	slot->generation = 1;
#ifdef CONFIG_LOCKDEP
	lockdep_init_map(&slot->dep_map, "bento_gate", &key, 0);
#else
	(void)key;
#endif
	return percpu_ref_init(&slot->gate, bento_gate_drained,
			       PERCPU_REF_ALLOW_REINIT, GFP_KERNEL);
}

/* Nobody can be inside: the superblock is gone. */
void bento_slot_exit(struct bento_slot *slot)
{
	percpu_ref_exit(&slot->gate);
	mutex_destroy(&slot->closing);
}

static void bento_gate_acquired(struct bento_slot *slot)
{
#ifdef CONFIG_LOCKDEP
	/* A task inside the gate that enters again would deadlock with whoever
	 * closes it in between. */
	WARN_ON_ONCE(lock_is_held(&slot->dep_map));
	rwsem_acquire_read(&slot->dep_map, 0, 0, _RET_IP_);
#endif
}

static __always_inline bool bento_enter(struct bento_slot *slot)
{
	if (READ_ONCE(slot->poisoned) || !percpu_ref_tryget_live(&slot->gate))
		return false;
	/* The poison may have come while we entered. */
	if (unlikely(READ_ONCE(slot->poisoned))) {
		percpu_ref_put(&slot->gate);
		return false;
	}
	bento_gate_acquired(slot);
	return true;
}

/* Apart, so that an open gate pays nothing for the waiting. */
static noinline int bento_enter_slow(struct bento_slot *slot)
{
	for (;;) {
		if (READ_ONCE(slot->poisoned))
			return -EIO;
		wait_event(slot->wait, !READ_ONCE(slot->closed) ||
					       READ_ONCE(slot->poisoned));
		if (bento_enter(slot))
			return 0;
	}
}

int bento_slot_enter(struct bento_slot *slot)
{
	/* might_sleep() would also offer the processor, at each call. */
	__might_sleep(__FILE__, __LINE__);
	return likely(bento_enter(slot)) ? 0 : bento_enter_slow(slot);
}

void bento_slot_leave(struct bento_slot *slot)
{
#ifdef CONFIG_LOCKDEP
	rwsem_release(&slot->dep_map, _RET_IP_);
#endif
	percpu_ref_put(&slot->gate);
}

/*
 * Close the gate and wait until nobody is inside. The grace period that makes
 * the count exact passes first, while calls still enter, so that the pause is
 * only the readers' own. On timeout (in jiffies) the gate is open again:
 * -ETIMEDOUT. After 0 the caller owns the instance until bento_slot_reopen().
 */
int bento_slot_close(struct bento_slot *slot, unsigned long timeout)
{
	mutex_lock(&slot->closing);
	percpu_ref_switch_to_atomic_sync(&slot->gate);
	slot->closed_at = ktime_get_ns();
	WRITE_ONCE(slot->closed, true);
	percpu_ref_kill(&slot->gate);
	if (!wait_event_timeout(slot->wait, percpu_ref_is_zero(&slot->gate),
				timeout)) {
		bento_slot_reopen(slot);
		WRITE_ONCE(slot->pause_ns, -ETIMEDOUT);
		return -ETIMEDOUT;
	}
#ifdef CONFIG_LOCKDEP
	rwsem_acquire(&slot->dep_map, 0, 1, _RET_IP_);
	rwsem_release(&slot->dep_map, _RET_IP_);
#endif
	return 0;
}

void bento_slot_reopen(struct bento_slot *slot)
{
	percpu_ref_resurrect(&slot->gate);
	percpu_ref_switch_to_percpu(&slot->gate);
	WRITE_ONCE(slot->closed, false);
	WRITE_ONCE(slot->pause_ns, ktime_get_ns() - slot->closed_at);
	wake_up_all(&slot->wait);
	mutex_unlock(&slot->closing);
}

/* Nothing enters this instance again (C2). Callable from inside. */
void bento_slot_poison(struct bento_slot *slot)
{
	if (xchg(&slot->poisoned, true))
		return;
	wake_up_all(&slot->wait);
}
