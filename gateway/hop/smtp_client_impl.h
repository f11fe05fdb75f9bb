/*
 * smtp_client_impl - what smtp_client.c (the dialogue) and smtp_client_auth.c (logins in it) share; nobody else includes it
 */
#ifndef SMTP_CLIENT_IMPL_H
#define SMTP_CLIENT_IMPL_H

#include "hop/smtp_client.h"

/* The session has ended; why in words. Returns rc. */
int smtp_client_broken(struct smtp_client *c, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

const char *smtp_client_rc_words(int rc);
/* The first line of a reply, printable, for `why`. */
const char *smtp_client_reply_words(const struct smtp_reply *r, char *out, size_t size);

/* Nothing may be pending when a command goes out: its reply would be taken for this one's. may wait */
int smtp_client_ready(struct smtp_client *c, const char *what, int64_t deadline_ms);

/* A line with its end, and the reply. go_on: a 3xx code that is right here, 0 if none. may wait */
int smtp_client_command(struct smtp_client *c, const char *what, const struct buf *line, int timeout_ms, int go_on, int64_t deadline_ms);

#endif
