/*
 * json_whole - JSON as text, whole or not at all
 *
 * jansson's json_dumps takes no notice where there was no memory for a key: the text comes, without it. What is kept, and what other
 * processes read, must not be cut.
 */
#ifndef JSON_WHOLE_H
#define JSON_WHOLE_H

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

/* As json_dumps; NULL for NULL, and without memory. To be freed. */
static inline char *json_whole(const json_t *o, size_t flags)
{
	char *text;

	errno = 0;
	text = o ? json_dumps(o, flags) : NULL;
	if (!text || errno != ENOMEM)
		return text;
	free(text);
	return NULL;
}

#endif
