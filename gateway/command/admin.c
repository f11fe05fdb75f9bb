#include "command/admin.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "policy/conf.h"
#include "process/confine.h"

static char who[ADMIN_WHO_MAX];

/* Whoever could log in under a name could still not write more than a name into the record. */
static bool who_set(const char *name)
{
	size_t n = 0;

	if (!name || !*name)
		return false;
	for (; n < sizeof(who) - 1 && name[n]; n++)
		who[n] = name[n] > ' ' && name[n] < 0x7f && name[n] != '"' && name[n] != '\\' ? name[n] : '?';
	who[n] = '\0';
	return true;
}

/* The user of the login, which su and sudo do not change (pam_loginuid). */
static const char *login_name(void)
{
	FILE *f = fopen("/proc/self/loginuid", "re");
	unsigned uid = 0;
	int n = f ? fscanf(f, "%u", &uid) : 0;
	struct passwd *pw = n == 1 && uid != (unsigned)-1 ? getpwuid(uid) : NULL;

	if (f)
		fclose(f);
	return pw ? pw->pw_name : NULL;
}

/* SUDO_USER counts where it can have come from sudo: anybody can set a variable. */
static void who_find(void)
{
	struct passwd *pw;
	char number[24];

	if (getuid() == 0 && who_set(getenv("SUDO_USER")))
		return;
	if (who_set(login_name()))
		return;
	pw = getpwuid(getuid());
	if (pw && who_set(pw->pw_name))
		return;
	snprintf(number, sizeof(number), "uid-%u", (unsigned)getuid());
	who_set(number);
}

/* For good: saved ids too, and no way back through a set-user-id program. */
static int become(const struct confine *c)
{
	const struct rlimit none = { 0, 0 };

	(void)setrlimit(RLIMIT_CORE, &none);    /* a core would hold other people's mail */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	if (!c->drop)
		return 0;
	if (setgroups(1, &c->gid) < 0 || setresgid(c->gid, c->gid, c->gid) < 0 ||
	    setresuid(c->uid, c->uid, c->uid) < 0)
		return -errno;
	return setresuid(0, 0, 0) == 0 ? -EPERM : 0;
}

/*
 * No user is named, and the gateway may have been started as another one than us: what root made in its directories could not be written
 * to by it.
 */
static void owner_of(const struct site *s, struct confine *c)
{
	struct stat st;

	if (c->drop || geteuid() != 0 || lstat(s->state_dir, &st) < 0)
		return;
	if (st.st_uid == 0) {
		char part[1024];

		if (admin_path(s, "quarantine", part, sizeof(part)) < 0 || lstat(part, &st) < 0)
			return;
	}
	c->uid = st.st_uid;
	c->gid = st.st_gid;
	c->drop = st.st_uid != 0;
}

int admin_open(const char *path, struct site **out, struct buf *errors)
{
	struct confine of[ROLE_COUNT], confine = { 0 };
	struct site *s;
	int rc;

	log_open("gatepost", LOG_LEVEL_WARNING);
	umask(077);
	who_find();
	s = site_load_command(path, errors, NULL);
	if (!s)
		return -EINVAL;
	rc = confine_site(s, of, errors, NULL);
	if (rc == 0) {
		confine = of[ROLE_STATE];
		owner_of(s, &confine);
	}
	if (rc == 0 && (rc = become(&confine)) < 0)
		buf_addf(errors, "user %s: root cannot be given up: %s\n", s->user ? s->user : "", strerror(-rc));
	if (rc < 0) {
		site_free(s);
		return rc;
	}
	*out = s;
	return 0;
}

const char *admin_who(void)
{
	if (!*who)
		who_find();
	return who;
}

int admin_path(const struct site *s, const char *name, char *out, size_t size)
{
	int n = snprintf(out, size, "%s/%s", s->state_dir, name);

	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}
