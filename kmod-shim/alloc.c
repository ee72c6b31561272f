// SPDX-License-Identifier: GPL-2.0
/*
 * Rust's memory (SAFETY.md C3): up to two pages never fail, beyond that NULL
 * means ENOMEM for the caller. What is outstanding is counted, so that a test
 * can see a leak from outside.
 */
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/slab.h>

#include "shim.h"

#define BENTO_NOFAIL_MAX (2 * PAGE_SIZE)

static DEFINE_PER_CPU(s64, bento_outstanding);

s64 bento_allocated_bytes(void)
{
	s64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(*per_cpu_ptr(&bento_outstanding, cpu));
	return sum;
}

/* kmalloc aligns a power of two to itself, anything else to 8. */
static size_t bento_slab_size(size_t size, size_t align)
{
	if (align <= ARCH_KMALLOC_MINALIGN)
		return size;
	return roundup_pow_of_two(max(size, align));
}

void *bento_alloc(size_t size, size_t align)
{
	size_t slab = bento_slab_size(size, align);
	void *ptr;

	if (WARN_ON_ONCE(align > PAGE_SIZE || !is_power_of_2(align)))
		return NULL;
	if (slab <= BENTO_NOFAIL_MAX)
		ptr = kmalloc(slab, GFP_KERNEL | __GFP_NOFAIL);
	else if (size <= INT_MAX) /* page-aligned, whichever allocator serves */
		ptr = kvmalloc(size, GFP_KERNEL | __GFP_NOWARN);
	else
		ptr = NULL;
	if (likely(ptr))
		this_cpu_add(bento_outstanding, size);
	return ptr;
}
EXPORT_SYMBOL_GPL(bento_alloc);

void bento_dealloc(void *ptr, size_t size, size_t align)
{
	if (!ptr)
		return;
	this_cpu_sub(bento_outstanding, size);
	kvfree(ptr);
}
EXPORT_SYMBOL_GPL(bento_dealloc);

void *bento_realloc(void *ptr, size_t old_size, size_t align, size_t new_size)
{
	size_t old_slab = bento_slab_size(old_size, align);
	size_t new_slab = bento_slab_size(new_size, align);
	void *new;

	/* A power of two stays aligned where it is; krealloc keeps the place
	 * when the bucket has room. */
	if (old_slab <= BENTO_NOFAIL_MAX && new_slab <= BENTO_NOFAIL_MAX &&
	    (old_slab == new_slab || align <= ARCH_KMALLOC_MINALIGN)) {
		new = krealloc(ptr, new_slab, GFP_KERNEL | __GFP_NOFAIL);
		this_cpu_add(bento_outstanding, (s64)new_size - (s64)old_size);
		return new;
	}
	new = bento_alloc(new_size, align);
	if (!new)
		return NULL;
	memcpy(new, ptr, min(old_size, new_size));
	bento_dealloc(ptr, old_size, align);
	return new;
}
EXPORT_SYMBOL_GPL(bento_realloc);
