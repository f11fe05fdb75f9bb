#include "imap/imap_server.h"

#include "access/access_backend.h"

static void serve(struct access_session *s)
{
	char why[HOST_WHY_MAX];

	if (access_backend_open(s, NULL, why) < 0)
		access_end(s, "no backend", why);
	else
		access_pump(s);
}

const struct access_protocol imap_protocol = {
	.name = "imap",
	.protocol = LISTENER_IMAP,
	.busy = "* BYE [UNAVAILABLE] too many connections, try again later\r\n",
	.serve = serve,
};
