/*
 * The spool's keeper: what was acknowledged is there, whole, whatever happens in between.
 *
 * This program stands in front of the calls that change the directory or make it durable. A child keeps messages and reports what became of
 * them, and dies at the nth such call: by kill -9 (all that was done stays), or by a loss of power (of what was done since the last fsync
 * of the directory only a beginning stays, and no contents that were not fsynced). Then the spool is opened again and looked over.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/durable.h"
#include "policy/spool_file.h"
#include "policy/spool_keeper.h"
#include "policy/spool_record.h"
#include "unit/spool_disk.h"

#define WALL_MS 1795310000000LL

static const struct spool_settings standard = { .life_s = 5 * 86400, .delay_notice_s = 4 * 3600, .retry_min_ms = 60000, .retry_max_ms = 4 * 3600000,
						.max_bytes = 1 << 30, .max_messages = 100000, .deliveries = 5 };

static int remove_any(const char *path, const struct stat *st, int what, struct FTW *ftw)
{
	return remove(path);
}

static void fresh(void)
{
	nftw(top, remove_any, 16, FTW_DEPTH | FTW_PHYS);
	mkdir(top, 0700);
	mkdir(back, 0700);
}

/* --- a keeper --- */

static struct spool_keeper *begin(const struct spool_settings *set)
{
	struct spool_keeper *k = NULL;

	assert_int_equal(spool_keeper_open(dir, -1, set, 1000, &k), 0);
	while (spool_keeper_load(k, 0, WALL_MS))
		;
	return k;
}

static int message(struct spool_keeper *k, unsigned n)
{
	int fd = spool_keeper_temp(k);

	assert_true(fd >= 0);
	dprintf(fd, "Subject: %u\r\n\r\n", n);
	for (unsigned i = 0; i < 50; i++)
		dprintf(fd, "line %u of %u\r\n", i, n);
	return fd;
}

static bool is_whole(int dir_fd, const char *id, unsigned n)
{
	char want[3000], got[3000];
	int at = snprintf(want, sizeof(want), "Subject: %u\r\n\r\n", n), fd = spool_file_open(dir_fd, id, ".eml");
	ssize_t len;

	for (unsigned i = 0; i < 50; i++)
		at += snprintf(want + at, sizeof(want) - (size_t)at, "line %u of %u\r\n", i, n);
	if (fd < 0)
		return false;
	len = pread(fd, got, sizeof(got), 0);
	close(fd);
	return len == at && memcmp(got, want, (size_t)at) == 0;
}

static char *record(unsigned n, const char *sender, int recipients)
{
	AUTO(spool_envelope) struct spool_envelope *e = spool_envelope_new();

	e->sender = strdup(sender);
	e->txn = malloc(20);
	snprintf(e->txn, 20, "%u", n);
	for (int i = 0; i < recipients; i++)
		assert_non_null(spool_envelope_add(e, i ? "c@y" : "b@y", "", i ? "mx c" : "mx b"));
	return spool_record_text(e);
}

static int keep(struct spool_keeper *k, unsigned n, int recipients, char id[STORE_ID_MAX])
{
	char *text = record(n, "a@x", recipients);
	int fd = message(k, n), rc = spool_keeper_keep(k, fd, text, strlen(text), 0, WALL_MS, id);

	close(fd);
	free(text);
	return rc;
}

static int report(struct spool_keeper *k, const char *id, uint64_t number, size_t rcpt, enum spool_outcome_kind kind, bool dsn)
{
	struct spool_outcome o = { .rcpt = rcpt, .kind = kind, .reply = "250 ok" };
	struct spool_told t = { .number = number, .outcome = &o, .count = 1 };
	int fd = -1, rc;

	strcpy(t.id, id);
	if (dsn) {
		char *text = record(99, "", 1);

		assert_int_equal(spool_record_parse(text, strlen(text), RECORD_NEW, &t.dsn, NULL), 0);
		free(text);
		fd = message(k, 99);
	}
	rc = spool_keeper_report(k, &t, fd, 0, WALL_MS);
	spool_envelope_free(t.dsn);
	if (fd >= 0)
		close(fd);
	return rc;
}

/* --- crashes --- */

enum { MESSAGES = 4 };
struct fate {
	char id[STORE_ID_MAX];
	bool kept;                      /* acknowledged */
	bool begun[2], told[2];         /* of each recipient: its report has been begun, acknowledged */
};
static struct fate *fate;               /* shared with the child */

/* Two messages together, each to two recipients; one recipient after the other is reported, the second of message 1 with a DSN. */
static void child(void)
{
	struct spool_keeper *k = begin(&standard);
	struct spool_grant g;
	struct spool_envelope *e = NULL;
	int fd;

	for (unsigned n = 0; n < MESSAGES; n += 2) {
		for (unsigned i = n; i < n + 2; i++)
			assert_int_equal(keep(k, i, 2, fate[i].id), 0);
		if (spool_keeper_flush(k) == 0)
			fate[n].kept = fate[n + 1].kept = true;
	}
	while (spool_keeper_lease(k, k, 0, &g, &e, &fd)) {
		unsigned n = e->txn ? (unsigned)atoi(e->txn) : 0;
		size_t rcpt = strcmp(g.route, "mx c") == 0;

		close(fd);
		spool_envelope_free(e);
		if (n >= MESSAGES || n == 3)
			continue;               /* the DSN; and one that stays */
		fate[n].begun[rcpt] = true;
		assert_int_equal(report(k, g.id, g.number, rcpt, n == 1 && rcpt ? SPOOL_FOR_GOOD : SPOOL_TAKEN, n == 1 && rcpt), 0);
		if (n == 2)
			continue;               /* with the next one's */
		if (spool_keeper_flush(k) == 0)
			fate[n].told[rcpt] = true;
	}
	if (spool_keeper_flush(k) == 0)
		fate[2].told[0] = fate[2].told[1] = true;
	spool_keeper_close(k);
	_exit(0);
}

/* true: it died before its end. */
static bool run_child(enum crash how, int at)
{
	int status = 0;
	pid_t pid;

	fresh();
	memset(fate, 0, MESSAGES * sizeof(*fate));
	pid = fork();
	if (pid == 0) {
		crash = how;
		die_at = at;
		point = 0;
		op_count = synced_count = 0;
		random_seed((uint64_t)at);
		child();
	}
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 42 || WEXITSTATUS(status) == 0));
	return WEXITSTATUS(status) == 42;
}

/* What is wrong, or NULL. */
static const char *look_over(void)
{
	struct spool_keeper *k = begin(&standard);
	int dir_fd = open(dir, O_RDONLY | O_DIRECTORY);
	const char *wrong = NULL;
	char (*id)[STORE_ID_MAX];
	size_t count = 0;
	bool dsn = false, seen[MESSAGES] = { false };
	DIR *d;
	struct dirent *f;
	char broken[140];

	id = spool_file_list(dir_fd, false, &count);
	for (size_t i = 0; i < count; i++) {
		AUTO(spool_envelope) struct spool_envelope *e = NULL;
		unsigned n;

		if (spool_file_read(dir_fd, id[i], &e, NULL) < 0) {
			wrong = "an entry that cannot be read has stayed";
			continue;
		}
		n = (unsigned)atoi(e->txn);
		if (!is_whole(dir_fd, id[i], n))
			wrong = "a message is not whole";
		if (!spool_schedule_knows(spool_keeper_schedule(k), id[i]))
			wrong = "an entry is not in the schedule";
		if (n == 99) {
			dsn = true;
			continue;
		}
		if (*fate[n].id && strcmp(fate[n].id, id[i]) != 0)
			wrong = "an entry has another id";
		seen[n] = true;
		for (int r = 0; r < 2; r++) {
			if (e->rcpt[r].state == SPOOL_WAITING && fate[n].told[r])
				wrong = "a recipient that was done with waits again";
			if (e->rcpt[r].state != SPOOL_WAITING && !fate[n].begun[r])
				wrong = "a recipient was lost";
		}
		if (n == 1 && e->rcpt[1].state == SPOOL_FAILED && !dsn)
			dsn = false;
	}
	for (unsigned n = 0; n < MESSAGES; n++) {
		if (fate[n].kept && !seen[n] && !(fate[n].begun[0] && fate[n].begun[1]))
			wrong = "a message was lost";
		if (seen[n] && fate[n].told[0] && fate[n].told[1])
			wrong = "a message came back";
	}
	if (!dsn && fate[1].kept && (!seen[1] || fate[1].told[1]) && fate[1].begun[1])
		wrong = "a DSN was lost";
	snprintf(broken, sizeof(broken), "%s/broken", dir);
	d = opendir(broken);
	while (d && (f = readdir(d)))
		if (strstr(f->d_name, ".json"))
			wrong = "an entry broke";
	if (d)
		closedir(d);
	free(id);
	close(dir_fd);
	spool_keeper_close(k);
	return wrong;
}

static void test_crashes(void **state)
{
	int points[2] = { 0, 0 };

	for (int how = KILLED; how <= POWER; how++)
		for (int at = 1; run_child((enum crash)how, at); at++) {
			const char *wrong = look_over();

			points[how - 1] = at;
			if (wrong)
				fail_msg("%s at point %d: %s", how == KILLED ? "killed" : "power lost", at, wrong);
		}
	assert_null(look_over());
	assert_true(points[0] > 60 && points[1] == points[0]);
}

/* The test would see it: a disk that forgets names, or contents, is noticed. */
static void test_the_test_notices(void **state)
{
	int seen_dirs = 0, seen_files = 0;

	lying_dirs = true;
	for (int at = 1; run_child(POWER, at); at++)
		seen_dirs += look_over() != NULL;
	lying_dirs = false;
	lying_files = true;
	for (int at = 1; run_child(POWER, at); at++)
		seen_files += look_over() != NULL;
	lying_files = false;
	assert_true(seen_dirs > 0 && seen_files > 0);
}

/* --- reports --- */

/* What is due, for a worker that looks at nothing but its number. */
static void lease(struct spool_keeper *k, struct spool_grant *g)
{
	struct spool_envelope *e = NULL;
	int fd = -1;

	assert_true(spool_keeper_lease(k, k, 0, g, &e, &fd));
	spool_envelope_free(e);
	close(fd);
}

static void test_reports(void **state)
{
	struct spool_keeper *k;
	struct spool_grant g, h;
	struct spool_envelope *e = NULL;
	char id[STORE_ID_MAX];
	size_t second;
	int fd = -1;

	fresh();
	k = begin(&standard);
	assert_int_equal(keep(k, 1, 2, id), 0);
	assert_int_equal(spool_keeper_flush(k), 0);
	lease(k, &g);
	lease(k, &h);
	second = strcmp(h.route, "mx c") == 0;          /* of h; the other one is that of g */
	assert_int_equal(spool_keeper_delete(k, id), -EBUSY);
	assert_int_equal(spool_keeper_give_up(k, id, 0), -EBUSY);
	/* The worker asks again after the keeper's death: it is recorded once, and its DSN kept once. */
	assert_int_equal(report(k, id, g.number, !second, SPOOL_FOR_GOOD, true), 0);
	assert_int_equal(report(k, id, g.number, !second, SPOOL_FOR_GOOD, true), 0);
	assert_int_equal(spool_schedule_totals(spool_keeper_schedule(k)).messages, 2);
	/* A recipient that there is not, a lease that there is not. */
	assert_int_equal(report(k, id, 12345, 77, SPOOL_TAKEN, false), 0);
	assert_int_equal(report(k, "01kabcdef123", 12345, 0, SPOOL_TAKEN, true), 0);
	assert_int_equal(spool_schedule_totals(spool_keeper_schedule(k)).messages, 2);
	/* Who has a message has it, whatever became of the lease. */
	spool_keeper_gone(k, k, 0);
	assert_int_equal(report(k, id, h.number, second, SPOOL_TAKEN, false), 0);
	assert_int_equal(spool_schedule_totals(spool_keeper_schedule(k)).messages, 1);
	assert_int_equal(spool_keeper_flush(k), 0);
	assert_int_equal(spool_keeper_delete(k, id), -ENOENT);
	assert_int_equal(spool_keeper_delete(k, "../../etc/x"), -ENOENT);
	spool_keeper_close(k);
	/* The DSN is what is left, after a restart, too. */
	k = begin(&standard);
	assert_true(spool_keeper_lease(k, k, 0, &g, &e, &fd));
	assert_string_equal(e->sender, "");
	spool_envelope_free(e);
	close(fd);
	spool_keeper_gone(k, k, 0);
	assert_int_equal(spool_keeper_give_up(k, g.id, 0), 0);
	assert_true(spool_keeper_lease(k, k, 0, &g, &e, &fd));
	assert_int_equal(g.duty, SPOOL_EXPIRE);
	spool_envelope_free(e);
	close(fd);
	spool_keeper_close(k);
}

/* The fsync of a notification is one of all that came before: what it could not make durable is not acknowledged by the next. */
static void test_sync_fails_once(void **state)
{
	struct spool_keeper *k;
	struct spool_grant g;
	char id[STORE_ID_MAX], second[STORE_ID_MAX];

	fresh();
	k = begin(&standard);
	assert_int_equal(keep(k, 1, 1, id), 0);
	assert_int_equal(spool_keeper_flush(k), 0);
	lease(k, &g);
	assert_int_equal(keep(k, 2, 1, second), 0);
	bad_syncs = 1;
	assert_int_equal(report(k, id, g.number, 0, SPOOL_FOR_GOOD, true), -EIO);
	assert_int_equal(bad_syncs, 0);
	assert_int_equal(spool_keeper_flush(k), -EIO);
	assert_false(spool_schedule_knows(spool_keeper_schedule(k), second));
	assert_true(spool_schedule_knows(spool_keeper_schedule(k), id));        /* nobody was told: it is tried again */
	assert_int_equal(spool_keeper_flush(k), 0);
	assert_int_equal(keep(k, 2, 1, second), 0);
	assert_int_equal(spool_keeper_flush(k), 0);
	spool_keeper_close(k);
}

static void test_put_off(void **state)
{
	struct spool_keeper *k;
	struct spool_grant g;
	struct spool_envelope *e = NULL;
	char id[STORE_ID_MAX];
	int fd = -1;

	fresh();
	k = begin(&standard);
	assert_int_equal(keep(k, 1, 1, id), 0);
	assert_int_equal(spool_keeper_flush(k), 0);
	lease(k, &g);
	assert_int_equal(report(k, id, g.number, 0, SPOOL_LATER, false), 0);
	assert_int_equal(spool_keeper_flush(k), 0);
	assert_false(spool_keeper_lease(k, k, 59999, &g, &e, &fd));
	assert_int_equal(spool_keeper_next_ms(k), 60000);
	spool_keeper_close(k);
	k = begin(&standard);           /* the same after a restart */
	assert_int_equal(spool_keeper_next_ms(k), 60000);
	assert_true(spool_keeper_lease(k, k, 60000, &g, &e, &fd));
	assert_int_equal(e->rcpt[0].attempts, 1);
	assert_string_equal(e->rcpt[0].reply, "250 ok");
	assert_int_equal(e->rcpt[0].tried_s, WALL_MS / 1000);
	spool_envelope_free(e);
	close(fd);
	spool_keeper_close(k);
}

/* A keeper that begins while the clock is 400 days ahead gives nothing up: not before a day has gone by in which nobody has put it right. */
static void test_clock_ahead(void **state)
{
	enum { AHEAD_S = 400 * 86400, DAY_MS = 86400 * 1000, LATER_MS = 5000 };
	struct spool_keeper *k;
	struct spool_grant g;
	struct spool_envelope *e = NULL;
	char id[STORE_ID_MAX];
	int fd = -1;

	for (int believed = 0; believed < 2; believed++) {
		fresh();
		k = begin(&standard);
		assert_int_equal(keep(k, 1, 1, id), 0);
		assert_int_equal(spool_keeper_flush(k), 0);
		spool_keeper_close(k);
		assert_int_equal(spool_keeper_open(dir, -1, &standard, 1 << 20, &k), 0);
		if (believed) {
			spool_keeper_tick(k, LATER_MS - DAY_MS, WALL_MS + (int64_t)AHEAD_S * 1000 - DAY_MS);
			spool_keeper_tick(k, LATER_MS, WALL_MS + (int64_t)AHEAD_S * 1000);
		}
		while (spool_keeper_load(k, LATER_MS, WALL_MS + (int64_t)AHEAD_S * 1000))
			;
		assert_true(spool_keeper_lease(k, k, LATER_MS, &g, &e, &fd));
		assert_int_equal(g.duty, SPOOL_DELIVER);
		assert_int_equal(g.last, believed);        /* tried once more, then given up */
		spool_envelope_free(e);
		close(fd);
		spool_keeper_close(k);
	}
}

/* --- what does not fit, what is no message --- */

static void test_bounds(void **state)
{
	struct spool_settings few = standard;
	struct spool_keeper *k;
	char id[STORE_ID_MAX], *text = record(1, "a@x", 1);
	int pipe_fd[2], fd;

	fresh();
	few.max_messages = 2;
	k = begin(&few);
	assert_int_equal(keep(k, 1, 1, id), 0);
	assert_int_equal(keep(k, 2, 1, id), 0);
	assert_int_equal(keep(k, 3, 1, id), -ENOSPC);
	/* But a DSN takes the place of what it is about. */
	assert_int_equal(report(k, id, 1, 0, SPOOL_FOR_GOOD, true), 0);
	few.max_messages = 100;
	few.max_bytes = 1500;
	spool_keeper_set(k, &few);
	assert_int_equal(keep(k, 3, 1, id), -ENOSPC);
	spool_keeper_close(k);
	few.max_bytes = 1 << 20;
	k = begin(&few);
	assert_int_equal(keep(k, 3, 1, id), 0);
	assert_int_equal(pipe(pipe_fd), 0);
	assert_int_equal(spool_keeper_keep(k, pipe_fd[0], text, strlen(text), 0, WALL_MS, id), -EINVAL);
	fd = message(k, 4);
	assert_int_equal(spool_keeper_keep(k, fd, text, strlen(text) - 1, 0, WALL_MS, id), -EINVAL);
	assert_int_equal(spool_keeper_keep(k, fd, "{}", 2, 0, WALL_MS, id), -EINVAL);
	close(fd);
	close(pipe_fd[0]);
	close(pipe_fd[1]);
	/* A memfd has no name that could be linked. */
	fd = memfd_create("m", MFD_CLOEXEC);
	dprintf(fd, "x\r\n");
	assert_int_equal(spool_keeper_keep(k, fd, text, strlen(text), 0, WALL_MS, id), 0);
	assert_int_equal(spool_keeper_flush(k), 0);
	close(fd);
	free(text);
	spool_keeper_close(k);
}

static void write_file(const char *name, const char *text)
{
	char path[PATH_BYTES];
	FILE *f;

	in_spool(name, path);
	f = fopen(path, "w");
	fputs(text, f);
	fclose(f);
}

static bool exists(const char *name)
{
	char path[PATH_BYTES];
	struct stat st;

	in_spool(name, path);
	return lstat(path, &st) == 0;
}

/* What cannot be used is put aside; the rest goes on. */
static void test_damage(void **state)
{
	char id[8][STORE_ID_MAX], name[80], path[PATH_BYTES];
	struct spool_keeper *k;

	fresh();
	k = begin(&standard);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(keep(k, i, 1, id[i]), 0);
	assert_int_equal(spool_keeper_flush(k), 0);
	spool_keeper_close(k);
	snprintf(name, sizeof(name), "%s.json", id[0]);
	write_file(name, "{ \"spool\": 1, ");
	snprintf(name, sizeof(name), "%s.json", id[1]);
	write_file(name, "");
	snprintf(name, sizeof(name), "%s.eml", id[2]);
	write_file(name, "cut");
	snprintf(name, sizeof(name), "%s.eml", id[3]);
	in_spool(name, path);
	unlink(path);
	snprintf(name, sizeof(name), "%s.json", id[4]);
	in_spool(name, path);
	unlink(path);
	snprintf(name, sizeof(name), "%s.json", id[5]);
	in_spool(name, path);
	unlink(path);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	write_file(".01kabcdef123.json.tmp", "half");
	write_file("a person's notes", "x");
	k = begin(&standard);
	assert_int_equal(spool_schedule_totals(spool_keeper_schedule(k)).messages, 2);
	spool_keeper_close(k);
	for (unsigned i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "%.12s.json", id[i]);
		assert_int_equal(exists(name), i >= 6);
		snprintf(name, sizeof(name), "broken/%.12s.eml", id[i]);
		assert_int_equal(exists(name), i < 6 && i != 3);
	}
	assert_false(exists(".01kabcdef123.json.tmp"));
	assert_true(exists("a person's notes"));
	/* Once more under the same name: what lies there is not overwritten. */
	snprintf(name, sizeof(name), "%s.json", id[0]);
	write_file(name, "again");
	k = begin(&standard);
	spool_keeper_close(k);
	snprintf(name, sizeof(name), "broken/%s.json.1", id[0]);
	assert_true(exists(name));
	/* Damaged while we run: found when it is to be leased. */
	snprintf(name, sizeof(name), "%s.json", id[6]);
	k = begin(&standard);
	write_file(name, "[]");
	{
		struct spool_grant g;
		struct spool_envelope *e = NULL;
		int fd = -1;

		assert_true(spool_keeper_lease(k, k, 0, &g, &e, &fd));
		assert_string_equal(g.id, id[7]);
		close(fd);
		spool_envelope_free(e);
	}
	spool_keeper_close(k);
	snprintf(name, sizeof(name), "broken/%s.json", id[6]);
	assert_true(exists(name));
}

static void test_disk_full(void **state)
{
	struct spool_keeper *k;
	struct spool_grant g;
	struct spool_envelope *e = NULL;
	char id[STORE_ID_MAX], first[STORE_ID_MAX] = "", name[60];
	int fd = -1, filler, rc = 0, n = 0;
	char chunk[4096] = { 0 }, path[PATH_BYTES], message_path[PATH_BYTES], aside[PATH_BYTES + 8];
	bool leased;
	size_t delivered;

	fresh();
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", top, "tmpfs", 0, "size=256k") < 0)
		skip();
	k = begin(&standard);
	assert_int_equal(keep(k, 1, 2, first), 0);
	in_spool("filler", path);
	filler = open(path, O_WRONLY | O_CREAT, 0600);
	for (int i = 0; i < 10; i++)
		assert_int_equal(write(filler, chunk, sizeof(chunk)), sizeof(chunk));
	while (rc == 0 && n++ < 1000)
		rc = keep(k, 2, 1, id);
	assert_int_equal(rc, -ENOSPC);
	assert_int_equal(spool_keeper_flush(k), 0);
	/* To the last octet. */
	while (write(filler, chunk, sizeof(chunk)) > 0)
		;
	close(filler);
	assert_true(spool_keeper_lease(k, k, 0, &g, &e, &fd));
	assert_string_equal(g.id, first);
	spool_envelope_free(e);
	close(fd);
	/* One of two is delivered, and it cannot be written: it is known nevertheless, and written when there is room. */
	delivered = strcmp(g.route, "mx c") == 0;
	assert_int_equal(report(k, first, g.number, delivered, SPOOL_TAKEN, false), -ENOSPC);
	/* A report that changes nothing does not make it forgotten. */
	assert_int_equal(report(k, first, 12345, !delivered, SPOOL_UNTRIED, false), 0);
	assert_int_equal(report(k, first, g.number, delivered, SPOOL_TAKEN, false), 0);
	spool_keeper_tick(k, 0, WALL_MS);
	assert_int_equal(spool_schedule_totals(spool_keeper_schedule(k)).leased, 0);
	/* Its message cannot be opened: nothing is leased, and nothing is left to be freed a second time. */
	snprintf(name, sizeof(name), "%s.eml", first);
	in_spool(name, message_path);
	snprintf(aside, sizeof(aside), "%s.aside", message_path);
	assert_int_equal(rename(message_path, aside), 0);
	e = NULL;
	do {
		spool_envelope_free(e);
		e = NULL;
		leased = spool_keeper_lease(k, k, 0, &g, &e, &fd);
		if (leased)
			close(fd);
	} while (leased);
	assert_null(e);
	assert_int_equal(rename(aside, message_path), 0);
	assert_int_equal(unlink(path), 0);
	spool_keeper_tick(k, 0, WALL_MS);
	assert_int_equal(spool_keeper_flush(k), 0);
	fd = open(dir, O_RDONLY | O_DIRECTORY);
	assert_int_equal(spool_file_read(fd, first, &e, NULL), 0);
	close(fd);
	assert_int_equal(spool_envelope_waiting(e), 1);
	spool_envelope_free(e);
	spool_keeper_close(k);
	snprintf(name, sizeof(name), ".%s.json.tmp", first);
	assert_false(exists(name));
	umount(top);
}

/* --- many --- */

static int keep_routes(struct spool_keeper *k, unsigned routes, off_t bytes, char id[STORE_ID_MAX])
{
	AUTO(spool_envelope) struct spool_envelope *e = spool_envelope_new();
	int fd = message(k, 1), rc;
	char *text;

	e->sender = strdup("ann@x");
	e->user = strdup("ann");
	e->credible = true;
	for (unsigned i = 0; i < 2 * routes; i++) {
		char address[40], route[40];

		snprintf(address, sizeof(address), "%u@y%u", i, i % routes);
		snprintf(route, sizeof(route), "mx y%u", i % routes);
		assert_non_null(spool_envelope_add(e, address, "NOTIFY=NEVER", route));
	}
	if (bytes)
		assert_int_equal(ftruncate(fd, bytes), 0);
	text = spool_record_text(e);
	rc = spool_keeper_keep(k, fd, text, strlen(text), 0, WALL_MS, id);
	free(text);
	close(fd);
	return rc;
}

/* Every recipient is in one entry, once, with all those of its route. */
static void check_pieces(unsigned routes, size_t entries)
{
	int dir_fd = open(dir, O_RDONLY | O_DIRECTORY);
	unsigned char *seen = calloc(2 * routes, 1);
	size_t count = 0;
	char (*list)[STORE_ID_MAX] = spool_file_list(dir_fd, false, &count);

	assert_int_equal(count, entries);
	for (size_t i = 0; i < count; i++) {
		struct spool_envelope *e = NULL;

		assert_int_equal(spool_file_read(dir_fd, list[i], &e, NULL), 0);
		assert_string_equal(e->sender, "ann@x");
		assert_string_equal(e->user, "ann");
		assert_true(e->credible && e->rcpt_count % 2 == 0);
		for (size_t n = 0; n < e->rcpt_count; n++) {
			unsigned long at = strtoul(e->rcpt[n].address, NULL, 10);
			char route[40];

			assert_true(at < 2 * routes && !seen[at]);
			seen[at] = 1;
			snprintf(route, sizeof(route), "mx y%lu", at % routes);
			assert_string_equal(e->rcpt[n].route, route);
			assert_string_equal(e->rcpt[n].params, "NOTIFY=NEVER");
			if (n % 2 && entries > 1)      /* else it is as the client gave it */
				assert_string_equal(e->rcpt[n].route, e->rcpt[n - 1].route);
		}
		spool_envelope_free(e);
	}
	for (unsigned i = 0; entries && i < 2 * routes; i++)
		assert_int_equal(seen[i], 1);
	free(list);
	free(seen);
	close(dir_fd);
}

/* A thousand next hops: entries of fifty, or each of their reports would be work on all. All of them, or none. */
static void test_many_routes(void **state)
{
	static const struct { unsigned routes; off_t bytes; size_t entries; } cases[] = {
		{ 50, 0, 1 }, { 51, 0, 2 }, { 1000, 0, 20 }, { 1000, 2 << 20, 5 }, { 1000, 20 << 20, 1 },
	};
	struct spool_settings few = standard;
	struct spool_keeper *k;
	char id[STORE_ID_MAX];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		fresh();
		k = begin(&standard);
		assert_int_equal(keep_routes(k, cases[i].routes, cases[i].bytes, id), 0);
		assert_int_equal(spool_keeper_flush(k), 0);
		check_pieces(cases[i].routes, cases[i].entries);
		assert_true(spool_schedule_knows(spool_keeper_schedule(k), id));
		spool_keeper_close(k);
		k = begin(&standard);
		assert_int_equal(spool_schedule_totals(spool_keeper_schedule(k)).parts, cases[i].routes);
		spool_keeper_close(k);
	}
	few.max_messages = 2;
	fresh();
	k = begin(&few);
	assert_int_equal(keep_routes(k, 101, 0, id), -ENOSPC);
	assert_int_equal(spool_keeper_flush(k), 0);
	assert_int_equal(spool_schedule_totals(spool_keeper_schedule(k)).messages, 0);
	check_pieces(101, 0);
	assert_int_equal(keep_routes(k, 100, 0, id), 0);
	spool_keeper_close(k);
}

static int setup(void **state)
{
	/* The order of calls counts, not a real disk's time for them. */
	snprintf(top, sizeof(top), "%s/test_spool.%d", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (int)getpid());
	snprintf(dir, sizeof(dir), "%s/spool", top);
	snprintf(back, sizeof(back), "%s/back", top);
	fate = mmap(NULL, MESSAGES * sizeof(*fate), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return fate == MAP_FAILED;
}

static int teardown(void **state)
{
	nftw(top, remove_any, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crashes), cmocka_unit_test(test_the_test_notices), cmocka_unit_test(test_reports),
		cmocka_unit_test(test_put_off), cmocka_unit_test(test_clock_ahead), cmocka_unit_test(test_sync_fails_once), cmocka_unit_test(test_bounds), cmocka_unit_test(test_damage),
		cmocka_unit_test(test_disk_full), cmocka_unit_test(test_many_routes),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
