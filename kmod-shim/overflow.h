/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How much stack is Rust's: shared by the check at entry (call.c) and the one
 * in each function (trampoline.S).
 */
#ifndef BENTO_OVERFLOW_H
#define BENTO_OVERFLOW_H

/* User-mode Linux keeps thread_info, with the saved FPU registers, at the low
 * end of the stack. */
#ifdef CONFIG_UML
#define BENTO_STACK_BASE 3072
#else
#define BENTO_STACK_BASE 0
#endif

/* Red zones and lock validation: the same C needs several times as much, and
 * kernels built that way have larger stacks. */
#ifdef CONFIG_KASAN
#define BENTO_STACK_C 9216
#else
#define BENTO_STACK_C 3072
#endif

/* Below this no checked Rust function runs. The build lets code between two
 * checks use 2560 bytes (cargo-bento/src/build/prelink.rs); the rest is for the
 * C it calls: an allocation's slow path, or the report of a panic. */
#define BENTO_STACK_RESERVE (BENTO_STACK_BASE + BENTO_STACK_C + 2560)

/* And this much is for reading a block, or for a journal that must make room
 * first: a driver's way down, below what an allocation may need. */
#define BENTO_STACK_IO (BENTO_STACK_BASE + BENTO_STACK_C + 2048)

/* What must be free above the base at entry: a few frames more. */
#define BENTO_STACK_ENTRY (BENTO_STACK_RESERVE + 2048)

#endif
