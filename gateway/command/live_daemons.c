/* live_daemons - what stands beside us: scanners and other filters, and the directories that know the recipients */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/stream.h"
#include "base/tls.h"
#include "command/live.h"
#include "daemon/daemon_connect.h"
#include "directory/directory_line.h"
#include "policy/conf.h"

enum { OLD_DAYS = 4, WORDS_MAX = 300, PASSWORD_MAX = 512 };

/* --- daemons --- */

/* "ClamAV 1.4.3/27650/Thu May 29 08:35:00 2025": the program, the number and the date of the signatures (clamd(8), VERSION). */
static void look_at_version(struct live_part *p, const char *at, const char *words)
{
	const char *number = strchr(words, '/'), *date = number ? strchr(number + 1, '/') : NULL;
	struct tm tm = { 0 };
	int64_t days;

	if (!date || !strptime(date + 1, "%a %b %d %H:%M:%S %Y", &tm)) {
		live_say(p, LIVE_WARN, "%s: %s: its signatures bear no date: does freshclam run?", at, words);
		return;
	}
	tm.tm_isdst = -1;
	days = (clock_wall_s() - (int64_t)mktime(&tm)) / 86400;
	live_say(p, days >= OLD_DAYS ? LIVE_WARN : LIVE_OK, "%s: %s: its signatures are %lld days old%s", at, words, (long long)days,
		 days >= OLD_DAYS ? ": does freshclam run?" : "");
}

/* One question, up to a NUL or the end of the line. 0 or -errno. may wait */
static int ask(struct stream *s, const void *question, size_t len, char *words)
{
	const char *p;
	size_t n = 0;
	int rc = stream_write(s, question, len);

	while (rc == 0 && n + 1 < WORDS_MAX) {
		size_t got;

		rc = stream_peek(s, LIVE_STEP_MS, &p, &got);
		for (size_t i = 0; rc == 0 && i < got && n + 1 < WORDS_MAX; i++) {
			if (p[i] == '\0' || p[i] == '\n' || p[i] == '\r') {
				words[n] = '\0';
				return 0;
			}
			words[n++] = p[i];
		}
		if (rc == 0)
			stream_eat(s, got);
	}
	words[n] = '\0';
	return rc;
}

/* What each kind of daemon is asked, and how its answer begins; NULL: nothing is known of it. */
struct asking {
	const char *question;
	size_t len;
	const char *answer, *behind;            /* its beginning; what else is in that line */
};

static const struct asking *asking_of(const struct site *s, const struct daemon_conf *d)
{
	static const char version[] = "zVERSION", ping[] = "GET /ping HTTP/1.0\r\n\r\n", spamc[] = "PING SPAMC/1.5\r\n\r\n";
	static const struct asking clamd = { version, sizeof(version), "ClamAV ", "" }, rspamd = { ping, sizeof(ping) - 1, "HTTP/1.", " 200" },
				   spamd = { spamc, sizeof(spamc) - 1, "SPAMD/", "PONG" };

	return d == &s->clamd.daemon ? &clamd : d == &s->rspamd.daemon ? &rspamd : d == &s->spamd.daemon ? &spamd : NULL;
}

static void look_at_address(struct live_part *p, const struct daemon_conf *d, const struct daemon_address *a)
{
	const struct asking *q = asking_of(p->live->site, d);
	AUTO(stream) struct stream *s = NULL;
	char why[DAEMON_WHY_MAX], words[WORDS_MAX];
	int rc;

	if (daemon_connect(a, p->live->dns, NULL, LIVE_STEP_MS, &s, why) < 0) {
		live_say(p, LIVE_FAIL, "%s: %s%s", a->text, why, d->away == DAEMON_AWAY_DEFER ? ": mail that needs it is deferred" : "");
		return;
	}
	if (!q) {
		live_say(p, LIVE_OK, "%s takes connections", a->text);
		return;
	}
	rc = ask(s, q->question, q->len, words);
	if (rc < 0)
		live_say(p, LIVE_FAIL, "%s: it takes connections and does not answer: %s", a->text, strerror(-rc));
	else if (strncmp(words, q->answer, strlen(q->answer)) != 0 || !strstr(words, q->behind))
		live_say(p, LIVE_FAIL, "%s: it answers what no %s says: %s", a->text, d->name, words);
	else if (d == &p->live->site->clamd.daemon)
		look_at_version(p, a->text, words);
	else
		live_say(p, LIVE_OK, "%s answers: %s", a->text, words);
}

void live_daemon(struct live_part *p)
{
	const struct daemon_conf *d = p->arg;

	for (size_t i = 0; i < d->address_count && !task_cancelled(); i++)
		look_at_address(p, d, &d->address[i]);
}

/* --- directories --- */

/* The first line, all of it: without a password a bind means something else (RFC 4513 5.1.2). NULL: not for this user, or there is none. */
static char *password_read(const struct directory_conf *c, bool *readable)
{
	char *text = calloc(1, PASSWORD_MAX + 2);
	int fd = open(c->password_path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	ssize_t n = fd < 0 || !text ? -1 : read(fd, text, PASSWORD_MAX + 1);
	size_t len = text && n > 0 ? strcspn(text, "\r\n") : 0;

	*readable = n >= 0;
	if (fd >= 0)
		close(fd);
	if (text && len > 0 && len <= PASSWORD_MAX) {
		explicit_bzero(text + len, PASSWORD_MAX + 2 - len);
		return text;
	}
	if (text)
		explicit_bzero(text, PASSWORD_MAX + 2);
	free(text);
	return NULL;
}

static int count_entry(void *arg, const char *dn)
{
	++*(int *)arg;
	return 0;
}

static int no_values(void *arg, const char *attribute, struct berval *const *values)
{
	return 0;
}

static void look_at_server(struct live_part *p, const struct directory_conf *c, const struct directory_server *s, struct ssl_ctx_st *ctx, const char *password)
{
	char *const none[] = { "1.1", NULL };           /* no attributes: RFC 4511 section 4.5.1.8 */
	AUTO(directory_line) struct directory_line *l = NULL;
	int64_t until = clock_ms() + LIVE_STEP_MS;
	int entries = 0;
	const struct directory_visit visit = { .entry = count_entry, .values = no_values, .arg = &entries };
	char why[DIRECTORY_WHY_MAX] = "";

	if (directory_line_open(c, s, p->live->dns, ctx, password, until, &l, why) < 0)
		live_say(p, LIVE_FAIL, "%s:%d: %s", s->host, s->port, why);
	else if (directory_line_search(l, c->base, true, "(objectClass=*)", none, 0, LIVE_STEP_MS, until, &visit, why) < 0 || entries == 0)
		live_say(p, LIVE_FAIL, "%s:%d: it lets us in, and does not show us %s%s%s", s->host, s->port, c->base, *why ? ": " : "", why);
	else
		live_say(p, LIVE_OK, "%s:%d answers, lets us in, and shows us %s", s->host, s->port, c->base);
}

void live_directory(struct live_part *p)
{
	const struct directory_conf *c = p->arg;
	AUTO(buf) struct buf err = BUF_INIT(1024);
	const struct rlimit no_core = { 0, 0 };
	bool readable = false;
	char *password;
	struct ssl_ctx_st *ctx = NULL;

	(void)setrlimit(RLIMIT_CORE, &no_core);
	password = c->password_path ? password_read(c, &readable) : NULL;
	if (c->password_path && !password)
		live_say(p, readable ? LIVE_FAIL : LIVE_WARN, readable ? "%s: its first line is no password, expected 1 to 512 octets" :
			 "%s cannot be read by this user: start as root", c->password_path);
	else if (directory_library_init() < 0 || tls_client_ctx(true, c->tls_ca_pem, &ctx, &err) < 0)
		live_say(p, LIVE_FAIL, "TLS: %s", buf_str(&err));
	for (size_t i = 0; ctx && i < c->server_count && !task_cancelled(); i++)
		look_at_server(p, c, &c->server[i], ctx, password);
	if (password)
		explicit_bzero(password, strlen(password));
	free(password);
	tls_ctx_free(ctx);
}
