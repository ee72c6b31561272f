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

/* Below this no Rust function runs: it is left to the C it calls, to interrupts
 * and to reporting the overflow. */
#define BENTO_STACK_RESERVE (BENTO_STACK_BASE + 4096)

/* What must be free above the base at entry. */
#define BENTO_STACK_ENTRY (BENTO_STACK_BASE + 6144)

#endif
