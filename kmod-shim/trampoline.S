/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The one way into Rust, and the two ways out: returning, and being abandoned
 * (G6). Stack below the shim's frame:
 *
 *	return address, rbp, rbx, r12, r13, r14, r15, (alignment)
 *	rbp	<- record + 24
 *	0
 *	call	<- record + 8
 *	magic	<- record, 16-byte aligned
 */
#include <linux/linkage.h>
#include <linux/objtool.h>
#include <asm/asm.h>
#include <asm/page.h>
#include <asm/thread_info.h>
#include <asm/nospec-branch.h>

#include "overflow.h"

	.text

/* s64 bento_trampoline(struct bento_call *call, void *thunk, void *args) */
SYM_FUNC_START(bento_trampoline)
	pushq	%rbp
	movq	%rsp, %rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	andq	$-16, %rsp
	subq	$32, %rsp
	movq	%rbp, 24(%rsp)
	movq	$0, 16(%rsp)
	movq	%rdi, 8(%rsp)
	movabsq	$0x33a70c5e91d2f468, %rax
	xorq	%rsp, %rax
	movq	%rax, (%rsp)
	movq	%rsi, %rax
	movq	%rdx, %rsi
#ifdef CONFIG_UML
	call	*%rax
#else
	CALL_NOSPEC rax
#endif
	movq	$0, (%rsp)
	leaq	-40(%rbp), %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	RET
SYM_FUNC_END(bento_trampoline)

/* void bento_abandon(struct bento_record *record, int64_t value) */
SYM_FUNC_START(bento_abandon)
	movq	%rsi, %rax
	movq	%rdi, %rsp
	movq	24(%rsp), %rbp
	movq	$0, (%rsp)
	leaq	-40(%rbp), %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	RET
SYM_FUNC_END(bento_abandon)
STACK_FRAME_NON_STANDARD bento_abandon

/*
 * void bento_resume(const struct bento_regs *regs)
 *
 * To a landing pad. Everything is read before the stack pointer moves: an
 * interrupt then overwrites `regs`. A return rather than an indirect jump,
 * because a landing pad has no ENDBR.
 */
SYM_FUNC_START(bento_resume)
	movq	0(%rdi), %rbx
	movq	8(%rdi), %rbp
	movq	16(%rdi), %r12
	movq	24(%rdi), %r13
	movq	32(%rdi), %r14
	movq	40(%rdi), %r15
	movq	56(%rdi), %rcx
	movq	64(%rdi), %rax
	movq	72(%rdi), %rdx
	movq	48(%rdi), %rdi
	movq	%rdi, %rsp
	pushq	%rcx
	RET
SYM_FUNC_END(bento_resume)
STACK_FRAME_NON_STANDARD bento_resume

/*
 * Called at the start of Rust functions that recurse, or lie deep below: with
 * too little stack left the call is abandoned before the guard page is met.
 * Keeps every register, since it runs before arguments are saved.
 */
SYM_FUNC_START(mcount)
	pushq	%rax
	movq	%rsp, %rax
	andl	$(THREAD_SIZE - 1), %eax
	cmpl	$BENTO_STACK_RESERVE, %eax
	popq	%rax
	jb	1f
	RET
1:	pushq	%rcx
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	/* struct bento_regs of our caller, back from this call */
	pushq	%rdx
	pushq	%rax
	pushq	72(%rsp)
	leaq	88(%rsp), %rax
	pushq	%rax
	pushq	%r15
	pushq	%r14
	pushq	%r13
	pushq	%r12
	pushq	%rbp
	pushq	%rbx
	movq	%rsp, %rdi
	call	bento_stack_overflow
	popq	%rbx
	popq	%rbp
	popq	%r12
	popq	%r13
	popq	%r14
	popq	%r15
	addq	$16, %rsp
	popq	%rax
	popq	%rdx
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rcx
	RET
SYM_FUNC_END(mcount)

	.section .note.GNU-stack, "", @progbits
