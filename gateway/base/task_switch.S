/*
 * task_context_switch - keep what a called function must preserve, change stacks, restore
 *
 * One pass of each: what the ABI lets a function destroy, the compiler has saved already.
 * task_context_start is where a fresh context begins: its frame is laid out by task_context_make
 * (task_context.c). There is no return address below it: debuggers and unwinders stop there.
 */
#include "base/task_switch.h"

#ifndef TASK_PORTABLE
	.text
	.globl	task_context_switch
	.hidden	task_context_switch
	.type	task_context_switch, %function
	.globl	task_context_start
	.hidden	task_context_start
	.type	task_context_start, %function

#if defined(__x86_64__)
/* System V ABI, 3.2.1: rbx, rbp, r12 to r15, the control bits of mxcsr and the x87 control word. */
	.p2align 4
task_context_switch:
	.cfi_startproc
	endbr64
	pushq	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	pushq	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbx, 0
	pushq	%r12
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r12, 0
	pushq	%r13
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r13, 0
	pushq	%r14
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r14, 0
	pushq	%r15
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r15, 0
	subq	$8, %rsp
	.cfi_adjust_cfa_offset 8
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)

	movq	%rsp, (%rdi)
	movq	(%rsi), %rsp

	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	addq	$8, %rsp
	.cfi_adjust_cfa_offset -8
	popq	%r15
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r15
	popq	%r14
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r14
	popq	%r13
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r13
	popq	%r12
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r12
	popq	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbx
	popq	%rbp
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbp
	ret
	.cfi_endproc
	.size	task_context_switch, . - task_context_switch

	.p2align 4
task_context_start:
	.cfi_startproc
	.cfi_undefined %rip
	endbr64
	xorl	%ebp, %ebp
	callq	*%r12
	ud2
	.cfi_endproc
	.size	task_context_start, . - task_context_start

#elif defined(__aarch64__)
/* AAPCS64, 6.1.1 and 6.1.2: x19 to x28, frame pointer x29, link x30, the low halves of v8 to v15. */
	.p2align 4
task_context_switch:
	.cfi_startproc
	hint	#34			/* bti c */
	sub	sp, sp, #160
	.cfi_adjust_cfa_offset 160
	stp	x19, x20, [sp, #0]
	stp	x21, x22, [sp, #16]
	stp	x23, x24, [sp, #32]
	stp	x25, x26, [sp, #48]
	stp	x27, x28, [sp, #64]
	stp	x29, x30, [sp, #80]
	.cfi_rel_offset x29, 80
	.cfi_rel_offset x30, 88
	stp	d8, d9, [sp, #96]
	stp	d10, d11, [sp, #112]
	stp	d12, d13, [sp, #128]
	stp	d14, d15, [sp, #144]

	mov	x9, sp
	str	x9, [x0]
	ldr	x9, [x1]
	mov	sp, x9

	ldp	x19, x20, [sp, #0]
	ldp	x21, x22, [sp, #16]
	ldp	x23, x24, [sp, #32]
	ldp	x25, x26, [sp, #48]
	ldp	x27, x28, [sp, #64]
	ldp	x29, x30, [sp, #80]
	.cfi_restore x29
	.cfi_restore x30
	ldp	d8, d9, [sp, #96]
	ldp	d10, d11, [sp, #112]
	ldp	d12, d13, [sp, #128]
	ldp	d14, d15, [sp, #144]
	add	sp, sp, #160
	.cfi_adjust_cfa_offset -160
	ret
	.cfi_endproc
	.size	task_context_switch, . - task_context_switch

	.p2align 4
task_context_start:
	.cfi_startproc
	.cfi_undefined x30
	hint	#36			/* bti j, should a ret be turned into a br */
	mov	x29, #0
	mov	x30, #0
	blr	x19
	brk	#1
	.cfi_endproc
	.size	task_context_start, . - task_context_start
#endif
#endif

	.section .note.GNU-stack, "", %progbits
