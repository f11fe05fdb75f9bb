/* conf_daemon - gatepost.conf: daemons beside us that filters ask, what is the same for all of them */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "filters/domain.h"
#include "policy/conf_table.h"

const char *const conf_daemon_away_words[] = { "defer", "pass", NULL };

static bool unix_read(struct conf *c, const char *path, int line, struct daemon_address *out)
{
	if (path[0] != '/' || strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
		conf_error(c, line, "address: \"unix:%.200s\" is no socket, expected \"unix:\" and a path from the root of at most %zu bytes", path,
			   sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);
		return false;
	}
	out->path = conf_copy(path);
	return true;
}

/* "10.0.0.5:3310", "[2001:db8::5]:3310", "scan.internal.example:3310" */
static bool host_read(struct conf *c, const char *value, int line, struct daemon_address *out)
{
	const char *colon = strrchr(value, ':');
	char host[DOMAIN_MAX];
	struct net_addr literal;
	long port = 0;
	char *end;

	if (colon && isdigit((unsigned char)colon[1])) {
		port = strtol(colon + 1, &end, 10);
		if (*end || port > 65535)
			port = 0;
	}
	if (port > 0 && net_parse_port(value, 0, &literal) == 0 && literal.port == port)
		net_text(&literal, host);
	else if (port <= 0 || domain_canonical(value, (size_t)(colon - value), host) < 0 || strspn(host, "0123456789.") == strlen(host)) {
		conf_error(c, line, "address: \"%.200s\" is no daemon's, expected one such as \"127.0.0.1:3310\", \"[::1]:3310\", \"scan.internal.example:3310\" or "
			   "\"unix:/run/clamav/clamd.ctl\"", value);
		return false;
	}
	out->host = conf_copy(host);
	out->port = (unsigned short)port;
	return true;
}

void conf_daemon_address(struct conf *c, void *at, const char *value, int line)
{
	struct daemon_conf *d = at;
	struct daemon_address one = { 0 };

	if (d->address_count == DAEMON_ADDRESSES_MAX) {
		conf_error(c, line, "address: more than %d", DAEMON_ADDRESSES_MAX);
		return;
	}
	if (!(strncmp(value, "unix:", 5) == 0 ? unix_read(c, value + 5, line, &one) : host_read(c, value, line, &one)))
		return;
	one.text = conf_copy(value);
	d->address = conf_grow(d->address, &d->address_count, sizeof(*d->address));
	d->address[d->address_count - 1] = one;
}

void conf_daemon_add(struct conf *c, struct daemon_conf *d, const char *name, int line)
{
	struct site *s = c->site;

	if (!d->name)
		d->name = conf_copy(name);
	d->line = line;
	if (d->address_count == 0)
		return;
	s->daemon = conf_grow(s->daemon, &s->daemon_count, sizeof(*s->daemon));
	s->daemon[s->daemon_count - 1] = d;
}

void conf_daemon_free(struct daemon_conf *d)
{
	for (size_t i = 0; i < d->address_count; i++) {
		free(d->address[i].text);
		free(d->address[i].path);
		free(d->address[i].host);
	}
	free(d->address);
	free(d->name);
}
