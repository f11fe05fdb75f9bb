#include "policy/login_account.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unicase.h>
#include <uninorm.h>

#include "policy/conf.h"

const char *login_account_domain(const struct site *s)
{
	return s->domain_count == 1 && s->domains[0][0] != '.' ? s->domains[0] : NULL;
}

/* ASCII at once, as nearly all names are; what does not fit, or is no text, is left with its ASCII folded. */
static void fold(const char *user, char out[LOGIN_ACCOUNT_MAX])
{
	char wide[LOGIN_ACCOUNT_MAX];
	size_t len = sizeof(wide) - 1;
	bool ascii = true;
	uint8_t *p;

	snprintf(out, LOGIN_ACCOUNT_MAX, "%s", user);
	for (char *c = out; *c; c++) {
		ascii = ascii && (unsigned char)*c < 0x80;
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c | 0x20);
	}
	if (ascii)
		return;
	p = u8_casefold((const uint8_t *)out, strlen(out), NULL, UNINORM_NFKC, (uint8_t *)wide, &len);
	if (p && len < LOGIN_ACCOUNT_MAX) {
		memcpy(out, p, len);
		out[len] = '\0';
	}
	if (p != (uint8_t *)wide)
		free(p);
}

const char *login_account(const char *user, const char *domain, char out[LOGIN_ACCOUNT_MAX])
{
	char *slash, *at;

	fold(user, out);
	slash = strrchr(out, '\\');
	if (slash && slash[1])
		memmove(out, slash + 1, strlen(slash + 1) + 1);
	at = strrchr(out, '@');
	if (at && at > out && domain && strcmp(at + 1, domain) == 0)
		*at = '\0';
	return out;
}
