#include "process/control.h"

#include <errno.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/health.h"
#include "base/json_whole.h"
#include "base/version.h"
#include "process/shared.h"

struct control_client {
	struct control *control;
	int fd;
	struct event *event;
	struct buf line;
};

struct control {
	struct event_base *base;
	struct event *accept;
	struct shared *shared;
	const struct control_command *table;
	void *arg;
	struct control_client client[CONTROL_CLIENTS_MAX];
};

static void client_close(struct control_client *c)
{
	if (c->fd < 0)
		return;
	if (c->event)
		event_free(c->event);
	close(c->fd);
	c->fd = -1;
	c->event = NULL;
	buf_release(&c->line);
}

static void load_describe(const struct load_shared *l, json_t *answer)
{
	json_object_set_new(answer, "load", json_pack("{s:i,s:I,s:I,s:I,s:I,s:I}", "percent", load_shared_percent(l), "memory",
						      (json_int_t)load_shared_memory(l), "memory_total", (json_int_t)atomic_load(&l->memory_max),
						      "turned_away", (json_int_t)atomic_load(&l->turned_away[LOAD_STRANGER]), "turned_away_wanted",
						      (json_int_t)atomic_load(&l->turned_away[LOAD_WANTED]), "messages_deferred",
						      (json_int_t)atomic_load(&l->deferred)));
}

/* How many steps were slowed down and refused for each limit, and how many connections there was no place to count. */
static void limits_describe(const struct shared *s, json_t *answer)
{
	json_t *slowed = json_object(), *refused = json_object();

	for (int k = 0; k < USE_TOLD; k++) {
		if (k < USE_KINDS)
			json_object_set_new(slowed, use_kind_name(k), json_integer((json_int_t)atomic_load(&s->use.slowed[k])));
		json_object_set_new(refused, use_kind_name(k), json_integer((json_int_t)atomic_load(&s->use.refused[k])));
	}
	json_object_set_new(answer, "limits", json_pack("{s:o,s:o,s:i,s:I}", "slowed", slowed, "refused", refused, "smtp_sessions",
							places_held(&s->smtp_sessions), "unplaced", (json_int_t)atomic_load(&s->presence.unplaced)));
}

/* How many workers have found each server up, and how many away; those of no use to a worker, or not asked yet, it has no word of. */
static void backends_describe(const struct shared *s, json_t *answer)
{
	json_t *list = json_array();

	for (int i = 0; i < SHARED_PLACES; i++) {
		int up = 0, away = 0;

		if (!s->backend_names.name[i][0])
			continue;
		for (int k = 0; k < SHARED_SLOTS; k++) {
			int health = atomic_load(&s->backend[i].health[k]);

			up += health == HEALTH_UP;
			away += health == HEALTH_AWAY;
		}
		json_array_append_new(list, json_pack("{s:s,s:s,s:i,s:i}", "backend", s->backend_names.name[i], "state",
						      away ? "away" : up ? "up" : "unknown", "up", up, "away", away));
	}
	json_object_set_new(answer, "backends", list);
}

/* Scanners and milters: away are those none of whose addresses has answered a worker when it asked last. Nobody asks those that no rule needs. */
static void daemons_describe(const struct shared *s, json_t *answer)
{
	json_t *list = json_array();

	for (int i = 0; i < SHARED_PLACES; i++) {
		const struct daemon_shared *d = &s->daemon[i];
		int up = 0, away = 0, lines = 0, addresses = 0;
		unsigned bits = 0;

		if (!s->daemon_names.name[i][0])
			continue;
		for (int k = 0; k < SHARED_SLOTS; k++) {
			unsigned well = atomic_load(&d->up[k]), gone = atomic_load(&d->away[k]);

			up += well != 0;
			away += gone && !well;
			bits |= gone;
			lines += atomic_load(&d->lines[k]);
		}
		for (; bits; bits &= bits - 1)
			addresses++;
		json_array_append_new(list, json_pack("{s:s,s:s,s:i,s:i,s:i,s:i}", "daemon", s->daemon_names.name[i], "state", away ? "away" : up ? "up" : "unknown",
						      "up", up, "away", away, "addresses_away", addresses, "sessions", lines));
	}
	json_object_set_new(answer, "daemons", list);
}

/* Servers that are spoken to in clear text since TLS with them fails. */
static void tls_failed_describe(const struct shared *s, json_t *answer)
{
	json_t *list = json_array();

	for (int i = 0; i < SHARED_PLACES; i++) {
		const struct tls_weak *w = &s->backend[i].tls_weak;

		if (s->backend_names.name[i][0] && tls_weak_is(w))
			json_array_append_new(list, json_pack("{s:s,s:I,s:I}", "backend", s->backend_names.name[i], "since_s",
							      (json_int_t)atomic_load(&w->since_s), "sessions", (json_int_t)atomic_load(&w->sessions)));
	}
	json_object_set_new(answer, "tls_failed", list);
}

static void workers_describe(const struct shared *s, json_t *answer)
{
	json_t *workers = json_array();

	for (int i = 0; i < SHARED_SLOTS; i++) {
		const struct shared_slot *l = &s->slot[i];

		if (atomic_load(&l->pid) <= 0)
			continue;
		json_array_append_new(
			workers, json_pack("{s:i,s:i,s:i,s:i,s:i,s:I,s:I,s:I}", "pid", atomic_load(&l->pid),
					   "generation", (int)atomic_load(&l->generation),
					   "sessions", atomic_load(&l->sessions),
					   "tasks", atomic_load(&s->load.tasks[i]), "load_percent", atomic_load(&s->load.percent[i]),
					   "memory", (json_int_t)atomic_load(&s->load.memory[i]), "accepted",
					   (json_int_t)atomic_load(&l->accepted), "log_dropped",
					   (json_int_t)atomic_load(&l->log_dropped)));
	}
	json_object_set_new(answer, "workers", workers);
	limits_describe(s, answer);
	json_object_set_new(answer, "version", json_string(version_text()));
	json_object_set_new(answer, "upgraded_ms", json_integer((json_int_t)atomic_load(&s->upgraded_ms)));
	json_object_set_new(answer, "upgrades_refused", json_integer(atomic_load(&s->upgrades_refused)));
	json_object_set_new(answer, "generation", json_integer(atomic_load(&s->generation)));
	json_object_set_new(answer, "accepted",
			    json_integer((json_int_t)atomic_load(&s->accepted)));
	json_object_set_new(answer, "restarts", json_integer(atomic_load(&s->restarts)));
	json_object_set_new(answer, "unreturned", json_integer((json_int_t)atomic_load(&s->destinations.unreturned)));
	json_object_set_new(answer, "history_records", json_integer(atomic_load(&s->history_records)));
	json_object_set_new(answer, "history_dropped", json_integer((json_int_t)atomic_load(&s->history_dropped)));
	json_object_set_new(answer, "spool", json_pack("{s:I,s:I,s:I,s:I,s:I}", "messages", (json_int_t)atomic_load(&s->spool_messages), "bytes",
						       (json_int_t)atomic_load(&s->spool_bytes), "leased", (json_int_t)atomic_load(&s->spool_leased),
						       "routes", (json_int_t)atomic_load(&s->spool_routes), "routes_down",
						       (json_int_t)atomic_load(&s->spool_routes_down)));
	json_object_set_new(answer, "reports", json_pack("{s:I,s:I}", "sent", (json_int_t)atomic_load(&s->rua.sent), "given_up",
							 (json_int_t)atomic_load(&s->rua.given_up)));
	load_describe(&s->load, answer);
	backends_describe(s, answer);
	daemons_describe(s, answer);
	tls_failed_describe(s, answer);
	directory_describe(&s->directory, answer);
	json_object_set_new(answer, "up_s", json_integer(clock_wall_s() - s->started_s));
}

static int command_run(struct control *c, json_t *request, json_t *answer)
{
	const char *name = json_string_value(json_object_get(request, "cmd"));

	if (!name)
		return -EBADMSG;
	for (const struct control_command *t = c->table; t->name; t++)
		if (strcmp(t->name, name) == 0) {
			int rc = t->run(c->arg, request, answer);

			if (rc == 0 && strcmp(name, "status") == 0)
				workers_describe(c->shared, answer);
			return rc;
		}
	return -ENOSYS;
}

static const char *error_words(int rc)
{
	if (rc == -EBADMSG)
		return "not a command: one JSON object with \"cmd\", on one line, was expected";
	if (rc == -ENOSYS)
		return "unknown command";
	return strerror(-rc);
}

/* One answer, and the connection is over. It fits the socket's buffer: nobody is waited for. */
static void client_answer(struct control_client *c)
{
	json_t *request = json_whole_load(c->line.data, c->line.len, JSON_REJECT_DUPLICATES),
	       *answer = json_object();
	int rc = json_is_object(request) ? command_run(c->control, request, answer) : -EBADMSG;
	char *text;

	json_object_set_new(answer, "ok", json_boolean(rc == 0));
	if (rc < 0)
		json_object_set_new(answer, "error", json_string(error_words(rc)));
	text = json_whole(answer, JSON_COMPACT);
	if (text) {
		size_t len = strlen(text);

		text[len] = '\n';       /* over its NUL: sent by length */
		(void)!send(c->fd, text, len + 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	free(text);
	json_decref(answer);
	json_decref(request);
	client_close(c);
}

static void on_client(int fd, short what, void *arg)
{
	struct control_client *c = arg;
	char chunk[2048];
	ssize_t n;

	if (what & EV_TIMEOUT) {
		client_close(c);
		return;
	}
	n = recv(fd, chunk, sizeof(chunk), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || buf_add(&c->line, chunk, (size_t)n) < 0) {
		client_close(c);
		return;
	}
	if (memchr(chunk, '\n', (size_t)n))
		client_answer(c);
}

static void client_take(struct control *control, int fd)
{
	struct timeval timeout = { CONTROL_TIMEOUT_MS / 1000, 0 };

	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		struct control_client *c = &control->client[i];

		if (c->fd >= 0)
			continue;
		c->event = event_new(control->base, fd, EV_READ | EV_PERSIST, on_client, c);
		if (!c->event || event_add(c->event, &timeout) < 0)
			break;
		c->fd = fd;
		return;
	}
	close(fd);
}

static void on_accept(int fd, short what, void *arg)
{
	int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (client >= 0)
		client_take(arg, client);
}

struct control *control_new(struct event_base *base, int fd, struct shared *shared,
			    const struct control_command *table, void *arg)
{
	struct control *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	*c = (struct control){ .base = base, .shared = shared, .table = table, .arg = arg };
	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		c->client[i] = (struct control_client){ .control = c, .fd = -1 };
		buf_init(&c->client[i].line, CONTROL_LINE_MAX);
	}
	c->accept = event_new(base, fd, EV_READ | EV_PERSIST, on_accept, c);
	if (!c->accept || event_add(c->accept, NULL) < 0) {
		control_free(c);
		return NULL;
	}
	return c;
}

void control_free(struct control *c)
{
	if (!c)
		return;
	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
		client_close(&c->client[i]);
	if (c->accept)
		event_free(c->accept);
	free(c);
}

static int dial(const char *path, struct buf *err)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct timeval timeout = { 2 * CONTROL_TIMEOUT_MS / 1000, 0 };
	int fd, rc;

	if (strlen(path) >= sizeof(sa.sun_path)) {
		buf_addf(err, "control socket %s: the name is too long", path);
		return -ENAMETOOLONG;
	}
	memcpy(sa.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0) {
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
		return fd;
	}
	rc = -errno;
	buf_addf(err, "control socket %s: %s%s", path, strerror(-rc),
		 rc == -ENOENT || rc == -ECONNREFUSED ? " (is gatepost running?)" : "");
	if (fd >= 0)
		close(fd);
	return rc;
}

int control_owner(const char *path, pid_t *pid, struct buf *err)
{
	struct ucred who;
	socklen_t len = sizeof(who);
	int fd = dial(path, err), rc = 0;

	if (fd < 0)
		return fd;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
		rc = -errno;
	close(fd);
	if (rc < 0)
		buf_addf(err, "control socket %s: %s", path, strerror(-rc));
	else
		*pid = who.pid;
	return rc;
}

static int exchange(int fd, const char *text, struct buf *answer)
{
	size_t len = strlen(text);
	char chunk[2048];

	while (len > 0) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n <= 0)
			return n < 0 ? -errno : -EPIPE;
		text += n;
		len -= (size_t)n;
	}
	if (send(fd, "\n", 1, MSG_NOSIGNAL) != 1)
		return -errno;
	for (;;) {
		ssize_t n = recv(fd, chunk, sizeof(chunk), 0);

		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		if (n == 0)
			return answer->len ? 0 : -EPIPE;
		if (buf_add(answer, chunk, (size_t)n) < 0)
			return -EMSGSIZE;
	}
}

int control_ask(const char *path, json_t *request, json_t **answer, struct buf *err)
{
	AUTO(buf) struct buf line = BUF_INIT(16 * CONTROL_LINE_MAX);
	char *text = json_whole(request, JSON_COMPACT);
	int fd, rc;

	if (!text)
		return -ENOMEM;
	fd = dial(path, err);
	rc = fd < 0 ? fd : exchange(fd, text, &line);
	free(text);
	if (fd < 0)
		return rc;
	close(fd);
	if (rc == 0) {
		*answer = json_whole_load(line.data, line.len, 0);
		rc = json_is_object(*answer) ? 0 : -EBADMSG;
	}
	if (rc < 0)
		buf_addf(err, "control socket %s: %s", path,
			 rc == -EBADMSG ? "the answer is no JSON object" : strerror(-rc));
	return rc;
}
