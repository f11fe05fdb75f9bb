/*
 * gatepost upgrade: the running gateway goes on as the program that lies where its own was
 *
 * The configuration is read here first; then the parent gets its SIGUSR2, and what becomes of it is waited for: its status tells.
 * --trial is what the parent runs of the new program before it gives itself up (process/parent_upgrade.c): it reads the configuration and
 * what would be handed over, and says in one line which versions it speaks.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/version.h"
#include "command/command.h"
#include "filters/filter.h"
#include "policy/conf.h"
#include "policy/regdomain.h"
#include "process/confine.h"
#include "process/control.h"
#include "process/handover.h"

enum { WAIT_MS = 150 * 1000, ASK_MS = 100 };

static const char usage[] = "usage: gatepost upgrade [-c FILE]\n"
			    "\n"
			    "The running gateway goes on as the program that is installed now, with the same sockets and the same process id. That one is tried\n"
			    "first; if it cannot take over, nothing changes and the exit status is 1. Sessions that are open end in the program they began in.\n";

/* --- the trial --- */

/* What would be handed over, if there is anything. 0, or -errno with a sentence in err. */
static int handed_over(struct buf *err)
{
	AUTO(buf) struct buf text = BUF_INIT(HANDOVER_TEXT_MAX);
	const char *number = getenv(HANDOVER_ENV);
	int fd = number ? atoi(number) : -1;
	AUTO(handover) struct handover h;
	struct stat st;

	h = (struct handover){ .pid = 0 };
	if (!number)
		return 0;
	if (fstat(fd, &st) < 0 || st.st_size > HANDOVER_TEXT_MAX || buf_reserve(&text, (size_t)st.st_size) < 0 ||
	    pread(fd, text.data, (size_t)st.st_size, 0) != st.st_size) {
		buf_adds(err, "what is handed over cannot be read");
		return -EBADMSG;
	}
	return handover_read(text.data, (size_t)st.st_size, &h, err);
}

static int trial(const char *path)
{
	AUTO(buf) struct buf err = BUF_INIT(64 * 1024);
	struct confine confine[ROLE_COUNT];
	struct site *s;
	int rc;

	(void)regdomain_init(NULL);
	s = command_site(path);
	rc = s ? confine_site(s, confine, &err, NULL) : -EINVAL;
	if (rc == 0)
		rc = filters_setup(s, &err);
	if (rc == 0)
		rc = handed_over(&err);
	if (err.len)
		fprintf(stderr, "%s\n", buf_str(&err));
	site_free(s);
	regdomain_release();
	if (rc < 0)
		return 1;
	printf("gatepost-upgrade handover=%d channel=%d version=%s\n", HANDOVER_VERSION, (int)channel_version(), version_text());
	return fflush(stdout) == 0 ? 0 : 1;
}

/* --- the command --- */

struct standing {
	int64_t upgraded_ms, refused;
	char version[64];
};

/* While keepers follow one another nobody answers for a moment: err is then for who gives up. */
static int state_ask(const char *control, struct standing *out, struct buf *err)
{
	json_t *request = json_pack("{s:s}", "cmd", "status"), *answer = NULL;
	const char *version;
	int rc = control_ask(control, request, &answer, err);

	json_decref(request);
	if (rc < 0)
		return rc;
	if (!json_is_true(json_object_get(answer, "ok"))) {
		buf_addf(err, "control socket %s: it does not tell how it is", control);
		rc = -EAGAIN;
	}
	version = json_string_value(json_object_get(answer, "version"));
	out->upgraded_ms = json_integer_value(json_object_get(answer, "upgraded_ms"));
	out->refused = json_integer_value(json_object_get(answer, "upgrades_refused"));
	snprintf(out->version, sizeof(out->version), "%s", version ? version : "?");
	json_decref(answer);
	return rc;
}

/* 1: it is done; 0: not yet; -ECANCELED: refused. */
static int changed(const struct standing *before, const struct standing *now)
{
	if (now->upgraded_ms != before->upgraded_ms)
		return 1;
	return now->refused > before->refused ? -ECANCELED : 0;
}

static int await(const char *control, const struct standing *before, struct standing *now)
{
	int64_t until_ms = clock_ms() + WAIT_MS;
	int rc = 0;

	while (rc == 0 && clock_ms() < until_ms) {
		AUTO(buf) struct buf err = BUF_INIT(2000);

		(void)poll(NULL, 0, ASK_MS);
		if (state_ask(control, now, &err) == 0)
			rc = changed(before, now);
	}
	return rc;
}

static int upgrade(const struct site *s)
{
	AUTO(buf) struct buf err = BUF_INIT(2000);
	struct standing before, now;
	pid_t pid;
	int rc;

	if (!s->control_path) {
		fprintf(stderr, "gatepost upgrade: there is no control socket; send SIGUSR2 to the parent\n");
		return 1;
	}
	rc = control_owner(s->control_path, &pid, &err);
	if (rc == 0)
		rc = state_ask(s->control_path, &before, &err);
	if (rc < 0) {
		fprintf(stderr, "gatepost upgrade: %s\n", buf_str(&err));
		return 1;
	}
	if (kill(pid, SIGUSR2) < 0) {
		fprintf(stderr, "gatepost upgrade: process %d: %s\n", (int)pid, strerror(errno));
		return 1;
	}
	rc = await(s->control_path, &before, &now);
	if (rc == 1)
		printf("gatepost %s goes on as %s, process %d\n", before.version, now.version, (int)pid);
	else
		fprintf(stderr, "gatepost upgrade: %s\n", rc < 0 ? "refused, gatepost goes on as it was: its log says why" : "no answer in time: its log says why");
	return rc == 1 ? 0 : 1;
}

int cmd_upgrade(int argc, char **argv)
{
	bool tried = argc > 1 && strcmp(argv[1], "--trial") == 0;
	const char *path;
	struct site *s;
	int status, at;

	if (tried) {                    /* not an option for people */
		argv[1] = argv[0];
		argc--;
		argv++;
	}
	at = command_options(argc, argv, usage, &path, &status);
	if (at < 0)
		return status;
	if (at < argc) {
		fprintf(stderr, "gatepost upgrade: %s was not expected\n%s", argv[at], usage);
		return 1;
	}
	if (tried)
		return trial(path);
	(void)regdomain_init(NULL);
	s = command_site(path);
	if (!s)
		return 1;
	status = upgrade(s);
	site_free(s);
	regdomain_release();
	return status;
}
