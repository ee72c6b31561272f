// SPDX-License-Identifier: GPL-2.0
/*
 * Epochs: the current instance and those it replaced, each with the version it
 * came from and the number of inodes that may still hold data of it.
 */
#include <linux/rculist.h>
#include <linux/slab.h>

#include "shim.h"

/* Takes over the reference to the version's module, also when it fails. */
struct bento_epoch *bento_epoch_new(struct bento_version *version, u32 generation)
{
	struct bento_epoch *epoch = kzalloc(sizeof(*epoch), GFP_KERNEL);

	if (epoch)
		epoch->inodes = alloc_percpu(s64);
	if (!epoch || !epoch->inodes) {
		kfree(epoch);
		bento_version_put(version);
		return NULL;
	}
	INIT_LIST_HEAD(&epoch->list);
	epoch->version = version;
	epoch->ops = version->ops;
	epoch->generation = generation;
	return epoch;
}

void bento_epoch_free(struct bento_epoch *epoch)
{
	if (!epoch->abandoned)
		bento_version_put(epoch->version);
	free_percpu(epoch->inodes);
	kfree_rcu(epoch, rcu);
}

/* An old one stays while the caller's inode is counted by it, or an older one. */
struct bento_epoch *bento_epoch_find(struct bento_slot *slot, u32 generation)
{
	struct bento_epoch *epoch, *found = NULL;

	if (likely(slot->now->generation == generation))
		return slot->now;
	/* The gate is closed then: who asks is the one that made it. */
	found = READ_ONCE(slot->making);
	if (found && found->generation == generation)
		return found;
	found = NULL;
	rcu_read_lock();
	list_for_each_entry_rcu(epoch, &slot->old, list)
		if (epoch->generation == generation)
			found = epoch;
	rcu_read_unlock();
	return found;
}

void bento_epoch_abandoned(struct bento_super *bs, struct bento_epoch *epoch)
{
	WRITE_ONCE(epoch->abandoned, true);
	smp_mb(); /* before the look at who waits, and at what */
	bento_wake_waiters(&bs->slot);
	if (epoch == READ_ONCE(bs->slot.now))
		bento_slot_fail(bs, "its instance was abandoned");
}

/* ---- who may hold its data ---- */

s64 bento_epoch_inodes(const struct bento_epoch *epoch)
{
	s64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(*per_cpu_ptr(epoch->inodes, cpu));
	return sum;
}

/* The sweep waits for a grace period before it believes the sum of an old one. */
void bento_epoch_count(struct bento_super *bs, struct bento_kinode *ki)
{
	rcu_read_lock();
	ki->epoch = READ_ONCE(bs->slot.now);
	this_cpu_inc(*ki->epoch->inodes);
	rcu_read_unlock();
}

void bento_epoch_uncount(struct bento_kinode *ki)
{
	struct bento_epoch *epoch = ki->epoch;

	ki->epoch = NULL;
	if (epoch)
		this_cpu_dec(*epoch->inodes);
}

/* Off the list, or the last of its mount. */
void bento_epoch_end(struct bento_super *bs, struct bento_epoch *epoch)
{
	struct bento_drop_instance_args args = {};

	if (epoch->instance && !epoch->abandoned)
		bento_direct(bs, epoch, BENTO_OP_drop_instance, &args, NULL);
	if (epoch->abandoned)
		bento_msg(bs, KERN_WARNING,
			  "its instance was abandoned: module %s stays loaded",
			  epoch->version->owner->name);
	synchronize_rcu(); /* who found it under RCU, and who counts */
	bento_epoch_free(epoch);
}

bool bento_shape_choose(const struct bento_shapes *from,
			const struct bento_shapes *to, u64 *shape)
{
	u32 i, k;

	for (i = 0; i < from->count; i++)
		for (k = 0; k < to->count; k++)
			if (from->shape[i] == to->shape[k]) {
				*shape = from->shape[i];
				return true;
			}
	return false;
}
