/*
 * daemon_connect - one connection to one address of a daemon
 */
#ifndef DAEMON_CONNECT_H
#define DAEMON_CONNECT_H

struct daemon_address;
struct daemon_source;
struct dns;
struct stream;

enum { DAEMON_WHY_MAX = 256 };

/*
 * Within timeout_ms: a host name is asked for (dns; NULL: there is none), and its addresses are tried in turn; a path is for the source, or, if that is NULL,
 * opened from here. A unix socket whose queue is full is tried again. 0 and *out, or -errno and why in words. may wait
 */
int daemon_connect(const struct daemon_address *a, struct dns *dns, struct daemon_source *source, int timeout_ms, struct stream **out, char *why);

#endif
