// SPDX-License-Identifier: GPL-2.0
/*
 * bento.ko's beginning and end, and the names it has registered. A
 * file_system_type belongs to bento.ko and stays once made (SAFETY.md S1);
 * modules of file systems come and go below it.
 */
#include <linux/kmod.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "register.h"
#include "shim.h"

DEFINE_MUTEX(bento_fs_lock);
static LIST_HEAD(bento_fs_list);
struct workqueue_struct *bento_wq, *bento_urgent_wq, *bento_deep_wq;
struct kmem_cache *bento_inode_cache;

static bool bento_name_ok(struct bento_bytes name)
{
	size_t i;

	if (!name.ptr || name.len < 1 || name.len > 32)
		return false;
	for (i = 0; i < name.len; i++) {
		u8 c = name.ptr[i];

		if (c >= 'a' && c <= 'z')
			continue;
		if (i && ((c >= '0' && c <= '9') || c == '_'))
			continue;
		return false;
	}
	return true;
}

/* Every thunk that a presence bit, or the shim itself, can lead to. */
static int bento_check_thunks(const struct bento_ops *ops)
{
	const u64 always = 1ull << BENTO_OP_mount | 1ull << BENTO_OP_unmount |
			   1ull << BENTO_OP_load_inode |
			   1ull << BENTO_OP_forget_inode |
			   ((1ull << BENTO_OP_COUNT) - (1ull << BENTO_HANDLER_COUNT));
	void *const *thunks = (void *const *)&ops->mount;
	int op;

	BUILD_BUG_ON(BENTO_OP_COUNT >= 64);
	if (ops->handlers >> BENTO_HANDLER_COUNT)
		return -EINVAL;
	for (op = 0; op < BENTO_OP_COUNT; op++)
		if (((ops->handlers | always) & 1ull << op) && !thunks[op])
			return -EINVAL;
	return 0;
}

static int bento_check_module(const struct bento_module *mod, struct module *owner)
{
	const struct bento_ops *ops = mod->ops;

	if (mod->magic != BENTO_ABI_MAGIC) {
		pr_err("bento: module %s is not a Bento file system (magic %#x, expected %#x); rebuild it with cargo bento build\n",
		       owner->name, mod->magic, BENTO_ABI_MAGIC);
		return -ENOEXEC;
	}
	if (mod->abi != BENTO_ABI_VERSION || !ops || ops->abi != BENTO_ABI_VERSION) {
		pr_err("bento: module %s was built for ABI version %u, this bento.ko has version %u; rebuild both with the same cargo bento\n",
		       owner->name, mod->abi == BENTO_ABI_VERSION && ops ? ops->abi : mod->abi,
		       BENTO_ABI_VERSION);
		return -ENOEXEC;
	}
	if (ops->size != sizeof(*ops)) {
		pr_err("bento: module %s has an operations table of %u bytes, expected %zu; rebuild it with the same cargo bento\n",
		       owner->name, ops->size, sizeof(*ops));
		return -ENOEXEC;
	}
	if (!bento_name_ok(ops->name) || !ops->version) {
		pr_err("bento: module %s has a bad file system name or version 0; a name is [a-z][a-z0-9_]*, at most 32 bytes\n",
		       owner->name);
		return -EINVAL;
	}
	if (ops->data > BENTO_DATA_RESIDENT) {
		pr_err("bento: module %s wants data way %u, which this bento.ko does not have\n",
		       owner->name, ops->data);
		return -EOPNOTSUPP;
	}
	if (ops->loads.count > BENTO_SHAPES_MAX || ops->saves.count > BENTO_SHAPES_MAX ||
	    ops->inode_loads.count > BENTO_SHAPES_MAX ||
	    ops->inode_saves.count > BENTO_SHAPES_MAX) {
		pr_err("bento: module %s lists more than %u shapes of its state\n",
		       owner->name, BENTO_SHAPES_MAX);
		return -EINVAL;
	}
	if (bento_check_thunks(ops)) {
		pr_err("bento: module %s has presence bits %#llx without thunks for them\n",
		       owner->name, ops->handlers);
		return -EINVAL;
	}
	return 0;
}

static struct bento_fs *bento_fs_find(struct bento_bytes name)
{
	struct bento_fs *fs;

	list_for_each_entry(fs, &bento_fs_list, list)
		if (strlen(fs->name) == name.len &&
		    !memcmp(fs->name, name.ptr, name.len))
			return fs;
	return NULL;
}

/* The validator wants to know keys that are not static; nothing without it. */
static void bento_fs_keys(struct file_system_type *type, bool on)
{
	struct lock_class_key *keys[] = {
		&type->s_lock_key,	&type->s_umount_key,
		&type->s_vfs_rename_key, &type->i_lock_key,
		&type->i_mutex_key,	&type->invalidate_lock_key,
		&type->i_mutex_dir_key,
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(keys) + SB_FREEZE_LEVELS; i++) {
		struct lock_class_key *key =
			i < ARRAY_SIZE(keys) ?
				keys[i] :
				&type->s_writers_key[i - ARRAY_SIZE(keys)];

		if (on)
			lockdep_register_key(key);
		else
			lockdep_unregister_key(key);
	}
}

void bento_free_fs(struct bento_fs *fs)
{
	bento_fs_keys(&fs->type, false);
	kfree(fs);
}

static int bento_fs_flags(const struct bento_ops *ops)
{
	return FS_ALLOW_IDMAP | (ops->data == BENTO_DATA_EXTENTS ? FS_REQUIRES_DEV : 0);
}

static struct bento_fs *bento_fs_make(const struct bento_ops *ops)
{
	struct bento_bytes name = ops->name;
	struct bento_fs *fs = kzalloc(sizeof(*fs), GFP_KERNEL);
	int err;

	if (!fs)
		return ERR_PTR(-ENOMEM);
	INIT_LIST_HEAD(&fs->versions);
	memcpy(fs->name, name.ptr, name.len);
	fs->type.name = fs->name;
	fs->type.owner = THIS_MODULE;
	fs->type.fs_flags = bento_fs_flags(ops);
	fs->type.init_fs_context = bento_init_fs_context;
	fs->type.kill_sb = bento_kill_sb;
	bento_fs_keys(&fs->type, true);
	err = bento_sysfs_add_fs(fs); /* the kobject frees from here on */
	if (err) {
		kobject_put(&fs->kobj);
		return ERR_PTR(err);
	}
	err = register_filesystem(&fs->type);
	if (err) {
		pr_err("bento: the kernel already has a file system named %s\n",
		       fs->name);
		kobject_put(&fs->kobj);
		return ERR_PTR(err);
	}
	list_add_tail(&fs->list, &bento_fs_list);
	return fs;
}

/* Newest first: the head is what a mount gets. */
static int bento_version_add(struct bento_fs *fs, struct bento_version *version)
{
	struct bento_version *v;

	/* Without versions there are no mounts, which remember the kind. */
	if (list_empty(&fs->versions))
		fs->type.fs_flags = bento_fs_flags(version->ops);
	if (fs->type.fs_flags != bento_fs_flags(version->ops)) {
		pr_err("bento: %s version %u and those that are loaded differ in whether they need a block device\n",
		       fs->name, version->number);
		return -EINVAL;
	}
	list_for_each_entry(v, &fs->versions, list) {
		if (v->number == version->number) {
			pr_err("bento: %s version %u is already loaded, by module %s\n",
			       fs->name, v->number, v->owner->name);
			return -EEXIST;
		}
		if (v->number < version->number)
			break;
	}
	list_add_tail(&version->list, &v->list);
	return 0;
}

int bento_register(const struct bento_module *mod, struct module *owner,
		   const struct bento_object *object)
{
	struct bento_version *version;
	struct bento_fs *fs;
	int err;

	err = bento_check_module(mod, owner);
	if (err)
		return err;
	err = mod->init ? mod->init(&bento_kernel_host, object) : 0;
	if (err < 0) {
		pr_err("bento: module %s refused to start: errno %d\n",
		       owner->name, -err);
		return err < -MAX_ERRNO ? -EINVAL : err;
	}
	version = kzalloc(sizeof(*version), GFP_KERNEL);
	if (!version)
		return -ENOMEM;
	version->mod = mod;
	version->ops = mod->ops;
	version->owner = owner;
	version->number = mod->ops->version;

	mutex_lock(&bento_fs_lock);
	fs = bento_fs_find(mod->ops->name);
	if (!fs)
		fs = bento_fs_make(mod->ops);
	err = IS_ERR(fs) ? PTR_ERR(fs) : bento_version_add(fs, version);
	mutex_unlock(&bento_fs_lock);
	if (err) {
		kfree(version);
		return err;
	}
	pr_info("bento: %s version %u is ready\n", fs->name, version->number);
	return 0;
}
EXPORT_SYMBOL_GPL(bento_register);

/* The module is leaving, so no mount holds the version. */
void bento_unregister(const struct bento_module *mod, struct module *owner)
{
	struct bento_version *version, *found = NULL;
	struct bento_fs *fs;

	mutex_lock(&bento_fs_lock);
	fs = bento_fs_find(mod->ops->name);
	if (fs)
		list_for_each_entry(version, &fs->versions, list)
			if (version->mod == mod)
				found = version;
	if (found)
		list_del(&found->list);
	if (found && fs->chosen == found->number)
		fs->chosen = 0;
	mutex_unlock(&bento_fs_lock);
	kfree(found);
}
EXPORT_SYMBOL_GPL(bento_unregister);

struct bento_version *bento_version_get(struct bento_fs *fs, u32 number)
{
	struct bento_version *version, *found = NULL;

	mutex_lock(&bento_fs_lock);
	number = number ?: fs->chosen;
	list_for_each_entry(version, &fs->versions, list) {
		if (number && version->number != number)
			continue;
		if (try_module_get(version->owner)) {
			found = version;
			break;
		}
	}
	mutex_unlock(&bento_fs_lock);
	return found;
}

void bento_version_put(struct bento_version *version)
{
	module_put(version->owner);
}

static void bento_inode_once(void *p)
{
	struct bento_kinode *ki = p;

	inode_init_once(&ki->vfs);
	init_waitqueue_head(&ki->poll_wait);
	bento_map_once(&ki->map);
}

static int __init bento_init(void)
{
	int err = -ENOMEM;

	bento_inode_cache = kmem_cache_create("bento_inode",
					      sizeof(struct bento_kinode), 0,
					      SLAB_RECLAIM_ACCOUNT | SLAB_ACCOUNT,
					      bento_inode_once);
	if (!bento_inode_cache)
		return -ENOMEM;
	bento_wq = alloc_workqueue("bento", WQ_MEM_RECLAIM, 0);
	if (!bento_wq)
		goto cache;
	bento_urgent_wq = alloc_workqueue("bento_urgent", WQ_MEM_RECLAIM | WQ_HIGHPRI, 0);
	if (!bento_urgent_wq)
		goto wq;
	bento_deep_wq = alloc_workqueue("bento_deep", WQ_MEM_RECLAIM | WQ_HIGHPRI, 0);
	if (!bento_deep_wq)
		goto urgent;
	bento_done_wq = alloc_workqueue("bento_done", WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	if (!bento_done_wq)
		goto deep;
	err = bento_map_init();
	if (err)
		goto done;
	err = bento_tx_init();
	if (err)
		goto map;
	err = bento_sysfs_init();
	if (err)
		goto tx;
	return 0;
tx:
	bento_tx_exit();
map:
	bento_map_exit();
done:
	destroy_workqueue(bento_done_wq);
deep:
	destroy_workqueue(bento_deep_wq);
urgent:
	destroy_workqueue(bento_urgent_wq);
wq:
	destroy_workqueue(bento_wq);
cache:
	kmem_cache_destroy(bento_inode_cache);
	return err;
}

/* Modules of file systems and mounts both hold a reference, so by now there
 * are only names. */
static void __exit bento_exit(void)
{
	struct bento_fs *fs, *next;

	list_for_each_entry_safe(fs, next, &bento_fs_list, list) {
		unregister_filesystem(&fs->type);
		list_del(&fs->list);
		kobject_put(&fs->kobj);
	}
	bento_sysfs_exit();
	destroy_workqueue(bento_done_wq);
	destroy_workqueue(bento_deep_wq);
	destroy_workqueue(bento_urgent_wq);
	destroy_workqueue(bento_wq);
	rcu_barrier(); /* inodes on their way out */
	kmem_cache_destroy(bento_inode_cache);
	bento_tx_exit();
	bento_map_exit();
	bento_lockdep_exit();
}

/* For jbd2's checksums and ours; the kernel loads what it has by need. */
MODULE_SOFTDEP("pre: crc32c");
module_init(bento_init);
module_exit(bento_exit);
MODULE_DESCRIPTION("File systems in safe Rust: the kernel's side");
MODULE_LICENSE("GPL");
