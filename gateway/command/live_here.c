/* live_here - this machine: the gateway that runs or could, its disk, its clock, what it shows, and what it remembers with */
#include <errno.h>
#include <jansson.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>

#include "command/live.h"
#include "command/state_reach.h"
#include "policy/conf.h"
#include "policy/state.h"
#include "process/control.h"
#include "process/listen.h"

enum { FULL_PERCENT = 3, NEARLY_PERCENT = 10, ROOM_MB = 200 };

static void look_at_gateway(struct live_part *p)
{
	AUTO(buf) struct buf err = BUF_INIT(2000);
	json_t *request = json_pack("{s:s}", "cmd", "status"), *answer = NULL, *one;
	int rc = control_ask(p->live->site->control_path, request, &answer, &err);
	size_t i;

	json_decref(request);
	if (rc < 0 || !json_is_true(json_object_get(answer, "ok"))) {
		live_say(p, rc == -ENOENT || rc == -ECONNREFUSED ? LIVE_OK : LIVE_WARN, rc == -ENOENT || rc == -ECONNREFUSED ? "no gateway runs with this configuration" :
			 "the gateway does not say how it is: %s", buf_str(&err));
		json_decref(answer);
		return;
	}
	p->live->running = true;
	live_say(p, LIVE_OK, "the gateway runs, version %s, since %lld s", json_string_value(json_object_get(answer, "version")),
		 (long long)json_integer_value(json_object_get(answer, "up_s")));
	json_array_foreach(json_object_get(answer, "tls_failed"), i, one) {
		live_say(p, LIVE_WARN, "TLS with backend %s fails: %lld sessions were in clear text since", json_string_value(json_object_get(one, "backend")),
			 (long long)json_integer_value(json_object_get(one, "sessions")));
	}
	json_array_foreach(json_object_get(answer, "directories"), i, one) {
		live_say(p, json_integer_value(json_object_get(one, "addresses")) > 0 ? LIVE_OK : LIVE_FAIL, "it knows %lld addresses of directory %s",
			 (long long)json_integer_value(json_object_get(one, "addresses")), json_string_value(json_object_get(one, "name")));
	}
	json_decref(answer);
}

static void look_at_ports(struct live_part *p)
{
	AUTO(buf) struct buf err = BUF_INIT(64 * 1024);
	const struct site *s = p->live->site;
	struct listen_set set = { 0 };

	if (p->live->running) {
		live_say(p, LIVE_OK, "its listeners have their ports (%zu)", s->listener_count);
	} else if (listen_open(s->path, s->listener, s->listener_count, NULL, &set, &err) < 0) {
		live_say(p, LIVE_FAIL, "%.*s", (int)strcspn(buf_str(&err), "\n"), buf_str(&err));
	} else {
		live_say(p, LIVE_OK, "the listeners' ports are free (%zu)", s->listener_count);
		listen_close(&set);
	}
}

static void look_at_disk(struct live_part *p)
{
	const char *dir = p->live->site->state_dir;
	unsigned long long free_mb, percent;
	struct statvfs v;

	if (statvfs(dir, &v) < 0) {
		live_say(p, errno == ENOENT && !p->live->running ? LIVE_OK : LIVE_FAIL, "state_dir %s: %s", dir,
			 errno == ENOENT ? "is not there yet, and will be made" : strerror(errno));
		return;
	}
	free_mb = (unsigned long long)v.f_bavail * v.f_frsize >> 20;
	percent = v.f_blocks ? (unsigned long long)v.f_bavail * 100 / v.f_blocks : 100;
	live_say(p, percent < FULL_PERCENT && free_mb < ROOM_MB * 50 ? LIVE_FAIL : percent < NEARLY_PERCENT || free_mb < ROOM_MB ? LIVE_WARN : LIVE_OK,
		 "state_dir %s has %llu MB free (%llu %%)", dir, free_mb, percent);
	if (v.f_files && (unsigned long long)v.f_favail * 100 / v.f_files < FULL_PERCENT)
		live_say(p, LIVE_WARN, "state_dir %s has hardly any inodes left", dir);
}

static void look_at_clock(struct live_part *p)
{
	struct timex t = { 0 };

	if (adjtimex(&t) >= 0 && !(t.status & STA_UNSYNC))
		live_say(p, LIVE_OK, "the clock is kept in time");
	else
		live_say(p, LIVE_WARN, "nobody keeps the clock in time: signatures, certificates and greylisting go by it; run chrony or systemd-timesyncd");
}

static void look_at_users(struct live_part *p)
{
	const struct site *s = p->live->site;
	const char *const users[] = { s->user, s->keeper_user, s->key_user, s->directory_user };

	for (size_t i = 0; i < sizeof(users) / sizeof(*users); i++)
		if (users[i] && !getpwnam(users[i]))
			live_say(p, LIVE_FAIL, "there is no user %s", users[i]);
	if (s->user && getpwnam(s->user))
		live_say(p, LIVE_OK, "the user %s exists", s->user);
}

static void look_at_certificates(struct live_part *p)
{
	const struct site *s = p->live->site;

	if (s->tls_offer && s->tls_cert_pem)
		live_certificate_pem(p, s->tls_cert_pem, "our certificate", s->hostname);
	else if (s->tls_offer)
		live_say(p, LIVE_OK, "our certificate is self-signed (section tls names none): good enough for mail from other servers, not for mail programs");
	for (size_t i = 0; i < s->sni_count; i++)
		if (s->sni[i].cert_pem) {
			char whose[300];

			snprintf(whose, sizeof(whose), "the certificate of sni %s", s->sni[i].name);
			live_certificate_pem(p, s->sni[i].cert_pem, whose, s->sni[i].name[0] == '*' ? NULL : s->sni[i].name);
		}
}

/* A question that changes nothing. */
static int use_state(struct state *state, void *arg)
{
	struct state_op op = { .verb = STATE_GET };

	state_key(&op, "seen", "gatepost check --live", NULL);
	return state_run(state, &op, 1);
}

static void look_at_state(struct live_part *p)
{
	AUTO(buf) struct buf why = BUF_INIT(2000);
	bool redis = p->live->site->redis.address.family;

	if (!redis && !p->live->running)
		return;                 /* it is nobody's, and need not be opened */
	if (state_reach(p->live->site, use_state, NULL, &why) < 0)
		live_say(p, LIVE_FAIL, "the state store does not answer: %s", buf_str(&why));
	else
		live_say(p, LIVE_OK, "the state store answers%s", redis ? " (Redis)" : "");
}

void live_here(struct live_part *p)
{
	look_at_gateway(p);
	look_at_ports(p);
	look_at_users(p);
	look_at_disk(p);
	look_at_clock(p);
	look_at_certificates(p);
	look_at_state(p);
}
