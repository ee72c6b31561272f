// SPDX-License-Identifier: GPL-2.0
/*
 * One bug for each detector of the debug kernel, so that silence elsewhere means
 * something. Lock bugs come first: any other report turns lockdep off.
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);
static DEFINE_SPINLOCK(spinning);

static void lock_order(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);

	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

static void sleep_in_atomic(void)
{
	spin_lock(&spinning);
	msleep(1);
	spin_unlock(&spinning);
}

static noinline void use_after_free(void)
{
	volatile char *memory = kmalloc(64, GFP_KERNEL);

	kfree((void *)memory);
	memory[10] = 1;
}

static noinline void leak(void)
{
	int i;

	/* Several: a stale register or stack slot may hide one of them. */
	for (i = 0; i < 16; i++)
		memset(kmalloc(200, GFP_KERNEL), i, 200);
}

static int __init seeded_init(void)
{
	lock_order();
	sleep_in_atomic();
	use_after_free();
	leak();
	return 0;
}

static void __exit seeded_exit(void)
{
}

module_init(seeded_init);
module_exit(seeded_exit);
MODULE_DESCRIPTION("Seeded bugs");
MODULE_LICENSE("GPL");
