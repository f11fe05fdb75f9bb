/*
 * pop3_server - the gateway's side of POP3 (RFC 1939): the dialogue before the login
 *
 * The server's greeting is passed on, since APOP's timestamp is in it; CAPA is the server's, adjusted (pop3_capa.h); commands go one by one, and only those
 * that are known. From the login on bytes flow, or (scan = yes) commands are followed.
 */
#ifndef POP3_SERVER_H
#define POP3_SERVER_H

#include "access/access_session.h"

extern const struct access_protocol pop3_protocol;

#endif
