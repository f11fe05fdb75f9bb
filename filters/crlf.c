#include "filters/crlf.h"

/* How many bytes at p are neither CR nor LF. */
static size_t text_len(const char *p, size_t len)
{
	size_t i = 0;

	while (i < len && p[i] != '\r' && p[i] != '\n')
		i++;
	return i;
}

static int line_end(struct crlf *c)
{
	c->cr = false;
	return c->put(c->arg, "\r\n", 2);
}

int crlf_add(struct crlf *c, const char *p, size_t len)
{
	int rc = 0;

	while (len > 0 && rc >= 0) {
		size_t n = text_len(p, len);

		if (c->cr && (n > 0 || *p == '\r')) {
			rc = line_end(c);
			continue;
		}
		if (n > 0) {
			rc = c->put(c->arg, p, n);
		} else {
			n = 1;
			c->cr = *p == '\r';
			if (*p == '\n')
				rc = line_end(c);
		}
		p += n;
		len -= n;
	}
	return rc < 0 ? rc : 0;
}

int crlf_end(struct crlf *c)
{
	int rc = c->cr ? line_end(c) : 0;

	return rc < 0 ? rc : 0;
}
