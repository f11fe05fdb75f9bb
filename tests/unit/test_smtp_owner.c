/* What several servers say of one recipient, together. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "smtp/smtp_owner.h"

struct said {
	enum delivery_result result;
	const char *reply;
};

#define NO { DELIVERY_REFUSED, "550 5.1.1 no such user" }
#define NO_TOO { DELIVERY_REFUSED, "553 unknown" }
#define FULL { DELIVERY_REFUSED, "552 5.2.2 mailbox full" }
#define SHUT { DELIVERY_REFUSED, "550 5.7.1 not from you" }
#define BUSY { DELIVERY_LATER, "450 4.2.1 wait" }
#define AWAY { DELIVERY_LATER, "451 4.4.1 the mail server behind does not answer, try again later" }
#define LOST { DELIVERY_UNKNOWN, "451 4.4.2 gave no answer" }

static void test_nobody(void **state)
{
	static const struct { struct said said[4]; enum delivery_result want; const char *reply; } rows[] = {
		{ { NO }, DELIVERY_REFUSED, "550 5.1.1 none" },
		{ { NO, NO_TOO, NO }, DELIVERY_REFUSED, "550 5.1.1 none" },
		{ { NO, FULL }, DELIVERY_REFUSED, "552 5.2.2" },
		{ { FULL, NO }, DELIVERY_REFUSED, "552 5.2.2" },
		{ { SHUT, FULL, NO }, DELIVERY_REFUSED, "550 5.7.1" },
		{ { NO, BUSY }, DELIVERY_LATER, "450 4.2.1" },
		{ { BUSY, NO }, DELIVERY_LATER, "450 4.2.1" },
		{ { AWAY, BUSY, NO }, DELIVERY_LATER, "451 4.4.1" },
		{ { NO, FULL, AWAY }, DELIVERY_LATER, "451 4.4.1" },
		{ { LOST, NO }, DELIVERY_LATER, "451 4.4.2" },
		{ { AWAY, AWAY }, DELIVERY_LATER, "451 4.4.1" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct smtp_owner_sum sum = { "", "" };
		char reply[DELIVERY_REPLY_MAX] = "";
		enum delivery_result got;

		for (size_t k = 0; k < 4 && rows[i].said[k].reply; k++)
			smtp_owner_note(&sum, rows[i].said[k].result, rows[i].said[k].reply);
		got = smtp_owner_none(&sum, reply);
		if (got != rows[i].want || strncmp(reply, rows[i].reply, strlen(rows[i].reply)) != 0)
			fail_msg("row %zu: %d %s", i, got, reply);
	}
}

/* Whether a 250 counts that comes behind these. */
static void test_taken(void **state)
{
	static const struct { struct said said[3]; int accepts_all; bool counts; } rows[] = {
		{ { { 0 } }, 0, true }, { { { 0 } }, 1, true }, { { { 0 } }, -1, true },
		{ { NO }, 0, true }, { { NO }, 1, true }, { { NO, FULL }, -1, true },
		{ { AWAY }, 0, true }, { { AWAY }, 1, false }, { { AWAY }, -1, false },
		{ { NO, BUSY }, 0, true }, { { NO, BUSY }, 1, false }, { { BUSY, NO }, -1, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct smtp_owner_sum sum = { "", "" };

		for (size_t k = 0; k < 3 && rows[i].said[k].reply; k++)
			smtp_owner_note(&sum, rows[i].said[k].result, rows[i].said[k].reply);
		if (smtp_owner_counts(&sum, rows[i].accepts_all) != rows[i].counts)
			fail_msg("row %zu", i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_nobody), cmocka_unit_test(test_taken) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
