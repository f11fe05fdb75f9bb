/* Servers in several sets: who is tried, what a failure means for all of them, limits, and what proves that one is well. */
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/places.h"
#include "base/tls_weak.h"
#include "base/stream.h"
#include "base/task.h"
#include "tcp/tcp_backend.h"
#include "tests/support/port.h"
#include "tests/unit/conf_lab.h"

enum { A, B, C, SERVERS };              /* site->backend[1..3]; [0] is of MINIMAL */
#define SET(i) ((tcp_set)1 << ((i) + 1))

static struct site *site;
static struct tcp_backends *all;
static int listening[SERVERS];
static unsigned short port[SERVERS];
static int tried[SERVERS];              /* calls of prepare */
static bool broken[SERVERS];            /* prepare fails */
static bool unproven_all;
static void (*body)(void);

static void listen_on(int i)
{
	listening[i] = port_listen(&port[i], 50);
}

static int setup(void **state)
{
	AUTO(buf) struct buf text = BUF_INIT(4096);

	log_open("test", LOG_LEVEL_ERROR);
	dir_make();
	for (int i = 0; i < SERVERS; i++)
		listen_on(i);
	buf_addf(&text, "%sbackend a { address = \"127.0.0.1:%d\" protocol = imap priority = 1 }\n"
		 "backend b { address = \"127.0.0.1:%d\" protocol = imap priority = 2 max_sessions = 1 }\n"
		 "backend c { address = \"127.0.0.1:%d\" protocol = pop3 priority = 3 }\n"
		 "listener one { address = \"127.0.0.1:1\" protocol = imap backends = { a, b } }\n"
		 "listener two { address = \"127.0.0.1:2\" protocol = imap }\nlistener smtp { address = \"127.0.0.1:3\" }\n",
		 MINIMAL, port[A], port[B], port[C]);
	site = load_good(buf_str(&text));
	return 0;
}

static int teardown(void **state)
{
	site_free(site);
	for (int i = 0; i < SERVERS; i++)
		close(listening[i]);
	return dir_remove(state);
}

static void run(void *arg)
{
	body();
	loop_stop();
}

static void in_task(void (*f)(void))
{
	body = f;
	memset(tried, 0, sizeof(tried));
	memset(broken, 0, sizeof(broken));
	unproven_all = false;
	assert_int_equal(loop_init(), 0);
	all = tcp_backends_new(site, NULL);
	task_spawn("test", run, NULL, NULL);
	loop_run();
	tcp_backends_free(all);
	loop_release();
}

static int prepare(void *arg, const struct backend_conf *conf, struct stream *s, char *why)
{
	int i = (int)(conf - site->backend) - 1;

	assert_non_null(s);
	tried[i]++;
	snprintf(why, HOST_WHY_MAX, "broken");
	return broken[i] ? -ECONNABORTED : 0;
}

static bool unproven(void *arg, const struct backend_conf *conf)
{
	return unproven_all;
}

static const struct proxy_header nobody;

/* The server's name, or "-" and the error. */
static const char *connect_one(tcp_set among, struct tcp_link *link)
{
	static char out[HOST_WHY_MAX + 20];
	char why[HOST_WHY_MAX];
	struct tcp_want w = { .among = among, .header = &nobody, .prepare = prepare, .unproven = unproven };
	int rc = tcp_backends_connect(all, &w, link, why);

	snprintf(out, sizeof(out), "%s%s", rc == 0 ? link->name : rc == -EBUSY ? "full: " : "none: ", rc == 0 ? "" : why);
	if (rc == 0)
		assert_true(link->stream && link->conf && strcmp(link->conf->name, link->name) == 0);
	else
		assert_true(!link->stream && !link->backend);
	return out;
}

static const char *once(tcp_set among)
{
	struct tcp_link link;
	const char *name = connect_one(among, &link);

	tcp_link_release(&link);
	return name;
}

static void test_sets(void **state)
{
	assert_true(tcp_set_of_listener(site, &site->listener[0]) == (SET(A) | SET(B)));
	assert_true(tcp_set_of_listener(site, &site->listener[1]) == (SET(A) | SET(B)));       /* those of the first listener stand for all */
	assert_true(tcp_set_of_protocol(site, LISTENER_IMAP) == (SET(A) | SET(B)));
	assert_true(tcp_set_of_protocol(site, LISTENER_POP3) == SET(C));
	assert_true(tcp_set_of_protocol(site, LISTENER_SMTP) == 1);
	assert_true(tcp_set_of_names(site, (char *[]){ (char *)"c", (char *)"nobody", (char *)"a" }, 3) == (SET(A) | SET(C)));
	assert_true(tcp_set_of_names(site, NULL, 0) == 0);
}

/* What one set learns, the others know. */
static void shared_health(void)
{
	assert_string_equal(once(SET(A) | SET(B)), "a");
	assert_string_equal(once(SET(B) | SET(C)), "b");
	assert_string_equal(once(0), "none: there is none");
	broken[A] = true;
	assert_string_equal(once(SET(A) | SET(B)), "b");
	assert_int_equal(tried[A], 2);
	assert_string_equal(once(SET(A) | SET(C)), "c");
	assert_int_equal(tried[A], 2);          /* not tried while there is another */
	assert_string_equal(once(SET(A)), "none: broken");
	assert_int_equal(tried[A], 3);          /* but alone it is */
	broken[A] = false;
	assert_string_equal(once(SET(A) | SET(C)), "c");
	assert_string_equal(once(SET(A)), "a");
	assert_string_equal(once(SET(A) | SET(C)), "a");        /* well again, for all */
}

static void test_shared_health(void **state)
{
	in_task(shared_health);
}

static void limits(void)
{
	struct tcp_link first = { 0 }, direct = { 0 };

	assert_string_equal(connect_one(SET(B), &first), "b");
	assert_string_equal(once(SET(B)), "full: all are full");
	assert_string_equal(once(SET(B) | SET(C)), "c");
	assert_false(tcp_backends_enter(all, B + 1, &direct));
	assert_null(direct.backend);
	tcp_link_release(&first);
	assert_true(tcp_backends_enter(all, B + 1, &direct));
	assert_string_equal(direct.name, "b");
	assert_string_equal(once(SET(B)), "full: all are full");
	tcp_link_release(&direct);
	assert_string_equal(once(SET(B)), "b");
	tcp_link_release(&(struct tcp_link){ 0 });
}

static void test_limits(void **state)
{
	in_task(limits);
}

/* The places of all workers. */
static void other_workers(void)
{
	static struct places places;
	static struct tls_weak weak;
	static _Atomic signed char health;

	tcp_backends_share(all, B + 1, &places, &weak, &health, 0);
	assert_true(places_enter(&places, 1, 1));
	assert_string_equal(once(SET(B)), "full: all are full");
	places_leave(&places, 1);
	assert_int_equal(health, 0);
	assert_string_equal(once(SET(B)), "b");
	assert_int_equal(health, 1);
	assert_int_equal(places_held(&places), 0);
}

static void test_other_workers(void **state)
{
	in_task(other_workers);
}

/* A connection alone does not make one well of which more is asked. */
static void proof(void)
{
	struct tcp_link link;

	assert_string_equal(connect_one(SET(A), &link), "a");
	tcp_link_away(&link, "its certificate is of somebody else");
	tcp_link_release(&link);
	assert_string_equal(once(SET(A) | SET(C)), "c");
	unproven_all = true;
	assert_string_equal(connect_one(SET(A), &link), "a");
	assert_string_equal(once(SET(A) | SET(C)), "c");
	tcp_link_up(&link);
	assert_string_equal(once(SET(A) | SET(C)), "a");
	tcp_link_release(&link);
}

static void test_proof(void **state)
{
	in_task(proof);
}

static void at(void)
{
	struct net_addr a;

	assert_int_equal(net_parse("127.0.0.1", &a), 0);
	a.port = port[B];
	assert_int_equal(tcp_backends_at(all, SET(A) | SET(B), &a), B + 1);
	a.port = port[C];
	assert_int_equal(tcp_backends_at(all, SET(A) | SET(B), &a), A + 1);
	assert_int_equal(tcp_backends_at(all, SET(A) | SET(B) | SET(C), &a), C + 1);
	assert_int_equal(tcp_backends_at(all, 0, &a), -1);
	assert_int_equal(net_parse("127.0.0.2", &a), 0);
	assert_int_equal(tcp_backends_at(all, ~(tcp_set)0, &a), -1);
}

static void test_at(void **state)
{
	in_task(at);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sets), cmocka_unit_test(test_shared_health), cmocka_unit_test(test_limits), cmocka_unit_test(test_other_workers),
		cmocka_unit_test(test_proof), cmocka_unit_test(test_at),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
