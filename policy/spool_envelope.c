/* spool_envelope - the envelope of a spooled message in memory */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "policy/spool.h"

struct spool_envelope *spool_envelope_new(void)
{
	return calloc(1, sizeof(struct spool_envelope));
}

static void recipient_release(struct spool_recipient *r)
{
	free(r->address);
	free(r->params);
	free(r->route);
	free(r->reply);
	free(r->remote);
}

void spool_envelope_free(struct spool_envelope *e)
{
	if (!e)
		return;
	for (size_t i = 0; i < e->rcpt_count; i++)
		recipient_release(&e->rcpt[i]);
	free(e->rcpt);
	free(e->sender);
	free(e->params);
	free(e->listener);
	free(e->user);
	free(e->client);
	free(e->helo);
	free(e->txn);
	free(e);
}

struct spool_recipient *spool_envelope_add(struct spool_envelope *e, const char *address, const char *params, const char *route)
{
	struct spool_recipient r = { .address = strdup(address), .params = strdup(params), .route = strdup(route), .reply = strdup(""),
				     .remote = strdup("") };
	size_t n = e->rcpt_count;
	struct spool_recipient *more = e->rcpt;

	if (n == SPOOL_RECIPIENTS_MAX) {
		more = NULL;
	} else if (n >= e->rcpt_room) {
		more = realloc(e->rcpt, (2 * n + 1) * sizeof(*more));
		if (more) {
			e->rcpt = more;
			e->rcpt_room = 2 * n + 1;
		}
	}
	if (!more || !r.address || !r.params || !r.route || !r.reply || !r.remote) {
		recipient_release(&r);
		return NULL;
	}
	more[n] = r;
	e->rcpt_count++;
	return &more[n];
}

const char *spool_param(const char *params, const char *name, size_t *len)
{
	size_t want = strlen(name);

	for (const char *p = params + strspn(params, " "); *p; p += strspn(p, " ")) {
		size_t word = strcspn(p, " "), key = strcspn(p, "= ");

		if (key == want && strncasecmp(p, name, want) == 0) {
			*len = key < word ? word - key - 1 : 0;
			return key < word ? p + key + 1 : p + key;
		}
		p += word;
	}
	return NULL;
}
