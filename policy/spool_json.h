/*
 * spool_json - members of JSON objects, read strictly, for the spool's files and requests
 *
 * Text is a string, or {"base64": "..."} where its octets are no UTF-8. It holds no control characters: an address or a reply with CR LF in it would
 * become commands at the next hop, or lines of a log.
 */
#ifndef SPOOL_JSON_H
#define SPOOL_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As text with control characters as blanks, cut at max octets (not within a character); NULL is null. New reference, or NULL: no memory. */
json_t *spool_json_text(const char *s, size_t max);

/* Set a member; NULL text: none is set. false: no memory. */
bool spool_json_put(json_t *o, const char *key, const char *s, size_t max);

enum spool_json_need { JSON_NEEDED, JSON_OPTIONAL };

/*
 * Read a member; false and nothing written: it is of another kind, out of its bounds, or missing and needed. An optional one that is
 * missing: NULL, 0, false. *out of text is the caller's, freed before it is written.
 */
bool spool_json_get_text(const json_t *o, const char *key, size_t max, enum spool_json_need need, char **out);
bool spool_json_get_number(const json_t *o, const char *key, int64_t min, int64_t max, enum spool_json_need need, int64_t *out);
bool spool_json_get_bool(const json_t *o, const char *key, enum spool_json_need need, bool *out);
/* One of words (NULL last): its place. */
bool spool_json_get_word(const json_t *o, const char *key, const char *const *words, int *out);

#endif
