/*
 * imap_auth - LOGIN and AUTHENTICATE, passed through to the server of the user
 *
 * LOGIN is said there as the client said it, its literals synchronising where the server has no others. AUTHENTICATE goes step by step, bounded in steps,
 * bytes and time; an initial response that the server does not take (RFC 4959) is kept until it asks. Before the line on which the server decides, the guard
 * is asked (login/login_attempt.h), and with a map of users the one is found whose server this is. Neither side is logged or kept; the user's name is.
 *
 * 0: go on with the next command; 1: the user is in, the server's words have been passed on; else the session is over. may wait
 */
#ifndef IMAP_AUTH_H
#define IMAP_AUTH_H

struct imap_dialogue;

int imap_do_login(struct imap_dialogue *d);
/* Why no password may be asked for now, where it would come in a literal: "NO ...", or NULL. Said instead of "+": as the functions above. */
const char *imap_login_refused(const struct imap_dialogue *d);
int imap_refuse_login(struct imap_dialogue *d);
int imap_do_authenticate(struct imap_dialogue *d);

#endif
