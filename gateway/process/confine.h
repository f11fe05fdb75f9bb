/*
 * confine - whom each process of the site runs as, and how a child gives up what it does not need
 *
 * No new privileges, no capabilities, no core files, closed to others of its user, ends with its parent, and (started as root, with a user in the
 * configuration) a root directory of its own and its user's ids. Which system calls are left is in sandbox.h. Both are tested in the plain build: under
 * AddressSanitizer there is no root directory.
 *
 * Workers run as `user`, keepers as `keeper_user`, what holds keys as `key_user`, what asks directories as `directory_user`. Where one of the latter three is not
 * set, it is the user whose name is that of `user` and "-keeper", "-keys" or "-directory", if there is one; else the same as `user`.
 */
#ifndef CONFINE_H
#define CONFINE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"
#include "process/channel.h"

struct site;

struct confine {
	bool drop;      /* root and a user is named: change to uid and gid, and into the root */
	bool sandbox;   /* sandbox.h */
	uid_t uid;
	gid_t gid;
};

/*
 * Look the users up (where we are not root: nothing to drop). 0, or -ENOENT: there is no such user, a line in err. warnings (may be NULL):
 * lines on processes that run as the same user and need not. Before any chroot.
 */
int confine_site(const struct site *s, struct confine of[ROLE_COUNT], struct buf *err, struct buf *warnings);

/* As many descriptors as may be had. Parent, once. */
void confine_raise_limits(void);

/* What the parent does not need any more when all is open. It may be done again. 0 or -errno. */
int confine_parent(void);

/*
 * Now, and for good. root: the directory that becomes "/" (NULL: none). parent: its pid; if it is
 * no longer that, it has died already, and so do we. 0 or -errno: then the child must end.
 */
int confine_child(const struct confine *c, const char *root, pid_t parent);

/* Whether paths below root will be seen from "/" afterwards. */
bool confine_chroots(const struct confine *c);

#endif
