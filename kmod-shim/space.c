// SPDX-License-Identifier: GPL-2.0
/*
 * Free blocks of a disk file system. Handlers claim and release them in
 * transactions; data that become dirty are promised theirs before any handler
 * hears of it. One lock: near the end of the space every block counts.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/jbd2.h>

#include "shim.h"

/* Others may be faster. */
#define BENTO_SPACE_TRIES 2

static bool bento_space_root(const struct bento_space *space)
{
	return uid_eq(current_fsuid(), space->uid) ||
	       (!gid_eq(space->gid, GLOBAL_ROOT_GID) && in_group_p(space->gid)) ||
	       capable(CAP_SYS_RESOURCE);
}

/* What `free` must keep. Asked outside of the lock: an LSM may want to know. */
static u64 bento_space_kept(const struct bento_space *space, u64 want, bool margin)
{
	u64 kept = margin ? 0 : space->margin;
	s64 left = READ_ONCE(space->free) - READ_ONCE(space->reserved);

	/* Nobody is asked who he is as long as there is enough for all. */
	if (!space->root || margin)
		return kept;
	if (left >= 0 && (u64)left >= kept + space->root + want + 1024)
		return kept;
	return bento_space_root(space) ? kept : kept + space->root;
}

static bool bento_space_has(const struct bento_space *space, u64 blocks, u64 kept)
{
	s64 left = space->free - space->reserved;

	return left >= 0 && blocks <= (u64)left && kept <= (u64)left - blocks;
}

int bento_space_reserve(struct bento_super *bs, u64 blocks)
{
	struct bento_space *space = &bs->disk.space;
	u64 kept = bento_space_kept(space, blocks, false);
	bool has;

	spin_lock(&space->lock);
	has = bento_space_has(space, blocks, kept);
	if (has)
		space->reserved += blocks;
	spin_unlock(&space->lock);
	return has ? 0 : -ENOSPC;
}

void bento_space_unreserve(struct bento_super *bs, u64 blocks)
{
	struct bento_space *space = &bs->disk.space;

	spin_lock(&space->lock);
	if (WARN_ON_ONCE(blocks > (u64)space->reserved))
		blocks = space->reserved;
	space->reserved -= blocks;
	spin_unlock(&space->lock);
}

int bento_space_claim(struct bento_super *bs, u64 blocks, u64 *reserved, bool margin)
{
	struct bento_space *space = &bs->disk.space;
	u64 promised = min(blocks, *reserved);
	u64 kept = bento_space_kept(space, blocks - promised, margin);
	bool has;

	spin_lock(&space->lock);
	/* What was promised is there, whatever is left for others. */
	promised = min_t(u64, promised, space->reserved);
	has = blocks == promised || bento_space_has(space, blocks - promised, kept);
	if (has) {
		space->reserved -= promised;
		space->free -= blocks;
		*reserved -= promised;
	}
	spin_unlock(&space->lock);
	return has ? 0 : -ENOSPC;
}

void bento_space_unclaim(struct bento_super *bs, u64 blocks, u64 reserved)
{
	struct bento_space *space = &bs->disk.space;

	spin_lock(&space->lock);
	space->free += blocks;
	space->reserved += reserved;
	spin_unlock(&space->lock);
}

void bento_space_freed(struct bento_super *bs, u32 tid)
{
	WRITE_ONCE(bs->disk.space.tid, tid);
	/* Whoever sees this sees the number. */
	smp_store_release(&bs->disk.space.freed, true);
}

/*
 * Freed blocks count as free at once, and can be had when that has been
 * committed. In that moment it may just have been, so try in any case.
 */
bool bento_space_again(struct bento_super *bs, s64 r, int *tries)
{
	u32 tid;

	if (likely(r != -ENOSPC) || !bento_extents(bs) || !bs->disk.journal)
		return false;
	if (!smp_load_acquire(&bs->disk.space.freed) || (*tries)++ >= BENTO_SPACE_TRIES)
		return false;
	tid = READ_ONCE(bs->disk.space.tid);
	if (jbd2_complete_transaction(bs->disk.journal, tid))
		return false;
	bento_discard_wait(bs, tid);
	return true;
}

void bento_space_statfs(struct bento_super *bs, u64 *bfree, u64 *bavail)
{
	struct bento_space *space = &bs->disk.space;
	s64 left;
	u64 kept;

	spin_lock(&space->lock);
	left = max_t(s64, space->free - space->reserved, 0);
	kept = space->root + space->margin;
	spin_unlock(&space->lock);
	*bfree = left;
	*bavail = (u64)left > kept ? left - kept : 0;
}
