// SPDX-License-Identifier: GPL-2.0
/*
 * Inode data after a swap (bento-runtime/src/slot.rs): brought from the version
 * that made them to the current one, or loaded again, or given up. Also what
 * poisons an inode, and the bytes in between.
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/wait_bit.h>
#include <linux/workqueue.h>

#include "shim.h"

#define BENTO_FAILURES_MAX 8
#define BENTO_STATE_FIRST 512

/* ---- bytes ---- */

int bento_state_reserve(struct bento_state *state, size_t cap)
{
	u8 *ptr;

	if (cap <= state->cap)
		return 0;
	/* In a nofs scope, which kvmalloc respects. */
	ptr = kvmalloc(cap, GFP_KERNEL | __GFP_NOWARN);
	if (!ptr)
		return -ENOMEM;
	if (state->len)
		memcpy(ptr, state->ptr, state->len);
	kvfree(state->ptr);
	state->ptr = ptr;
	state->cap = cap;
	return 0;
}

void bento_state_free(struct bento_state *state)
{
	kvfree(state->ptr);
	*state = (struct bento_state){};
}

s32 bento_state_put(struct bento_call *call, struct bento_state *out,
		    const u8 *ptr, size_t len)
{
	size_t need;

	if (check_add_overflow(out->len, len, &need) || need > INT_MAX)
		return -ENOMEM;
	if (need > out->cap &&
	    bento_state_reserve(out, max_t(size_t, 2 * out->cap,
					   round_up(need, BENTO_STATE_FIRST))))
		return -ENOMEM;
	memcpy(out->ptr + out->len, ptr, len);
	out->len = need;
	return 0;
}
EXPORT_SYMBOL_GPL(bento_state_put);

/* ---- one inode, under its bit lock ---- */

/* From the version that made them to the current one. */
static int bento_migrate(struct bento_super *bs, struct bento_kinode *ki,
			 struct bento_epoch *maker, void **data,
			 struct bento_kcall *outer)
{
	struct bento_state state = {};
	struct bento_save_inode_args save = {
		.ino = ki->pub.ino,
		.data = ki->pub.data,
		.shape = maker->inode_shape,
		.out = &state,
	};
	struct bento_migrate_inode_args load = {
		.ino = ki->pub.ino,
		.shape = maker->inode_shape,
	};
	int err = bento_errno(bento_direct(bs, maker, BENTO_OP_save_inode, &save,
					   outer));

	if (!err) {
		load.state = bento_bytes(state.ptr, state.len);
		err = bento_errno(bento_direct(bs, bs->slot.now,
					       BENTO_OP_migrate_inode, &load, outer));
	}
	bento_state_free(&state);
	*data = load.data;
	if (!err && !load.data)
		err = bento_bad(bs, BENTO_OP_migrate_inode, "returned no data");
	return err;
}

/* Again, from where they came: what the inode's attributes are now is the
 * shim's to know, and newer (S3). */
static int bento_reload(struct bento_super *bs, struct bento_kinode *ki, void **data,
			struct bento_kcall *outer)
{
	struct bento_inode scratch = { .ino = ki->pub.ino };
	struct bento_load_inode_args *args = kzalloc(sizeof(*args), GFP_KERNEL);
	int err;

	if (!args)
		return -ENOMEM;
	args->inode = &scratch;
	err = bento_errno(bento_direct(bs, bs->slot.now, BENTO_OP_load_inode, args,
				       outer));
	kfree(args);
	*data = scratch.data;
	if (!err && !scratch.data)
		err = bento_bad(bs, BENTO_OP_load_inode, "returned no data");
	return err;
}

static void bento_drop_made(struct bento_super *bs, struct bento_epoch *maker,
			    void *data)
{
	struct bento_drop_inode_args args = { .data = data };

	if (data && maker && !READ_ONCE(maker->abandoned))
		bento_direct(bs, maker, BENTO_OP_drop_inode, &args, NULL);
}

static struct bento_epoch *bento_maker(struct bento_super *bs,
				       const struct bento_kinode *ki)
{
	u32 made = ki->pub.data_generation ?: ki->made;

	return made ? bento_epoch_find(&bs->slot, made) : NULL;
}

void bento_drop_data(struct bento_super *bs, struct bento_kinode *ki)
{
	void *data = ki->pub.data;

	ki->pub.data = NULL;
	bento_drop_made(bs, bento_maker(bs, ki), data);
	ki->pub.data_generation = 0;
	ki->made = 0;
}

static void bento_recount(struct bento_super *bs, struct bento_kinode *ki)
{
	if (ki->epoch == bs->slot.now)
		return;
	ki->failures = 0;
	bento_epoch_uncount(ki);
	bento_epoch_count(bs, ki);
}

static int bento_settle_locked(struct bento_super *bs, struct bento_kinode *ki,
			       struct bento_kcall *outer)
{
	u32 generation = bs->slot.generation;
	struct bento_inode *pub = &ki->pub;
	u32 made = pub->data_generation ?: ki->made;
	bool poisoned = READ_ONCE(pub->flags) & BENTO_INODE_POISONED;
	void *data = NULL, *old = pub->data;
	struct bento_epoch *maker;
	int err = -EIO;

	if (made == generation || (!old && !poisoned)) {
		bento_recount(bs, ki);
		return pub->data_generation == generation ? 0 : -EIO;
	}
	/* Whoever had the data has left since they were poisoned, or were
	 * current: the gate was closed in between. */
	maker = bento_maker(bs, ki);
	if (!poisoned && maker && !READ_ONCE(maker->abandoned) && maker->crosses)
		err = bento_migrate(bs, ki, maker, &data, outer);
	else if (!bento_resident(bs) &&
		 (ki->epoch != bs->slot.now || ki->failures < BENTO_FAILURES_MAX))
		err = bento_reload(bs, ki, &data, outer);
	else
		ki->failures = BENTO_FAILURES_MAX;
	if (!err) {
		WRITE_ONCE(pub->flags, pub->flags & ~BENTO_INODE_POISONED);
		ki->made = 0;
		WRITE_ONCE(pub->data, data);
		smp_store_release(&pub->data_generation, generation);
		bento_drop_made(bs, maker, old);
		bento_recount(bs, ki);
		return 0;
	}
	if (err != -ENOMEM && ki->failures < BENTO_FAILURES_MAX)
		ki->failures++;
	if (ki->failures == BENTO_FAILURES_MAX) {
		if (!poisoned && ___ratelimit(&bs->log_limit, "bento_settle"))
			bento_msg(bs, KERN_ERR,
				  "inode %llu lost its data in a swap: errno %d",
				  pub->ino, -err);
		WRITE_ONCE(pub->flags, pub->flags | BENTO_INODE_POISONED);
		bento_drop_data(bs, ki);
		if (ki->epoch != bs->slot.now) {
			bento_recount(bs, ki);
			ki->failures = BENTO_FAILURES_MAX;
		}
	}
	return err;
}

/* ---- with a stack of its own ---- */

struct bento_deep {
	struct work_struct work;
	struct bento_super *bs;
	struct bento_kinode *ki;
	struct bento_kcall *outer;
	int err;
};

static void bento_deep_work(struct work_struct *work)
{
	struct bento_deep *deep = container_of(work, struct bento_deep, work);
	unsigned int nofs = memalloc_nofs_save();

	deep->err = bento_settle_locked(deep->bs, deep->ki, deep->outer);
	memalloc_nofs_restore(nofs);
}

/* Below a handler there may be too little left for two more calls. The caller
 * is inside the gate and stays there, so the worker need not enter. */
static noinline int bento_settle_deep(struct bento_super *bs, struct bento_kinode *ki,
				      struct bento_kcall *outer)
{
	struct bento_deep deep = { .bs = bs, .ki = ki, .outer = outer };

	INIT_WORK_ONSTACK(&deep.work, bento_deep_work);
	queue_work(bento_deep_wq, &deep.work);
	flush_work(&deep.work);
	destroy_work_on_stack(&deep.work);
	return deep.err;
}

int bento_settle(struct bento_super *bs, struct bento_kinode *ki,
		 struct bento_kcall *outer)
{
	unsigned int nofs = memalloc_nofs_save(); /* inside the gate (G4) */
	int err;

	wait_on_bit_lock(&ki->state, BENTO_KI_SETTLING, TASK_UNINTERRUPTIBLE);
	if (bento_stack_short())
		err = bento_settle_deep(bs, ki, outer);
	else
		err = bento_settle_locked(bs, ki, outer);
	clear_and_wake_up_bit(BENTO_KI_SETTLING, &ki->state);
	memalloc_nofs_restore(nofs);
	return err;
}

s32 bento_inode_resolve(struct bento_call *call, struct bento_inode *pub)
{
	struct bento_kcall *kc = container_of(call, struct bento_kcall, pub);

	return bento_settle(call->sb, bento_ki(bento_vfs(pub)), kc);
}
EXPORT_SYMBOL_GPL(bento_inode_resolve);

/* ---- poisoned locks ---- */

/* Every block with any begins with one. */
unsigned int bento_inodes_of(struct bento_kcall *kc, struct bento_inode **out)
{
	struct bento_rename_args *rename = kc->args;
	struct bento_link_args *entry = kc->args;
	struct bento_make_args *make = kc->args;
	struct bento_inode_args *any = kc->args;

	switch (kc->pub.op) {
	case BENTO_OP_mount: case BENTO_OP_unmount: case BENTO_OP_statfs:
	case BENTO_OP_sync_fs: case BENTO_OP_reconfigure: case BENTO_OP_freeze:
	case BENTO_OP_thaw: case BENTO_OP_recover: case BENTO_OP_trim:
	case BENTO_HANDLER_COUNT ... BENTO_OP_COUNT:
		return 0;
	case BENTO_OP_rename:
		out[0] = rename->old_dir;
		out[1] = rename->inode;
		out[2] = rename->new_dir;
		out[3] = rename->target;
		return 4;
	case BENTO_OP_link: case BENTO_OP_unlink: case BENTO_OP_rmdir:
		out[0] = entry->dir;
		out[1] = entry->inode;
		return 2;
	case BENTO_OP_create: case BENTO_OP_mkdir: case BENTO_OP_mknod:
	case BENTO_OP_symlink: case BENTO_OP_tmpfile:
		out[0] = make->dir;
		out[1] = make->node.inode;
		return 2;
	default:
		out[0] = any->inode;
		return 1;
	}
}

static void bento_poison_inode(struct bento_kinode *ki)
{
	u32 made = ki->pub.data_generation;

	if (!made)
		return;
	ki->made = made;
	WRITE_ONCE(ki->pub.flags, ki->pub.flags | BENTO_INODE_POISONED);
	smp_store_release(&ki->pub.data_generation, 0);
}

/* The inode among those of a call whose data `lock` lies in. */
static struct bento_inode *bento_lock_inode(struct bento_call *call, const void *lock)
{
	struct bento_kcall *kc = container_of(call, struct bento_kcall, pub);
	struct bento_inode *pub[4];
	unsigned int n = bento_inodes_of(kc, pub);

	while (n--)
		if (bento_holds(call->sb, pub[n], lock))
			return pub[n];
	return bento_ledger_find(kc, lock);
}

void bento_lock_poisoned(struct bento_call *call, const void *lock)
{
	struct bento_inode *found = bento_lock_inode(call, lock);

	if (!found)
		return;
	bento_poison_inode(bento_ki(bento_vfs(found)));
	bento_msg(call->sb, KERN_ERR,
		  "inode %llu answers EIO from now on: a panic left it half changed",
		  found->ino);
}
EXPORT_SYMBOL_GPL(bento_lock_poisoned);

/*
 * A lock of the instance asks for a restart. One on the heap may be anybody's:
 * with a device all that is there can be made again, so it does, too.
 */
void bento_lock_refused(struct bento_call *call, const void *lock)
{
	struct bento_slot *slot = &call->sb->slot;
	bool inside;

	if (call->generation != slot->generation || !slot->instance)
		return;
	inside = lock >= slot->instance &&
		 lock < slot->instance + slot->ops->instance_size;
	if (inside || (bento_extents(call->sb) && !bento_lock_inode(call, lock)))
		bento_slot_fail(call->sb, "a panic left a lock of its instance poisoned");
}
EXPORT_SYMBOL_GPL(bento_lock_refused);
