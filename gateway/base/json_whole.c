#include "base/json_whole.h"

#include <errno.h>
#include <stdlib.h>

static bool starved;

static void *take(size_t n)
{
	void *p = malloc(n);

	starved |= !p;
	return p;
}

void json_whole_begin(void)
{
	json_set_alloc_funcs(take, free);
	starved = false;
}

bool json_whole_starved(void)
{
	return starved;
}

char *json_whole(const json_t *o, size_t flags)
{
	char *text;

	json_whole_begin();
	text = o ? json_dumps(o, flags) : NULL;
	if (!starved)
		return text;
	free(text);
	return NULL;
}

json_t *json_whole_load(const char *p, size_t len, size_t flags)
{
	json_t *o;

	json_whole_begin();
	o = json_loadb(p, len, flags, NULL);
	errno = 0;
	if (!starved)
		return o;
	json_decref(o);
	errno = ENOMEM;
	return NULL;
}
