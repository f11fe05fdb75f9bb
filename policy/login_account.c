#include "policy/login_account.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unicase.h>
#include <unictype.h>
#include <uninorm.h>
#include <unistr.h>

#include "policy/conf.h"

const char *login_account_domain(const struct site *s)
{
	return s->domain_count == 1 && s->domains[0][0] != '.' ? s->domains[0] : NULL;
}

/* What directories and databases pass over when they compare names: blanks, accents (combining classes of 200 and more), what nobody sees. */
static bool passed_over(ucs4_t c)
{
	return uc_is_property_white_space(c) || uc_is_property_default_ignorable_code_point(c) || uc_combining_class(c) >= 200;
}

static size_t thin(uint8_t *p, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len;) {
		ucs4_t c;
		int octets = u8_mbtouc(&c, p + i, len - i);

		if (!passed_over(c)) {
			memmove(p + n, p + i, (size_t)octets);
			n += (size_t)octets;
		}
		i += (size_t)octets;
	}
	return n;
}

/* Letters apart from their accents, these left out, and together again what belongs so. */
static void fold_wide(char out[LOGIN_ACCOUNT_MAX])
{
	size_t len = 0, n = 0;
	uint8_t *apart = u8_casefold((const uint8_t *)out, strlen(out), NULL, UNINORM_NFKD, NULL, &len), *folded = NULL;

	if (apart)
		folded = u8_normalize(UNINORM_NFKC, apart, thin(apart, len), NULL, &n);
	if (folded && n > 0 && n < LOGIN_ACCOUNT_MAX) {
		memcpy(out, folded, n);
		out[n] = '\0';
	}
	free(folded);
	free(apart);
}

/* ASCII at once, as nearly all names are; what does not fit, or is no text, is left with its ASCII folded. */
static void fold(const char *user, char out[LOGIN_ACCOUNT_MAX])
{
	bool ascii = true;
	char *to = out;

	snprintf(out, LOGIN_ACCOUNT_MAX, "%s", user);
	for (const char *c = out; *c; c++) {
		ascii = ascii && (unsigned char)*c < 0x80;
		if (*c != ' ')
			*to++ = *c >= 'A' && *c <= 'Z' ? (char)(*c | 0x20) : *c;
	}
	if (to > out)
		*to = '\0';
	if (!ascii)
		fold_wide(out);
}

const char *login_account(const char *user, const char *domain, char out[LOGIN_ACCOUNT_MAX])
{
	char *star, *slash, *at;
	size_t len;

	fold(user, out);
	star = strrchr(out, '*');
	if (star && star[1])
		memmove(out, star + 1, strlen(star + 1) + 1);
	slash = strrchr(out, '\\');
	if (slash && slash[1])
		memmove(out, slash + 1, strlen(slash + 1) + 1);
	at = strrchr(out, '@');
	len = strlen(out);
	if (at && at[1] && at[2] && out[len - 1] == '.')        /* the root, as in names of hosts */
		out[len - 1] = '\0';
	if (at && at > out && domain && strcmp(at + 1, domain) == 0)
		*at = '\0';
	return out;
}
