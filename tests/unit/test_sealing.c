/* Who waits for a seal, and for how long. What it is: test_arc_sealer.c, and the end-to-end tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "filters/message.h"
#include "policy/conf.h"
#include "smtp/sealing.h"

#define MESSAGE "From: a@example.org\r\nSubject: one\r\n\r\nhello\r\n"

static char *fields[] = { "Subject" };
static struct arc_seal_conf conf = { .domain = "example.com", .selector = "arc", .when = ARC_SEAL_ALWAYS, .field = fields, .field_count = 1 };
static struct site site = { .arc_seal = &conf, .authserv_id = "mx.example.com" };
static int asked, answer;

static int holder(void *arg, uint32_t number, const unsigned char hash[DKIM_HASH_BYTES], unsigned char *signature)
{
	asked++;
	if (answer > 0)
		memset(signature, 7, (size_t)answer);
	return answer;
}

static int setup(void **state)
{
	AUTO(buf) struct buf der = BUF_INIT(4096);
	struct dkim_private *k = dkim_private_make(DKIM_KEY_RSA, 1024);

	assert_non_null(k);
	assert_int_equal(dkim_private_public(k, &der), 0);
	conf.key = dkim_private_remote((const unsigned char *)der.data, der.len, 0);
	dkim_private_free(k);
	assert_non_null(conf.key);
	fact_register_all();
	dkim_private_holder(holder, NULL);
	return 0;
}

static int teardown(void **state)
{
	dkim_private_holder(NULL, NULL);
	dkim_private_free(conf.key);
	return 0;
}

struct fixture {
	struct client client;
	struct txn txn;
};

static void begin(struct fixture *x, int sign)
{
	static const struct message_limits lim = { .memory_bytes = 1 << 20, .header_bytes = 1 << 20, .header_fields = 100 };

	memset(x, 0, sizeof(*x));
	asked = 0;
	answer = sign;
	txn_init(&x->txn, &site, NULL, &x->client);
	x->txn.stage = STAGE_DATA;
	x->txn.message = message_new(&lim, NULL, NULL);
	assert_int_equal(message_add(x->txn.message, MESSAGE, strlen(MESSAGE)), 0);
	assert_int_equal(message_end(x->txn.message), 0);
	assert_int_equal(facts_set(&x->txn.evidence.facts, "arc", "none"), 0);
}

static void end(struct fixture *x)
{
	message_free(x->txn.message);
	x->txn.message = NULL;
	txn_release(&x->txn);
	client_release(&x->client);
}

/* One group of recipients more. Whether its header has a seal. */
static bool sealed(struct fixture *x)
{
	AUTO(buf) struct buf header = BUF_INIT(1 << 20);

	buf_addf(&header, "Received: by here\r\n%.*s", (int)message_body_offset(x->txn.message), MESSAGE);
	sealing_apply(&x->txn, NULL, false, &header);
	assert_non_null(strstr(buf_str(&header), "Received: by here\r\nFrom: a@example.org\r\nSubject: one\r\n\r\n"));
	return strncmp(buf_str(&header), "ARC-Seal: ", 10) == 0;
}

static void keys_answer(void **state)
{
	struct fixture x;

	begin(&x, 128);
	assert_true(sealed(&x));
	assert_true(sealed(&x));
	assert_int_equal(asked, 4);
	end(&x);
}

/* Twenty seconds for each group of recipients would be more than a client waits. */
static void keys_silent(void **state)
{
	struct fixture x;

	begin(&x, -ETIMEDOUT);
	for (int i = 0; i < 30; i++)
		assert_false(sealed(&x));
	assert_int_equal(asked, 1);
	end(&x);
	begin(&x, 128);                 /* the next message tries again */
	assert_true(sealed(&x));
	end(&x);
}

static void keys_refuse(void **state)
{
	struct fixture x;

	begin(&x, -ENOKEY);
	assert_false(sealed(&x));
	answer = 128;
	assert_true(sealed(&x));
	end(&x);
}

static void ours(void **state)
{
	struct fixture x;

	begin(&x, 128);
	x.client.relay = true;
	assert_false(sealed(&x));
	assert_int_equal(asked, 0);
	end(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_answer),
		cmocka_unit_test(keys_silent),
		cmocka_unit_test(keys_refuse),
		cmocka_unit_test(ours),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
