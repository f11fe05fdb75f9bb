/* What a person reads of a notification: what happened, and what to do. */
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "smtp/smtp_reply.h"
#include "smtp/trace.h"
#include "spool/dsn.h"
#include "spool/dsn_text.h"

enum { REPLY_SHOWN = 400, ADDRESS_SHOWN = 900, DATE_MAX = 40, WRAP_AT = 74 };

const char *dsn_subject(enum dsn_action action)
{
	return action == DSN_FAILED ? "Your message could not be delivered" :
	       action == DSN_DELAYED ? "Your message is delayed" : "Your message was passed on";
}

/* As a person knows it: UTF-8, without controls. */
static void add_address(const char *p, struct buf *out)
{
	size_t len = strlen(p);

	if (len > ADDRESS_SHOWN)
		len = ADDRESS_SHOWN;
	buf_addc(out, '<');
	for (size_t i = 0, n; i < len; i += n ? n : 1) {
		n = utf8_len(p + i, len - i);
		if (!n || (n == 1 && (p[i] < 0x20 || p[i] == 0x7f)))
			buf_addc(out, '?');
		else
			buf_add(out, p + i, n);
	}
	buf_adds(out, ">\r\n");
}

/* Words in lines, each behind an indent. */
static void add_wrapped(const char *text, const char *indent, struct buf *out)
{
	size_t column = 0, left = REPLY_SHOWN;

	while (*text && left) {
		size_t n;

		text += strspn(text, " ");
		n = strcspn(text, " ");
		if (n > WRAP_AT - 8)
			n = WRAP_AT - 8;
		if (n > left)
			n = left;
		if (!n)
			break;
		if (column && column + 1 + n > WRAP_AT) {
			buf_adds(out, "\r\n");
			column = 0;
		}
		buf_adds(out, column ? " " : indent);
		column += column ? 1 : strlen(indent);
		buf_add(out, text, n);
		column += n;
		text += n;
		left -= n;
	}
	buf_adds(out, "\r\n");
}

static void add_reply(const struct dsn_rcpt *r, struct buf *out)
{
	AUTO(buf) struct buf text = BUF_INIT(2048);

	if (!r->reply || !*r->reply)
		return;
	if (r->remote) {
		buf_adds(&text, "The mail server ");
		dsn_text_clean(r->remote, 255, &text);
		buf_adds(&text, " said: ");
	}
	dsn_text_clean(r->reply, REPLY_SHOWN, &text);
	add_wrapped(buf_str(&text), "    ", out);
}

/* What the sender can do, by the kind of failure (RFC 3463 3). */
static const char *advice(const struct dsn_rcpt *r)
{
	char status[DSN_STATUS_MAX];
	int n[3] = { 0 };

	if (r->expired)
		return "It was tried for as long as it is tried here. Send it again later, or reach the recipient in another way.";
	if (sscanf(dsn_status(r, status), "%d.%d.%d", &n[0], &n[1], &n[2]) != 3)
		return "";
	if (n[1] == 1)
		return "Check the address, and send your message again.";
	if (n[1] == 2 && n[2] == 2)
		return "The mailbox is full. Send your message again later, or reach the recipient in another way.";
	if (n[1] == 3 && n[2] == 4)
		return "Your message is too large. Send a smaller one, or pass large files on in another way.";
	if (n[1] == 7)
		return "The recipient's side refuses this message. Ask the recipient, in another way, to have it let in.";
	if (n[1] == 4)
		return "The recipient's mail server could not be found or reached. Check the domain behind the @, or try again later.";
	return "Send your message again later, or reach the recipient in another way.";
}

static void add_failed(const struct dsn *d, const bool *wanted, struct buf *out)
{
	bool any = false;

	for (size_t i = 0; i < d->rcpt_count; i++) {
		if (!wanted[i] || d->rcpt[i].action != DSN_FAILED)
			continue;
		if (!any)
			buf_adds(out, "Your message could NOT be delivered to the recipients below. It is not tried any more.\r\n\r\n");
		any = true;
		add_address(d->rcpt[i].address, out);
		add_reply(&d->rcpt[i], out);
		add_wrapped(advice(&d->rcpt[i]), "    ", out);
		buf_adds(out, "\r\n");
	}
}

static void add_delayed(const struct dsn *d, const bool *wanted, struct buf *out)
{
	int64_t until = 0;
	char date[DATE_MAX];
	bool any = false;

	for (size_t i = 0; i < d->rcpt_count; i++) {
		if (!wanted[i] || d->rcpt[i].action != DSN_DELAYED)
			continue;
		if (!any)
			buf_adds(out, "Your message has NOT YET been delivered to the recipients below. You need not send it again:\r\n"
				      "it is tried again by itself.\r\n\r\n");
		any = true;
		add_address(d->rcpt[i].address, out);
		add_reply(&d->rcpt[i], out);
		buf_adds(out, "\r\n");
		if (d->rcpt[i].retry_until_s > until)
			until = d->rcpt[i].retry_until_s;
	}
	if (any && until)
		buf_addf(out, "It is tried until %s. If it is urgent, reach the recipient in another way.\r\n\r\n", trace_date(until, date));
}

static void add_relayed(const struct dsn *d, const bool *wanted, struct buf *out)
{
	bool any = false;

	for (size_t i = 0; i < d->rcpt_count; i++) {
		if (!wanted[i] || d->rcpt[i].action != DSN_RELAYED)
			continue;
		if (!any)
			buf_adds(out, "Your message was handed to a mail server that does not tell whether it is delivered. You hear\r\n"
				      "no more of it unless it fails. You need not do anything.\r\n\r\n");
		any = true;
		add_address(d->rcpt[i].address, out);
		buf_adds(out, "\r\n");
	}
}

void dsn_words(const struct dsn *d, const bool *wanted, struct buf *out)
{
	buf_adds(out, "This is the mail gateway ");
	dsn_text_clean(d->hostname, 255, out);
	buf_adds(out, ".\r\n\r\n");
	add_failed(d, wanted, out);
	add_delayed(d, wanted, out);
	add_relayed(d, wanted, out);
	buf_adds(out, "Technical details and your message, or its header, follow. Here your message has the id ");
	dsn_text_clean(d->reference ? d->reference : d->id, 64, out);
	buf_adds(out, ".\r\n");
}
