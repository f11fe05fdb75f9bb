#include "command/advise.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void advise_say(struct advise *a, enum advice_level level, const char *subject, const char *fmt, ...)
{
	struct advice *grown;
	va_list ap;
	char *text;
	int n;

	if (a->count == ADVISE_LINES_MAX)
		return;
	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	grown = n < 0 ? NULL : reallocarray(a->list, a->count + 1, sizeof(*grown));
	if (!grown)
		abort();                /* a command, and no memory */
	a->list = grown;
	a->list[a->count++] = (struct advice){ level, subject, text };
}

enum advice_level advise_worst(const struct advise *a)
{
	enum advice_level worst = ADVICE_OK;

	for (size_t i = 0; i < a->count; i++)
		if (a->list[i].level > worst)
			worst = a->list[i].level;
	return worst;
}

const char *advise_level_name(enum advice_level level)
{
	static const char *const names[] = { [ADVICE_OK] = "ok", [ADVICE_WARN] = "warn", [ADVICE_BAD] = "bad" };

	return names[level];
}

void advise_release(struct advise *a)
{
	for (size_t i = 0; i < a->count; i++)
		free(a->list[i].text);
	free(a->list);
}
