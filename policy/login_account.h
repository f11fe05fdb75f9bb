/*
 * login_account - by which name an account is counted, whatever form its user writes it in
 *
 * What a server's directory or database may take for the same is the same, so that no other spelling is another set of guesses: case does not matter,
 * nor do accents, blanks, what nobody sees (Unicode's folding, NFKC). DOMAIN\ann is ann. bob*ann is ann: a server that has masters (Dovecot) tries ann's
 * password for bob's mailbox, and each bob would be another set of guesses at it. ann@example.com, with a dot at its end or not, is ann where
 * example.com is the only domain of the site; where there are several, each may have its ann. Two accounts that a server tells apart may be counted as
 * one, ANN and ann, or A\ann and B\ann: their failures add up, and where one has succeeded the other is known.
 */
#ifndef LOGIN_ACCOUNT_H
#define LOGIN_ACCOUNT_H

#include <stddef.h>

enum { LOGIN_ACCOUNT_MAX = 320 };       /* with NUL */

struct site;

/* The domain that can be left out: the site's only one, or NULL. */
const char *login_account_domain(const struct site *s);

/* user: UTF-8, as base/sasl.h keeps it; "" stays "". domain: lower-case, or NULL. Returns out. */
const char *login_account(const char *user, const char *domain, char out[LOGIN_ACCOUNT_MAX]);

#endif
