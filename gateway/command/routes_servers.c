#include "command/routes_servers.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>

#include "policy/conf.h"

enum { SERVERS_MAX = 1024 };

int routes_servers(const struct site *s, struct routes_server **out, size_t *count, struct buf *err)
{
	static const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
	struct routes_server *list = calloc(SERVERS_MAX, sizeof(*list));
	size_t n = 0;
	int rc = 0;

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < s->backend_count && n < SERVERS_MAX; i++) {
		struct addrinfo *all = NULL;
		int e;

		list[n].backend = i;
		if (net_parse(s->backend[i].host, &list[n].addr) == 0) {
			list[n++].addr.port = s->backend[i].port;
			continue;
		}
		e = getaddrinfo(s->backend[i].host, NULL, &hints, &all);
		if (e != 0) {
			buf_addf(err, "%s:%d: backend %s: %s: %s\n", s->path, s->backend[i].line, s->backend[i].name, s->backend[i].host, gai_strerror(e));
			rc = -ENOENT;
			continue;
		}
		for (struct addrinfo *a = all; a && n < SERVERS_MAX; a = a->ai_next) {
			list[n].backend = i;
			net_from_sockaddr(a->ai_addr, &list[n].addr);
			list[n++].addr.port = s->backend[i].port;
		}
		freeaddrinfo(all);
	}
	*out = list;
	*count = n;
	return rc;
}
