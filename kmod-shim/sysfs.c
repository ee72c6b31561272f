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
		number = fs->chosen ?: v->number;
	mutex_unlock(&bento_fs_lock);
	return sysfs_emit(buf, "%u\n", number);
}

/* What new mounts get; 0: the newest that is loaded, as at the start. */
static ssize_t default_store(struct kobject *kobj, struct kobj_attribute *attr,
			     const char *buf, size_t count)
{
	struct bento_fs *fs = container_of(kobj, struct bento_fs, kobj);
	struct bento_version *v;
	u32 number;
	int err = kstrtou32(buf, 0, &number);

	if (err)
		return err;
	err = number ? -ENOENT : 0;
	mutex_lock(&bento_fs_lock);
	list_for_each_entry(v, &fs->versions, list)
		if (v->number == number)
			err = 0;
	if (!err)
		fs->chosen = number;
	mutex_unlock(&bento_fs_lock);
	return err ?: count;
}
static struct kobj_attribute bento_default = __ATTR_RW(default);

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

static u32 bento_running(struct bento_super *bs)
{
	u32 number;

	rcu_read_lock();
	number = READ_ONCE(bs->slot.now)->version->number;
	rcu_read_unlock();
	return number;
}

/* What the tags in `state_bytes` stand for. */
static ssize_t layout_show(struct kobject *kobj, struct kobj_attribute *attr,
			   char *buf)
{
	struct bento_super *bs = container_of(kobj, struct bento_super, kobj);
	const struct bento_ops *ops;
	ssize_t at;

	rcu_read_lock();
	ops = READ_ONCE(bs->slot.now)->ops;
	at = sysfs_emit(buf, "%.*s", (int)min_t(size_t, ops->layout.len, PAGE_SIZE),
			ops->layout.ptr);
	rcu_read_unlock();
	return at;
}
static struct kobj_attribute bento_layout = __ATTR_RO(layout);

static const char *const bento_healths[] = { "ok", "restarting", "quarantined" };

BENTO_SUPER_ATTR(version, "%u", bento_running(bs));
BENTO_SUPER_ATTR(generation, "%u", READ_ONCE(bs->slot.generation));
BENTO_SUPER_ATTR(health, "%s", bento_healths[READ_ONCE(bs->slot.health)]);
BENTO_SUPER_ATTR(swaps, "%llu", READ_ONCE(bs->swaps));
BENTO_SUPER_ATTR(restarts, "%llu", READ_ONCE(bs->restarts));
BENTO_SUPER_ATTR(sweep_left, "%lld", bento_old_inodes(bs));
BENTO_SUPER_ATTR(panics, "%lld", atomic64_read(&bs->panics));
BENTO_SUPER_ATTR(bad_values, "%lld", atomic64_read(&bs->bad_values));
BENTO_SUPER_ATTR(pause_ns, "%lld", READ_ONCE(bs->slot.pause_ns));
BENTO_SUPER_ATTR(source, "%s", bs->source);

/* The number somebody wrote, if it is in bounds. */
static int bento_number(const char *buf, unsigned int min, unsigned int max,
			unsigned int *value)
{
	int err = kstrtouint(buf, 0, value);

	if (err)
		return err;
	return *value < min || *value > max ? -ERANGE : 0;
}

static ssize_t gate_show(struct kobject *kobj, struct kobj_attribute *attr,
			 char *buf)
{
	struct bento_super *bs = container_of(kobj, struct bento_super, kobj);

	return sysfs_emit(buf, "%s\n",
			  READ_ONCE(bs->slot.gate) == BENTO_GATE_CLOSED ? "closed" : "open");
}

static void bento_pause_work(struct work_struct *work)
{
	struct bento_super *bs = container_of(work, struct bento_super, pause_work);

	if (bento_slot_close(&bs->slot, HZ, NULL, 0))
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
	int err = bento_number(buf, 0, 10000, &ms);

	if (err)
		return err;
	spin_lock(&bs->act_lock);
	if (bs->dying) {
		err = -ENODEV;
	} else if (work_busy(&bs->pause_work)) {
		err = -EBUSY;
	} else {
		bs->pause_ms = ms;
		queue_work(bento_wq, &bs->pause_work);
	}
	spin_unlock(&bs->act_lock);
	return err ?: count;
}
static struct kobj_attribute bento_gate = __ATTR_RW(gate);

/* ---- swaps: bento-runtime/src/slot.rs ---- */

static ssize_t last_swap_show(struct kobject *kobj, struct kobj_attribute *attr,
			      char *buf)
{
	struct bento_super *bs = container_of(kobj, struct bento_super, kobj);
	ssize_t at;

	spin_lock(&bs->act_lock);
	if (bs->acts)
		at = sysfs_emit(buf, "%s\n", bs->last_swap);
	else
		at = sysfs_emit(buf, "0 none\n");
	spin_unlock(&bs->act_lock);
	return at;
}
static struct kobj_attribute bento_last_swap = __ATTR_RO(last_swap);

#define BENTO_SUPER_NUMBER(name, min, max)                                   \
	static ssize_t name##_show(struct kobject *kobj,                     \
				   struct kobj_attribute *attr, char *buf)   \
	{                                                                    \
		struct bento_super *bs =                                     \
			container_of(kobj, struct bento_super, kobj);        \
		return sysfs_emit(buf, "%u\n", READ_ONCE(bs->name));         \
	}                                                                    \
	static ssize_t name##_store(struct kobject *kobj,                    \
				    struct kobj_attribute *attr,             \
				    const char *buf, size_t count)           \
	{                                                                    \
		struct bento_super *bs =                                     \
			container_of(kobj, struct bento_super, kobj);        \
		unsigned int value;                                          \
		int err = bento_number(buf, min, max, &value);               \
		if (err)                                                     \
			return err;                                          \
		WRITE_ONCE(bs->name, value);                                 \
		return count;                                                \
	}                                                                    \
	static struct kobj_attribute bento_##name = __ATTR_RW(name)

BENTO_SUPER_NUMBER(timeout_ms, 1, 60000);
BENTO_SUPER_NUMBER(restart_limit, 0, INT_MAX);

#define BENTO_SUPER_ACT(name, act, min, max)                                 \
	static ssize_t name##_store(struct kobject *kobj,                    \
				    struct kobj_attribute *attr,             \
				    const char *buf, size_t count)           \
	{                                                                    \
		struct bento_super *bs =                                     \
			container_of(kobj, struct bento_super, kobj);        \
		unsigned int value;                                          \
		int err = bento_number(buf, min, max, &value);               \
		return err ?: bento_swap_queue(bs, act, value) ?: count;     \
	}                                                                    \
	static struct kobj_attribute bento_##name = __ATTR_WO(name)

BENTO_SUPER_ACT(upgrade, BENTO_UPGRADE, 1, UINT_MAX);
BENTO_SUPER_ACT(restart, BENTO_RESTART, 1, 1);
BENTO_SUPER_ACT(state, BENTO_SNAPSHOT, 1, 1);

static ssize_t bento_read_state(struct file *file, struct kobject *kobj,
				BENTO_BIN_ATTR *attr, char *buf, loff_t at,
				size_t count)
{
	struct bento_super *bs = container_of(kobj, struct bento_super, kobj);
	ssize_t n = 0;

	mutex_lock(&bs->snapshot_lock);
	if (bs->snapshot)
		n = memory_read_from_buffer(buf, count, &at, bs->snapshot->ptr,
					    bs->snapshot->len);
	mutex_unlock(&bs->snapshot_lock);
	return n;
}

static struct bin_attribute bento_state_bytes = {
	.attr = { .name = "state_bytes", .mode = 0400 },
	.read = bento_read_state,
};

static struct attribute *bento_super_attrs[] = {
	&bento_swaps.attr,
	&bento_restarts.attr,
	&bento_sweep_left.attr,
	&bento_last_swap.attr,
	&bento_timeout_ms.attr,
	&bento_restart_limit.attr,
	&bento_upgrade.attr,
	&bento_restart.attr,
	&bento_state.attr,
	&bento_layout.attr,
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

static struct bin_attribute *bento_super_bin_attrs[] = {
	&bento_state_bytes,
	NULL,
};

static const struct attribute_group bento_super_group = {
	.attrs = bento_super_attrs,
	.bin_attrs = bento_super_bin_attrs,
};
__ATTRIBUTE_GROUPS(bento_super);

static void bento_super_release(struct kobject *kobj)
{
	struct bento_super *bs = container_of(kobj, struct bento_super, kobj);

	if (bs->snapshot)
		bento_state_free(bs->snapshot);
	kfree(bs->snapshot);
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

/* Outside s_umount: waits for whoever uses an attribute. */
void bento_sysfs_del_super(struct bento_super *bs)
{
	if (bs->kobj_added)
		kobject_del(&bs->kobj);
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
