#include "tcp/tcp_listener.h"

#include <errno.h>
#include <stdlib.h>

#include "base/client_table.h"

int tcp_listeners_new(const struct site *site, enum listener_protocol protocol, struct tcp_listener **out)
{
	struct tcp_listener *all = calloc(site->listener_count + 1, sizeof(*all));

	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < site->listener_count; i++) {
		if (site->listener[i].protocol != protocol)
			continue;
		all[i].backends = tcp_set_of_listener(site, &site->listener[i]);
		all[i].clients = client_table_new();
		if (!all[i].clients) {
			tcp_listeners_free(all, site);
			return -ENOMEM;
		}
	}
	*out = all;
	return 0;
}

void tcp_listeners_free(struct tcp_listener *l, const struct site *site)
{
	for (size_t i = 0; l && i < site->listener_count; i++)
		client_table_free(l[i].clients);
	free(l);
}
