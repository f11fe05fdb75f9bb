#include "directory/directory_line.h"

#include <errno.h>
#include <ldap.h>
#include <openldap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/host.h"
#include "base/stream.h"

enum { PIECE = 16 * 1024, REQUEST_MAX = 128 * 1024, PAGES_MAX = 1000 * 1000 };

struct directory_line {
	struct stream *stream;
	LDAP *ldap;
	int end;                        /* ours, of the pair */
	bool broken;
};

int directory_library_init(void)
{
	struct rlimit old, none;
	LDAPAPIInfo info = { .ldapai_info_version = LDAP_API_INFO_VERSION };
	int rc;

	if (setenv("LDAPNOINIT", "1", 1) < 0 || getrlimit(RLIMIT_NOFILE, &old) < 0)
		return -errno;
	/*
	 * It asks the resolver of the C library for our own name, and Cyrus SASL for its plugins, though nobody wants either: without descriptors both fail
	 * at once, and no question leaves this machine.
	 */
	none = old;
	none.rlim_cur = 0;
	if (setrlimit(RLIMIT_NOFILE, &none) < 0)
		return -errno;
	rc = ldap_get_option(NULL, LDAP_OPT_API_INFO, &info);
	if (setrlimit(RLIMIT_NOFILE, &old) < 0)
		return -errno;
	if (rc != LDAP_OPT_SUCCESS)
		return -ENOMEM;
	ldap_memfree(info.ldapai_vendor_name);
	ber_memvfree((void **)info.ldapai_extensions);
	return 0;
}

/* What a server says is shown to people: without controls, and short. */
static void why_set(char *why, const char *what, const char *more)
{
	snprintf(why, DIRECTORY_WHY_MAX, "%.100s%s%.140s", what, more && *more ? ": " : "", more ? more : "");
	for (char *p = why; *p; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
			*p = '?';
}

static int broken(struct directory_line *l, int rc, char *why, const char *what)
{
	l->broken = true;
	why_set(why, what, rc == -ETIMEDOUT ? "it does not answer" : rc == -EPIPE ? "it has closed the connection" : strerror(-rc));
	return rc;
}

/* ---- between libldap and the stream ---- */

/* What libldap has written goes out. may wait */
static int flush(struct directory_line *l, int timeout_ms)
{
	char piece[2048];
	ssize_t n;
	int rc = 0;

	while (rc == 0 && (n = read(l->end, piece, sizeof(piece))) > 0)
		rc = stream_write(l->stream, piece, (size_t)n);
	explicit_bzero(piece, sizeof(piece));
	return rc < 0 ? rc : stream_flush(l->stream, timeout_ms);
}

static int left_ms(int64_t deadline_ms, int step_ms)
{
	int64_t left = deadline_ms - clock_ms();

	if (left <= 0)
		return 0;
	return left < step_ms ? (int)left : step_ms;
}

/* One more piece of what the server says, given to libldap. may wait */
static int feed(struct directory_line *l, int timeout_ms)
{
	const char *p;
	size_t len;
	ssize_t n;
	int rc = timeout_ms > 0 ? stream_peek(l->stream, timeout_ms, &p, &len) : -ETIMEDOUT;

	if (rc < 0)
		return rc;
	n = write(l->end, p, len < PIECE ? len : PIECE);
	if (n <= 0)
		return -EIO;            /* libldap has taken all of before: there is room, unless it is no longer there */
	stream_eat(l->stream, (size_t)n);
	return 0;
}

/*
 * The next message in answer to a request: its type, or -errno with why. may wait. *out is to be freed with ldap_msgfree.
 */
static int next(struct directory_line *l, int id, int step_ms, int64_t deadline_ms, LDAPMessage **out, char *why)
{
	for (;;) {
		struct timeval at_once = { 0, 0 };
		LDAPMessage *notice = NULL;
		int rc = ldap_result(l->ldap, id, LDAP_MSG_ONE, &at_once, out);

		if (rc > 0)
			return rc;
		if (rc < 0)
			return broken(l, -EPROTO, why, "what the directory says is no LDAP");
		rc = feed(l, left_ms(deadline_ms, step_ms));
		if (rc < 0)
			return broken(l, rc, why, "the directory");
		/* What nobody has asked for says that it is over (RFC 4511 4.4.1). libldap would keep one after the other, without end. */
		if (ldap_result(l->ldap, LDAP_RES_UNSOLICITED, LDAP_MSG_ONE, &at_once, &notice) > 0) {
			ldap_msgfree(notice);
			return broken(l, -EPIPE, why, "the directory");
		}
	}
}

/* ---- results ---- */

static int as_errno(int code)
{
	switch (code) {
	case LDAP_SUCCESS:
		return 0;
	case LDAP_INVALID_CREDENTIALS:
	case LDAP_INAPPROPRIATE_AUTH:
	case LDAP_INSUFFICIENT_ACCESS:
	case LDAP_STRONG_AUTH_REQUIRED:
	case LDAP_CONFIDENTIALITY_REQUIRED:
	case LDAP_UNWILLING_TO_PERFORM:
		return -EACCES;
	case LDAP_NO_SUCH_OBJECT:
		return -ENOENT;
	case LDAP_SIZELIMIT_EXCEEDED:
	case LDAP_TIMELIMIT_EXCEEDED:
	case LDAP_ADMINLIMIT_EXCEEDED:
		return -E2BIG;
	default:
		return -EIO;
	}
}

/* The end of an operation; msg is freed. *controls (may be NULL): to be freed. */
static int result_take(struct directory_line *l, LDAPMessage *msg, LDAPControl ***controls, const char *what, char *why)
{
	char *text = NULL;
	int code = LDAP_OTHER, rc = ldap_parse_result(l->ldap, msg, &code, NULL, &text, NULL, controls, 1);

	if (rc != LDAP_SUCCESS) {
		ldap_memfree(text);
		return broken(l, -EPROTO, why, "what the directory says is no result");
	}
	rc = as_errno(code);
	if (rc < 0) {
		char both[DIRECTORY_WHY_MAX];

		snprintf(both, sizeof(both), "%.80s%s%.120s", ldap_err2string(code), text && *text ? ", " : "", text ? text : "");
		why_set(why, what, both);
	}
	ldap_memfree(text);
	return rc;
}

/* A request that has been made, if libldap said success, and its one answer. may wait */
static int ask(struct directory_line *l, int said, int id, int64_t deadline_ms, const char *what, char *why)
{
	LDAPMessage *msg = NULL;
	int rc = said == LDAP_SUCCESS ? flush(l, left_ms(deadline_ms, INT32_MAX)) : -EIO;

	if (rc < 0)
		return broken(l, rc, why, what);
	rc = next(l, id, INT32_MAX, deadline_ms, &msg, why);
	return rc < 0 ? rc : result_take(l, msg, NULL, what, why);
}

/* ---- opening ---- */

static int connect_any(const struct directory_server *s, struct dns *dns, int64_t deadline_ms, struct stream **out, char *why)
{
	struct net_addr a[HOST_ADDRESSES_MAX];
	char no_address[HOST_WHY_MAX] = "";
	size_t n = host_addresses(dns, s->host, s->port, left_ms(deadline_ms, INT32_MAX), a, no_address);
	int rc = -EHOSTUNREACH;

	if (n == 0)
		why_set(why, no_address, NULL);
	for (size_t i = 0; i < n && rc < 0; i++) {
		int left = left_ms(deadline_ms, INT32_MAX);

		/* Those behind it get their share of the time. */
		rc = left > 0 ? stream_connect(&a[i], NULL, left / (int)(n - i), out) : -ETIMEDOUT;
		if (rc < 0)
			why_set(why, "no connection", rc == -ETIMEDOUT ? "it does not answer" : strerror(-rc));
	}
	return rc;
}

static int library_open(struct directory_line *l, char *why)
{
	const ber_len_t most = DIRECTORY_PDU_MAX;
	const int version = LDAP_VERSION3, room = REQUEST_MAX;
	ber_len_t bound = most;
	Sockbuf *sb = NULL;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) {
		why_set(why, "no pair of sockets", strerror(errno));
		return -errno;
	}
	(void)setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	l->end = pair[1];
	if (ldap_init_fd(pair[0], LDAP_PROTO_TCP, NULL, &l->ldap) != LDAP_SUCCESS || !l->ldap) {
		if (!l->ldap)
			close(pair[0]);
		why_set(why, "libldap", "it cannot be used");
		return -ENOMEM;
	}
	if (ldap_set_option(l->ldap, LDAP_OPT_PROTOCOL_VERSION, &version) != LDAP_OPT_SUCCESS ||
	    ldap_set_option(l->ldap, LDAP_OPT_REFERRALS, LDAP_OPT_OFF) != LDAP_OPT_SUCCESS ||
	    ldap_get_option(l->ldap, LDAP_OPT_SOCKBUF, &sb) != LDAP_OPT_SUCCESS || ber_sockbuf_ctrl(sb, LBER_SB_OPT_SET_MAX_INCOMING, &bound) != 1) {
		why_set(why, "libldap", "it does not take its options");
		return -EIO;
	}
	return 0;
}

static int tls_start(struct directory_line *l, const struct directory_conf *c, const struct directory_server *s, struct ssl_ctx_st *ctx, int64_t deadline_ms, char *why)
{
	int id = 0, rc = 0;

	if (!s->implicit && c->tls == DIRECTORY_TLS_OFF)
		return 0;
	if (!s->implicit) {             /* RFC 4511 4.14 */
		rc = ldap_extended_operation(l->ldap, LDAP_EXOP_START_TLS, NULL, NULL, NULL, &id);
		rc = ask(l, rc, id, deadline_ms, "STARTTLS", why);
		if (rc == 0 && stream_pending(l->stream) > 0)
			rc = broken(l, -EPROTO, why, "it says something between STARTTLS and TLS");
	}
	if (rc < 0)
		return rc;
	rc = stream_tls_connect(l->stream, ctx, s->host, left_ms(deadline_ms, INT32_MAX));
	if (rc < 0)
		why_set(why, "TLS", stream_error(l->stream)[0] ? stream_error(l->stream) : rc == -ETIMEDOUT ? "it does not answer" : strerror(-rc));
	return rc;
}

static int bind_as(struct directory_line *l, const char *dn, const char *password, int64_t deadline_ms, char *why)
{
	struct berval secret = { .bv_len = strlen(password), .bv_val = (char *)password };
	int id = 0, rc = ldap_sasl_bind(l->ldap, dn, LDAP_SASL_SIMPLE, &secret, NULL, NULL, &id);

	return ask(l, rc, id, deadline_ms, "bind", why);
}

int directory_line_open(const struct directory_conf *c, const struct directory_server *s, struct dns *dns, struct ssl_ctx_st *ctx, const char *password,
			int64_t deadline_ms, struct directory_line **out, char *why)
{
	AUTO(directory_line) struct directory_line *l = calloc(1, sizeof(*l));
	int rc;

	if (!l)
		return -ENOMEM;
	l->end = -1;
	rc = connect_any(s, dns, deadline_ms, &l->stream, why);
	if (rc == 0) {
		stream_set_secret(l->stream, true);
		rc = library_open(l, why);
	}
	if (rc == 0)
		rc = tls_start(l, c, s, ctx, deadline_ms, why);
	if (rc == 0 && password)
		rc = bind_as(l, c->bind_dn, password, deadline_ms, why);
	if (rc < 0)
		return rc;
	*out = l;
	l = NULL;
	return 0;
}

void directory_line_free(struct directory_line *l)
{
	if (!l)
		return;
	if (l->ldap) {
		(void)ldap_unbind_ext(l->ldap, NULL, NULL);     /* closes its end, with a last word in our buffer, */
		if (l->stream && !l->broken)
			(void)flush(l, 0);                      /* which goes as far as it goes */
	}
	if (l->end >= 0)
		close(l->end);
	stream_free(l->stream);
	free(l);
}

bool directory_line_dead(const struct directory_line *l)
{
	return l->broken || stream_pending(l->stream) > 0 || stream_spoken_to(l->stream) || stream_left(l->stream);
}

/* ---- searching ---- */

struct search {
	struct directory_line *line;
	const struct directory_visit *visit;
	int id, step_ms, entries;
	int64_t deadline_ms;
	char *why;
};

static int entry_take(struct search *s, LDAPMessage *msg)
{
	const struct directory_visit *v = s->visit;
	LDAP *ld = s->line->ldap;
	BerElement *ber = NULL;
	char *dn = v->entry ? ldap_get_dn(ld, msg) : NULL;
	int rc = v->entry ? v->entry(v->arg, dn ? dn : "") : 0;

	for (char *name = rc == 0 ? ldap_first_attribute(ld, msg, &ber) : NULL; name; name = rc == 0 ? ldap_next_attribute(ld, msg, ber) : NULL) {
		struct berval **values = ldap_get_values_len(ld, msg, name);

		if (values)
			rc = v->values(v->arg, name, values);
		ldap_value_free_len(values);
		ldap_memfree(name);
	}
	ber_free(ber, 0);
	ldap_memfree(dn);
	if (rc == 0 && v->end)
		rc = v->end(v->arg);
	if (rc == 0 && ++s->entries > DIRECTORY_ENTRIES_MAX)
		rc = -EFBIG;
	if (rc < 0)
		why_set(s->why, "an entry cannot be taken", strerror(-rc));
	return rc;
}

/* RFC 4511 4.5.3: what is below some names is on other servers. Any of those that it names has it. */
static void reference_take(struct search *s, LDAPMessage *msg)
{
	char **url = NULL;

	if (s->visit->elsewhere && ldap_parse_reference(s->line->ldap, msg, &url, NULL, 0) == LDAP_SUCCESS && url && url[0])
		s->visit->elsewhere(s->visit->arg, url[0]);
	ldap_memvfree((void **)url);
}

/* Entries up to the end of one page; *controls of that. may wait */
static int page_read(struct search *s, LDAPControl ***controls)
{
	for (;;) {
		LDAPMessage *msg = NULL;
		int type = next(s->line, s->id, s->step_ms, s->deadline_ms, &msg, s->why), rc = 0;

		if (type < 0)
			return type;
		if (type == LDAP_RES_SEARCH_RESULT)
			return result_take(s->line, msg, controls, "search", s->why);
		if (type == LDAP_RES_SEARCH_ENTRY)
			rc = entry_take(s, msg);
		else if (type == LDAP_RES_SEARCH_REFERENCE)
			reference_take(s, msg);
		ldap_msgfree(msg);
		if (rc < 0) {
			s->line->broken = true; /* the rest of it is still to come */
			return rc;
		}
	}
}

/* Where the next page begins, into cookie; empty: there is none. */
static int cookie_take(struct directory_line *l, LDAPControl **controls, struct berval *cookie, char *why)
{
	LDAPControl *page = controls ? ldap_control_find(LDAP_CONTROL_PAGEDRESULTS, controls, NULL) : NULL;
	bool further = cookie->bv_len > 0;
	ber_int_t estimate;

	ber_memfree(cookie->bv_val);
	*cookie = (struct berval){ .bv_val = NULL };
	/* Who has given pages says of the last one that it is that (RFC 2696 section 3). */
	if (page ? ldap_parse_pageresponse_control(l->ldap, page, &estimate, cookie) != LDAP_SUCCESS : further) {
		why_set(why, "it does not say whether there are more pages", NULL);
		return -EPROTO;
	}
	return 0;
}

static int page_ask(struct search *s, const char *base, bool base_only, const char *filter, char *const *attributes, int page, struct berval *cookie)
{
	LDAPControl *paging = NULL, *controls[2] = { NULL, NULL };
	int rc = LDAP_SUCCESS;

	/* Not critical: a server that knows no pages gives all at once, or says that it does not. */
	if (page > 0)
		rc = ldap_create_page_control(s->line->ldap, page, cookie->bv_val ? cookie : NULL, 0, &paging);
	controls[0] = paging;
	if (rc == LDAP_SUCCESS)
		rc = ldap_search_ext(s->line->ldap, base, base_only ? LDAP_SCOPE_BASE : LDAP_SCOPE_SUBTREE, filter, (char **)attributes, 0, controls, NULL, NULL,
				     LDAP_NO_LIMIT, &s->id);
	if (paging)
		ldap_control_free(paging);
	if (rc != LDAP_SUCCESS) {
		why_set(s->why, "the question cannot be put", ldap_err2string(rc));
		return rc == LDAP_FILTER_ERROR ? -EINVAL : -EIO;
	}
	rc = flush(s->line, left_ms(s->deadline_ms, s->step_ms));
	return rc < 0 ? broken(s->line, rc, s->why, "the directory") : 0;
}

int directory_line_search(struct directory_line *l, const char *base, bool base_only, const char *filter, char *const *attributes, int page, int step_ms,
			  int64_t deadline_ms, const struct directory_visit *visit, char *why)
{
	struct search s = { .line = l, .visit = visit, .step_ms = step_ms, .deadline_ms = deadline_ms, .why = why };
	struct berval cookie = { .bv_val = NULL };
	int rc, pages = 0;

	do {
		LDAPControl **controls = NULL;

		rc = page_ask(&s, base, base_only, filter, attributes, page, &cookie);
		if (rc == 0)
			rc = page_read(&s, &controls);
		if (rc == 0)
			rc = cookie_take(l, controls, &cookie, why);
		ldap_controls_free(controls);
	} while (rc == 0 && cookie.bv_len > 0 && ++pages < PAGES_MAX);
	ber_memfree(cookie.bv_val);
	if (rc == 0 && pages >= PAGES_MAX) {
		why_set(why, "pages without end", NULL);
		return -EPROTO;
	}
	return rc;
}
