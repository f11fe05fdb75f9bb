#include "filters/cfws.h"

#include <stddef.h>

bool cfws_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* p: at its bracket. */
static const char *comment_end(const char *p, const char *end)
{
	int depth = 0;

	for (; p < end; p++) {
		if (*p == '\\' && end - p > 1)
			p++;
		else if (*p == '(' && ++depth > CFWS_DEEP)
			return NULL;
		else if (*p == ')' && --depth == 0)
			return p + 1;
	}
	return NULL;
}

const char *cfws_skip(const char *p, const char *end)
{
	while (p && p < end && (cfws_blank(*p) || *p == '('))
		p = *p == '(' ? comment_end(p, end) : p + 1;
	return p;
}
