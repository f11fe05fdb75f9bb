/*
 * json_whole - JSON, read and written whole or not at all
 *
 * jansson takes no notice where there was no memory for a few characters: json_dumps leaves out a key, json_loadb the end of a string, so that
 * "ann@example.com" becomes "ann@example.co". What is kept, and what processes say to each other, must not be cut.
 */
#ifndef JSON_WHOLE_H
#define JSON_WHOLE_H

#include <jansson.h>
#include <stdbool.h>

/* As json_dumps; NULL for NULL, and without memory. To be freed. */
char *json_whole(const json_t *o, size_t flags);

/* As json_loadb. NULL: it is not JSON (errno is 0), or there was no memory (ENOMEM). */
json_t *json_whole_load(const char *p, size_t len, size_t flags);

/* For what is put together of many pieces: whether jansson has gone without memory since. */
void json_whole_begin(void);
bool json_whole_starved(void);

#endif
