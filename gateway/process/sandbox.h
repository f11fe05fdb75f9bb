/*
 * sandbox - the system calls that are left to a process, for good
 *
 * A list for each role, kept by the kernel (seccomp). Not on it: EPERM, so that a library that only tries something goes on without; what nobody
 * but an intruder calls (another program, another process' memory, another user, a kernel module, ...) ends the process, and the parent's line
 * says "Bad system call".
 */
#ifndef SANDBOX_H
#define SANDBOX_H

#include "process/channel.h"
#include "process/confine.h"

/* After confine_child (which allows it to those who are not root), and all that needs more. 0 or -errno: then the child must end. */
int sandbox_enter(enum channel_role role, const struct confine *c);

#endif
