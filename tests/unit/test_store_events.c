/*
 * The events of a quarantined message: what they say of it, wherever a crash has cut the file off.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "policy/store_events.h"
#include "policy/store_id.h"

#define B "{\"what\":\"release-begin\",\"detail\":{\"rcpt\":[\"a\",\"b\"]}}\n"
#define DOT "{\"what\":\"release-dot\",\"detail\":{\"rcpt\":[\"a\",\"b\"]}}\n"
#define DOT_A "{\"what\":\"release-dot\",\"detail\":{\"rcpt\":[\"a\"]}}\n"
#define OK "{\"what\":\"released\",\"detail\":{\"rcpt\":[\"a\",\"b\"],\"left\":0}}\n"
#define OK_A "{\"what\":\"released\",\"detail\":{\"rcpt\":[\"a\"],\"left\":1}}\n"
#define OK_B "{\"what\":\"released\",\"detail\":{\"rcpt\":[\"b\"],\"left\":0}}\n"
#define TO "{\"what\":\"released\",\"detail\":{\"rcpt\":[\"x\"],\"left\":0,\"to\":[\"x\"]}}\n"
#define NO "{\"what\":\"release-failed\",\"detail\":{\"rcpt\":[\"a\",\"b\"],\"reply\":\"550 no\"}}\n"
#define NO_B "{\"what\":\"release-failed\",\"detail\":{\"rcpt\":[\"b\"],\"reply\":\"550 no\"}}\n"
#define LOST "{\"what\":\"release-unknown\",\"detail\":{\"rcpt\":[\"a\",\"b\"]}}\n"

#define K STORE_STATE_KEPT
#define F STORE_STATE_FAILED
#define P STORE_STATE_PARTLY
#define H STORE_STATE_PERHAPS
#define R STORE_STATE_RELEASED

static const struct { const char *name, *in; enum store_state all, a, b; } rows[] = {
	{ "nothing", "", K, K, K },
	{ "begun", B, K, K, K },
	{ "killed after the dot", B DOT, H, H, H },
	{ "done", B DOT OK, R, R, R },
	{ "refused before the dot", B NO, F, F, F },
	{ "refused at the dot", B DOT NO, F, F, F },
	{ "its reply was lost", B DOT LOST, H, H, H },
	{ "killed, then begun again and killed before the dot", B DOT B, H, H, H },
	{ "killed, then refused before the dot: the first may have come", B DOT B NO, H, H, H },
	{ "killed, then refused at the dot", B DOT B DOT NO, H, H, H },
	{ "killed, then done", B DOT B DOT OK, R, R, R },
	{ "done, and again, killed", B DOT OK B DOT, R, R, R },
	{ "done, and again, refused", B DOT OK B DOT NO, R, R, R },
	{ "one of two", B DOT_A OK_A, P, R, K },
	{ "one of two, the other refused", B DOT_A OK_A NO_B, P, R, F },
	{ "one after the other", B DOT_A OK_A B DOT OK_B, R, R, R },
	{ "one done, the other perhaps", B DOT_A OK_A B DOT, H, R, H },
	{ "to another instead", B TO, R, K, K },
	{ "other events", "{\"what\":\"exported\"}\n{\"what\":\"allowed\",\"detail\":\"x\"}\n", K, K, K },
	{ "other events behind", B DOT "{\"what\":\"exported\"}\n", H, H, H },
	{ "a line cut off", B DOT "{\"what\":\"released\",\"detail\":{\"rc", H, H, H },
	{ "a line cut off, then another", B DOT "{\"what\":\"released\",\"detail\":{\"rc\n" B NO, H, H, H },
	{ "only the LF is gone", B DOT "{\"what\":\"released\",\"detail\":{\"rcpt\":[\"a\",\"b\"],\"left\":0}}", R, R, R },
	{ "zeros, as a file system leaves them", B DOT "\0\0\0\0\0\0", H, H, H },
	{ "no JSON", "released\n", K, K, K },
	{ "no object", "[\"released\"]\n\"released\"\n1\n", K, K, K },
	{ "what is no text", "{\"what\":1}\n{\"what\":null}\n{\"what\":[\"released\"]}\n", K, K, K },
	{ "what twice", "{\"what\":\"released\",\"what\":\"released\"}\n", K, K, K },
	{ "two objects in a line", "{\"what\":\"released\"}{\"what\":\"released\"}\n", K, K, K },
	{ "detail is no object", B "{\"what\":\"release-dot\",\"detail\":[\"a\"]}\n", K, K, K },
	{ "recipients that are none", B "{\"what\":\"release-dot\",\"detail\":{\"rcpt\":[1,null,{\"a\":1}]}}\n", K, K, K },
	{ "recipients are no list", B "{\"what\":\"release-dot\",\"detail\":{\"rcpt\":\"a\"}}\n", K, K, K },
	{ "CRLF", "{\"what\":\"release-dot\",\"detail\":{\"rcpt\":[\"a\"]}}\r\n", H, H, K },
	{ "empty lines", "\n\n\n" B "\n" DOT "\n\n", H, H, H },
	{ "no UTF-8", "{\"what\":\"released\xff\"}\n", K, K, K },
};

static void states(void **arg)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		size_t len = strlen(rows[i].in);
		json_t *events = store_events_parse(rows[i].in, strstr(rows[i].name, "zeros") ? len + 6 : len);
		enum store_state all = store_events_state(events, NULL), a = store_events_state(events, "a"),
				 b = store_events_state(events, "b");
		json_t *each = store_events_recipients(events);

		if (all != rows[i].all || a != rows[i].a || b != rows[i].b)
			fail_msg("%s: %s, a %s, b %s", rows[i].name, store_state_name(all), store_state_name(a), store_state_name(b));
		assert_int_equal(json_integer_value(json_object_get(each, "a")), a);
		assert_int_equal(json_integer_value(json_object_get(each, "b")), b);
		json_decref(each);
		json_decref(events);
	}
}

/* What the backend may have of the truth that the whole lines tell, against what the cut file says. */
static void cut_anywhere(void **arg)
{
	static const char *const histories[] = {
		B DOT OK, B DOT NO B DOT OK, B DOT LOST B DOT OK, B DOT_A OK_A B DOT OK_B, B DOT B DOT NO, B DOT OK B DOT NO,
	};

	for (size_t i = 0; i < sizeof(histories) / sizeof(*histories); i++)
		for (size_t cut = 0, whole = 0; cut <= strlen(histories[i]); cut++) {
			const char *h = histories[i];
			json_t *full, *part = store_events_parse(h, cut);
			bool sent;

			if (cut && h[cut - 1] == '\n')
				whole = cut;
			full = store_events_parse(h, whole);
			/* The end of the message is sent after its event has been written as a whole, and no sooner. */
			sent = store_events_state(full, "a") >= H;
			for (const char *who = "a"; *who; who = *who == 'a' ? "b" : "") {
				enum store_state said = store_events_state(part, who), was = store_events_state(full, who);

				/* A line without its LF may count already; nobody has acted upon it yet. */
				if (h[cut] != '\n')
					assert_int_equal(said, was);
				if (was >= H && said < H && !(h[cut] == '\n' && strstr(h, NO)))
					fail_msg("history %zu cut at %zu: %s has it perhaps, and %s is said", i, cut, who,
						 store_state_name(said));
			}
			if (sent)
				assert_true(store_events_state(part, NULL) >= P || h[cut] == '\n');
			json_decref(full);
			json_decref(part);
		}
}

/* --- on disk --- */

static char top[64], id[STORE_ID_MAX], events_path[160], eml_path[160];
static int dir_fd;

static int setup(void **arg)
{
	char day[STORE_DAY_MAX], path[120];

	strcpy(top, "/tmp/gatepost.events.XXXXXX");
	assert_non_null(mkdtemp(top));
	store_id_make(1795310000123, 77, id);
	assert_int_equal(store_id_day(id, day), 0);
	snprintf(path, sizeof(path), "%s/%s", top, day);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(events_path, sizeof(events_path), "%s/%s.events", path, id);
	snprintf(eml_path, sizeof(eml_path), "%s/%s.eml", path, id);
	close(open(eml_path, O_CREAT | O_WRONLY, 0600));
	dir_fd = open(top, O_RDONLY | O_DIRECTORY);
	return dir_fd < 0;
}

static int teardown(void **arg)
{
	char command[100];

	close(dir_fd);
	snprintf(command, sizeof(command), "rm -r %s", top);
	return system(command);
}

static json_t *read_events(void)
{
	json_t *events = NULL;

	assert_int_equal(store_events_read(dir_fd, id, &events), 0);
	return events;
}

static void append_and_read(void **arg)
{
	json_t *detail = json_pack("{s:[s], s:s}", "rcpt", "a@x.example", "reply", "250 \xe4\xbd\xa0\n\"quoted\""), *events = read_events();
	char *text;

	assert_int_equal(json_array_size(events), 0);
	json_decref(events);
	assert_int_equal(store_event_append(dir_fd, id, STORE_EVENT_BEGIN, "root", NULL), 0);
	assert_int_equal(store_event_append(dir_fd, id, STORE_EVENT_RELEASED, "root", detail), 0);
	events = read_events();
	assert_int_equal(json_array_size(events), 2);
	assert_true(json_equal(json_object_get(json_array_get(events, 1), "detail"), detail));
	assert_string_equal(json_string_value(json_object_get(json_array_get(events, 1), "who")), "root");
	assert_true(json_integer_value(json_object_get(json_array_get(events, 0), "at")) > 1700000000);
	assert_null(json_object_get(json_array_get(events, 0), "detail"));
	assert_int_equal(store_events_state(events, NULL), R);
	json_decref(events);
	json_decref(detail);

	assert_int_equal(store_event_append(dir_fd, "../../etc/pw", STORE_EVENT_BEGIN, "root", NULL), -EINVAL);
	assert_int_equal(store_event_append(dir_fd, "", STORE_EVENT_BEGIN, "root", NULL), -EINVAL);
	assert_int_equal(store_event_append(dir_fd, id, "no\xff", "root", NULL), -EINVAL);
	text = calloc(1, STORE_EVENT_MAX + 1);
	memset(text, 'x', STORE_EVENT_MAX);
	detail = json_string(text);
	assert_int_equal(store_event_append(dir_fd, id, STORE_EVENT_BEGIN, "root", detail), -EMSGSIZE);
	json_decref(detail);
	free(text);
	events = read_events();
	assert_int_equal(json_array_size(events), 2);
	json_decref(events);
}

/* A line that a crash cut off does not swallow the next. */
static void append_behind_torn(void **arg)
{
	json_t *detail = json_pack("{s:[s]}", "rcpt", "a"), *events;
	int fd = open(events_path, O_WRONLY | O_CREAT, 0600);

	assert_int_equal(write(fd, B "{\"what\":\"relea", strlen(B) + 14), strlen(B) + 14);
	close(fd);
	assert_int_equal(store_event_append(dir_fd, id, STORE_EVENT_DOT, "root", detail), 0);
	events = read_events();
	assert_int_equal(json_array_size(events), 2);
	assert_int_equal(store_events_state(events, "a"), H);
	json_decref(events);
	json_decref(detail);
}

static void not_a_file(void **arg)
{
	json_t *events = NULL;
	int fd;

	assert_int_equal(symlink("/etc/passwd", events_path), 0);
	assert_int_equal(store_event_append(dir_fd, id, STORE_EVENT_DOT, "root", NULL), -ELOOP);
	assert_int_equal(store_events_read(dir_fd, id, &events), -ELOOP);
	unlink(events_path);
	assert_int_equal(mkfifo(events_path, 0600), 0);
	assert_int_equal(store_event_append(dir_fd, id, STORE_EVENT_DOT, "root", NULL), -EINVAL);
	assert_int_equal(store_events_read(dir_fd, id, &events), -EINVAL);
	unlink(events_path);
	fd = open(events_path, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(ftruncate(fd, STORE_EVENTS_MAX), 0);
	close(fd);
	assert_int_equal(store_event_append(dir_fd, id, STORE_EVENT_DOT, "root", NULL), -EFBIG);
	assert_int_equal(truncate(events_path, STORE_EVENTS_MAX + 1), 0);
	assert_int_equal(store_events_read(dir_fd, id, &events), -EFBIG);
}

static void lock_excludes(void **arg)
{
	int fd = store_event_lock(dir_fd, id, false), ready[2], status;
	char c;
	pid_t pid;

	assert_true(fd >= 0);
	assert_int_equal(store_event_lock(dir_fd, id, false), -EWOULDBLOCK);
	close(fd);
	fd = store_event_lock(dir_fd, id, false);
	assert_true(fd >= 0);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		close(fd);
		c = write(ready[1], "r", 1) == 1;
		_exit(!c || store_event_lock(dir_fd, id, true) != -ENOENT);      /* deleted while it waits */
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	unlink(eml_path);
	close(fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(ready[0]);
	close(ready[1]);
	assert_int_equal(store_event_lock(dir_fd, id, false), -ENOENT);
	assert_int_equal(store_event_lock(dir_fd, "zz", false), -EINVAL);
}

static void addresses(void **arg)
{
	json_t *plain = json_pack("{s:s, s:s}", "address", "a@x", "params", ""), *exact, *none = json_object(), *name;

	exact = json_pack("{s:s, s:s}", "address", "\xef\xbf\xbd@x", "address_b64", "/0B4");
	name = store_event_address(plain);
	assert_string_equal(json_string_value(name), "a@x");
	json_decref(name);
	name = store_event_address(exact);
	assert_string_equal(json_string_value(name), "base64:/0B4");
	json_decref(name);
	assert_null(store_event_address(none));
	assert_null(store_event_address(NULL));
	json_decref(plain);
	json_decref(exact);
	json_decref(none);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states),
		cmocka_unit_test(cut_anywhere),
		cmocka_unit_test(addresses),
		cmocka_unit_test_setup_teardown(append_and_read, setup, teardown),
		cmocka_unit_test_setup_teardown(append_behind_torn, setup, teardown),
		cmocka_unit_test_setup_teardown(not_a_file, setup, teardown),
		cmocka_unit_test_setup_teardown(lock_excludes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
