/* conf_arc_seal - gatepost.conf: whether messages for the servers behind are sealed (ARC), in whose name, and when */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "filters/domain.h"
#include "policy/conf_table.h"

#define SEAL(field) offsetof(struct arc_seal_conf, field)

/*
 * RFC 6376 section 5.4.1 with what says how a message is to be read, and the signatures that came with it (RFC 8617 section 5.1): who believes the seal
 * may believe those.
 */
static const char *const fields_default[] = {
	"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "MIME-Version",
	"Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "Content-ID", "Content-Description", "Content-Language",
	"Resent-From", "Resent-To", "Resent-Cc", "Resent-Date", "Resent-Message-ID", "DKIM-Signature",
	"List-Id", "List-Help", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Subscribe", "List-Post", "List-Owner", "List-Archive",
};

/* RFC 8617 section 4.1.2 has neither ARC-Seal nor Authentication-Results signed; what servers put above or take away would break the seal. */
static bool is_unfit(const char *name)
{
	static const char *const names[] = { "Authentication-Results", "Received", "Received-SPF", "Return-Path", "Comments", "Keywords", "Bcc" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strcasecmp(names[i], name) == 0)
			return true;
	return strncasecmp(name, "ARC-", 4) == 0;
}

static void headers_read(struct conf *c, void *at, const char *value, int line)
{
	struct arc_seal_conf *a = at;

	if (!conf_field_name(value))
		conf_error(c, line, "headers: \"%.100s\" is no name of a header field, expected one such as \"Subject\"", value);
	else if (is_unfit(value))
		conf_error(c, line, "headers: %s is not for a seal to sign, expected fields that stay as they are", value);
	else if (a->field_count == ARC_SEAL_NAMES_MAX)
		conf_error(c, line, "headers: more than %d", ARC_SEAL_NAMES_MAX);
	else
		conf_list_add(&a->field, &a->field_count, value);
}

static void selector_read(struct conf *c, void *at, const char *value, int line)
{
	struct arc_seal_conf *a = at;
	char selector[DOMAIN_MAX];

	if (domain_canonical(value, strlen(value), selector) < 0 ||
	    strlen(selector) + strlen("._domainkey.") + strlen(a->domain) >= DOMAIN_MAX) {
		conf_error(c, line, "selector: \"%.200s\" is none, expected one such as \"arc-2026\"", value);
		return;
	}
	free(a->selector);
	a->selector = conf_copy(selector);
}

static void key_read(struct conf *c, void *at, const char *value, int line)
{
	struct arc_seal_conf *a = at;

	if (!*value) {
		conf_error(c, line, "key: is empty, expected a file: \"/etc/gatepost/arc.pem\"");
		return;
	}
	a->line = line;
	/* As of dkim_sign: a command that works on what is on disk has the key itself. */
	if (c->command)
		a->key = conf_dkim_key(c, "key", value, line);
	else
		a->number = conf_key_add(c, KEY_FOR_DKIM, "key", value, line);
}

/* In the order of enum arc_seal_when. */
static const char *const whens[] = { "changed", "always", NULL };

static const struct conf_option seal_options[] = {
	{ "selector", CONF_CUSTOM, 0, .read = selector_read },
	{ "key", CONF_CUSTOM, 0, .read = key_read },
	{ .name = "when", .kind = CONF_WORD, .offset = SEAL(when), .value = "changed", .words = whens },
	{ "headers", CONF_LIST, 0, .read = headers_read },
	{ 0 },
};

static void *seal_open(struct conf *c, const char *title, int line)
{
	struct site *s = c->site;
	char domain[DOMAIN_MAX];
	size_t count = 0;

	if (domain_canonical(title, strlen(title), domain) < 0 || domain_labels(domain) < 2) {
		conf_error(c, line, "arc_seal: \"%.200s\" is no domain, expected one such as \"example.com\"", title);
		return NULL;
	}
	if (s->arc_seal) {
		conf_error(c, line, "arc_seal %s: there is one already, for %s, expected one: a message is sealed once", domain, s->arc_seal->domain);
		return NULL;
	}
	s->arc_seal = conf_grow(NULL, &count, sizeof(*s->arc_seal));
	s->arc_seal->number = -1;
	s->arc_seal->domain = conf_copy(domain);
	return s->arc_seal;
}

static void seal_close(struct conf *c, void *at, int line)
{
	struct arc_seal_conf *a = at;

	if (!conf_given(c, "selector"))
		conf_error(c, line, "arc_seal %s: has no selector, expected selector = \"arc-2026\"", a->domain);
	if (!conf_given(c, "key"))
		conf_error(c, line, "arc_seal %s: has no key, expected key = \"/etc/gatepost/arc-2026.pem\"", a->domain);
	if (!conf_given(c, "headers"))
		for (size_t i = 0; i < sizeof(fields_default) / sizeof(*fields_default); i++)
			conf_list_add(&a->field, &a->field_count, fields_default[i]);
}

const struct conf_section conf_arc_seal = { "arc_seal", "domain", seal_options, seal_open, seal_close };

void conf_arc_seal_check(struct conf *c)
{
	struct arc_seal_conf *a = c->site->arc_seal;

	if (!a)
		return;
	if (!c->command && a->number >= 0) {
		const struct key_spec *spec = &c->site->keys.key[a->number];

		/* NULL: what is wrong has been said. */
		a->key = spec->pub ? dkim_private_remote(spec->pub, spec->pub_len, (uint32_t)a->number) : NULL;
	}
	if (a->key && dkim_private_type(a->key) != DKIM_KEY_RSA)
		conf_error(c, a->line, "key: is of Ed25519, expected one of RSA: ARC knows no other");
}

void conf_arc_seal_free(struct site *s)
{
	struct arc_seal_conf *a = s->arc_seal;

	if (!a)
		return;
	for (size_t i = 0; i < a->field_count; i++)
		free(a->field[i]);
	free(a->field);
	free(a->domain);
	free(a->selector);
	dkim_private_free(a->key);
	free(a);
}
