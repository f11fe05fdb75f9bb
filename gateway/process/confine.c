#include "process/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/asan.h"
#include "policy/conf.h"
#include "process/capabilities.h"

enum { NAME_BYTES = 300, FILES_WANTED = 1 << 18 }; /* two sockets for each of 100,000 sessions: nobody has more */

static int as_user(const struct site *s, const char *option, const char *user, struct confine *out, struct buf *err)
{
	struct passwd *pw;

	*out = (struct confine){ .sandbox = s->sandbox };
	if (!user || geteuid() != 0)
		return 0;
	pw = getpwnam(user);
	if (!pw) {
		buf_addf(err, "%s: %s %s: there is no such user\n", s->path, option, user);
		return -ENOENT;
	}
	out->uid = pw->pw_uid;
	out->gid = pw->pw_gid;
	out->drop = pw->pw_uid != 0;
	return 0;
}

/* What is set; else the name of `user` and what follows it, if that is a user; else `user`. out has room for NAME_BYTES. */
static const char *name_of(const char *set, const char *user, const char *behind, char *out)
{
	int n;

	if (set || !user)
		return set;
	n = snprintf(out, NAME_BYTES, "%s-%s", user, behind);
	return n > 0 && n < NAME_BYTES && getpwnam(out) ? out : user;
}

/* root is nobody of its own. */
static void say_same(const struct site *s, const struct confine of[ROLE_COUNT], struct buf *warnings)
{
	const struct confine *worker = &of[ROLE_WORKER], *keeper = &of[ROLE_STATE], *keys = &of[ROLE_KEYS], *directory = &of[ROLE_DIRECTORY];
	struct stat st;

	if (!s->sandbox)
		buf_addf(warnings, "%s: sandbox: no: a process that has been taken over may make any system call, expected yes\n", s->path);
	if (!worker->drop || geteuid() != 0)
		return;
	/* Root here has no way to enter by force what is closed to others. */
	if (stat(s->state_dir, &st) == 0 && st.st_uid != 0 && !(st.st_mode & S_IXOTH))
		buf_addf(warnings, "%s: state_dir: %s does not belong to root and is closed to others (mode %04o), so that the self-signed certificate in it cannot be read, expected chown root, or chmod 755\n",
			 s->path, s->state_dir, (unsigned)(st.st_mode & 07777));
	if (!keeper->drop || keeper->uid == worker->uid)
		buf_addf(warnings, "%s: keeper_user: what owns the files runs as the same user as what talks to the network, expected one of its own, such as %s-keeper; systemd-sysusers makes gatepost-keeper\n",
			 s->path, s->user);
	if (!keys->drop || keys->uid == worker->uid || keys->uid == keeper->uid)
		buf_addf(warnings, "%s: key_user: what holds private keys runs as the same user as others, expected one of its own, such as %s-keys; systemd-sysusers makes gatepost-keys\n", s->path,
			 s->user);
	if (s->verify == VERIFY_DIRECTORY && (!directory->drop || directory->uid == worker->uid || directory->uid == keeper->uid || directory->uid == keys->uid))
		buf_addf(warnings, "%s: directory_user: what has the passwords of directories runs as the same user as others, expected one of its own, such as %s-directory; systemd-sysusers makes gatepost-directory\n",
			 s->path, s->user);
}

int confine_site(const struct site *s, struct confine of[ROLE_COUNT], struct buf *err, struct buf *warnings)
{
	char keeper[NAME_BYTES], keys[NAME_BYTES], directory[NAME_BYTES];
	int rc = as_user(s, "user", s->user, &of[ROLE_WORKER], err);

	of[ROLE_PARENT] = (struct confine){ .sandbox = s->sandbox };
	if (rc == 0)
		rc = as_user(s, "keeper_user", name_of(s->keeper_user, s->user, "keeper", keeper), &of[ROLE_STATE], err);
	if (rc == 0)
		rc = as_user(s, "key_user", name_of(s->key_user, s->user, "keys", keys), &of[ROLE_KEYS], err);
	if (rc == 0)
		rc = as_user(s, "directory_user", name_of(s->directory_user, s->user, "directory", directory), &of[ROLE_DIRECTORY], err);
	if (rc < 0)
		return rc;
	of[ROLE_STORE] = of[ROLE_HISTORY] = of[ROLE_SPOOL] = of[ROLE_STATE];
	if (warnings)
		say_same(s, of, warnings);
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
	return c->drop && !UNCONFINED;
}

int confine_parent(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	capabilities_bound(capabilities_parent);
	return capabilities_keep(capabilities_parent);
}

/*
 * Expressions that PCRE2 has compiled lie in pages that are writable and executable: whoever could write there could run what he writes. Children compile
 * none, and free none: there the pages are executable only, and the sandbox lets nobody change that back.
 */
static void code_seal(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512], mode[5];
	uintptr_t from, to;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &from, &to, mode) == 3 && strncmp(mode, "rwx", 3) == 0)
			(void)mprotect((void *)from, to - from, PROT_READ | PROT_EXEC);
	if (f)
		fclose(f);
}

/* The directory is its own, and root may be one who cannot look into all; the way to it may be one that only root may go. */
static int root_enter(const struct confine *c, const char *root)
{
	int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC), rc;

	(void)setfsuid(c->uid);
	rc = (fd < 0 ? chdir(root) : fchdir(fd)) < 0 || chroot(".") < 0 || chdir("/") < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	return rc;
}

int confine_child(const struct confine *c, const char *root, pid_t parent)
{
	const struct rlimit none = { 0, 0 };
	int rc;

	(void)setrlimit(RLIMIT_CORE, &none);    /* a core holds other people's mail and our keys */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	capabilities_bound(0);
	if (c->sandbox)
		code_seal();
	if (root && confine_chroots(c)) {
		rc = root_enter(c, root);
		if (rc < 0)
			return rc;
	}
	if (c->drop && (setgroups(1, &c->gid) < 0 || setresgid(c->gid, c->gid, c->gid) < 0 ||
			setresuid(c->uid, c->uid, c->uid) < 0))
		return -errno;
	if (c->drop && setresuid(0, 0, 0) == 0)
		return -EPERM;          /* it must not be possible to go back */
	rc = capabilities_keep(0);
	if (rc < 0)
		return rc;
	/* After the change of user, which takes it away again. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return -errno;
	/* Nobody of the same user looks into its memory; not where the leak checker would. */
	if (!UNDER_ASAN && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	return getppid() == parent ? 0 : -ESRCH;
}
