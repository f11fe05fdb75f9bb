/* conf_dkim_sign - gatepost.conf: the domains whose messages are signed, and their keys */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "filters/domain.h"
#include "policy/conf_table.h"

#define SIGN(field) offsetof(struct dkim_sign_conf, field)

enum { NAME_MAX_BYTES = 77, EXPIRE_MAX_S = 365 * 86400 };

/* RFC 6376 section 5.4.1, and what a reader sees or a reader's program acts on. */
static const char *const fields_default[] = {
	"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "MIME-Version",
	"Content-Type", "Content-Transfer-Encoding", "Resent-From", "Resent-To", "Resent-Cc", "Resent-Date", "Resent-Message-ID",
	"List-Id", "List-Help", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Subscribe", "List-Post", "List-Owner", "List-Archive",
};
/* Nothing that is honest adds another one of these on the way. */
static const char *const oversign_default[] = { "From", "To", "Subject", "Date", "Message-ID", "Content-Type" };

/* Fields that others add or take away: a signature that covers them breaks (section 5.4). */
static bool is_unstable(const char *name)
{
	static const char *const names[] = { "Received", "Return-Path", "DKIM-Signature", "Authentication-Results", "Comments", "Keywords", "Bcc" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strcasecmp(names[i], name) == 0)
			return true;
	return false;
}

/* RFC 5322 section 3.6.8; no semicolon, which h= could not hold. */
bool conf_field_name(const char *name)
{
	size_t len = strlen(name);

	for (const char *p = name; *p; p++)
		if (*p < 33 || *p > 126 || *p == ':' || *p == ';')
			return false;
	return len > 0 && len <= NAME_MAX_BYTES;
}

static void name_add(struct conf *c, const char *option, char ***list, size_t *count, const char *name, int line)
{
	if (!conf_field_name(name))
		conf_error(c, line, "%s: \"%.100s\" is no name of a header field, expected one such as \"Subject\"", option, name);
	else if (is_unstable(name))
		conf_error(c, line, "%s: %s is changed on the way, expected fields that stay as they are", option, name);
	else if (*count == DKIM_SIGN_NAMES_MAX)
		conf_error(c, line, "%s: more than %d", option, DKIM_SIGN_NAMES_MAX);
	else
		conf_list_add(list, count, name);
}

static void headers_read(struct conf *c, void *at, const char *value, int line)
{
	struct dkim_sign_conf *d = at;

	name_add(c, "headers", &d->field, &d->field_count, value, line);
}

static void oversign_read(struct conf *c, void *at, const char *value, int line)
{
	struct dkim_sign_conf *d = at;

	name_add(c, "oversign", &d->oversign, &d->oversign_count, value, line);
}

/* "selector=path". */
static void keys_read(struct conf *c, void *at, const char *value, int line)
{
	struct dkim_sign_conf *d = at;
	const char *equals = strchr(value, '=');
	char selector[DOMAIN_MAX];
	struct dkim_private *key = NULL;

	if (!equals || !equals[1] || domain_canonical(value, (size_t)(equals - value), selector) < 0 ||
	    strlen(selector) + strlen("._domainkey.") + strlen(d->domain) >= DOMAIN_MAX) {
		conf_error(c, line, "keys: \"%.200s\" is no key, expected a selector, an equals sign and a file: \"2026a=/etc/gatepost/2026a.pem\"",
			   value);
		return;
	}
	for (size_t i = 0; i < d->key_count; i++)
		if (strcmp(d->key[i].selector, selector) == 0) {
			conf_error(c, line, "keys: the selector %s comes twice", selector);
			return;
		}
	if (d->key_count == DKIM_SIGN_KEYS_MAX) {
		conf_error(c, line, "keys: more than %d", DKIM_SIGN_KEYS_MAX);
		return;
	}
	/* Commands that work on what is on disk may sign by themselves; else another process has the key. */
	if (c->command && !(key = conf_dkim_key(c, "keys", equals + 1, line)))
		return;
	d->key = conf_grow(d->key, &d->key_count, sizeof(*d->key));
	d->key[d->key_count - 1] = (struct dkim_sign_key){ .selector = conf_copy(selector), .key = key,
							       .number = c->command ? -1 : conf_key_add(c, KEY_FOR_DKIM, "keys", equals + 1, line) };
}

/* In the order of enum dkim_sign_form. */
static const char *const forms[] = { "relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple", NULL };

static const struct conf_option sign_options[] = {
	{ "keys", CONF_LIST, 0, .read = keys_read },
	CONF_OPTION("subdomains", CONF_BOOL, SIGN(subdomains), "no"),
	{ "headers", CONF_LIST, 0, .read = headers_read },
	{ "oversign", CONF_LIST, 0, .read = oversign_read },
	{ "canonicalization", CONF_WORD, SIGN(form), "relaxed/relaxed", .words = forms },
	CONF_NUMBER("expire", CONF_DURATION_S, SIGN(expire_s), "14d", 0, EXPIRE_MAX_S),
	{ 0 },
};

static void *sign_open(struct conf *c, const char *title, int line)
{
	struct site *s = c->site;
	struct dkim_sign_conf *d;
	char domain[DOMAIN_MAX];

	if (domain_canonical(title, strlen(title), domain) < 0 || domain_labels(domain) < 2) {
		conf_error(c, line, "dkim_sign: \"%.200s\" is no domain, expected one such as \"example.com\"", title);
		return NULL;
	}
	for (size_t i = 0; i < s->dkim_sign_count; i++)
		if (strcmp(s->dkim_sign[i].domain, domain) == 0) {
			conf_error(c, line, "dkim_sign %s: comes twice", domain);
			return NULL;
		}
	s->dkim_sign = conf_grow(s->dkim_sign, &s->dkim_sign_count, sizeof(*s->dkim_sign));
	d = &s->dkim_sign[s->dkim_sign_count - 1];
	d->domain = conf_copy(domain);
	return d;
}

static void sign_close(struct conf *c, void *at, int line)
{
	struct dkim_sign_conf *d = at;

	if (!conf_given(c, "keys"))
		conf_error(c, line, "dkim_sign %s: has no keys, expected keys = { \"2026a=/etc/gatepost/2026a.pem\" }", d->domain);
	if (d->expire_s > 0 && d->expire_s < 3600)
		conf_error(c, line, "expire: less than an hour, expected time for a message to arrive, such as \"14d\", or 0");
	if (!conf_given(c, "headers"))
		for (size_t i = 0; i < sizeof(fields_default) / sizeof(*fields_default); i++)
			conf_list_add(&d->field, &d->field_count, fields_default[i]);
	if (!conf_given(c, "oversign"))
		for (size_t i = 0; i < sizeof(oversign_default) / sizeof(*oversign_default); i++)
			conf_list_add(&d->oversign, &d->oversign_count, oversign_default[i]);
}

const struct conf_section conf_dkim_sign = { "dkim_sign", "domain", sign_options, sign_open, sign_close };

void conf_dkim_sign_check(struct conf *c)
{
	struct site *s = c->site;

	for (size_t i = 0; i < s->dkim_sign_count && !c->command; i++)
		for (size_t k = 0; k < s->dkim_sign[i].key_count; k++) {
			struct dkim_sign_key *key = &s->dkim_sign[i].key[k];
			const struct key_spec *spec = &s->keys.key[key->number];

			/* NULL: what is wrong has been said. */
			key->key = spec->pub ? dkim_private_remote(spec->pub, spec->pub_len, (uint32_t)key->number) : NULL;
		}
}

static void list_free(char **list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(list[i]);
	free(list);
}

void conf_dkim_sign_free(struct site *s)
{
	for (size_t i = 0; i < s->dkim_sign_count; i++) {
		struct dkim_sign_conf *d = &s->dkim_sign[i];

		for (size_t k = 0; k < d->key_count; k++) {
			free(d->key[k].selector);
			dkim_private_free(d->key[k].key);
		}
		list_free(d->field, d->field_count);
		list_free(d->oversign, d->oversign_count);
		free(d->key);
		free(d->domain);
	}
	free(s->dkim_sign);
}
