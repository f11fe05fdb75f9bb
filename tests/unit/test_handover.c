/* handover: what one program writes another reads; nothing else is taken for it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "process/handover.h"

static void test_round_trip(void **unused)
{
	static struct handover_child children[] = {
		{ .role = ROLE_STATE, .slot = -1, .channel = 1, .pid = 100, .fd = 20, .ready = true, .started_ms = 5 },
		{ .role = ROLE_WORKER, .number = 2, .slot = 7, .generation = 3, .channel = 4000000000u, .pid = 101, .fd = -1, .draining = true,
		  .started_ms = 1, .kill_ms = 1LL << 50, .failures = 3 },
		{ .role = ROLE_KEYS, .slot = -1, .generation = 4000000000u, .pid = 102, .fd = 21 },
	};
	struct handover_listener listeners[2] = { { .fd = 9 }, { .fd = 10 } };
	struct handover in = { .pid = 4711, .program = "1.2.3", .generation = 4000000000u, .state_dir = "/var/lib/gp", .control = "/run/gp",
			       .lock_fd = 3, .shared_fd = 4, .control_fd = 5, .spool_fd = 6, .transparent = true, .drain_stop_s = 30,
			       .drain_reload_s = 3600, .listener = listeners, .listener_count = 2, .child = children, .child_count = 3 };
	AUTO(buf) struct buf text = BUF_INIT(0), again = BUF_INIT(0), err = BUF_INIT(1000);
	AUTO(handover) struct handover out;

	assert_int_equal(net_parse_port("192.0.2.1:25", 0, &listeners[0].address), 0);
	assert_int_equal(net_parse_port("[2001:db8::1]:465", 0, &listeners[1].address), 0);
	assert_int_equal(handover_write(&in, &text), 0);
	assert_int_equal(handover_read(text.data, text.len, &out, &err), 0);
	assert_int_equal(out.pid, 4711);
	assert_string_equal(out.program, "1.2.3");
	assert_true(out.generation == 4000000000u && out.transparent && out.lock_fd == 3 && out.shared_fd == 4 && out.control_fd == 5 && out.spool_fd == 6);
	assert_string_equal(out.state_dir, "/var/lib/gp");
	assert_string_equal(out.control, "/run/gp");
	assert_int_equal(out.listener_count, 2);
	assert_true(out.listener[1].address.port == 465 && net_same_ip(&out.listener[1].address, &listeners[1].address) && out.listener[1].fd == 10);
	assert_int_equal(out.child_count, 3);
	assert_true(out.child[1].role == ROLE_WORKER && out.child[1].number == 2 && out.child[1].slot == 7 && out.child[1].channel == 4000000000u);
	assert_true(out.child[1].fd == -1 && out.child[1].draining && !out.child[1].ready && out.child[1].kill_ms == 1LL << 50);
	assert_true(out.child[2].role == ROLE_KEYS && out.child[2].generation == 4000000000u && out.child[0].ready);
	assert_int_equal(handover_write(&out, &again), 0);
	assert_string_equal(buf_str(&text), buf_str(&again));
}

static void test_bounds_of_writing(void **unused)
{
	struct handover_child *children = calloc(10000, sizeof(*children));
	struct handover in = { .pid = 1, .program = "p", .state_dir = "/", .child = children, .child_count = 10000 };
	AUTO(buf) struct buf text = BUF_INIT(0);

	assert_int_equal(handover_write(&in, &text), -ENOSPC);
	free(children);
}

/* A good one, in which a row replaces one member. */
static const char good[] = "{\"gatepost\":\"handover\",\"version\":1,\"pid\":5,\"program\":\"v\",\"generation\":1,\"state_dir\":\"/s\",\"control\":\"/c\","
			   "\"lock\":3,\"shared\":4,\"control_fd\":5,\"spool_fd\":6,\"transparent\":false,\"drain_stop_s\":30,\"drain_reload_s\":60,"
			   "\"listeners\":[{\"address\":\"127.0.0.1:25\",\"fd\":7}],"
			   "\"children\":[{\"role\":\"worker\",\"number\":1,\"slot\":0,\"generation\":1,\"channel\":1,\"pid\":9,\"fd\":8,\"ready\":true,"
			   "\"draining\":false,\"started_ms\":1,\"kill_ms\":0,\"failures\":0}]}";

static const struct { const char *name, *from, *to, *says; } rows[] = {
	{ "as it is", "{\"gatepost\"", "{\"gatepost\"", NULL },
	{ "more than is known", "\"version\":1", "\"version\":1,\"colour\":\"blue\"", NULL },
	{ "a role of another time", "\"role\":\"worker\"", "\"role\":\"wizard\"", NULL },
	{ "no control socket", "\"control\":\"/c\",\"lock\":3,\"shared\":4,\"control_fd\":5,\"spool_fd\":6",
	  "\"control\":null,\"lock\":3,\"shared\":4,\"control_fd\":-1,\"spool_fd\":-1", NULL },
	{ "no listeners", "{\"address\":\"127.0.0.1:25\",\"fd\":7}", "", NULL },
	{ "a child that has hung up", "\"fd\":8", "\"fd\":-1", NULL },
	{ "another thing", "handover", "hangover", "gatepost" },
	{ "another version", "\"version\":1", "\"version\":2", "version" },
	{ "no version", "\"version\":1", "\"versions\":1", "version" },
	{ "version as text", "\"version\":1", "\"version\":\"1\"", "version" },
	{ "no pid", "\"pid\":5", "\"pit\":5", "pid" },
	{ "pid 0", "\"pid\":5", "\"pid\":0", "pid" },
	{ "a negative pid", "\"pid\":5", "\"pid\":-5", "pid" },
	{ "a pid over the bound", "\"pid\":5", "\"pid\":2147483648", "pid" },
	{ "a pid with a fraction", "\"pid\":5", "\"pid\":5.5", "pid" },
	{ "no program", "\"program\":\"v\"", "\"program\":\"\"", "program" },
	{ "generation 0", "\"generation\":1,\"state", "\"generation\":0,\"state", "generation" },
	{ "a directory with a NUL", "\"/s\"", "\"/s\\u0000/t\"", "whole" },
	{ "no directory", "\"/s\"", "null", "state_dir" },
	{ "a control path without its socket", "\"control_fd\":5", "\"control_fd\":-1", "control" },
	{ "a control socket without its path", "\"/c\"", "null", "control" },
	{ "stdin as lock", "\"lock\":3", "\"lock\":0", "lock" },
	{ "no lock", "\"lock\":3", "\"lock\":-1", "lock" },
	{ "no shared memory", "\"shared\":4", "\"shared\":-1", "shared" },
	{ "a descriptor that cannot be", "\"shared\":4", "\"shared\":999999999", "shared" },
	{ "a descriptor twice", "\"fd\":7", "\"fd\":3", "a descriptor" },
	{ "a channel that is a listener", "\"fd\":8", "\"fd\":7", "a descriptor" },
	{ "transparent as number", "false,\"drain_s", "0,\"drain_s", "transparent" },
	{ "no drain", "\"drain_stop_s\":30", "\"drain_stop_s\":0", "drain_stop_s" },
	{ "an endless drain", "\"drain_reload_s\":60", "\"drain_reload_s\":99999999999", "drain_reload_s" },
	{ "an address that is none", "127.0.0.1:25", "127.0.0.1:x", "address" },
	{ "a listener without descriptor", ",\"fd\":7", "", "fd" },
	{ "a listener that is none", "{\"address\":\"127.0.0.1:25\",\"fd\":7}", "7", "address" },
	{ "listeners that are none", "[{\"address\":\"127.0.0.1:25\",\"fd\":7}]", "7", "listeners" },
	{ "no children", "\"children\"", "\"kinder\"", "children" },
	{ "no role", "\"role\":\"worker\"", "\"role\":4", "role" },
	{ "a slot out of bounds", "\"slot\":0", "\"slot\":70000", "slot" },
	{ "a child that is init", "\"pid\":9", "\"pid\":1", "pid" },
	{ "neither ready nor not", "\"ready\":true", "\"ready\":null", "ready" },
	{ "a time before the start", "\"started_ms\":1", "\"started_ms\":-1", "started_ms" },
	{ "two of one name", "\"pid\":9", "\"pid\":9,\"pid\":10", "whole" },
	{ "two of one process", "\"failures\":0}",
	  "\"failures\":0},{\"role\":\"state\",\"number\":1,\"slot\":0,\"generation\":1,\"channel\":1,\"pid\":9,\"fd\":-1,\"ready\":true,"
	  "\"draining\":false,\"started_ms\":1,\"kill_ms\":0,\"failures\":0}", "a process" },
	{ "something behind", "\"failures\":0}]}", "\"failures\":0}]} x", "whole" },
	{ "an array", good, "[]", "whole" },
	{ "nothing", good, "", "whole" },
};

/* The first place where `from` stands, replaced. */
static char *replaced(const char *from, const char *to)
{
	const char *at = strstr(good, from);
	char *out;

	assert_non_null(at);
	assert_true(asprintf(&out, "%.*s%s%s", (int)(at - good), good, to, at + strlen(from)) >= 0);
	return out;
}

static void test_reading(void **unused)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(buf) struct buf err = BUF_INIT(1000);
		AUTO(handover) struct handover h;
		char *text = replaced(rows[i].from, rows[i].to);
		int rc = handover_read(text, strlen(text), &h, &err);

		print_message("  %s: %s\n", rows[i].name, buf_str(&err));
		assert_int_equal(rc, rows[i].says ? -EBADMSG : 0);
		if (rows[i].says)
			assert_non_null(strstr(buf_str(&err), rows[i].says));
		if (strcmp(rows[i].to, "\"role\":\"wizard\"") == 0)
			assert_int_equal(h.child[0].role, ROLE_PARENT);
		free(text);
	}
}

static void test_cut_anywhere(void **unused)
{
	for (size_t len = 0; len < sizeof(good) - 1; len++) {
		AUTO(buf) struct buf err = BUF_INIT(1000);
		AUTO(handover) struct handover h;

		assert_int_equal(handover_read(good, len, &h, &err), -EBADMSG);
	}
}

static void test_too_long(void **unused)
{
	size_t len = HANDOVER_TEXT_MAX + 1;
	char *text = malloc(len);
	AUTO(buf) struct buf err = BUF_INIT(1000);
	AUTO(handover) struct handover h;

	memset(text, ' ', len);
	memcpy(text, good, sizeof(good) - 1);
	assert_int_equal(handover_read(text, len - 1, &h, &err), 0);
	handover_release(&h);
	assert_int_equal(handover_read(text, len, &h, &err), -EBADMSG);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_bounds_of_writing), cmocka_unit_test(test_reading),
		cmocka_unit_test(test_cut_anywhere), cmocka_unit_test(test_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
