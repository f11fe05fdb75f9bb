#include "filters/clamd_reply.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool eat(const char **p, size_t *len, const char *word)
{
	size_t n = strlen(word);

	if (*len < n || memcmp(*p, word, n) != 0)
		return false;
	*p += n;
	*len -= n;
	return true;
}

static bool ends(const char *p, size_t *len, const char *word)
{
	size_t n = strlen(word);

	if (*len <= n || memcmp(p + *len - n, word, n) != 0)
		return false;
	*len -= n;
	return true;
}

static void take(const char *p, size_t len, char *name)
{
	if (len > CLAMD_NAME_MAX)
		len = CLAMD_NAME_MAX;
	for (size_t i = 0; i < len; i++)
		name[i] = p[i] >= 0x20 && p[i] <= 0x7e ? p[i] : '?';
	name[len] = '\0';
}

enum clamd_result clamd_reply(const char *p, size_t len, unsigned number, char name[CLAMD_NAME_MAX + 1])
{
	char id[16];

	*name = '\0';
	snprintf(id, sizeof(id), "%u: ", number);
	if (!eat(&p, &len, id))
		return CLAMD_NONSENSE;
	if (len == strlen("stream: OK") && memcmp(p, "stream: OK", len) == 0)
		return CLAMD_CLEAN;
	if (len >= strlen("INSTREAM size limit exceeded.") && memcmp(p, "INSTREAM size limit exceeded.", strlen("INSTREAM size limit exceeded.")) == 0)
		return CLAMD_TOO_LARGE;
	if (ends(p, &len, " ERROR")) {
		take(p, len, name);
		return CLAMD_ERROR;
	}
	if (!eat(&p, &len, "stream: ") || !ends(p, &len, " FOUND"))
		return CLAMD_NONSENSE;
	take(p, len, name);
	return CLAMD_FOUND;
}
