/*
 * access_backend - the server's leg of a session: which server, and TLS with it
 */
#ifndef ACCESS_BACKEND_H
#define ACCESS_BACKEND_H

#include <stdbool.h>

#include "base/host.h"

struct access_session;

/*
 * Connect to the server that this user (NULL: nobody has said a name yet) belongs to; TLS from the first octet where that is configured. Nothing has been
 * read. 0 and s->backend; -EBUSY: all that are well are full; -ECANCELED; else -errno, with the reason in why (HOST_WHY_MAX). may wait
 */
int access_backend_open(struct access_session *s, const char *user, char *why);
/* Once more, without TLS: after access_backend_starttls said -EAGAIN. may wait */
int access_backend_open_clear(struct access_session *s, const char *user, char *why);
void access_backend_close(struct access_session *s);

/* Whether TLS is still to come by STARTTLS: when the server offers it, or (TLS_REQUIRED) else not at all. */
bool access_backend_wants_starttls(const struct access_session *s);
/*
 * The server has said that it begins: the handshake. 0; -EAGAIN: it failed, and it was opportunistic; else -errno. why as above. What the server sent behind its
 * answer makes it fail. may wait
 */
int access_backend_starttls(struct access_session *s, char *why);

/* Whether users of this listener may belong to different servers; whether the one that is connected is this user's. */
bool access_backend_routes(const struct access_session *s);
bool access_backend_suits(const struct access_session *s, const char *user);

#endif
