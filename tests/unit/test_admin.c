/* What a command begins with: the configuration without what is not for it, and the user of the stores. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command/admin.h"
#include "policy/conf.h"

static char dir[64];

static void put(const char *name, const char *text, mode_t mode)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static int make(void **unused)
{
	strcpy(dir, "/tmp/gatepost-admin-XXXXXX");
	return mkdtemp(dir) && chmod(dir, 0755) == 0 ? 0 : -1;
}

static int tear(void **unused)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static const char plain[] = "hostname = \"gate.example\"\ndomains = { \"example.com\" }\n"
			    "backend main { address = \"127.0.0.1:25\" }\n";

/* In a process of its own: root is given up for good. */
static int in_child(int (*run)(void))
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(run());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int open_conf(struct site **s, struct buf *errors)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/gatepost.conf", dir);
	return admin_open(path, s, errors);
}

static int becomes_nobody(void)
{
	struct buf errors = BUF_INIT(4096);
	struct passwd *nobody = getpwnam("nobody");
	struct site *s = NULL;
	gid_t groups[8];

	setenv("SUDO_USER", "ann", 1);
	if (open_conf(&s, &errors) != 0)
		return 1;
	if (getuid() != nobody->pw_uid || geteuid() != nobody->pw_uid || getegid() != nobody->pw_gid)
		return 2;
	if (getgroups(8, groups) != 1 || groups[0] != nobody->pw_gid)
		return 3;
	if (setuid(0) == 0 || strcmp(admin_who(), "ann") != 0)
		return 4;
	site_free(s);
	buf_release(&errors);
	return 0;
}

static void test_user(void **unused)
{
	char text[400];

	if (geteuid() != 0)
		skip();
	snprintf(text, sizeof(text), "user = \"nobody\"\n%s", plain);
	put("gatepost.conf", text, 0644);
	assert_int_equal(in_child(becomes_nobody), 0);
}

/* As the user of the stores, who cannot read what the parent reads as root. */
static int as_nobody(void)
{
	struct buf errors = BUF_INIT(4096);
	struct passwd *nobody = getpwnam("nobody");
	struct site *s = NULL;
	int rc;

	if (setgid(nobody->pw_gid) < 0 || setuid(nobody->pw_uid) < 0)
		return 1;
	setenv("SUDO_USER", "ann", 1);
	rc = open_conf(&s, &errors);
	if (rc < 0) {
		fprintf(stderr, "%s", buf_str(&errors));
		return 2;
	}
	rc = strcmp(admin_who(), "ann") == 0 ? 3 : 0;   /* it has not come from sudo */
	site_free(s);
	buf_release(&errors);
	return rc;
}

static void test_unreadable(void **unused)
{
	char text[400];

	if (geteuid() != 0)
		skip();
	snprintf(text, sizeof(text), "%stls { certificate = \"cert.pem\" key = \"key.pem\" }\n", plain);
	put("gatepost.conf", text, 0644);
	put("cert.pem", "no certificate", 0644);
	put("key.pem", "a secret", 0600);
	assert_int_equal(in_child(as_nobody), 0);
}

static int ordinary(void)
{
	struct buf errors = BUF_INIT(4096);
	struct site *s = NULL;
	char path[64], small[8];
	int rc = open_conf(&s, &errors);

	if (rc < 0)
		return rc == -EINVAL && errors.len ? 10 : 11;
	if (s->policy)                          /* though there is one, with a mistake */
		return 1;
	if (admin_path(s, "quarantine", path, sizeof(path)) != 0 || strcmp(path, "/var/lib/gatepost/quarantine") != 0)
		return 2;
	if (admin_path(s, "quarantine", small, sizeof(small)) != -ENAMETOOLONG)
		return 3;
	if (!*admin_who())
		return 4;
	site_free(s);
	buf_release(&errors);
	return 0;
}

static void test_conf(void **unused)
{
	put("gatepost.conf", plain, 0644);
	put("policy.conf", "this is no rule\n", 0644);
	assert_int_equal(in_child(ordinary), 0);
	put("gatepost.conf", "nonsense", 0644);
	assert_int_equal(in_child(ordinary), 10);
	put("gatepost.conf", "user = \"nobody-of-this-name\"\n", 0644);
	assert_int_equal(in_child(ordinary), 10);
}

static int odd_name(void)
{
	struct buf errors = BUF_INIT(4096);
	struct site *s = NULL;

	setenv("SUDO_USER", "a\nb \"\x1b[1m", 1);
	if (open_conf(&s, &errors) != 0)
		return 1;
	site_free(s);
	buf_release(&errors);
	return strcmp(admin_who(), "a?b???[1m") == 0 ? 0 : 2;
}

static void test_who(void **unused)
{
	if (geteuid() != 0)
		skip();
	put("gatepost.conf", plain, 0644);
	assert_int_equal(in_child(odd_name), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_user, make, tear),
		cmocka_unit_test_setup_teardown(test_unreadable, make, tear),
		cmocka_unit_test_setup_teardown(test_conf, make, tear),
		cmocka_unit_test_setup_teardown(test_who, make, tear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
