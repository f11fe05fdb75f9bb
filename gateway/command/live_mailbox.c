#include "command/live_mailbox.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/proxy_stream.h"
#include "base/stream.h"
#include "base/tls.h"
#include "command/live.h"
#include "policy/conf.h"

enum { LINE_MAX_BYTES = 8192, LINES_MAX = 50 };

static int line_read(struct stream *s, char *out, size_t size)
{
	const char *line;
	size_t len;
	int rc = stream_read_line(s, LINE_MAX_BYTES, LIVE_STEP_MS, &line, &len);

	if (rc == 0)
		snprintf(out, size, "%.*s", (int)strcspn(line, "\r\n"), line);
	return rc;
}

static int handshake(struct live_part *p, struct stream *s, struct ssl_ctx_st *ctx)
{
	const struct backend_conf *b = p->backend;
	int rc = stream_tls_connect(s, ctx, b->tls_name, LIVE_STEP_MS);

	if (rc < 0) {
		live_say(p, b->tls == TLS_REQUIRED || b->implicit_tls ? LIVE_FAIL : LIVE_WARN, "TLS handshake: %s%s",
			 rc == -EPROTO ? stream_error(s) : strerror(-rc), b->tls == TLS_REQUIRED || b->implicit_tls ? "" : ": users are served in clear text");
		return rc;
	}
	live_say(p, LIVE_OK, "TLS: %s with %s, %s", stream_tls_version(s), stream_tls_cipher(s),
		 stream_tls_pinned(s) ? "its certificate is pinned" : b->tls == TLS_REQUIRED ? "its certificate is verified" : "its certificate is not looked at");
	live_certificate(p, stream_tls_certificate(s), "its certificate", NULL, b->tls == TLS_REQUIRED && !b->tls_pin_count);
	return 0;
}

/* STARTTLS or STLS. 0: the handshake is next; 1: it does not. */
static int ask_for_tls(struct live_part *p, struct stream *s)
{
	bool imap = p->backend->protocol == LISTENER_IMAP;
	char line[200];
	int rc = stream_printf(s, imap ? "a STARTTLS\r\n" : "STLS\r\n");

	for (int i = 0; rc == 0 && i < LINES_MAX; i++) {
		rc = line_read(s, line, sizeof(line));
		if (rc == 0 && (!imap || strncmp(line, "a ", 2) == 0))
			return strncmp(line, imap ? "a OK" : "+OK", imap ? 4 : 3) == 0 ? 0 : 1;
	}
	return rc < 0 ? rc : 1;
}

void live_mailbox(struct live_part *p, const struct net_addr *to, struct ssl_ctx_st *ctx)
{
	const struct backend_conf *b = p->backend;
	AUTO(stream) struct stream *s = NULL;
	const struct proxy_header local = { 0 };
	char at[NET_TEXT_MAX], line[200] = "";
	int rc = stream_connect(to, NULL, b->connect_timeout_ms < LIVE_STEP_MS ? b->connect_timeout_ms : LIVE_STEP_MS, &s);

	net_text_port(to, at);
	if (rc == 0 && b->proxy != PROXY_NO)
		rc = proxy_stream_write(s, b->proxy, &local, LIVE_STEP_MS);
	if (rc < 0) {
		live_say(p, LIVE_FAIL, "%s: connect: %s", at, strerror(-rc));
		return;
	}
	if (b->protocol == LISTENER_TCP) {
		live_say(p, LIVE_OK, "%s takes connections", at);
		return;
	}
	if (ctx && b->implicit_tls && handshake(p, s, ctx) < 0)
		return;
	rc = line_read(s, line, sizeof(line));
	if (rc < 0 || (strncmp(line, "* OK", 4) != 0 && strncmp(line, "+OK", 3) != 0)) {
		live_say(p, LIVE_FAIL, "%s: its greeting: %s", at, rc < 0 ? strerror(-rc) : line);
		return;
	}
	live_say(p, LIVE_OK, "%s answers: %s", at, line);
	if (!ctx || b->implicit_tls)
		return;
	rc = ask_for_tls(p, s);
	if (rc == 0)
		(void)handshake(p, s, ctx);
	else
		live_say(p, b->tls == TLS_REQUIRED ? LIVE_FAIL : LIVE_WARN, "it does no STARTTLS: %s", b->tls == TLS_REQUIRED ? "nobody is served" :
			 "passwords go there in clear text");
}
