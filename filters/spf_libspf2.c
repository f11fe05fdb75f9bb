#include "filters/spf_libspf2.h"

#include <arpa/nameser.h>
#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <spf2/spf.h>
#include <spf2/spf_dns.h>
#include <spf2/spf_dns_rr.h>
#include <spf2/spf_log.h>

#include "base/buf.h"
#include "base/clock.h"
#include "filters/spf_macro.h"
#include "filters/spf_record.h"

enum {
	TERM_BYTES_MAX = 253,
	TERM_MACROS_MAX = 32,           /* Debian's 1.2.10 overflows a buffer near 127 (CVE-2023-42118) */
	SENDER_MAX = 512,
	HELO_MAX = 255,
	RECORD_MAX = 8 * 1024,
};

struct guard {
	SPF_dns_server_t layer;
	SPF_server_t *server;
	SPF_request_t *request;
	const struct net_addr *client;
	struct dns *dns;
	struct spf_result *out;
	int64_t deadline_ms;
	int timeout_ms;
	bool first;                             /* the domain's own record has been asked for */
	bool stopped;                           /* out holds the result: the library's does not count */
	bool nomem;
	char *host[SPF_HOSTS_MAX];              /* names of the last MX or PTR answer whose addresses were not asked for yet */
	bool hosts_ptr;                         /* it was a PTR answer */
	char text[DNS_NAME_MAX];
};

static void stop(struct guard *g, enum spf_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void stop(struct guard *g, enum spf_code code, const char *fmt, ...)
{
	va_list ap;
	char *why;

	if (g->stopped)
		return;
	g->stopped = true;
	va_start(ap, fmt);
	if (vasprintf(&why, fmt, ap) < 0)
		why = NULL;
	va_end(ap);
	if (!why || spf_result_set(g->out, code, "%s: %s", g->out->domain, why) < 0)
		g->nomem = true;
	free(why);
}

/* ---- the budget ---- */

/* Whether the lookup is of a host that an MX or PTR answer named: it belongs to that term. */
static bool host_take(struct guard *g, const char *name, ns_type type)
{
	if (type != ns_t_a && type != ns_t_aaaa)
		return false;
	for (size_t i = 0; i < SPF_HOSTS_MAX; i++) {
		if (g->host[i] && strcasecmp(g->host[i], name) == 0) {
			free(g->host[i]);
			g->host[i] = NULL;
			return true;
		}
	}
	return false;
}

static void hosts_forget(struct guard *g)
{
	for (size_t i = 0; i < SPF_HOSTS_MAX; i++) {
		free(g->host[i]);
		g->host[i] = NULL;
	}
}

/* Whether the lookup may be made. term: it counts as one. */
static bool spend(struct guard *g, const char *name, bool term)
{
	if (g->stopped)
		return false;
	if (g->deadline_ms <= clock_ms()) {
		stop(g, SPF_TEMPERROR, "%s was not looked up: the check's %d ms are over", name, g->timeout_ms);
		return false;
	}
	if (term && g->out->terms >= SPF_TERMS_MAX) {
		stop(g, SPF_PERMERROR, "%s is the 11th lookup; 10 are allowed", name);
		return false;
	}
	g->out->terms += term;
	return true;
}

/* ---- records ---- */

/* Whether the library may see the term. */
static bool term_safe(const struct spf_term *t)
{
	return t->len <= TERM_BYTES_MAX && spf_macro_count(t->domain, t->domain_len) <= TERM_MACROS_MAX;
}

/*
 * Write the record again as the library understands it: mechanisms up to "all", then the redirect. It would act on redirect= in its place,
 * trips over other modifiers, and must not see exp=. lean: without the addresses that do not cover the client.
 */
static int record_write(const struct spf_record *r, const struct net_addr *client, bool lean, struct buf *out, int *mechanisms)
{
	bool all = false;

	buf_clear(out);
	buf_adds(out, "v=spf1");
	*mechanisms = 0;
	for (size_t i = 0; i < r->count && !all; i++) {
		const struct spf_term *t = &r->term[i];

		if (!term_safe(t))
			return -E2BIG;
		if (lean && (t->kind == SPF_IP4 || t->kind == SPF_IP6) && !spf_term_covers(t, client))
			continue;
		all = t->kind == SPF_ALL;
		buf_addc(out, ' ');
		buf_add(out, t->text, t->len);
		++*mechanisms;
	}
	if (r->redirect.len > 0 && !all) {
		if (!term_safe(&r->redirect))
			return -E2BIG;
		buf_addc(out, ' ');
		buf_add(out, r->redirect.text, r->redirect.len);
		++*mechanisms;                  /* it is one to the library */
	}
	return out->failed ? -E2BIG : 0;
}

/* Whether the library holds the whole record: it keeps 512 bytes of what it compiles and drops the rest without a word. */
static bool record_held(struct guard *g, const char *text, int mechanisms)
{
	SPF_response_t *said = SPF_response_new(g->request);
	SPF_record_t *r = NULL;
	bool held;

	if (!said)
		return false;
	held = SPF_record_compile(g->server, said, &r, text) != SPF_E_SUCCESS || !r || r->num_mech == mechanisms;
	if (r)
		SPF_record_free(r);
	SPF_response_free(said);
	return held;            /* or an error that it will report when it is asked */
}

static int record_fit(struct guard *g, const struct spf_record *r, struct buf *out)
{
	for (int lean = 0; lean < 2; lean++) {
		int mechanisms, rc = record_write(r, g->client, lean, out, &mechanisms);

		if (rc == 0 && record_held(g, buf_str(out), mechanisms))
			return 0;
	}
	return -E2BIG;
}

/* A TXT record's text to what the library gets: 0 and out; -ENOENT: not its business; else the check is stopped. */
static int record_guard(struct guard *g, const char *name, const char *text, size_t len, struct buf *out)
{
	AUTO(spf_record) struct spf_record r = { 0 };
	struct spf_record_error err;
	int rc;

	if (!spf_record_is(text, len))
		return -ENOENT;
	rc = spf_record_parse(text, len, &r, &err);
	if (rc == -ENOMEM)
		stop(g, SPF_TEMPERROR, "no memory");
	else if (rc < 0)
		stop(g, SPF_PERMERROR, "the record of %s has %s", name, err.what);
	if (rc < 0)
		return rc;
	rc = record_fit(g, &r, out);
	if (rc < 0)
		stop(g, SPF_PERMERROR, "the record of %s is too long for libspf2, or has a term that is, or that has too many macros", name);
	return rc;
}

/* ---- answers ---- */

static int rr_put(SPF_dns_rr_t *rr, const void *data, size_t len)
{
	if (SPF_dns_rr_buf_realloc(rr, rr->num_rr, len < sizeof(SPF_dns_rr_data_t) ? sizeof(SPF_dns_rr_data_t) : len) != SPF_E_SUCCESS)
		return -ENOMEM;
	memcpy(rr->rr[rr->num_rr], data, len);
	rr->num_rr++;
	return 0;
}

static int put_txt(struct guard *g, SPF_dns_rr_t *rr, const char *name, const struct dns_rr *from)
{
	AUTO(buf) struct buf out = BUF_INIT(RECORD_MAX);
	char *text;
	size_t len;
	int rc = dns_txt(from, &text, &len);

	if (rc < 0)
		return rc == -ENOMEM ? rc : 0;
	rc = record_guard(g, name, text, len, &out);
	free(text);
	if (rc == -ENOENT)
		return 0;
	return rc < 0 ? rc : rr_put(rr, buf_str(&out), out.len + 1);
}

static int put_host(struct guard *g, SPF_dns_rr_t *rr, const struct dns_rr *from)
{
	unsigned preference;
	int rc = rr->rr_type == ns_t_mx ? dns_mx(from, &preference, g->text) : dns_name(from, 0, g->text);

	if (rc < 0 || !g->text[0] || strchr(g->text, '\\'))
		return 0;
	if (rr->num_rr >= SPF_HOSTS_MAX) {
		if (rr->rr_type == ns_t_mx)
			stop(g, SPF_PERMERROR, "%s names more than 10 MX hosts", rr->domain);
		return 0;                       /* PTR: the first 10, section 4.6.4 */
	}
	g->host[rr->num_rr] = strdup(g->text);
	if (!g->host[rr->num_rr])
		return -ENOMEM;
	return rr_put(rr, g->text, strlen(g->text) + 1);
}

static int put(struct guard *g, SPF_dns_rr_t *rr, const char *name, const struct dns_rr *from)
{
	switch ((int)rr->rr_type) {
	case ns_t_txt:
		return put_txt(g, rr, name, from);
	case ns_t_mx:
	case ns_t_ptr:
		return put_host(g, rr, from);
	case ns_t_a:
		return from->len == 4 ? rr_put(rr, from->data, 4) : 0;
	case ns_t_aaaa:
		return from->len == 16 ? rr_put(rr, from->data, 16) : 0;
	default:
		return 0;
	}
}

static int answer_fill(struct guard *g, SPF_dns_rr_t *rr, const char *name, const struct dns_answer *a, bool term)
{
	switch (a->status) {
	case DNS_OK:
		break;
	case DNS_TEMPFAIL:
		/* Behind a PTR question a failure only makes no match (section 5.5); elsewhere it is the result. */
		if (rr->rr_type == ns_t_ptr || (!term && g->hosts_ptr && rr->rr_type != ns_t_txt))
			return HOST_NOT_FOUND;
		stop(g, SPF_TEMPERROR, "%s could not be looked up: %s", name, a->why);
		return TRY_AGAIN;
	case DNS_BADNAME:
		return HOST_NOT_FOUND;
	default:
		if (term && ++g->out->voids > SPF_VOIDS_MAX)
			stop(g, SPF_PERMERROR, "%s is the third lookup without an answer; 2 are allowed", name);
		return a->status == DNS_NXDOMAIN ? HOST_NOT_FOUND : NO_DATA;
	}
	if (rr->rr_type == ns_t_mx || rr->rr_type == ns_t_ptr) {
		hosts_forget(g);
		g->hosts_ptr = rr->rr_type == ns_t_ptr;
	}
	for (size_t i = 0; i < a->count && !g->stopped; i++) {
		if (put(g, rr, name, &a->rr[i]) == -ENOMEM) {
			stop(g, SPF_TEMPERROR, "no memory");
			return TRY_AGAIN;
		}
	}
	return rr->num_rr > 0 ? NETDB_SUCCESS : NO_DATA;
}

/* What the library leaves to do: cut a name to 253 bytes from the left (section 7.3), take the final dot off. */
static int name_write(const char *name, char *out, size_t size)
{
	size_t len = strlen(name);
	const char *dot;

	if (len > 0 && name[len - 1] == '.')
		len--;
	while (len > SPF_NAME_MAX && (dot = memchr(name, '.', len)) != NULL) {
		len -= (size_t)(dot + 1 - name);
		name = dot + 1;
	}
	return spf_macro_name(name, len, out, size);
}

/* The library's hook. A NULL from here would make it abort. may wait */
static SPF_dns_rr_t *guard_lookup(SPF_dns_server_t *layer, const char *name, ns_type type, int should_cache)
{
	struct guard *g = layer->hook;
	AUTO(dns_lookup) struct dns_lookup *lookup = NULL;
	SPF_dns_rr_t *rr = SPF_dns_rr_new_init(layer, name, type, 0, HOST_NOT_FOUND);
	bool term = g->first && !host_take(g, name, type);

	if (!rr)
		return NULL;
	g->first = true;
	if (type != ns_t_txt && type != ns_t_a && type != ns_t_aaaa && type != ns_t_mx && type != ns_t_ptr)
		return rr;
	rr->herrno = TRY_AGAIN;
	if (!spend(g, name, term))
		return rr;
	if (name_write(name, g->text, sizeof(g->text)) < 0)
		g->text[0] = '\0';
	g->out->asked++;
	if (dns_start_within(g->dns, g->text, (enum dns_type)type, (int)(g->deadline_ms - clock_ms()), &lookup) < 0)
		return rr;
	rr->herrno = answer_fill(g, rr, name, dns_wait(lookup), term);
	if (g->stopped) {
		rr->num_rr = 0;
		rr->herrno = TRY_AGAIN;
	}
	return rr;
}

/* ---- the check ---- */

static enum spf_code code_of(SPF_response_t *r)
{
	switch (SPF_response_result(r)) {
	case SPF_RESULT_NEUTRAL:
		return SPF_NEUTRAL;
	case SPF_RESULT_PASS:
		return SPF_PASS;
	case SPF_RESULT_FAIL:
		return SPF_FAIL;
	case SPF_RESULT_SOFTFAIL:
		return SPF_SOFTFAIL;
	case SPF_RESULT_NONE:
		return SPF_NONE;
	case SPF_RESULT_TEMPERROR:
		return SPF_TEMPERROR;
	case SPF_RESULT_PERMERROR:
		return SPF_PERMERROR;
	default:                                /* compile errors: only an error code tells */
		break;
	}
	switch (SPF_response_errcode(r)) {
	case SPF_E_NO_MEMORY:
		return SPF_TEMPERROR;
	case SPF_E_NOT_SPF:
		return SPF_NONE;
	default:
		return SPF_PERMERROR;
	}
}

static int client_set(SPF_request_t *r, const struct net_addr *a)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (a->family == AF_INET6) {
		memcpy(&v6, a->ip, sizeof(v6));
		return SPF_request_set_ipv6(r, v6) == SPF_E_SUCCESS ? 0 : -ENOMEM;
	}
	memcpy(&v4, a->ip, sizeof(v4));
	return SPF_request_set_ipv4(r, v4) == SPF_E_SUCCESS ? 0 : -ENOMEM;
}

static int ask_library(const struct spf_query *q, const struct spf_identity *id, SPF_server_t *server, struct guard *g)
{
	SPF_request_t *request = SPF_request_new(server);
	SPF_response_t *response = NULL;
	const char *helo = q->helo && strlen(q->helo) <= HELO_MAX ? q->helo : "unknown";
	int rc = -ENOMEM;

	/* The sender first: set_helo_dom would make one up. Both return nonzero on failure. */
	if (!request || client_set(request, &q->client) < 0 || SPF_request_set_env_from(request, id->sender) ||
	    SPF_request_set_helo_dom(request, helo))
		goto out;
	g->server = server;
	g->request = request;
	SPF_request_query_mailfrom(request, &response);
	rc = 0;
	if (g->stopped || !response)
		goto out;
	rc = spf_result_set(g->out, code_of(response), "%s: libspf2: %s", g->out->domain,
			    SPF_response_messages(response) > 0 ? SPF_error_message(SPF_response_message(response, 0))
								 : SPF_strreason(SPF_response_reason(response)));
out:
	if (response)
		SPF_response_free(response);
	if (request)
		SPF_request_free(request);
	return rc;
}

int spf_libspf2_check(const struct spf_query *q, const struct spf_identity *id, struct dns *dns, struct spf_result *out)
{
	struct guard *g;
	SPF_server_t *server;
	SPF_response_t *said = NULL;
	int rc = -ENOMEM;

	if (strlen(id->sender) > SENDER_MAX)
		return spf_result_set(out, SPF_PERMERROR, "%s: the sender's address is too long for libspf2", out->domain);
	SPF_warning_handler = NULL;             /* it would print */
	SPF_info_handler = NULL;
	SPF_debug_handler = NULL;
	g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->dns = dns;
	g->out = out;
	g->client = &q->client;
	g->timeout_ms = q->timeout_ms;
	g->deadline_ms = clock_ms() + q->timeout_ms;
	g->layer = (SPF_dns_server_t){ .lookup = guard_lookup, .name = "gatepost", .hook = g };
	server = SPF_server_new_dns(&g->layer, 0);
	if (server) {
		SPF_server_set_explanation(server, "refused", &said);
		if (said)
			SPF_response_free(said);
		rc = ask_library(q, id, server, g);
		SPF_server_free(server);
	}
	if (g->nomem)
		rc = -ENOMEM;
	hosts_forget(g);
	free(g);
	return rc;
}
