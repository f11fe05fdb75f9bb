/* conf_directory - gatepost.conf: directories that know the recipients (LDAP) */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "filters/domain.h"
#include "policy/conf_table.h"

#define DIR(field) offsetof(struct directory_conf, field)

enum { PORT_LDAP = 389, PORT_LDAPS = 636, FILTER_TEXT_MAX = 4096, FILTER_DEPTH_MAX = 32 };

static const char *const schemas[] = { "active_directory", "domino", "inetorgperson", NULL };
static const char *const tls_words[] = { "off", "starttls", "required", NULL };
static const char *const restricted_words[] = { "accept", "refuse", NULL };

/*
 * What holds addresses, and which entries are asked for.
 *
 * Active Directory: Exchange keeps every address of a recipient in proxyAddresses, with its kind before it, "SMTP:" for the main one, "smtp:" for the others
 * (learn.microsoft.com/windows/win32/adschema/a-proxyaddresses); users, groups, contacts, mail-enabled public folders, rooms alike. Accounts that cannot log in
 * are not left out: those of rooms and shared mailboxes are such.
 *
 * Domino: `mail` is the Internet address of a Person, Group, Mail-In Database or Resource document, made from other fields where that is empty
 * (help.hcl-software.com, "How the LDAP service forms a value for the mail attribute"); `uid` the short names, `cn` common names. The router looks for the
 * whole address, then for its local part among all names ("Specifying how Domino looks up the recipients of incoming SMTP messages"). Mail-in databases are of
 * class dominoServerMailInDatabase.
 *
 * inetOrgPerson (RFC 2798): mail; mailLocalAddress of draft-lachman-laser-ldap-mail-routing (OpenLDAP's misc.schema), mailAlternateAddress of Netscape's servers.
 */
static const struct { const char *filter, *attribute[4]; } schema_defaults[] = {
	[DIRECTORY_ACTIVE] = { "(|(proxyAddresses=*)(mail=*))", { "proxyAddresses", "mail" } },
	[DIRECTORY_DOMINO] = { "(|(objectClass=dominoPerson)(objectClass=dominoGroup)(objectClass=dominoServerMailInDatabase)(mail=*))", { "mail", "uid", "cn" } },
	[DIRECTORY_INETORGPERSON] = { "(|(mail=*)(mailLocalAddress=*)(mailAlternateAddress=*))", { "mail", "mailLocalAddress", "mailAlternateAddress" } },
};

/* "ldap://dc1.example.com", "ldaps://[2001:db8::5]:3269", nothing behind it. */
static void server_read(struct conf *c, void *at, const char *value, int line)
{
	struct directory_conf *d = at;
	bool implicit = strncasecmp(value, "ldaps://", 8) == 0;
	struct directory_server s = { .implicit = implicit };
	const char *rest = value + (implicit ? 8 : 7);
	char text[300];
	size_t len;

	if (!implicit && strncasecmp(value, "ldap://", 7) != 0) {
		conf_error(c, line, "server: \"%.200s\" is no server, expected one such as \"ldap://dc1.example.com\" or \"ldaps://dc1.example.com\"", value);
		return;
	}
	len = strlen(rest);
	if (len > 0 && rest[len - 1] == '/')
		len--;
	if (len == 0 || len >= sizeof text || memchr(rest, '/', len) || memchr(rest, '?', len)) {
		conf_error(c, line, "server: \"%.200s\" is no server, expected a host alone: the base is an option of its own", value);
		return;
	}
	memcpy(text, rest, len);
	text[len] = '\0';
	if (d->server_count == DIRECTORY_SERVERS_MAX) {
		conf_error(c, line, "server: more than %d servers", DIRECTORY_SERVERS_MAX);
		return;
	}
	if (!conf_server(c, "server", text, line, &s.host, &s.port))
		return;
	if (text[0] == '[' ? !strstr(text, "]:") : !strchr(text, ':'))
		s.port = implicit ? PORT_LDAPS : PORT_LDAP;
	d->server = conf_grow(d->server, &d->server_count, sizeof *d->server);
	d->server[d->server_count - 1] = s;
}

/* Looked at, not read: no byte of it comes into the memory of who reads a configuration. */
static void password_read(struct conf *c, void *at, const char *value, int line)
{
	struct directory_conf *d = at;
	char *path = conf_path(c, value);
	int fd = c->command ? -1 : file_open(path);
	struct stat st;

	free(d->password_path);
	d->password_path = path;
	if (c->command)
		return;
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		conf_error(c, line, "password_file: %s: %s", path, fd < 0 ? strerror(-fd) : "is no file");
	else if (st.st_size == 0)
		conf_error(c, line, "password_file: %s: is empty, expected the password on its first line", path);
	else if (st.st_mode & (S_IROTH | S_IWOTH))
		conf_warning(c, line, "password_file: %s: everybody on this machine can read it", path);
	if (fd >= 0)
		close(fd);
}

/* RFC 4512 2.5: a name, or numbers with dots. */
static void attribute_read(struct conf *c, void *at, const char *value, int line)
{
	struct directory_conf *d = at;
	size_t len = strlen(value);

	if (len == 0 || len > 100 || strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") != len)
		conf_error(c, line, "attributes: \"%.200s\" is no name of an attribute, expected one such as \"proxyAddresses\"", value);
	else if (d->attribute_count == DIRECTORY_ATTRIBUTES_MAX)
		conf_error(c, line, "attributes: more than %d", DIRECTORY_ATTRIBUTES_MAX);
	else
		conf_list_add(&d->attribute, &d->attribute_count, value);
}

static void domain_add(struct conf *c, const char *option, bool below, const char *value, char ***list, size_t *count, int line)
{
	char name[DOMAIN_MAX + 1] = ".";
	bool dot = below && value[0] == '.';

	if (domain_canonical(value + dot, strlen(value + dot), name + 1) < 0)
		conf_error(c, line, "%s: \"%.200s\" is no domain, expected one such as \"example.com\"", option, value);
	else
		conf_list_add(list, count, dot ? name : name + 1);
}

static void domain_read(struct conf *c, void *at, const char *value, int line)
{
	struct directory_conf *d = at;

	domain_add(c, "domains", true, value, &d->domain, &d->domain_count, line);
}

static void catch_all_read(struct conf *c, void *at, const char *value, int line)
{
	struct directory_conf *d = at;

	domain_add(c, "catch_all", false, value, &d->catch_all, &d->catch_all_count, line);
}

/* RFC 4515, as far as parentheses go: what is in them the server will say. */
static bool filter_balanced(const char *p)
{
	int depth = 0;

	if (*p != '(' || strlen(p) > FILTER_TEXT_MAX)
		return false;
	for (; *p; p++) {
		if (*p == '(' && ++depth > FILTER_DEPTH_MAX)
			return false;
		if (*p == ')' && --depth == 0 && p[1])
			return false;
		if (*p == ')' && depth < 0)
			return false;
	}
	return depth == 0;
}

static void filter_read(struct conf *c, void *at, const char *value, int line)
{
	struct directory_conf *d = at;

	if (!filter_balanced(value)) {
		conf_error(c, line, "filter: \"%.200s\" is no filter, expected one such as \"(mail=*)\"", value);
		return;
	}
	free(d->filter);
	d->filter = conf_copy(value);
}

static const struct conf_option directory_options[] = {
	{ "server", CONF_LIST, 0, .read = server_read },
	CONF_OPTION("base", CONF_TEXT, DIR(base), NULL),
	CONF_OPTION("bind_dn", CONF_TEXT, DIR(bind_dn), NULL),
	{ "password_file", CONF_CUSTOM, 0, .read = password_read },
	{ "tls", CONF_WORD, DIR(tls), "starttls", .words = tls_words },
	CONF_OPTION("tls_ca", CONF_FILE, DIR(tls_ca_pem), NULL),
	{ "schema", CONF_WORD, DIR(schema), "active_directory", .words = schemas },
	{ "filter", CONF_CUSTOM, 0, .read = filter_read },
	{ "attributes", CONF_LIST, 0, .read = attribute_read },
	{ "domains", CONF_LIST, 0, .read = domain_read },
	{ "catch_all", CONF_LIST, 0, .read = catch_all_read },
	CONF_OPTION("plus", CONF_BOOL, DIR(plus), "no"),
	CONF_OPTION("subdomains", CONF_BOOL, DIR(subdomains), "no"),
	{ "restricted", CONF_WORD, DIR(restricted), "accept", .words = restricted_words },
	CONF_NUMBER("refresh", CONF_DURATION_S, DIR(refresh_s), "15m", 1, 7 * 86400),
	CONF_NUMBER("keep", CONF_DURATION_S, DIR(keep_s), "7d", 1, 90 * 86400),
	CONF_NUMBER("timeout", CONF_DURATION_MS, DIR(timeout_ms), "5s", 100, 30000),
	CONF_NUMBER("live", CONF_INT, DIR(live), "20", 0, 10000),
	{ 0 },
};

static void *directory_open(struct conf *c, const char *title, int line)
{
	struct site *s = c->site;
	struct directory_conf *d;

	if (!conf_title_ok(c, "directory", title, line))
		return NULL;
	for (size_t i = 0; i < s->directory_count; i++)
		if (strcmp(s->directory[i].name, title) == 0) {
			conf_error(c, line, "directory %s: comes twice, first on line %d", title, s->directory[i].line);
			return NULL;
		}
	if (s->directory_count == DIRECTORIES_MAX) {
		conf_error(c, line, "directory: more than %d of them", DIRECTORIES_MAX);
		return NULL;
	}
	s->directory = conf_grow(s->directory, &s->directory_count, sizeof *s->directory);
	d = &s->directory[s->directory_count - 1];
	d->name = conf_copy(title);
	d->line = line;
	return d;
}

static void ca_check(struct conf *c, const struct directory_conf *d, int line)
{
	AUTO(buf) struct buf err = BUF_INIT(1024);
	struct ssl_ctx_st *ctx = NULL;

	if (d->tls_ca_pem && tls_client_ctx(true, d->tls_ca_pem, &ctx, &err) < 0)
		conf_error(c, line, "directory %s: tls_ca: %s, expected certificates as PEM", d->name, buf_str(&err));
	tls_ctx_free(ctx);
}

static void tls_check(struct conf *c, const struct directory_conf *d, int line)
{
	bool plain = false;

	for (size_t i = 0; i < d->server_count; i++) {
		plain = plain || !d->server[i].implicit;
		if (d->tls == DIRECTORY_TLS_REQUIRED && !d->server[i].implicit)
			conf_error(c, line, "directory %s: tls = required with ldap://%s, expected ldaps://, or tls = starttls", d->name, d->server[i].host);
	}
	if (d->tls == DIRECTORY_TLS_OFF && plain && d->password_path)
		conf_warning(c, line, "directory %s: tls = off: its password crosses the network for all to read", d->name);
}

static void directory_close(struct conf *c, void *at, int line)
{
	struct directory_conf *d = at;

	if (d->server_count == 0 && !conf_given(c, "server"))
		conf_error(c, line, "directory %s: server is not set, expected server = { \"ldaps://dc1.example.com\" }", d->name);
	if (!d->base)
		conf_error(c, line, "directory %s: base is not set, expected base = \"DC=example,DC=com\"", d->name);
	if (!d->bind_dn != !conf_given(c, "password_file"))
		conf_error(c, line, "directory %s: %s without %s, expected both, or neither", d->name, d->bind_dn ? "bind_dn" : "password_file",
			   d->bind_dn ? "password_file" : "bind_dn");
	if (!d->filter)
		d->filter = conf_copy(schema_defaults[d->schema].filter);
	for (size_t i = 0; !conf_given(c, "attributes") && i < 4 && schema_defaults[d->schema].attribute[i]; i++)
		conf_list_add(&d->attribute, &d->attribute_count, schema_defaults[d->schema].attribute[i]);
	if (d->keep_s < d->refresh_s)
		conf_error(c, line, "directory %s: keep is shorter than refresh: addresses would be forgotten before they come again", d->name);
	tls_check(c, d, line);
	ca_check(c, d, line);
}

const struct conf_section conf_directory = { "directory", "name", directory_options, directory_open, directory_close };

void conf_directory_check(struct conf *c)
{
	const struct site *s = c->site;

	if (s->verify == VERIFY_DIRECTORY && s->directory_count == 0)
		conf_error(c, 0, "recipients: verify = directory without a section directory, expected directory NAME { server = { \"ldaps://dc1.example.com\" } base = ... }");
	for (size_t i = 0; i < s->directory_count && s->verify != VERIFY_DIRECTORY; i++)
		conf_warning(c, s->directory[i].line, "directory %s: plays no part without verify = directory in section recipients", s->directory[i].name);
}

static void list_free(char **list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(list[i]);
	free(list);
}

void conf_directory_free(struct site *s)
{
	for (size_t i = 0; i < s->directory_count; i++) {
		struct directory_conf *d = &s->directory[i];

		for (size_t k = 0; k < d->server_count; k++)
			free(d->server[k].host);
		free(d->server);
		list_free(d->attribute, d->attribute_count);
		list_free(d->domain, d->domain_count);
		list_free(d->catch_all, d->catch_all_count);
		free(d->name);
		free(d->base);
		free(d->bind_dn);
		free(d->password_path);
		free(d->tls_ca_pem);
		free(d->filter);
	}
	free(s->directory);
}
