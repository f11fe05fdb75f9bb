/*
 * access_backend - the server's leg of a session: which server, TLS with it, and what it is told of the client
 *
 * Which: with transparent = yes, the one that the client wanted to connect to, from the client's own address; else those that the map of users has
 * for who logs in; else those of the name that the client asked for (SNI); else the listener's. A destination that has the address of one of the
 * backends is spoken to as that one's settings say; any other with TLS from the first octet where the client's leg is so, else by STARTTLS where it
 * offers that, whatever its certificate.
 */
#ifndef ACCESS_BACKEND_H
#define ACCESS_BACKEND_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/host.h"

struct access_servers;
struct access_service;
struct access_session;

/* What the sessions of a service share of it: TLS contexts, one for each server. svc->site is given. 0, or -errno with err. */
int access_servers_new(const struct access_service *svc, struct access_servers **out, struct buf *err);
void access_servers_free(struct access_servers *v);

/*
 * Connect to the server that this user (NULL: nobody has said a name yet) belongs to; TLS from the first octet where that is configured. Nothing has been
 * read. What was connected before is closed. 0 and s->backend; -EBUSY: all that are well are full; -ECANCELED; else -errno, with the reason in why
 * (HOST_WHY_MAX). may wait
 */
int access_backend_open(struct access_session *s, const char *user, char *why);
/* Once more the same server, without TLS: after access_backend_starttls said -EAGAIN. may wait */
int access_backend_open_clear(struct access_session *s, const char *user, char *why);

/* No password may go to it, which is logged: what the client said under TLS is not said in clear because somebody on the way breaks a handshake. */
bool access_backend_unsafe(const struct access_session *s);
void access_backend_close(struct access_session *s);

/* Whether TLS is still to come by STARTTLS: when the server offers it, or (TLS_REQUIRED) else not at all. */
bool access_backend_wants_starttls(const struct access_session *s);
/*
 * The server has said that it begins: the handshake. 0; -EAGAIN: it failed, and it was opportunistic; else -errno. why as above. What the server sent
 * behind its answer makes it fail (-EPROTO). may wait
 */
int access_backend_starttls(struct access_session *s, char *why);

/*
 * Whether who logs in may belong to another server than the one that is connected: by the map of users, or because he has asked for another by SNI
 * since; or whether it is to be connected anew, since it is in clear text for a failure of others, and the client has begun TLS. Whether the one that is connected is this user's.
 */
bool access_backend_routes(const struct access_session *s);
bool access_backend_suits(const struct access_session *s, const char *user);

/*
 * What a server with xclient = yes is told of the client, a command without tag and line end; NULL: nothing. It believes us if we are in its
 * login_trusted_networks (Dovecot). Of POP3, for a server whose greeting has [XCLIENT]: `XCLIENT ADDR=192.0.2.7 PORT=51234 SESSION=5f3c...`; of IMAP:
 * `ID ("x-originating-ip" "192.0.2.7" ...)`.
 */
enum { ACCESS_TOLD_MAX = 400 };
const char *access_backend_xclient(const struct access_session *s, char out[ACCESS_TOLD_MAX]);
const char *access_backend_id(const struct access_session *s, char out[ACCESS_TOLD_MAX]);

#endif
