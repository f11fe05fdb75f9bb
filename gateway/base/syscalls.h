/*
 * syscalls - a list of the system calls that a process may make from now on, kept by the kernel (seccomp)
 *
 * Lists are tables of rules, by name, with what arguments must be. A call that no rule names gives EPERM: a library that only tries something
 * goes on without. Calls of another architecture (32 bits, x32) end the process, as those do that a rule says so of: what nobody but an
 * intruder calls.
 *
 * Arguments are compared with all their 64 bits; what they point to cannot be looked at.
 */
#ifndef SYSCALLS_H
#define SYSCALLS_H

#include <linux/filter.h>
#include <seccomp.h>
#include <stdint.h>

struct syscall_rule {
	int number;
	uint32_t action;                /* 0: the end of the table */
	unsigned count;                 /* of arguments; all must be as said. Several rules of one name: one must hold */
	struct scmp_arg_cmp arg[3];
};

/* Rows of a table: MAY(read), MAY_IF(socket, IS(0, AF_INET)), KILLS(execve), ... */
#define MAY(name) { SCMP_SYS(name), SCMP_ACT_ALLOW, 0, { { 0, SCMP_CMP_EQ, 0, 0 } } }
#define KILLS(name) { SCMP_SYS(name), SCMP_ACT_KILL_PROCESS, 0, { { 0, SCMP_CMP_EQ, 0, 0 } } }
#define SYSCALL_ARGS(...) sizeof((struct scmp_arg_cmp[]){ __VA_ARGS__ }) / sizeof(struct scmp_arg_cmp), { __VA_ARGS__ }
#define MAY_IF(name, ...) { SCMP_SYS(name), SCMP_ACT_ALLOW, SYSCALL_ARGS(__VA_ARGS__) }
#define KILLS_IF(name, ...) { SCMP_SYS(name), SCMP_ACT_KILL_PROCESS, SYSCALL_ARGS(__VA_ARGS__) }
#define SYSCALLS_END { 0, 0, 0, { { 0, SCMP_CMP_EQ, 0, 0 } } }

/* Conditions. The place of the argument, from 0. */
#define IS(n, value) { n, SCMP_CMP_EQ, value, 0 }
#define IS_NOT(n, value) { n, SCMP_CMP_NE, value, 0 }
#define ABOVE(n, value) { n, SCMP_CMP_GT, value, 0 }
#define OF_BITS(n, mask, value) { n, SCMP_CMP_MASKED_EQ, mask, value }
/* In place of a value: the id of the process that makes the program. */
#define SYSCALL_SELF UINT64_C(0x5e1f5e1f5e1f5e1f)

/* What every program in C needs: memory, never executable; time; descriptors that it has; its end. */
extern const struct syscall_rule syscalls_common[];
/* A signal, but to itself only. */
extern const struct syscall_rule syscalls_signal_self[];
/* What ends any of our processes; and those that are confined for good. */
extern const struct syscall_rule syscalls_kernel_intruder[], syscalls_intruder[];
/* Files by name, written or made: what ends one that has no files. */
extern const struct syscall_rule syscalls_file_intruder[];
/* Any socket that is made: what ends one that talks to no network. Those of AF_UNIX, which libraries try for themselves, are merely refused. */
extern const struct syscall_rule syscalls_network_intruder[];

/* Tables, NULL last, as a program for the kernel; otherwise: SCMP_ACT_ERRNO(EPERM), or SCMP_ACT_ALLOW. 0 or -errno. */
int syscalls_compile(const struct syscall_rule *const *tables, uint32_t otherwise, struct sock_fprog *out);
void syscalls_release(struct sock_fprog *program);

/* Nothing is kept from this process and its children from now on: for finding faults. So it is under AddressSanitizer. */
void syscalls_none(void);

/*
 * This descriptor is of a directory outside of the root that the process gets: what lies above it, all of the machine, could be opened from there. Programs that are
 * compiled from now on leave nothing but linkat() from it, close(), and its being handed over; the rest ends the process.
 */
void syscalls_guard(int dir_fd);

/* From now on, for this process and its children, beside what holds already. Sets PR_SET_NO_NEW_PRIVS. 0 or -errno. */
int syscalls_enter(const struct sock_fprog *program);

/* Both. */
int syscalls_confine(const struct syscall_rule *const *tables, uint32_t otherwise);

#endif
