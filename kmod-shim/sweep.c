// SPDX-License-Identifier: GPL-2.0
/*
 * After a swap: every cached inode's data are brought to the new version in the
 * background, then the old instance is dropped and its module let go. Never
 * before: what is evicted meanwhile is counted until its data are gone.
 */
#include <linux/rculist.h>
#include <linux/workqueue.h>

#include "shim.h"

s64 bento_old_inodes(struct bento_super *bs)
{
	struct bento_epoch *epoch;
	s64 left = 0;

	rcu_read_lock();
	list_for_each_entry_rcu(epoch, &bs->slot.old, list)
		left += bento_epoch_inodes(epoch);
	rcu_read_unlock();
	return left;
}

static void bento_sweep_inode(struct bento_super *bs, struct inode *inode)
{
	struct bento_slot *slot = &bs->slot;
	struct bento_kcall kc __uninitialized;

	bento_kcall_init(&kc);
	if (bento_slot_enter(slot))
		return; /* in quarantine: they wait for the next instance */
	if (READ_ONCE(bento_ki(inode)->epoch) != slot->now)
		bento_settle(bs, bento_ki(inode), &kc);
	bento_slot_leave(slot);
	bento_drain(&kc);
}

/* Every inode that counts for an older epoch. */
static void bento_sweep_once(struct bento_super *bs)
{
	struct super_block *sb = bs->sb;
	struct inode *inode, *put = NULL;

	spin_lock(&sb->s_inode_list_lock);
	list_for_each_entry(inode, &sb->s_inodes, i_sb_list) {
		if (READ_ONCE(bento_ki(inode)->epoch) == READ_ONCE(bs->slot.now))
			continue;
		spin_lock(&inode->i_lock);
		/* One that is being made or loaded is looked at the next time:
		 * its data are about to be those of the current version. */
		if (inode->i_state & (I_FREEING | I_WILL_FREE | I_NEW) ||
		    !test_bit(BENTO_KI_LOADED, &bento_ki(inode)->state)) {
			spin_unlock(&inode->i_lock);
			continue;
		}
		/* Whether a `permission` is there was looked up once. */
		if (bento_had(bs, BENTO_OP_permission))
			inode->i_opflags &= ~IOP_FASTPERM;
		__iget(inode);
		spin_unlock(&inode->i_lock);
		/* The reference keeps our place in the list. */
		spin_unlock(&sb->s_inode_list_lock);
		iput(put);
		put = inode;
		if (READ_ONCE(bs->dying))
			goto out;
		bento_sweep_inode(bs, inode);
		cond_resched();
		spin_lock(&sb->s_inode_list_lock);
	}
	spin_unlock(&sb->s_inode_list_lock);
out:
	iput(put);
}

/* Oldest first: data may be younger than the epoch that counts their inode. */
static struct bento_epoch *bento_sweep_take(struct bento_slot *slot)
{
	struct bento_epoch *epoch = NULL;

	mutex_lock(&slot->swapping);
	if (!list_empty(&slot->old))
		epoch = list_last_entry(&slot->old, struct bento_epoch, list);
	if (epoch && bento_epoch_inodes(epoch))
		epoch = NULL;
	if (epoch)
		list_del_rcu(&epoch->list);
	mutex_unlock(&slot->swapping);
	return epoch;
}

void bento_sweep_work(struct work_struct *work)
{
	struct bento_super *bs = container_of(work, struct bento_super, sweep_work);
	struct bento_slot *slot = &bs->slot;
	struct bento_epoch *epoch;
	unsigned int ms = 1;

	while (!READ_ONCE(bs->dying) && !list_empty_careful(&slot->old)) {
		bento_sweep_once(bs);
		synchronize_rcu(); /* whoever saw the old epoch as current has counted */
		while ((epoch = bento_sweep_take(slot)))
			bento_epoch_end(bs, epoch);
		wake_up_all(&slot->wait);
		/* Some are on their way out, or could not be moved yet. */
		wait_event_timeout(slot->wait, READ_ONCE(bs->dying) ||
						       list_empty_careful(&slot->old),
				   msecs_to_jiffies(ms));
		ms = min(2 * ms, 1000u);
	}
}

void bento_sweep_start(struct bento_super *bs)
{
	spin_lock(&bs->act_lock);
	if (!bs->dying)
		queue_work(bento_wq, &bs->sweep_work);
	spin_unlock(&bs->act_lock);
}
