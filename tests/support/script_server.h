/*
 * script_server - a server on loopback that says and expects exactly what a test wrote down
 *
 * It runs in the test's own loop. Each connection plays the next script (the last one again and again); a script is a list of
 * steps, NULL last:
 *
 *     "S:bytes"   send these bytes
 *     "C:text"    read one line, which must begin with text
 *     "D"         read to CRLF.CRLF; what came is added to `received`, the end included
 *     "B:n"       read n bytes; added to `received`
 *     "H"         hang: read and forget until the client closes
 *     "X"         close now
 *     "W:ms"      wait
 *     "T"         TLS handshake with a self-signed certificate for mx.example
 *
 * After the last step the server reads until the client closes. A step that does not fit sets `failed`.
 */
#ifndef SCRIPT_SERVER_H
#define SCRIPT_SERVER_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/net.h"

struct event;
struct visit;

enum { SCRIPTS_MAX = 16 };

struct script_server {
	struct net_addr addr;
	const char **script[SCRIPTS_MAX];       /* copies */
	size_t script_count;
	size_t connections;             /* so far */
	size_t open;                    /* now */
	struct visit *visits;           /* those */
	size_t most;                    /* open at once, as the clients see it */
	struct buf received;
	char failed[300];               /* "" if all is well */
	struct ssl_ctx_st *tls;         /* made when first needed */
	char *tls_cert;                 /* its certificate as PEM, after script_server_tls */
	int fd;
	struct event *event;
};

/* In a running loop (after loop_init). Aborts when there is no port. port 0: any. */
void script_server_start(struct script_server *s, unsigned short port);
void script_server_add(struct script_server *s, const char *const *script);
/* Make the certificate now; owned by s. */
const char *script_server_tls(struct script_server *s);
void script_server_stop(struct script_server *s);       /* no further connections: refused */
void script_server_release(struct script_server *s);

/* Run fn(arg) in a task, and the loop until it returns; then let the other tasks end (bounded). */
void script_run(void (*fn)(void *arg), void *arg);

#endif
