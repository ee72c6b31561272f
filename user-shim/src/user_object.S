/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Linked by `cargo bento build` into each shared object of the `user` variant:
 * the stack check that functions able to recurse call first (SAFETY.md G6).
 *
 * The limit lies in thread-local storage of the program that loaded the object
 * (user-shim, call.rs): it is set for the length of each call into Rust and 0
 * outside. The program writes where, counted from the thread pointer, and where
 * to go when too little stack is left, into bento_user_check after dlopen().
 *
 * Fast path: a load, a compare, a branch. Only r11 and the flags change, which
 * are free at the entry of a function.
 */
	.text
	.globl	bento_mcount
	.hidden	bento_mcount
	.type	bento_mcount, @function
	.p2align 4
bento_mcount:
	.cfi_startproc
	endbr64
	movq	bento_user_check(%rip), %r11
	cmpq	%fs:(%r11), %rsp
	jb	1f
	ret
1:	/* overflow(struct bento_regs of our caller, back from this call); never
	 * returns. rax and rdx are not read. */
	popq	%rax
	movq	%rsp, %rdx
	andq	$-16, %rsp
	subq	$80, %rsp
	movq	%rbx, (%rsp)
	movq	%rbp, 8(%rsp)
	movq	%r12, 16(%rsp)
	movq	%r13, 24(%rsp)
	movq	%r14, 32(%rsp)
	movq	%r15, 40(%rsp)
	movq	%rdx, 48(%rsp)
	movq	%rax, 56(%rsp)
	movq	%rsp, %rdi
	call	*8+bento_user_check(%rip)
	ud2
	.cfi_endproc
	.size	bento_mcount, . - bento_mcount

	.data
	.globl	bento_user_check
	.type	bento_user_check, @object
	.p2align 3
bento_user_check:
	/* Until the program fills it in: %fs:0 holds the thread pointer itself,
	 * which lies above every stack, so nothing may run before. */
	.quad	0
	.quad	0
	.size	bento_user_check, . - bento_user_check

	.section .note.GNU-stack, "", @progbits
