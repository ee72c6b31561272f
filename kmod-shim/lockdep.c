// SPDX-License-Identifier: GPL-2.0
/*
 * Rust's locks as the lock validator sees them: one class per construction
 * site (SAFETY.md C6). Empty without CONFIG_LOCKDEP.
 */
#include <linux/hashtable.h>
#include <linux/lockdep.h>
#include <linux/slab.h>

#include "shim.h"

#ifdef CONFIG_LOCKDEP

struct bento_site {
	struct hlist_node node;
	const void *file;
	u32 line, column;
	struct lock_class_key key;
	struct lockdep_map map;
	char name[48];
};

static DEFINE_HASHTABLE(bento_sites, 6);
static DEFINE_SPINLOCK(bento_sites_lock);

static struct bento_site *bento_site_find(const struct bento_location *at)
{
	struct bento_site *site;

	hash_for_each_possible(bento_sites, site, node, at->line)
		if (site->file == at->file.ptr && site->line == at->line &&
		    site->column == at->column)
			return site;
	return NULL;
}

/* Sites are never removed before the module goes: the set is that of the lock
 * constructions in the source. */
static struct bento_site *bento_site(const struct bento_location *at)
{
	struct bento_site *site, *new;

	spin_lock(&bento_sites_lock);
	site = bento_site_find(at);
	spin_unlock(&bento_sites_lock);
	if (site)
		return site;

	new = kzalloc(sizeof(*new), GFP_NOFS | __GFP_NOFAIL);
	new->file = at->file.ptr;
	new->line = at->line;
	new->column = at->column;
	snprintf(new->name, sizeof(new->name), "%.*s:%u",
		 (int)min_t(size_t, at->file.len, 40), at->file.ptr, at->line);
	lockdep_register_key(&new->key);
	lockdep_init_map(&new->map, new->name, &new->key, 0);

	spin_lock(&bento_sites_lock);
	site = bento_site_find(at);
	if (!site)
		hash_add(bento_sites, &new->node, at->line);
	spin_unlock(&bento_sites_lock);
	if (site) {
		lockdep_unregister_key(&new->key);
		kfree(new);
		return site;
	}
	return new;
}

void bento_lock_acquired(const void *lock, const struct bento_location *at,
			 u32 exclusive)
{
	struct bento_site *site = bento_site(at);

	if (exclusive)
		rwsem_acquire(&site->map, 0, 0, _RET_IP_);
	else
		rwsem_acquire_read(&site->map, 0, 0, _RET_IP_);
}

void bento_lock_released(const void *lock, const struct bento_location *at)
{
	rwsem_release(&bento_site(at)->map, _RET_IP_);
}

void bento_lockdep_exit(void)
{
	struct bento_site *site;
	struct hlist_node *next;
	int bucket;

	hash_for_each_safe(bento_sites, bucket, next, site, node) {
		hash_del(&site->node);
		lockdep_unregister_key(&site->key);
		kfree(site);
	}
}

#else

void bento_lock_acquired(const void *lock, const struct bento_location *at,
			 u32 exclusive)
{
}

void bento_lock_released(const void *lock, const struct bento_location *at)
{
}

void bento_lockdep_exit(void)
{
}

#endif

EXPORT_SYMBOL_GPL(bento_lock_acquired);
EXPORT_SYMBOL_GPL(bento_lock_released);
