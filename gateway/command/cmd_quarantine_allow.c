/*
 * gatepost quarantine allow
 *
 * The list belongs to root, as the rest of the configuration does; messages are read as the user of the quarantine. So there are two
 * processes: a child that has given up root reads the message and says which entries it wants; we write them, and nothing else.
 * Where the list's directory is not root's, root has no business in it: then there is one process, the user's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json_whole.h"
#include "command/admin.h"
#include "command/command.h"
#include "command/quarantine.h"
#include "command/terminal.h"
#include "command/when.h"
#include "filters/fact.h"
#include "policy/allow_list.h"
#include "policy/conf.h"
#include "policy/store_events.h"
#include "policy/store_meta.h"

enum { PATH_BYTES = 2048, ENTRY_MAX = 400, ASK_MAX = 1024, ANSWER_MAX = 1024, ENTRIES_MAX = 200, ASKS_MAX = 100000 };

static const char usage[] =
	"usage: gatepost quarantine allow [-c FILE] [--domain] [--json] ID ...\n"
	"       gatepost quarantine allow [-c FILE] [--domain] [--json] FILTERS\n"
	"\n"
	"Adds the senders of these messages, of the envelope and of the From field, to the list `allowed`, which rules name. The messages stay where\n"
	"they are: see `release`.\n"
	"\n"
	"      --domain       all addresses at the domains of these senders\n"
	"      --json         each entry as an object on a line of its own\n"
	"  -c, --config FILE  configuration (" GATEPOST_CONFIG ")\n"
	"\n"
	"FILTERS mean all messages for which they hold:\n" QUARANTINE_FILTER_USAGE;

struct allow {
	const char *conf;
	bool domain, json;
	struct store_filter filter;
	int ask_fd;                     /* to the process that writes the list; -1: it is this one */
	struct quarantine q;
	const char *id;
	int status, entries;
	bool added;
};

/* ---- the writer ---- */

/* One entry; the answer is its status and, after a blank, what is wrong. */
static void list_write(const char *path, const char *entry, const char *comment, char answer[ANSWER_MAX])
{
	AUTO(buf) struct buf err = BUF_INIT(ANSWER_MAX - 40);
	int rc = allow_list_add(path, entry, comment, &err);

	snprintf(answer, ANSWER_MAX, "%d %s", rc, rc < 0 ? err.len ? buf_str(&err) : strerror(-rc) : "");
}

/* Asked by the child: entry, NUL, comment. Whatever it sends, all that can come of it is an entry of the list. */
static void writer_run(int fd, const char *path)
{
	char ask[ASK_MAX + 1], answer[ANSWER_MAX];

	for (int i = 0; i < ASKS_MAX; i++) {
		ssize_t n = recv(fd, ask, ASK_MAX, 0);
		const char *comment;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		ask[n] = '\0';
		comment = memchr(ask, '\0', (size_t)n);
		if (!comment)
			return;
		list_write(path, ask, comment + 1, answer);
		if (send(fd, answer, strlen(answer), MSG_NOSIGNAL) < 0)
			return;
	}
}

static int writer_ask(struct allow *a, const char *entry, const char *comment, char answer[ANSWER_MAX])
{
	char ask[ASK_MAX];
	size_t len = strlen(entry) + 1;
	ssize_t n;

	if (len + strlen(comment) > ASK_MAX)
		return -EMSGSIZE;
	if (a->ask_fd < 0) {
		list_write(a->q.site->allow_path, entry, comment, answer);
		return 0;
	}
	memcpy(ask, entry, len);
	memcpy(ask + len, comment, strlen(comment));
	if (send(a->ask_fd, ask, len + strlen(comment), MSG_NOSIGNAL) < 0)
		return -errno;
	n = recv(a->ask_fd, answer, ANSWER_MAX - 1, 0);
	if (n <= 0)
		return n < 0 ? -errno : -EPIPE;
	answer[n] = '\0';
	return 0;
}

/* ---- which entries ---- */

static void print_safe(const char *text)
{
	AUTO(buf) struct buf out = BUF_INIT(8 * ENTRY_MAX);

	(void)terminal_text(text, strlen(text), ENTRY_MAX, &out);
	fputs(buf_str(&out), stdout);
}

static void tell(struct allow *a, const char *entry, int rc, const char *what)
{
	if (rc < 0) {
		AUTO(buf) struct buf out = BUF_INIT(8 * ANSWER_MAX);

		(void)terminal_text(what, strlen(what), ANSWER_MAX, &out);
		a->status = quarantine_fail("allow", "%s", buf_str(&out));
		return;
	}
	if (a->json) {
		json_t *one = json_pack("{s:s, s:s, s:b}", "id", a->id, "entry", entry, "new", rc != 1);
		char *text = one ? json_whole(one, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;

		puts(text ? text : "null");
		free(text);
		json_decref(one);
		return;
	}
	print_safe(entry);
	puts(rc == 1 ? ": was allowed before" : ": allowed from now on");
	a->added = true;
}

static void note(struct allow *a, const char *entry)
{
	json_t *detail = json_pack("{s:s}", "entry", entry);
	int rc = store_event_append(store_view_dir(a->q.view), a->id, STORE_EVENT_ALLOWED, admin_who(), detail);

	json_decref(detail);
	if (rc < 0)
		a->status = quarantine_fail("allow", "%s: allowed, but not noted: %s", a->id, strerror(-rc));
}

/* One form in which the message is from somebody: an address, or "@domain". */
static int on_name(void *arg, const char *name)
{
	char comment[ALLOW_COMMENT_MAX], when[WHEN_TEXT_MAX], answer[ANSWER_MAX], *what;
	struct allow *a = arg;
	int rc;

	if (!*name || (name[0] == '@') != a->domain || strlen(name) > ENTRY_MAX || a->entries == ENTRIES_MAX)
		return 0;
	a->entries++;
	snprintf(comment, sizeof(comment), "%s, %s, quarantine %s", when_text(clock_wall_s(), when), admin_who(), a->id);
	rc = writer_ask(a, name, comment, answer);
	if (rc < 0) {
		a->status = quarantine_fail("allow", "the list cannot be written: %s", strerror(-rc));
		return -1;
	}
	rc = (int)strtol(answer, &what, 10);
	tell(a, name, rc, what + (*what == ' '));
	if (rc == 0)
		note(a, name);
	return 0;
}

static int allow_one(void *arg, const char *id)
{
	struct allow *a = arg;
	json_t *record = store_view_record(a->q.view, id);
	char *text = record ? json_whole(record, JSON_COMPACT) : NULL;
	struct store_meta m = { 0 };
	int before = a->entries;

	json_decref(record);
	a->id = id;
	a->status = QUARANTINE_DONE;
	if (!text || store_meta_read(text, strlen(text), &m) < 0)
		a->status = quarantine_fail("allow", "%s: its record cannot be read", id);
	else
		(void)store_meta_from(&m, on_name, a);
	if (a->status == QUARANTINE_DONE && a->entries == before)
		a->status = quarantine_fail("allow", "%s: it has no sender that could be allowed", id);
	if (m.root)
		store_meta_release(&m);
	free(text);
	return a->status;
}

static int reader_run(struct allow *a, char *const *ids, int count)
{
	int status;

	if (quarantine_open(&a->q, "allow", a->conf) < 0)
		return QUARANTINE_FAILED;
	if (!a->q.site->allow_path)
		return quarantine_fail("allow", "the configuration names no list");
	status = quarantine_meant(&a->q, ids, count, &a->filter, allow_one, a);
	if (a->added)
		printf("The list is %s. What it means is said by the rules with `in allowed`; see gatepost-policy(5).\n", a->q.site->allow_path);
	return fflush(stdout) == 0 ? status : QUARANTINE_FAILED;
}

/* ---- one process or two ---- */

/* The list, where root has to write it; NULL otherwise. */
static struct site *roots_list(const char *conf)
{
	AUTO(buf) struct buf errors = BUF_INIT(64 * 1024);
	char dir[PATH_BYTES], *slash;
	struct site *s;
	struct stat st;

	if (geteuid() != 0)
		return NULL;
	s = site_load_command(conf, &errors, NULL);     /* what is wrong with it the other process says */
	if (!s)
		return NULL;
	if ((size_t)snprintf(dir, sizeof(dir), "%s", s->allow_path ? s->allow_path : "") >= sizeof(dir))
		dir[0] = '\0';
	slash = strrchr(dir, '/');
	if (slash && slash != dir) {
		*slash = '\0';
		if (stat(dir, &st) == 0 && st.st_uid == 0 && !(st.st_mode & 022))
			return s;
	}
	site_free(s);
	return NULL;
}

static int both_run(struct allow *a, const char *path, char *const *ids, int count)
{
	int fd[2], status = 0, rc;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) < 0)
		return quarantine_fail("allow", "%s", strerror(errno));
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return quarantine_fail("allow", "%s", strerror(errno));
	if (pid == 0) {
		close(fd[0]);
		a->ask_fd = fd[1];
		rc = reader_run(a, ids, count);
		quarantine_close(&a->q);
		fflush(NULL);
		_exit(rc);
	}
	close(fd[1]);
	writer_run(fd[0], path);
	close(fd[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : QUARANTINE_FAILED;
}

/* 0: the ids begin at optind; -1: said, or help was asked for, and *status. */
static int options(struct allow *a, int argc, char **argv, int *status)
{
	static const struct option all[] = {
		QUARANTINE_FILTER_OPTIONS, { "config", required_argument, NULL, 'c' }, { "domain", no_argument, NULL, 'd' },
		{ "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	int c;

	*status = QUARANTINE_FAILED;
	optind = 1;
	while ((c = getopt_long(argc, argv, "c:h", all, NULL)) != -1)
		switch (c) {
		case 'c': a->conf = optarg; break;
		case 'd': a->domain = true; break;
		case 'j': a->json = true; break;
		case 'h': *status = QUARANTINE_DONE; fputs(usage, stdout); return -1;
		case '?': fputs(usage, stderr); return -1;
		default:
			if (quarantine_filter_option("allow", &a->filter, c, optarg) < 0)
				return -1;
		}
	return quarantine_ids_or_filter("allow", argc - optind, &a->filter, usage) ? 0 : -1;
}

int quarantine_allow(int argc, char **argv)
{
	struct allow a = { .conf = GATEPOST_CONFIG, .ask_fd = -1 };
	int status;

	fact_register_all();
	store_filter_init(&a.filter);
	if (options(&a, argc, argv, &status) == 0) {
		struct site *s = roots_list(a.conf);

		status = s ? both_run(&a, s->allow_path, argv + optind, argc - optind) : reader_run(&a, argv + optind, argc - optind);
		quarantine_close(&a.q);
		site_free(s);
	}
	store_filter_release(&a.filter);
	return status;
}
