#include "process/confine.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/asan.h"

enum { FILES_WANTED = 1 << 18 }; /* two sockets for each of 100,000 sessions: nobody has more */

int confine_user(const char *user, struct confine *out)
{
	struct passwd *pw;

	*out = (struct confine){ .drop = false };
	if (!user || geteuid() != 0)
		return 0;
	pw = getpwnam(user);
	if (!pw)
		return -ENOENT;
	out->uid = pw->pw_uid;
	out->gid = pw->pw_gid;
	out->drop = pw->pw_uid != 0;
	return 0;
}

void confine_raise_limits(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0)
		return;
	if (geteuid() == 0 && r.rlim_max < FILES_WANTED) {
		struct rlimit more = { FILES_WANTED, FILES_WANTED };

		if (setrlimit(RLIMIT_NOFILE, &more) == 0)
			return;
	}
	r.rlim_cur = r.rlim_max < FILES_WANTED ? r.rlim_max : FILES_WANTED;
	(void)setrlimit(RLIMIT_NOFILE, &r);
}

bool confine_chroots(const struct confine *c)
{
	return c->drop && !UNDER_ASAN;
}

int confine_child(const struct confine *c, const char *root, pid_t parent)
{
	const struct rlimit none = { 0, 0 };

	(void)setrlimit(RLIMIT_CORE, &none);    /* a core holds other people's mail and our keys */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	if (root && confine_chroots(c) && (chroot(root) < 0 || chdir("/") < 0))
		return -errno;
	if (c->drop && (setgroups(1, &c->gid) < 0 || setresgid(c->gid, c->gid, c->gid) < 0 ||
			setresuid(c->uid, c->uid, c->uid) < 0))
		return -errno;
	if (c->drop && setresuid(0, 0, 0) == 0)
		return -EPERM;          /* it must not be possible to go back */
	/* After the change of user, which takes it away again. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return -errno;
	return getppid() == parent ? 0 : -ESRCH;
}
