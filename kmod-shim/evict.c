// SPDX-License-Identifier: GPL-2.0
/*
 * The end of an inode: the author's data is dropped here and nowhere else
 * (SAFETY.md G5). At a closed gate eviction does not wait, because it may run in
 * memory reclaim: the data goes to a worker, and whoever wants the same number
 * again waits for that (G4). So it does when reclaim has left too little stack.
 * What a disk file system has to free with the inode goes the same way.
 */
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "shim.h"

struct bento_orphan {
	struct list_head list;
	bool evict; /* the handler has not been called yet */
	struct bento_kinode ki; /* as much of it as attributes are read from */
};

/*
 * The author's data of an inode, if any, is dropped, by the version that made
 * them; a handler of the current one sees them as its own first. Data of an
 * abandoned instance leak, as they must (C2). By one who has entered; leaves.
 */
static void bento_forget_inside(struct bento_super *bs, struct bento_kinode *ki)
{
	struct bento_inode_args args = { .inode = &ki->pub };
	struct bento_slot *slot = &bs->slot;
	struct bento_kcall kc __uninitialized;
	bool told = false;

	bento_kcall_init(&kc);
	if (likely(READ_ONCE(slot->health) == BENTO_OK)) {
		u32 made = ki->pub.data_generation ?: ki->made;

		told = made == slot->generation ||
		       (bento_has(bs, BENTO_OP_forget_inode) &&
			!bento_settle(bs, ki, &kc));
		if (told)
			bento_inside(bs, BENTO_OP_forget_inode, &args, &kc);
	}
	if (!told)
		bento_drop_data(bs, ki);
	bento_slot_leave(slot);
	bento_drain(&kc);
	ki->pub.data = NULL;
}

/*
 * The end of an inode's data, after that of what it has on a device when its last
 * link is gone: blocks and number are freed, by transactions. By one who has
 * entered, and is kept from freezing (sb_start_intwrite); leaves. False, with
 * `again`, when it is to be done once more by the instance that comes next.
 */
static bool bento_end_inside(struct bento_super *bs, struct bento_kinode *ki,
			     bool evict, bool again)
{
	struct bento_inode_args args = { .inode = &ki->pub };
	struct bento_kcall kc __uninitialized;
	s64 r = 0;

	bento_kcall_init(&kc);
	if (evict)
		r = READ_ONCE(bs->slot.health) == BENTO_OK ?
			    bento_inside(bs, BENTO_OP_evict_inode, &args, &kc) : -EIO;
	again = again && r < 0 && READ_ONCE(bs->slot.health) == BENTO_RESTARTING;
	if (ki->pub.data && !again)
		bento_forget_inside(bs, ki);
	else
		bento_slot_leave(&bs->slot);
	bento_drain(&kc);
	return !again;
}

static void bento_orphan_work(struct work_struct *work)
{
	struct bento_super *bs = container_of(work, struct bento_super, orphan_work);
	struct bento_orphan *orphan;
	unsigned int tries;

	for (;;) {
		spin_lock(&bs->orphan_lock);
		orphan = list_first_entry_or_null(&bs->orphans,
						  struct bento_orphan, list);
		spin_unlock(&bs->orphan_lock);
		if (!orphan)
			return;
		if (orphan->evict)
			sb_start_intwrite(bs->sb);
		tries = 0;
		do {
			if (bento_slot_enter(&bs->slot))
				bento_slot_enter_any(&bs->slot);
		} while (!bento_end_inside(bs, &orphan->ki, orphan->evict, tries++ < 3));
		if (orphan->evict)
			sb_end_intwrite(bs->sb);
		spin_lock(&bs->orphan_lock);
		list_del(&orphan->list);
		spin_unlock(&bs->orphan_lock);
		wake_up_all(&bs->orphan_wait);
		bento_epoch_uncount(&orphan->ki);
		kfree(orphan);
	}
}

static void bento_orphan(struct bento_super *bs, struct bento_kinode *ki, bool evict)
{
	struct bento_orphan *orphan;
	struct inode *from = &ki->vfs, *to;

	orphan = kzalloc(sizeof(*orphan), GFP_NOFS | __GFP_NOFAIL);
	orphan->evict = evict;
	orphan->ki.pub = ki->pub;
	orphan->ki.made = ki->made;
	orphan->ki.failures = ki->failures;
	swap(orphan->ki.epoch, ki->epoch);
	orphan->ki.btime = ki->btime;
	orphan->ki.fsflags = ki->fsflags;
	to = &orphan->ki.vfs;
	to->i_sb = from->i_sb;
	to->i_ino = from->i_ino;
	/* It has no pages to count. */
	to->i_mode = bento_resident(bs) ? from->i_mode & ~S_IFMT : from->i_mode;
	spin_lock_init(&to->i_lock);
	to->i_size = i_size_read(from);
	to->i_blocks = from->i_blocks;
	to->i_generation = from->i_generation;
	to->i_rdev = from->i_rdev;
	orphan->ki.disk_size = ki->disk_size;
	orphan->ki.project = ki->project;
	to->i_uid = from->i_uid;
	to->i_gid = from->i_gid;
	to->i_state = I_FREEING;
	to->i_blkbits = from->i_blkbits;
	inode_set_atime_to_ts(to, inode_get_atime(from));
	inode_set_mtime_to_ts(to, inode_get_mtime(from));
	inode_set_ctime_to_ts(to, inode_get_ctime(from));
	spin_lock(&bs->orphan_lock);
	list_add_tail(&orphan->list, &bs->orphans);
	spin_unlock(&bs->orphan_lock);
	queue_work(bento_wq, &bs->orphan_work);
}

void bento_forget(struct inode *inode)
{
	struct bento_super *bs = bento_isb(inode);
	struct bento_kinode *ki = bento_ki(inode);

	if (!ki->pub.data)
		return;
	/* Memory may be short, and who has closed the gate be waiting for it. */
	if (bento_stack_short() || !bento_slot_try_enter(&bs->slot))
		bento_orphan(bs, ki, false);
	else
		bento_forget_inside(bs, ki);
	ki->pub.data = NULL;
}

static bool bento_is_orphan(struct bento_super *bs, u64 ino)
{
	struct bento_orphan *orphan;
	bool found = false;

	spin_lock(&bs->orphan_lock);
	list_for_each_entry(orphan, &bs->orphans, list)
		found |= orphan->ki.pub.ino == ino;
	spin_unlock(&bs->orphan_lock);
	return found;
}

void bento_wait_orphan(struct bento_super *bs, u64 ino)
{
	if (unlikely(!list_empty_careful(&bs->orphans)))
		wait_event(bs->orphan_wait, !bento_is_orphan(bs, ino));
}

void bento_orphans_init(struct bento_super *bs)
{
	spin_lock_init(&bs->orphan_lock);
	INIT_LIST_HEAD(&bs->orphans);
	init_waitqueue_head(&bs->orphan_wait);
	INIT_WORK(&bs->orphan_work, bento_orphan_work);
}

/* Of a disk file system, its last link gone. A closed gate is not waited for. */
static void bento_evict_disk(struct inode *inode)
{
	struct bento_super *bs = bento_isb(inode);
	struct bento_kinode *ki = bento_ki(inode);

	sb_start_intwrite(inode->i_sb);
	if (bento_stack_short() || !bento_slot_try_enter(&bs->slot) ||
	    !bento_end_inside(bs, ki, true, true)) {
		bento_orphan(bs, ki, true);
		ki->pub.data = NULL;
	}
	sb_end_intwrite(inode->i_sb);
}

void bento_evict_inode(struct inode *inode)
{
	struct bento_super *bs = bento_isb(inode);
	struct bento_kinode *ki = bento_ki(inode);

	bento_evict_pages(inode);
	if (test_bit(BENTO_KI_LOADED, &ki->state)) {
		if (!inode->i_nlink && bento_extents(bs) &&
		    bento_has(bs, BENTO_OP_evict_inode)) {
			bento_evict_disk(inode);
		} else if (!inode->i_nlink && bento_has(bs, BENTO_OP_evict_inode)) {
			struct bento_inode_args args = { .inode = &ki->pub };

			bento_invoke(bs, BENTO_OP_evict_inode, &args);
		}
		bento_forget(inode);
		clear_bit(BENTO_KI_LOADED, &ki->state);
	}
	bento_epoch_uncount(ki);
	clear_inode(inode);
	if (test_and_clear_bit(BENTO_KI_COUNTED, &ki->state))
		atomic64_dec(&bs->used_inodes);
}
