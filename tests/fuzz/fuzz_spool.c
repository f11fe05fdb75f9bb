/* Records and requests of the spool: what is read is written again, and then it stays the same. The first byte says what it is. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "policy/spool_record.h"
#include "policy/spool_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void no_commands(const char *s)
{
	for (; s && *s; s++)
		assert((unsigned char)*s >= 0x20 && *s != 0x7f);
}

static void record(const char *p, size_t len, enum spool_record_kind kind)
{
	AUTO(spool_envelope) struct spool_envelope *e = NULL, *again = NULL;
	char *once, *twice;

	if (spool_record_parse(p, len, kind, &e, NULL) < 0)
		return;
	no_commands(e->sender);
	no_commands(e->params);
	for (size_t i = 0; i < e->rcpt_count; i++) {
		no_commands(e->rcpt[i].address);
		no_commands(e->rcpt[i].params);
		no_commands(e->rcpt[i].route);
	}
	once = spool_record_text(e);
	assert(once && spool_record_parse(once, strlen(once), kind, &again, NULL) == 0);
	twice = spool_record_text(again);
	assert(twice && strcmp(once, twice) == 0);
	free(once);
	free(twice);
}

static void held(void *arg, const struct spool_held *h)
{
	assert(store_id_ms(h->id) >= 0 && h->number > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data + 1;
	struct spool_lease *l = NULL;
	struct spool_told t;
	uint64_t serial;
	int64_t wait;

	if (size == 0)
		return 0;
	size--;
	switch (data[0] % 6) {
	case 0: record(p, size, RECORD_KEPT); break;
	case 1: record(p, size, RECORD_NEW); break;
	case 2:
		if (spool_wire_report_read(p, size, &t) == 0)
			for (size_t i = 0; i < t.count; i++)
				assert(t.outcome[i].rcpt < SPOOL_RECIPIENTS_MAX);
		spool_told_release(&t);
		break;
	case 3: (void)spool_wire_hold_read(p, size, held, NULL); break;
	case 4:
		if (spool_wire_lease_read(p, size, 0, &l) == 0)
			spool_lease_free(l);
		break;
	default: (void)spool_wire_ask_read(p, size, &serial, &wait); break;
	}
	return 0;
}
