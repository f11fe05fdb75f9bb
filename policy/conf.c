/*
 * The way of a file: blank out comments; look through the statements (conf_scan); let libconfuse
 * read what is left, every value as text, and note each with its line; then section by section read
 * defaults and values as the tables say.
 */
#include "policy/conf.h"

#include <confuse.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/conf_scan.h"
#include "policy/conf_table.h"
#include "policy/policy_files.h"
#include "policy/user_map.h"

const struct conf_section *const conf_sections[] = {
	&conf_top,  &conf_listener, &conf_backend,  &conf_domain, &conf_outbound, &conf_tls_policy, &conf_recipients, &conf_directory,
	&conf_tls,  &conf_sni, &conf_dns,      &conf_zone,     &conf_dnsbl, &conf_uribl,
	&conf_auth, &conf_spf,  &conf_dkim,     &conf_dkim_sign, &conf_arc_seal, &conf_dmarc,    &conf_greylist,
	&conf_state, &conf_smtp,    &conf_limits,   &conf_client_limits, &conf_site_limits, &conf_timeouts,
	&conf_rate, &conf_srs, &conf_history, &conf_quarantine, &conf_quarantine_class, &conf_spool,
	&conf_clamd, &conf_rspamd, &conf_spamd,
	&conf_milter,
	NULL,
};

enum { OPTIONS_MAX = 64 };

/* libconfuse's callbacks have no argument of ours. */
static struct conf *reading;

/* ---- what libconfuse calls ---- */

/* One value, of whatever kind: noted with its line. libconfuse keeps a copy of the text. */
static int value_read(cfg_t *cfg, cfg_opt_t *opt, const char *text, void *result)
{
	struct conf *c = reading;
	struct conf_value *v;

	if (c->value_count < CONF_VALUES_MAX) {
		c->value = conf_grow(c->value, &c->value_count, sizeof *c->value);
		v = &c->value[c->value_count - 1];
		*v = (struct conf_value){ cfg, cfg_opt_name(opt), conf_copy(text), cfg->line };
	} else if (c->value_count == CONF_VALUES_MAX) {
		conf_error(c, cfg->line, "more than %d values, expected a smaller file",
		           CONF_VALUES_MAX);
	}
	*(const char **)result = text;
	return 0;
}

static void syntax_error(cfg_t *cfg, const char *fmt, va_list ap)
{
	char text[512];

	vsnprintf(text, sizeof text, fmt, ap);
	conf_error(reading, cfg->line,
	           "%s, expected name = value, name = { value, value }, or section { ... }", text);
}

/* ---- libconfuse's tables, made from ours ---- */

struct confuse_tables {
	cfg_opt_t top[OPTIONS_MAX + 1];
	cfg_opt_t section[sizeof conf_sections / sizeof *conf_sections][OPTIONS_MAX + 1];
};

static size_t options_fill(cfg_opt_t *out, const struct conf_section *s)
{
	size_t n = 0;

	for (const struct conf_option *o = s->options; o->name; o++) {
		const cfg_opt_t one = CFG_STR_CB(o->name, NULL, CFGF_NODEFAULT, value_read);
		const cfg_opt_t list = CFG_STR_LIST_CB(o->name, NULL, CFGF_NODEFAULT, value_read);

		if (n == OPTIONS_MAX)
			conf_no_memory();
		out[n++] = o->kind == CONF_LIST ? list : one;
	}
	return n;
}

static void tables_fill(struct confuse_tables *t)
{
	const cfg_opt_t end = CFG_END();
	size_t n = options_fill(t->top, &conf_top);

	for (size_t i = 1; conf_sections[i]; i++) {
		cfg_flag_t flags = conf_sections[i]->titled ? CFGF_MULTI | CFGF_TITLE : CFGF_NONE;

		t->section[i][options_fill(t->section[i], conf_sections[i])] = end;
		if (n == OPTIONS_MAX)
			conf_no_memory();
		t->top[n++] = (cfg_opt_t)CFG_SEC(conf_sections[i]->name, t->section[i], flags);
	}
	t->top[n] = end;
}

/* ---- from values to the site ---- */

static const struct conf_value *value_before(const struct conf *c, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (c->value[k].section == c->value[i].section &&
		    c->value[k].name == c->value[i].name)
			return &c->value[k];
	return NULL;
}

/* An option that is no list is set once: the second time is a mistake, not a change of mind. */
static void values_apply(struct conf *c, const struct conf_section *s, void *at)
{
	/* What the file sets wrongly keeps its default, so that no other error follows from it. */
	for (const struct conf_option *o = s->options; o->name; o++)
		if (o->value)
			conf_read(c, o, at, o->value, 0);
	for (size_t i = 0; c->current && i < c->value_count; i++) {
		const struct conf_value *v = &c->value[i], *first;
		const struct conf_option *o;

		if (v->section != c->current)
			continue;
		o = conf_option_find(s, v->name, strlen(v->name));
		first = o->kind == CONF_LIST ? NULL : value_before(c, i);
		if (first)
			conf_error(c, v->line, "%s: is set twice, first on line %d", o->name,
			           first->line);
		else
			conf_read(c, o, at, v->text, v->line);
	}
}

/* The nth section of its kind as it stands in the file. */
static const struct conf_instance *instance(const struct conf *c, const struct conf_section *s,
                                            size_t n)
{
	for (size_t i = 0; i < c->section_count; i++)
		if (c->section[i].section == s && n-- == 0)
			return &c->section[i];
	return NULL;
}

static void section_apply(struct conf *c, const struct conf_section *s, cfg_t *cfg, int line)
{
	void *at = c->site;

	c->current = cfg;
	if (s->open)
		at = s->open(c, cfg_title(cfg), line);
	if (!at)
		return;
	values_apply(c, s, at);
	if (s->close)
		s->close(c, at, line);
}

static void site_fill(struct conf *c, cfg_t *top)
{
	section_apply(c, &conf_top, top, 0);
	for (size_t i = 1; conf_sections[i]; i++) {
		const struct conf_section *s = conf_sections[i];
		unsigned n = cfg_size(top, s->name);

		/* A section without title is always there for libconfuse; in the file it may not
		 * be. */
		for (unsigned k = 0; s->titled && k < n; k++) {
			const struct conf_instance *in = instance(c, s, k);

			section_apply(c, s, cfg_getnsec(top, s->name, k), in ? in->line : 0);
		}
		if (!s->titled) {
			const struct conf_instance *in = instance(c, s, 0);

			section_apply(c, s, in ? cfg_getsec(top, s->name) : NULL,
			              in ? in->line : 0);
		}
	}
}

static void listeners_default(struct conf *c)
{
	static const char *const addresses[] = { "0.0.0.0:25", "[::]:25" };
	struct site *s = c->site;

	for (size_t i = 0; instance(c, &conf_listener, 0) == NULL && i < 2; i++) {
		struct listener_conf *l;

		s->listener = conf_grow(s->listener, &s->listener_count, sizeof *s->listener);
		l = &s->listener[s->listener_count - 1];
		l->name = conf_copy(i == 0 ? "smtp" : "smtp6");
		net_parse_port(addresses[i], 25, &l->address);
		l->tls = LISTENER_TLS_STARTTLS;
	}
}

/* By default the allow list is beside the policy. */
static void allow_path_default(struct site *s)
{
	const char *slash = strrchr(s->policy_path, '/');
	AUTO(buf) struct buf path = BUF_INIT(8192);

	buf_add(&path, s->policy_path, slash ? (size_t)(slash - s->policy_path) + 1 : 0);
	buf_adds(&path, "allowed.txt");
	s->allow_path = conf_copy(buf_str(&path));
}

static void policy_read(struct conf *c)
{
	struct site *s = c->site;

	s->policy = policy_load(s->policy_path, c->other, c->warnings);
	if (!s->policy)
		return;
	if (policy_set_local(s->policy, s->domains, s->domain_count) < 0)
		conf_error(c, 0, "domains: no memory for them");
	if (policy_set_allowed(s->policy, s->allow_path, c->other) == -ENOMEM)
		conf_error(c, 0, "allow_list: no memory for it");
	conf_rate_check(c);
	conf_scanners_policy(c);
	conf_mailbox_policy(c);
	conf_relays_check(c);
	conf_milter_policy(c);
	conf_uribl_policy(c);
}

/* What concerns several sections, and the policy. */
static void site_check(struct conf *c)
{
	struct site *s = c->site;

	listeners_default(c);
	conf_keys_check(c);
	conf_dkim_sign_check(c);
	conf_arc_seal_check(c);
	conf_sni_check(c);
	conf_user_map_check(c);
	conf_domain_check(c);
	conf_listener_check(c);
	conf_outbound_check(c);
	conf_directory_check(c);
	conf_client_limits_check(c);
	conf_scanners_check(c);
	conf_milter_check(c);
	conf_rua_check(c);
	if (!instance(c, &conf_backend, 0))
		conf_error(c, 0,
		           "backend: there is none, expected at least one: backend main { address "
		           "= \"10.0.0.5:25\" }");
	for (size_t i = 0; i < s->backend_count && s->verify == VERIFY_BACKEND; i++)
		if (s->backend[i].spool)
			conf_warning(c, s->backend[i].line, "backend %s: spool = yes with verify = backend: while it is away nobody can say who "
				     "exists, and new mail is deferred", s->backend[i].name);
	if (s->policy_path && !s->allow_path)
		allow_path_default(s);
	if (!s->policy_path || c->command)
		return;
	policy_read(c);
}

/* ---- reading ---- */

static int text_parse(struct conf *c, char *text, size_t len)
{
	struct confuse_tables *t = calloc(1, sizeof *t);
	int line = conf_scan_statements(c, text, len), rc;
	cfg_t *cfg;

	if (!t)
		conf_no_memory();
	tables_fill(t);
	cfg = cfg_init(t->top, CFGF_NONE);
	if (!cfg)
		conf_no_memory();
	cfg_set_error_function(cfg, syntax_error);
	reading = c;
	rc = cfg_parse_buf(cfg, text);
	if (rc != CFG_SUCCESS && c->error_count == 0)
		conf_error(c, cfg->line,
		           "cannot be read any further, expected name = value, or section { ... }");
	else if (rc == CFG_SUCCESS && line > 0)
		conf_error(c, line,
		           "cannot be read any further, expected name = value, or section { ... }");
	/* With half a file, what is missing in it is not worth saying. */
	if (rc == CFG_SUCCESS && line == 0) {
		site_fill(c, cfg);
		site_check(c);
	}
	reading = NULL;
	cfg_free(cfg);
	free(t);
	return rc == CFG_SUCCESS ? 0 : -EINVAL;
}

static void file_read(struct conf *c)
{
	const char *what = "", *slash = strrchr(c->path, '/');
	size_t len = 0;
	char *text = conf_file(c, "file", slash ? slash + 1 : c->path, 0, &len);
	int line;

	if (!text)
		return;
	line = conf_scan_comments(text, len, &what);
	if (line > 0)
		conf_error(c, line, "a %s begins here and does not end, expected its end", what);
	else
		text_parse(c, text, len);
	free(text);
}

static int by_line(const void *a, const void *b)
{
	const struct conf_message *x = a, *y = b;

	if (x->line != y->line)
		return (x->line > y->line) - (x->line < y->line);
	return 0;
}

/* In the order of the file; errors of the same line stay in theirs (glibc's qsort is a merge sort).
 */
static void errors_write(struct conf *c, struct buf *out)
{
	qsort(c->error, c->error_count, sizeof *c->error, by_line);
	for (size_t i = 0; i < c->error_count; i++) {
		if (out && c->error[i].line > 0)
			buf_addf(out, "%s:%d: %s\n", c->path, c->error[i].line, c->error[i].text);
		else if (out)
			buf_addf(out, "%s: %s\n", c->path, c->error[i].text);
		free(c->error[i].text);
	}
	if (out)
		buf_adds(out, buf_str(c->other));
}

static void conf_release(struct conf *c)
{
	for (size_t i = 0; i < c->section_count; i++)
		free(c->section[i].title);
	for (size_t i = 0; i < c->value_count; i++)
		free(c->value[i].text);
	free(c->section);
	free(c->value);
	free(c->dir);
}

static struct site *load_all(const char *path, bool command, struct buf *errors, struct buf *warnings)
{
	AUTO(buf) struct buf other = BUF_INIT(256 * 1024);
	struct conf *c = calloc(1, sizeof *c);
	struct site *s = calloc(1, sizeof *s);
	const char *slash = strrchr(path, '/');

	if (!c || !s)
		conf_no_memory();
	s->tls_key = s->tls_ca_key = -1;
	c->site = s;
	c->path = path;
	c->command = command;
	c->warnings = warnings;
	c->other = &other;
	c->dir = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
	if (!c->dir)
		conf_no_memory();
	s->path = conf_copy(path);
	file_read(c);
	if (c->error_count > 0 || other.len > 0) {
		errors_write(c, errors);
		site_free(s);
		s = NULL;
	}
	conf_release(c);
	free(c);
	return s;
}

/* Without memory there is no configuration, and the one in force goes on: what has been made of the new one is lost, no more. */
static struct site *load(const char *path, bool command, struct buf *errors, struct buf *warnings)
{
	jmp_buf way_out;
	struct site *s;

	conf_way_out = &way_out;
	if (setjmp(way_out)) {
		conf_way_out = NULL;
		if (errors)
			buf_addf(errors, "%s: there is not enough memory to read it\n", path);
		return NULL;
	}
	s = load_all(path, command, errors, warnings);
	conf_way_out = NULL;
	return s;
}

struct site *site_load(const char *path, struct buf *errors, struct buf *warnings)
{
	return load(path, false, errors, warnings);
}

struct site *site_load_command(const char *path, struct buf *errors, struct buf *warnings)
{
	return load(path, true, errors, warnings);
}

static void list_free(char **list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(list[i]);
	free(list);
}

static void dns_free(struct dns_conf *d)
{
	for (size_t i = 0; i < d->forward_count; i++) {
		free(d->forward[i].zone);
		list_free(d->forward[i].servers, d->forward[i].server_count);
	}
	free(d->forward);
	list_free(d->local_data, d->local_data_count);
	list_free(d->local_zone, d->local_zone_count);
	free(d->trust_anchor);
}

static void listener_free(struct listener_conf *l)
{
	free(l->name);
	list_free(l->backends, l->backend_count);
	free(l->proxy_from);
}

void site_free(struct site *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->listener_count; i++)
		listener_free(&s->listener[i]);
	for (size_t i = 0; i < s->backend_count; i++) {
		free(s->backend[i].name);
		free(s->backend[i].host);
		conf_backend_tls_free(&s->backend[i]);
	}
	for (size_t i = 0; i < s->dnsbl_count; i++) {
		free(s->dnsbl[i].zone);
		free(s->dnsbl[i].listed);
		free(s->dnsbl[i].clean);
		list_free(s->dnsbl[i].skip, s->dnsbl[i].skip_count);
	}
	free(s->listener);
	free(s->backend);
	free(s->daemon);
	conf_scanners_free(s);
	free(s->dnsbl);
	dns_free(&s->dns);
	conf_domain_free(s);
	conf_sni_free(s);
	conf_directory_free(s);
	user_map_free(s->users);
	conf_dkim_sign_free(s);
	conf_arc_seal_free(s);
	conf_srs_free(s);
	conf_rua_free(s);
	conf_milter_free(s);
	list_free(s->domains, s->domain_count);
	list_free(s->verify_list, s->verify_list_count);
	policy_free(s->policy);
	free(s->path);
	free(s->hostname);
	free(s->authserv_id);
	free(s->relay_networks);
	free(s->trusted_relays);
	free(s->bypass);
	free(s->auth.guard.exempt);
	free(s->client_limits.exempt);
	list_free(s->auth.guard.exempt_users, s->auth.guard.exempt_user_count);
	free(s->client_header);
	free(s->user);
	free(s->keeper_user);
	free(s->key_user);
	free(s->directory_user);
	free(s->state_dir);
	free(s->control_path);
	free(s->tls_cert_pem);
	free(s->tls_ca_cert_pem);
	key_list_release(&s->keys);
	free(s->redis.prefix);
	if (s->redis.password)
		explicit_bzero(s->redis.password, strlen(s->redis.password));
	free(s->redis.password);
	for (size_t i = 0; i < s->outbound.via_count; i++)
		free(s->outbound.via[i].host);
	free(s->outbound.via);
	free(s->outbound.source);
	free(s->outbound.tls.ca_pem);
	for (size_t i = 0; i < s->outbound.tls.policy_count; i++) {
		free(s->outbound.tls.policy[i].domain);
		free(s->outbound.tls.policy[i].name);
	}
	free(s->outbound.tls.policy);
	free(s->outbound.never);
	free(s->outbound.username);
	if (s->outbound.password)
		explicit_bzero(s->outbound.password, strlen(s->outbound.password));
	free(s->outbound.password);
	free(s->policy_path);
	free(s->allow_path);
	free(s);
}
