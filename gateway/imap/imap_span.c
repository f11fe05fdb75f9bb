#include "imap/imap_span.h"

#include <string.h>
#include <strings.h>

bool imap_span_is(struct imap_span s, const char *word)
{
	return s.len == strlen(word) && strncasecmp(s.p, word, s.len) == 0;
}

struct imap_span imap_span_take(struct imap_span *s)
{
	const char *blank = s->len ? memchr(s->p, ' ', s->len) : NULL;
	struct imap_span w = { s->p, blank ? (size_t)(blank - s->p) : s->len };
	size_t n = blank ? w.len + 1 : w.len;

	s->p += n;
	s->len -= n;
	return w;
}
