#include "tcp/tcp_listener.h"

#include <errno.h>
#include <stdlib.h>

int tcp_listeners_new(const struct site *site, enum listener_protocol protocol, struct tcp_listener **out)
{
	struct tcp_listener *all = calloc(site->listener_count + 1, sizeof(*all));

	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < site->listener_count; i++) {
		if (site->listener[i].protocol != protocol)
			continue;
		all[i].backends = tcp_set_of_listener(site, &site->listener[i]);
	}
	*out = all;
	return 0;
}

void tcp_listeners_free(struct tcp_listener *l, const struct site *site)
{
	free(l);
}
