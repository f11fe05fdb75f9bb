#include "base/varint.h"

void varint_put(struct buf *out, uint64_t v)
{
	for (; v >= 128; v >>= 7)
		buf_addc(out, (char)(v | 128));
	buf_addc(out, (char)v);
}

const unsigned char *varint_get(const unsigned char *p, const unsigned char *end, uint64_t *v)
{
	*v = 0;
	for (int shift = 0; shift < 64 && p < end; shift += 7) {
		unsigned c = *p++;

		if ((shift == 63 && c > 1) || (shift && c == 0))
			return NULL;
		*v |= (uint64_t)(c & 127) << shift;
		if (c < 128)
			return p;
	}
	return NULL;
}
