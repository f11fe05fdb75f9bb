/* conf_sni - gatepost.conf: the names that clients ask for by TLS's SNI, and the map of users; what picks certificates and servers */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/tls_sni.h"
#include "filters/domain.h"
#include "policy/conf_table.h"
#include "policy/user_map.h"

enum { SNI_SECTIONS_MAX = 1000 };

static void backends_read(struct conf *c, void *at, const char *value, int line)
{
	struct sni_conf *n = at;

	conf_list_add(&n->backends, &n->backend_count, value);
}

static void certificate_read(struct conf *c, void *at, const char *value, int line)
{
	struct sni_conf *n = at;

	conf_certificate(c, "certificate", value, line, &n->cert_pem);
}

static void key_read(struct conf *c, void *at, const char *value, int line)
{
	struct sni_conf *n = at;

	if (!c->command)
		n->key = conf_key_add(c, KEY_FOR_TLS, "key", value, line);
}

static const struct conf_option sni_options[] = {
	{ "certificate", CONF_CUSTOM, 0, .read = certificate_read },
	{ "key", CONF_CUSTOM, 0, .read = key_read },
	{ "backends", CONF_LIST, 0, .read = backends_read },
	{ 0 },
};

/* "imap.example.org", or "*.example.org"; as tls_sni_find compares it. */
static bool name_make(const char *title, char out[DOMAIN_MAX + 2])
{
	bool star = strncmp(title, "*.", 2) == 0;

	memcpy(out, "*.", 2);
	return domain_canonical(title + 2 * star, strlen(title) - 2 * star, out + 2 * star) == 0 && strlen(out) <= TLS_SNI_MAX;
}

static void *sni_open(struct conf *c, const char *title, int line)
{
	struct site *s = c->site;
	char name[DOMAIN_MAX + 2];
	struct sni_conf *n;

	if (!name_make(title, name)) {
		conf_error(c, line, "sni: \"%.200s\" is no host name, expected one such as \"imap.example.org\", or \"*.example.org\"", title);
		return NULL;
	}
	for (size_t i = 0; i < s->sni_count; i++)
		if (strcmp(s->sni[i].name, name) == 0) {
			conf_error(c, line, "sni %s: comes twice, first on line %d", name, s->sni[i].line);
			return NULL;
		}
	if (s->sni_count == SNI_SECTIONS_MAX) {
		conf_error(c, line, "sni: more than %d of them", SNI_SECTIONS_MAX);
		return NULL;
	}
	s->sni = conf_grow(s->sni, &s->sni_count, sizeof *s->sni);
	n = &s->sni[s->sni_count - 1];
	n->name = conf_copy(name);
	n->key = -1;
	n->line = line;
	return n;
}

static void sni_close(struct conf *c, void *at, int line)
{
	AUTO(buf) struct buf err = BUF_INIT(1024);
	bool cert = conf_given(c, "certificate"), key = conf_given(c, "key");
	struct sni_conf *n = at;
	char section[TLS_SNI_MAX + 8];

	if (cert != key)
		conf_error(c, line, "sni %s: %s without %s, expected both, or neither for the certificate of section tls", n->name,
			   cert ? "certificate" : "key", cert ? "key" : "certificate");
	snprintf(section, sizeof section, "sni %s", n->name);
	if (cert && key && n->cert_pem && n->key >= 0)
		conf_key_certificate(c, n->key, n->cert_pem, line, section);
	if (cert == key && n->cert_pem && tls_certificate_doubt(n->cert_pem, n->name, &err))
		conf_warning(c, line, "sni %s: the certificate %s", n->name, buf_str(&err));
	else if (!cert && !key && !n->backend_count)
		conf_warning(c, line, "sni %s: says nothing, expected certificate and key, or backends", n->name);
}

const struct conf_section conf_sni = { "sni", "name", sni_options, sni_open, sni_close };

static bool fetches(enum listener_protocol p)
{
	return p == LISTENER_POP3 || p == LISTENER_IMAP;
}

/* Backends that no listener would take: only users who fetch their mail are led by a name. */
static void backends_check(struct conf *c, const struct sni_conf *n)
{
	for (size_t i = 0; i < n->backend_count; i++) {
		const struct backend_conf *b = site_backend(c->site, n->backends[i]);

		if (!b)
			conf_error(c, n->line, "sni %s: there is no backend \"%s\"", n->name, n->backends[i]);
		else if (!fetches(b->protocol))
			conf_error(c, n->line, "sni %s: backend %s has neither protocol = imap nor pop3, expected one that has", n->name, b->name);
	}
}

void conf_sni_check(struct conf *c)
{
	struct site *s = c->site;

	for (size_t i = 0; i < s->sni_count; i++)
		backends_check(c, &s->sni[i]);
	if (s->sni_count > 0)
		qsort(s->sni, s->sni_count, sizeof *s->sni, tls_sni_order);
}

const struct sni_conf *site_sni(const struct site *s, const char *name)
{
	return tls_sni_find(s->sni, s->sni_count, sizeof *s->sni, name);
}

void conf_sni_free(struct site *s)
{
	for (size_t i = 0; i < s->sni_count; i++) {
		struct sni_conf *n = &s->sni[i];

		for (size_t k = 0; k < n->backend_count; k++)
			free(n->backends[k]);
		free(n->backends);
		free(n->name);
		free(n->cert_pem);
	}
	free(s->sni);
}

/* --- the map of users --- */

/* The backends that it names are not known yet. */
void conf_user_map_read(struct conf *c, void *at, const char *value, int line)
{
	c->user_map = value;
	c->user_map_line = line;
}

static int backend_number(const void *arg, const char *name, const char **why)
{
	const struct site *s = arg;
	const struct backend_conf *b = site_backend(s, name);

	if (!b) {
		*why = "there is no such backend";
		return -1;
	}
	if (fetches(b->protocol))
		return (int)(b - s->backend);
	*why = "this backend has neither protocol = imap nor pop3, expected one that has";
	return -1;
}

void conf_user_map_check(struct conf *c)
{
	struct site *s = c->site;
	bool used = false;
	char *text, *path;
	size_t len;

	if (!c->user_map)
		return;
	for (size_t i = 0; i < s->listener_count; i++)
		used = used || fetches(s->listener[i].protocol);
	if (!used)
		conf_warning(c, c->user_map_line, "user_map: plays no part without a listener with protocol = imap or pop3");
	text = conf_file_large(c, "user_map", c->user_map, c->user_map_line, USER_MAP_BYTES_MAX, &len);
	if (!text)
		return;
	path = conf_path(c, c->user_map);
	s->users = user_map_parse(path, text, len, backend_number, s, c->other);
	free(path);
	free(text);
}

static bool map_leads_to(const struct site *s, size_t backend)
{
	for (size_t i = 0; i < user_map_list_count(s->users); i++)
		for (size_t k = 0; k < user_map_list(s->users, i)->count; k++)
			if (user_map_list(s->users, i)->number[k] == backend)
				return true;
	return false;
}

bool conf_led_to(const struct site *s, const struct backend_conf *b)
{
	bool spoken = false, named = false;

	for (size_t i = 0; i < s->listener_count; i++)
		spoken = spoken || s->listener[i].protocol == b->protocol;
	for (size_t i = 0; i < s->sni_count; i++)
		for (size_t k = 0; k < s->sni[i].backend_count; k++)
			named = named || strcmp(s->sni[i].backends[k], b->name) == 0;
	return spoken && (named || map_leads_to(s, (size_t)(b - s->backend)));
}
