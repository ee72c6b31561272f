// SPDX-License-Identifier: GPL-2.0
/*
 * Replacing a running instance: prepare, close, save, load, swap, open, as
 * bento-runtime/src/slot.rs has it. Only work items come here, so neither sysfs
 * nor a call that failed waits for it (SAFETY.md S1).
 */
#include <linux/ktime.h>
#include <linux/rculist.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "shim.h"

#define BENTO_RESTART_TRIES 10 /* timeouts, before it is given up */
#define BENTO_DISK_TRIES 5
#define BENTO_SWEEP_STUCK 10 /* seconds without an inode that follows */

struct bento_swap {
	struct bento_super *bs;
	enum bento_act act;
	const char *what; /* for logs: upgrade, downgrade, restart, state */
	struct bento_version *to; /* its module referenced until `next` has it */
	struct bento_epoch *next;
	u64 shape;
	bool urgent; /* asked for by a panic */
	bool ill; /* begun on a slot that nobody could enter */
	u32 from, number;
	struct bento_state state;
	struct bento_kcall kc;
	u64 drained, saved, loaded; /* when, ns; 0 = not reached */
	u64 started; /* the pause: when the gate closed */
	s64 inodes;
	char reason[224];
};

static __printf(3, 4) int bento_refuse(struct bento_swap *s, int err,
				       const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(s->reason, sizeof(s->reason), fmt, args);
	va_end(args);
	return err;
}

/* What a thunk's errno stands for: the line it logged, or the panic's. */
static int bento_refuse_thunk(struct bento_swap *s, enum bento_op op, int err)
{
	if (s->bs->last_error[0])
		return bento_refuse(s, err, "%s: %s", bento_op_names[op],
				    s->bs->last_error);
	return bento_refuse(s, err, "%s failed with errno %d", bento_op_names[op], -err);
}

/* ---- prepare ---- */

static int bento_list_shapes(char *buf, size_t size, const struct bento_shapes *shapes)
{
	int at = 0;
	u32 i;

	buf[0] = 0;
	for (i = 0; i < shapes->count && i < 4; i++)
		at += scnprintf(buf + at, size - at, "%s%#llx", i ? " " : "",
				shapes->shape[i]);
	return at;
}

static int bento_refuse_shape(struct bento_swap *s, const char *of,
			      const struct bento_shapes *from,
			      const struct bento_shapes *to)
{
	char saves[80], loads[80];

	bento_list_shapes(saves, sizeof(saves), from);
	bento_list_shapes(loads, sizeof(loads), to);
	return bento_refuse(s, -EINVAL,
			    "does not know this state: %s is saved as %s, it loads %s",
			    of, saves, loads);
}

/* How data of `epoch` reach version `to`. */
static int bento_choose_inode(struct bento_swap *s, const struct bento_epoch *epoch,
			      bool *crosses, u64 *shape)
{
	const struct bento_ops *from = epoch->ops, *to = s->to->ops;

	*crosses = false;
	if (READ_ONCE(epoch->abandoned))
		return 0;
	*crosses = bento_shape_choose(&from->inode_saves, &to->inode_loads, shape);
	if (!*crosses && from->inode_saves.count && to->inode_loads.count)
		return bento_refuse_shape(s, "inode data", &from->inode_saves,
					  &to->inode_loads);
	if (!*crosses && bento_resident(s->bs))
		return bento_refuse(s, -EINVAL,
				    "would load inode data again, and a resident mount has nowhere to load them from");
	return 0;
}

static int bento_find_version(struct bento_swap *s)
{
	struct bento_super *bs = s->bs;
	struct bento_version *now = bs->slot.now->version;

	if (s->act != BENTO_UPGRADE) {
		__module_get(now->owner);
		s->to = now;
		s->number = now->number;
		return 0;
	}
	s->to = bento_version_get(bs->fs, s->number);
	if (!s->to)
		return bento_refuse(s, -ENOENT, "is not loaded: insmod its module");
	if (s->to == now && !s->ill)
		return bento_refuse(s, -EINVAL, "is the one that runs");
	if (s->to->ops->data != bs->data)
		return bento_refuse(s, -EINVAL, "keeps file data in another way (%u, not %u)",
				    s->to->ops->data, bs->data);
	return 0;
}

static int bento_prepare(struct bento_swap *s)
{
	struct bento_super *bs = s->bs;
	struct bento_epoch *now = bs->slot.now, *epoch;
	bool crosses;
	u64 shape;
	int err;

	s->from = now->version->number;
	s->ill = READ_ONCE(bs->slot.health) != BENTO_OK;
	err = bento_find_version(s);
	if (err)
		return err;
	s->what = s->act == BENTO_RESTART ? "restart" :
		  s->act == BENTO_SNAPSHOT ? "state" :
		  s->number < s->from ? "downgrade" : "upgrade";
	if (now->abandoned && (bento_resident(bs) || s->act == BENTO_SNAPSHOT))
		return bento_refuse(s, -EIO,
				    "has nothing to begin with: the instance was abandoned");
	if (s->act == BENTO_SNAPSHOT) {
		s->shape = now->ops->saves.shape[0];
		return now->ops->saves.count ? 0 :
			bento_refuse(s, -EOPNOTSUPP, "cannot be saved");
	}
	if (!now->abandoned &&
	    !bento_shape_choose(&now->ops->saves, &s->to->ops->loads, &s->shape))
		return bento_refuse_shape(s, "the instance", &now->ops->saves,
					  &s->to->ops->loads);
	err = bento_choose_inode(s, now, &crosses, &shape);
	list_for_each_entry(epoch, &bs->slot.old, list)
		err = err ?: bento_choose_inode(s, epoch, &crosses, &shape);
	if (err)
		return err;
	err = bento_grow_tables(bs, s->to->ops->handlers);
	if (err)
		return bento_refuse(s, err, "has handlers that could not be added now: try again");
	s->next = bento_epoch_new(s->to, bs->slot.generation + 1 ?: 1);
	s->to = NULL; /* either way */
	if (!s->next)
		return bento_refuse(s, -ENOMEM, "could not be prepared: no memory");
	return 0;
}

/* ---- close, save, load ---- */

static int bento_close(struct bento_swap *s)
{
	struct bento_super *bs = s->bs;
	unsigned int ms = READ_ONCE(bs->timeout_ms), tries = 1;
	char who[128] = "";
	int err;

	/* With nobody entering any more the wait is for those inside only. One of
	 * them may wait for a disk that has much to do, and who came to the closed
	 * gate meanwhile goes first. */
	if (s->act == BENTO_RESTART && s->ill)
		tries = BENTO_RESTART_TRIES;
	else if (bento_extents(bs))
		tries = BENTO_DISK_TRIES;
	for (;;) {
		err = bento_slot_close(&bs->slot, msecs_to_jiffies(ms), who, sizeof(who));
		if (!err || !--tries || READ_ONCE(bs->dying))
			break;
		if (!s->ill)
			schedule_timeout_uninterruptible(msecs_to_jiffies(ms) / 4);
	}
	s->started = bs->slot.closed_at;
	if (err)
		return bento_refuse(s, err, "was not entered: %u ms passed, waiting for %s",
				    ms, who);
	s->drained = ktime_get_ns();
	return 0;
}

static int bento_save(struct bento_swap *s)
{
	struct bento_super *bs = s->bs;
	struct bento_save_args args = { .shape = s->shape, .out = &s->state };
	int err = bento_errno(bento_direct(bs, bs->slot.now, BENTO_OP_save, &args,
					   &s->kc));

	s->saved = ktime_get_ns();
	return err ? bento_refuse_thunk(s, BENTO_OP_save, err) : 0;
}

static int bento_load(struct bento_swap *s)
{
	struct bento_load_args args = {
		.state = bento_bytes(s->state.ptr, s->state.len),
		.shape = s->shape,
	};
	int err = bento_errno(bento_direct(s->bs, s->next, BENTO_OP_load, &args, &s->kc));

	s->next->instance = args.instance;
	if (!err && !args.instance)
		err = bento_bad(s->bs, BENTO_OP_load, "returned no instance");
	return err ? bento_refuse_thunk(s, BENTO_OP_load, err) : 0;
}

/* From the state; a slot that nobody can enter also from the device. */
static int bento_make_next(struct bento_swap *s)
{
	struct bento_super *bs = s->bs;
	int err = -EIO;

	bs->last_error[0] = 0;
	WRITE_ONCE(bs->slot.making, s->next);
	/* That may have happened while it was waited for. */
	if (bs->slot.now->abandoned && bento_resident(bs))
		return bento_refuse(s, err,
				    "has nothing to begin with: the instance was abandoned");
	if (!bs->slot.now->abandoned) {
		err = bento_save(s);
		if (!err)
			return bento_load(s);
		if (!s->ill || bento_resident(bs))
			return err;
		bento_msg(bs, KERN_WARNING, "%s; it is made again from %s", s->reason,
			  bs->source);
	}
	s->reason[0] = 0;
	bs->last_error[0] = 0;
	s->state.len = 0;
	err = bento_remount(bs, s->next, &s->kc);
	return err ? bento_refuse_thunk(s, BENTO_OP_mount, err) : 0;
}

/* ---- swap ---- */

static void bento_exchange(struct bento_swap *s)
{
	struct bento_super *bs = s->bs;
	struct bento_slot *slot = &bs->slot;
	struct bento_epoch *old = slot->now, *epoch;

	list_add_rcu(&old->list, &slot->old);
	s->inodes = bento_epoch_inodes(old);
	slot->instance = s->next->instance;
	slot->ops = s->next->ops;
	slot->generation = s->next->generation;
	WRITE_ONCE(bs->handlers, s->next->ops->handlers);
	smp_store_release(&slot->now, s->next);
	slot->making = NULL;
	s->to = s->next->version;
	list_for_each_entry(epoch, &slot->old, list)
		bento_choose_inode(s, epoch, &epoch->crosses, &epoch->inode_shape);
	s->to = NULL;
	s->next = NULL;
	WRITE_ONCE(slot->health, BENTO_OK);
}

/* ---- what became of it ---- */

static u64 bento_span(u64 from, u64 to)
{
	return from && to > from ? to - from : 0;
}

static void bento_report(struct bento_swap *s, int err)
{
	struct bento_super *bs = s->bs;
	u64 pause = bento_span(s->started, s->started ? s->started + max_t(s64, bs->slot.pause_ns, 0) : 0);
	u64 drain = bento_span(s->started, s->drained);
	u64 save = bento_span(s->drained, s->saved);
	u64 load = bento_span(s->saved ?: s->drained, s->loaded);

	if (err == -ETIMEDOUT && s->started)
		pause = (u64)READ_ONCE(bs->timeout_ms) * NSEC_PER_MSEC;
	spin_lock(&bs->act_lock);
	/* Who reads that it is done may ask for the next. */
	if (!s->urgent)
		bs->acting = false;
	bs->acts++;
	if (!err && s->act != BENTO_SNAPSHOT)
		bs->swaps++;
	if (!err && s->act == BENTO_RESTART)
		bs->restarts++;
	snprintf(bs->last_swap, sizeof(bs->last_swap),
		 "%llu %s %s %u %u pause_ns=%llu drain_ns=%llu save_ns=%llu load_ns=%llu bytes=%zu inodes=%lld%s%s",
		 bs->acts, err ? "failed" : "ok", s->what, s->from, s->number, pause,
		 drain, save, load, s->state.len, s->inodes, err ? ": " : "",
		 err ? s->reason : "");
	spin_unlock(&bs->act_lock);
	bento_trace_swap(bs, s->what, s->from, s->number, err, pause, drain, save,
			 load, s->state.len, s->inodes);

	pause /= NSEC_PER_USEC;
	drain /= NSEC_PER_USEC;
	save /= NSEC_PER_USEC;
	load /= NSEC_PER_USEC;
	if (s->act == BENTO_SNAPSHOT) {
		if (err)
			bento_msg(bs, KERN_ERR, "its state is not taken: version %u %s",
				  s->number, s->reason);
	} else if (err && s->act == BENTO_RESTART) {
		bento_msg(bs, KERN_ERR, "version %u is not restarted: it %s", s->from,
			  s->reason);
	} else if (err) {
		bento_msg(bs, KERN_ERR, "version %u stays: version %u %s", s->from,
			  s->number, s->reason);
	} else if (s->act == BENTO_RESTART) {
		bento_msg(bs, KERN_INFO,
			  "version %u restarted in %llu us (drain %llu, save %llu, load %llu); %lld inodes follow",
			  s->from, pause, drain, save, load, s->inodes);
	} else {
		bento_msg(bs, KERN_INFO,
			  "version %u -> %u in %llu us (drain %llu, save %llu, load %llu); %lld inodes follow",
			  s->from, s->number, pause, drain, save, load, s->inodes);
	}
}

static void bento_keep_snapshot(struct bento_swap *s)
{
	struct bento_super *bs = s->bs;

	mutex_lock(&bs->snapshot_lock);
	if (!bs->snapshot)
		bs->snapshot = kzalloc(sizeof(*bs->snapshot), GFP_KERNEL);
	if (bs->snapshot) {
		swap(bs->snapshot->ptr, s->state.ptr);
		swap(bs->snapshot->cap, s->state.cap);
		bs->snapshot->len = s->state.len;
	}
	mutex_unlock(&bs->snapshot_lock);
}

/* What was made of the new instance is taken apart by its own version. */
static void bento_drop_next(struct bento_swap *s)
{
	if (s->next)
		bento_epoch_end(s->bs, s->next);
	if (s->to)
		bento_version_put(s->to);
}

/* With `swapping` held. */
static int bento_swap(struct bento_swap *s)
{
	struct bento_super *bs = s->bs;
	unsigned int nofs;
	int err;

	err = bento_prepare(s);
	if (err)
		return err;
	/* Most of it before anybody waits. */
	bento_state_reserve(&s->state, 4096);
	err = bento_close(s);
	if (err)
		return err;
	nofs = memalloc_nofs_save();
	if (s->act == BENTO_SNAPSHOT)
		err = bento_save(s);
	else
		err = bento_make_next(s);
	s->loaded = ktime_get_ns();
	if (err)
		WRITE_ONCE(bs->slot.making, NULL);
	if (!err && s->act != BENTO_SNAPSHOT)
		bento_exchange(s);
	memalloc_nofs_restore(nofs);
	bento_slot_reopen(&bs->slot);
	return err;
}

/* Not while a restart is due, nor before the last swap's sweep has ended; in
 * quarantine at once. */
static bool bento_may_begin(struct bento_super *bs, enum bento_act act)
{
	u32 health = READ_ONCE(bs->slot.health);

	return READ_ONCE(bs->dying) || health == BENTO_QUARANTINED ||
	       (health == BENTO_OK && (act != BENTO_UPGRADE ||
				       list_empty_careful(&bs->slot.old)));
}

/* One swap at a time, `swapping` held at the end; an urgent one only waits for
 * its turn. A sweep is waited for as long as it gets on. */
static int bento_begin(struct bento_swap *s)
{
	struct bento_super *bs = s->bs;
	struct bento_slot *slot = &bs->slot;
	s64 left, before = -1;

	for (;;) {
		bool stuck = false;

		if (!s->urgent &&
		    !wait_event_timeout(slot->wait, bento_may_begin(bs, s->act),
					BENTO_SWEEP_STUCK * HZ)) {
			left = bento_old_inodes(bs);
			stuck = left == before;
			before = left;
		}
		mutex_lock(&slot->swapping);
		if (READ_ONCE(bs->dying))
			return bento_refuse(s, -ENODEV,
					    "comes too late: the mount is going");
		if (s->urgent || bento_may_begin(bs, s->act))
			return 0;
		if (stuck)
			return bento_refuse(s, -EBUSY,
					    "must wait for the last swap: %lld inodes have not followed for %u s",
					    left, BENTO_SWEEP_STUCK);
		mutex_unlock(&slot->swapping);
	}
}

static void bento_swap_act(struct bento_super *bs, enum bento_act act, u32 number,
			   bool urgent)
{
	struct bento_swap *s = kzalloc(sizeof(*s), GFP_KERNEL | __GFP_NOFAIL);
	struct bento_slot *slot = &bs->slot;
	bool skip = false;
	int err;

	s->bs = bs;
	s->act = act;
	s->number = number;
	s->urgent = urgent;
	s->what = "upgrade";
	bento_kcall_init(&s->kc);
	err = bento_begin(s);
	if (!err && urgent && READ_ONCE(slot->health) != BENTO_RESTARTING)
		skip = true; /* another swap has mended it */
	else if (!err)
		err = bento_swap(s);
	if (urgent && err &&
	    cmpxchg(&slot->health, BENTO_RESTARTING, BENTO_QUARANTINED) ==
		    BENTO_RESTARTING)
		wake_up_all(&slot->wait);
	if (!err && act == BENTO_SNAPSHOT)
		bento_keep_snapshot(s);
	if (!skip)
		bento_report(s, err);
	mutex_unlock(&slot->swapping);
	bento_drop_next(s);
	bento_drain(&s->kc);
	if (!list_empty_careful(&slot->old))
		bento_sweep_start(bs);
	bento_state_free(&s->state);
	kfree(s);
}

/* ---- work ---- */

static void bento_swap_work(struct work_struct *work)
{
	struct bento_super *bs = container_of(work, struct bento_super, swap_work);

	bento_swap_act(bs, bs->act, bs->act_version, false);
}

static void bento_restart_work(struct work_struct *work)
{
	struct bento_super *bs = container_of(work, struct bento_super, restart_work);

	bento_swap_act(bs, BENTO_RESTART, 0, true);
}

int bento_swap_queue(struct bento_super *bs, enum bento_act act, u32 version)
{
	int err = 0;

	spin_lock(&bs->act_lock);
	if (bs->dying || !bs->live) {
		err = -ENODEV;
	} else if (bs->acting) {
		err = -EBUSY;
	} else {
		bs->acting = true;
		bs->act = act;
		bs->act_version = version;
		queue_work(bento_wq, &bs->swap_work);
	}
	spin_unlock(&bs->act_lock);
	return err;
}

void bento_swap_init(struct bento_super *bs)
{
	spin_lock_init(&bs->act_lock);
	mutex_init(&bs->snapshot_lock);
	INIT_WORK(&bs->swap_work, bento_swap_work);
	INIT_WORK(&bs->restart_work, bento_restart_work);
	INIT_WORK(&bs->sweep_work, bento_sweep_work);
	bs->timeout_ms = 1000;
	bs->restart_limit = 5;
}

void bento_swap_stop(struct bento_super *bs)
{
	spin_lock(&bs->act_lock);
	bs->dying = true;
	spin_unlock(&bs->act_lock);
	wake_up_all(&bs->slot.wait);
	flush_work(&bs->pause_work);
	flush_work(&bs->restart_work);
	flush_work(&bs->swap_work);
	flush_work(&bs->sweep_work);
}
