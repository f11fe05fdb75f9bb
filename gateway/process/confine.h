/*
 * confine - how a child gives up what it does not need
 *
 * For now: no new privileges, no core files, ends with its parent, and (started as root, with a
 * user in the configuration) a chroot and the user's ids. The sandbox is tested in the plain build:
 * under AddressSanitizer there is no chroot.
 */
#ifndef CONFINE_H
#define CONFINE_H

#include <stdbool.h>
#include <sys/types.h>

struct confine {
	bool drop; /* root and a user is named: change to uid and gid, and into the root */
	uid_t uid;
	gid_t gid;
};

/*
 * Look the user up (NULL, or not root: nothing to drop). 0, or -ENOENT: there is no such user.
 * Before any chroot.
 */
int confine_user(const char *user, struct confine *out);

/* As many descriptors as may be had. Parent, once. */
void confine_raise_limits(void);

/*
 * Now, and for good. root: the directory that becomes "/" (NULL: none). parent: its pid; if it is
 * no longer that, it has died already, and so do we. 0 or -errno: then the child must end.
 */
int confine_child(const struct confine *c, const char *root, pid_t parent);

/* Whether paths below root will be seen from "/" afterwards. */
bool confine_chroots(const struct confine *c);

#endif
