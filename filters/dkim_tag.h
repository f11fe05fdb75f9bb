/*
 * dkim_tag - the tag=value lists of DKIM, RFC 6376 section 3.2
 *
 * Signatures and key records are written in this form. The reading is strict: a name twice, a name that is none, a
 * value with a control byte or with a CR or LF that folds nothing make the whole list bad. Bytes of 128 and more are
 * let through (RFC 8616); whoever reads a value decides. Nothing is copied: names and values point into the
 * text. No I/O, no clock.
 */
#ifndef DKIM_TAG_H
#define DKIM_TAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DKIM_TAGS_MAX = 48 };            /* a signature has 14 tags that mean something */

struct dkim_tag {
	const char *name;
	size_t name_len;
	const char *value;              /* without the blanks around it; those inside are still there */
	size_t len;
};

struct dkim_tags {
	struct dkim_tag tag[DKIM_TAGS_MAX];
	size_t count;
};

/* Read a whole list. NULL, or what is wrong with it, in words (a literal). */
const char *dkim_tags_parse(const char *p, size_t len, struct dkim_tags *out);

/* The tag of that name (names are case-sensitive), or NULL. */
const struct dkim_tag *dkim_tags_find(const struct dkim_tags *t, const char *name);

/* Whether a value is this word, letter case ignored. */
bool dkim_tag_is(const struct dkim_tag *t, const char *word);

/*
 * Walk a list of items between colons ("from : to : subject"). *pos begins at 0. False after the last. Blanks around an item are left
 * out; an item may be empty.
 */
bool dkim_tag_item(const struct dkim_tag *t, size_t *pos, const char **item, size_t *len);

/* Whether a list has that item, letter case ignored. */
bool dkim_tag_has(const struct dkim_tag *t, const char *item);

/*
 * Decode base64 with blanks anywhere in it into out, of room bytes. The count of bytes, or -1: another character, padding that is
 * not at the end, an impossible length, or no room. The padding may be missing (section 2.10 has it optional).
 */
ptrdiff_t dkim_tag_base64(const char *p, size_t len, unsigned char *out, size_t room);

/* A value of digits only: 0, or -1 when it is none or has more than max_digits (at most 19) digits. */
int dkim_tag_number(const struct dkim_tag *t, int max_digits, uint64_t *out);

#endif
