// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/fs/bento: what is loaded, what is mounted, how it fares. No attribute
 * takes s_umount, which mount holds while adding them (SAFETY.md S1).
 */
#include <linux/delay.h>
#include <linux/slab.h>
#include <linux/sysfs.h>
#include <linux/workqueue.h>

#include "shim.h"

static struct kobject *bento_root;

static ssize_t allocated_show(struct kobject *kobj, struct kobj_attribute *attr,
			      char *buf)
{
	return sysfs_emit(buf, "%lld\n", bento_allocated_bytes());
}
static struct kobj_attribute bento_allocated = __ATTR_RO(allocated);

static ssize_t abi_show(struct kobject *kobj, struct kobj_attribute *attr,
			char *buf)
{
	return sysfs_emit(buf, "%u\n", BENTO_ABI_VERSION);
}
static struct kobj_attribute bento_abi = __ATTR_RO(abi);

static const struct attribute *bento_root_attrs[] = {
	&bento_allocated.attr,
	&bento_abi.attr,
	NULL,
};

/* ---- /sys/fs/bento/<fs> ---- */

static ssize_t versions_show(struct kobject *kobj, struct kobj_attribute *attr,
			     char *buf)
{
	struct bento_fs *fs = container_of(kobj, struct bento_fs, kobj);
	struct bento_version *v;
	ssize_t at = 0;

	mutex_lock(&bento_fs_lock);
	list_for_each_entry(v, &fs->versions, list)
		at += sysfs_emit_at(buf, at, "%u %s\n", v->number, v->owner->name);
	mutex_unlock(&bento_fs_lock);
	return at;
}
static struct kobj_attribute bento_versions = __ATTR_RO(versions);

static ssize_t default_show(struct kobject *kobj, struct kobj_attribute *attr,
			    char *buf)
{
	struct bento_fs *fs = container_of(kobj, struct bento_fs, kobj);
	struct bento_version *v;
	u32 number = 0;

	mutex_lock(&bento_fs_lock);
	v = list_first_entry_or_null(&fs->versions, struct bento_version, list);
	if (v)
		number = v->number;
	mutex_unlock(&bento_fs_lock);
	return sysfs_emit(buf, "%u\n", number);
}
static struct kobj_attribute bento_default = __ATTR_RO(default);

static struct attribute *bento_fs_attrs[] = {
	&bento_versions.attr,
	&bento_default.attr,
	NULL,
};
ATTRIBUTE_GROUPS(bento_fs);

static void bento_fs_release(struct kobject *kobj)
{
	bento_free_fs(container_of(kobj, struct bento_fs, kobj));
}

static const struct kobj_type bento_fs_ktype = {
	.sysfs_ops = &kobj_sysfs_ops,
	.release = bento_fs_release,
	.default_groups = bento_fs_groups,
};

int bento_sysfs_add_fs(struct bento_fs *fs)
{
	return kobject_init_and_add(&fs->kobj, &bento_fs_ktype, bento_root, "%s",
				    fs->name);
}

/* ---- /sys/fs/bento/<fs>/<major:minor of st_dev> ---- */

#define BENTO_SUPER_ATTR(name, fmt, value)                                   \
	static ssize_t name##_show(struct kobject *kobj,                     \
				   struct kobj_attribute *attr, char *buf)   \
	{                                                                    \
		struct bento_super *bs =                                     \
			container_of(kobj, struct bento_super, kobj);        \
		return sysfs_emit(buf, fmt "\n", value);                     \
	}                                                                    \
	static struct kobj_attribute bento_##name = __ATTR_RO(name)

BENTO_SUPER_ATTR(version, "%u", bs->slot.version->number);
BENTO_SUPER_ATTR(generation, "%u", bs->slot.generation);
BENTO_SUPER_ATTR(health, "%s", READ_ONCE(bs->slot.poisoned) ? "poisoned" : "ok");
BENTO_SUPER_ATTR(panics, "%lld", atomic64_read(&bs->panics));
BENTO_SUPER_ATTR(bad_values, "%lld", atomic64_read(&bs->bad_values));
BENTO_SUPER_ATTR(pause_ns, "%lld", READ_ONCE(bs->slot.pause_ns));
BENTO_SUPER_ATTR(source, "%s", bs->source);

static ssize_t gate_show(struct kobject *kobj, struct kobj_attribute *attr,
			 char *buf)
{
	struct bento_super *bs = container_of(kobj, struct bento_super, kobj);

	return sysfs_emit(buf, "%s\n",
			  READ_ONCE(bs->slot.closed) ? "closed" : "open");
}

static void bento_pause_work(struct work_struct *work)
{
	struct bento_super *bs = container_of(work, struct bento_super, pause_work);

	if (bento_slot_close(&bs->slot, HZ))
		return;
	msleep(bs->pause_ms);
	bento_slot_reopen(&bs->slot);
}

/* Writing n closes the gate for n ms, to see what a pause does to a workload:
 * a second to drain it, else it opens again. Only queued here (S1). */
static ssize_t gate_store(struct kobject *kobj, struct kobj_attribute *attr,
			  const char *buf, size_t count)
{
	struct bento_super *bs = container_of(kobj, struct bento_super, kobj);
	unsigned int ms;
	int err = kstrtouint(buf, 0, &ms);

	if (err || ms > 10000)
		return err ?: -ERANGE;
	if (work_busy(&bs->pause_work))
		return -EBUSY;
	bs->pause_ms = ms;
	queue_work(bento_wq, &bs->pause_work);
	return count;
}
static struct kobj_attribute bento_gate = __ATTR_RW(gate);

static struct attribute *bento_super_attrs[] = {
	&bento_version.attr,
	&bento_generation.attr,
	&bento_health.attr,
	&bento_panics.attr,
	&bento_bad_values.attr,
	&bento_gate.attr,
	&bento_pause_ns.attr,
	&bento_source.attr,
	NULL,
};
ATTRIBUTE_GROUPS(bento_super);

static void bento_super_release(struct kobject *kobj)
{
	struct bento_super *bs = container_of(kobj, struct bento_super, kobj);

	kfree(bs->source);
	kfree(bs->options);
	kfree_rcu(bs, rcu);
}

static const struct kobj_type bento_super_ktype = {
	.sysfs_ops = &kobj_sysfs_ops,
	.release = bento_super_release,
	.default_groups = bento_super_groups,
};

void bento_sysfs_init_super(struct bento_super *bs)
{
	INIT_WORK(&bs->pause_work, bento_pause_work);
	kobject_init(&bs->kobj, &bento_super_ktype);
}

int bento_sysfs_add_super(struct bento_super *bs)
{
	int err = kobject_add(&bs->kobj, &bs->fs->kobj, "%u:%u",
			      MAJOR(bs->sb->s_dev), MINOR(bs->sb->s_dev));

	bs->kobj_added = !err;
	return err;
}

/* Outside s_umount: waits for whoever uses an attribute, then for the work it
 * queued. */
void bento_sysfs_del_super(struct bento_super *bs)
{
	if (bs->kobj_added)
		kobject_del(&bs->kobj);
	flush_work(&bs->pause_work);
}

int bento_sysfs_init(void)
{
	int err;

	bento_root = kobject_create_and_add("bento", fs_kobj);
	if (!bento_root)
		return -ENOMEM;
	err = sysfs_create_files(bento_root, bento_root_attrs);
	if (err)
		kobject_put(bento_root);
	return err;
}

void bento_sysfs_exit(void)
{
	sysfs_remove_files(bento_root, bento_root_attrs);
	kobject_put(bento_root);
}
