/* conf_rua - gatepost.conf: section dmarc, and with it whether the owners of domains get aggregate reports, and what those say of us */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "filters/domain.h"
#include "policy/conf_table.h"

enum { DAY_S = 86400, KEEP_MIN_S = 2 * DAY_S, LOCAL_MAX = 64, TEXT_MAX = 200 };

#define SITE(field) offsetof(struct site, field)
#define KIB ((int64_t)1024)

static const char *const engines[] = { "native", "libopendmarc", NULL };

/* RFC 5322 section 3.2.3: a dot-atom. Nothing that needs quotes, as it stands in fields, in XML, and in a name of a file. */
static bool is_dot_atom(const char *p, size_t len)
{
	static const char others[] = "!#$%&'*+-/=?^_`{|}~";

	if (len == 0 || len > LOCAL_MAX || p[0] == '.' || p[len - 1] == '.')
		return false;
	for (size_t i = 0; i < len; i++) {
		bool alnum = (p[i] >= '0' && p[i] <= '9') || ((p[i] | 32) >= 'a' && (p[i] | 32) <= 'z');

		if (p[i] == '.' ? p[i - 1] == '.' : !alnum && !(p[i] && strchr(others, p[i])))
			return false;
	}
	return true;
}

static void from_read(struct conf *c, void *at, const char *value, int line)
{
	struct site *s = at;
	const char *sign = strrchr(value, '@');
	char domain[DOMAIN_MAX];
	AUTO(buf) struct buf b = BUF_INIT(LOCAL_MAX + 1 + DOMAIN_MAX);

	if (!sign || !is_dot_atom(value, (size_t)(sign - value)) || domain_canonical(sign + 1, strlen(sign + 1), domain) < 0 || domain_labels(domain) < 2) {
		conf_error(c, line, "rua_from: \"%.200s\" is no mail address, expected one such as \"dmarc-reports@example.com\"", value);
		return;
	}
	buf_addf(&b, "%.*s@%s", (int)(sign - value), value, domain);
	free(s->rua.from);
	s->rua.from = conf_copy(buf_str(&b));
}

/* Text that people and programs of others read, in an XML file and in a mail. */
static void text_read(struct conf *c, const char *option, char **to, const char *value, int line)
{
	size_t len = strlen(value), step;
	bool good = len > 0 && len <= TEXT_MAX;

	for (size_t i = 0; good && i < len; i += step) {
		step = utf8_len(value + i, len - i);
		good = step > 0 && (unsigned char)value[i] >= ' ' && value[i] != 0x7f && !(step == 2 && (unsigned char)value[i] == 0xc2 && (unsigned char)value[i + 1] < 0xa0);
	}
	if (!good) {
		conf_error(c, line, "%s: \"%.200s\" is no line of text, expected 1 to %d octets of UTF-8 without controls", option, value, TEXT_MAX);
		return;
	}
	free(*to);
	*to = conf_copy(value);
}

static void org_read(struct conf *c, void *at, const char *value, int line)
{
	text_read(c, "rua_org", &((struct site *)at)->rua.org, value, line);
}

static void contact_read(struct conf *c, void *at, const char *value, int line)
{
	text_read(c, "rua_contact", &((struct site *)at)->rua.contact, value, line);
}

/* RFC 7489 section 6.2 had receivers serve two addresses at least. A short rua_spread is of use in tests only. */
static const struct conf_option dmarc_options[] = {
	{ "engine", CONF_WORD, SITE(dmarc_engine), "native", .words = engines },
	CONF_OPTION("rua", CONF_BOOL, SITE(rua.send), "no"),
	{ "rua_from", CONF_CUSTOM, 0, .read = from_read },
	{ "rua_org", CONF_CUSTOM, 0, .read = org_read },
	{ "rua_contact", CONF_CUSTOM, 0, .read = contact_read },
	CONF_NUMBER("rua_destinations", CONF_INT, SITE(rua.destinations), "5", 2, 20),
	CONF_NUMBER("rua_max_size", CONF_SIZE, SITE(rua.max_bytes), "10M", 64 * KIB, 64 * KIB * KIB),
	CONF_NUMBER("rua_spread", CONF_DURATION_S, SITE(rua.spread_s), "6h", 0, 20 * 3600),
	{ 0 },
};

static void dmarc_close(struct conf *c, void *at, int line)
{
	struct site *s = at;

	s->rua.line = line;
	if (!s->rua.from) {
		AUTO(buf) struct buf b = BUF_INIT(LOCAL_MAX + 1 + DOMAIN_MAX);

		buf_addf(&b, "postmaster@%s", s->hostname);
		s->rua.from = conf_copy(buf_str(&b));
		if (s->rua.send && !strchr(s->hostname, '.'))
			conf_error(c, line, "dmarc: rua = yes: nobody could write to %s, expected rua_from = \"dmarc-reports@example.com\", or a hostname with a domain",
				   s->rua.from);
	}
	if (!s->rua.org)
		s->rua.org = conf_copy(s->hostname);
	if (!s->rua.send && (conf_given(c, "rua_from") || conf_given(c, "rua_org") || conf_given(c, "rua_contact")))
		conf_warning(c, line, "dmarc: rua_from, rua_org and rua_contact play no part without rua = yes");
}

const struct conf_section conf_dmarc = { "dmarc", NULL, dmarc_options, NULL, dmarc_close };

static bool has_smtp(const struct site *s)
{
	for (size_t i = 0; i < s->listener_count; i++)
		if (s->listener[i].protocol == LISTENER_SMTP)
			return true;
	return false;
}

/* The section dkim_sign that serves the domain, as signing does it: its own, or one above that is for subdomains. */
static bool is_signed_for(const struct site *s, const char *domain)
{
	for (size_t i = 0; i < s->dkim_sign_count; i++) {
		const struct dkim_sign_conf *d = &s->dkim_sign[i];
		size_t len = strlen(domain), own = strlen(d->domain);

		if (strcmp(domain, d->domain) == 0)
			return true;
		if (d->subdomains && len > own + 1 && domain[len - own - 1] == '.' && strcmp(domain + len - own, d->domain) == 0)
			return true;
	}
	return false;
}

void conf_rua_check(struct conf *c)
{
	const struct site *s = c->site;

	if (!s->rua.send)
		return;
	if (!s->history.record)
		conf_error(c, s->rua.line, "dmarc: rua = yes: reports are made from the history, and section history has record = no, expected record = yes");
	else if (s->history.keep_s < KEEP_MIN_S)
		conf_error(c, s->rua.line, "dmarc: rua = yes: a day has to be there until it has been reported, and section history keeps it for less than two, "
			   "expected keep = 2d or more");
	if (!has_smtp(s))
		conf_error(c, s->rua.line, "dmarc: rua = yes: there is no listener that speaks SMTP, so there is nothing to report and no way out for reports");
	if (!is_signed_for(s, strrchr(s->rua.from, '@') + 1))
		conf_warning(c, s->rua.line, "dmarc: rua = yes: reports from %s are not signed, and many receivers drop such, expected a section dkim_sign %s",
			     s->rua.from, strrchr(s->rua.from, '@') + 1);
}

void conf_rua_free(struct site *s)
{
	free(s->rua.from);
	free(s->rua.org);
	free(s->rua.contact);
}
