/*
 * sandbox - the system calls that are left to a process, for good
 *
 * A list for each role, kept by the kernel (base/syscalls.h). Not on it: EPERM, so that a library that only tries something goes on without; what
 * nobody but an intruder calls (another program, another process' memory, another user, a kernel module, a file where there are none, ...) ends
 * the process, and the parent's line says "Bad system call". No child makes processes; boxes are made before (base/box.h).
 *
 * The parent's list is short, since its children inherit it, and its successor at an upgrade.
 */
#ifndef SANDBOX_H
#define SANDBOX_H

#include "process/channel.h"
#include "process/confine.h"

/* After confine_child (which allows it to those who are not root), and all that needs more. 0 or -errno: then the child must end. */
int sandbox_enter(enum channel_role role, const struct confine *c);

#endif
