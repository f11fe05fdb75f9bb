#include "base/siphash.h"

#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"

struct sip {
	uint64_t a, b, c, d;
};

static uint64_t turn(uint64_t x, int bits)
{
	return x << bits | x >> (64 - bits);
}

static void rounds(struct sip *s, int n)
{
	while (n-- > 0) {
		s->a += s->b;
		s->b = turn(s->b, 13) ^ s->a;
		s->a = turn(s->a, 32);
		s->c += s->d;
		s->d = turn(s->d, 16) ^ s->c;
		s->a += s->d;
		s->d = turn(s->d, 21) ^ s->a;
		s->c += s->b;
		s->b = turn(s->b, 17) ^ s->c;
		s->c = turn(s->c, 32);
	}
}

static void word(struct sip *s, uint64_t m)
{
	s->d ^= m;
	rounds(s, 2);
	s->a ^= m;
}

/* The next n <= 8 octets, the first of them the lowest, whatever the machine. */
static uint64_t octets(const unsigned char *p, size_t n)
{
	uint64_t m = 0;

	for (size_t i = 0; i < n; i++)
		m |= (uint64_t)p[i] << (8 * i);
	return m;
}

uint64_t siphash(const struct siphash_key *key, const void *data, size_t len)
{
	const unsigned char *p = data;
	/* "somepseudorandomlygeneratedbytes" */
	struct sip s = { key->half[0] ^ 0x736f6d6570736575, key->half[1] ^ 0x646f72616e646f6d, key->half[0] ^ 0x6c7967656e657261,
			 key->half[1] ^ 0x7465646279746573 };
	size_t left = len;

	for (; left >= 8; left -= 8, p += 8)
		word(&s, octets(p, 8));
	word(&s, octets(p, left) | (uint64_t)len << 56);
	s.c ^= 0xff;
	rounds(&s, 4);
	return s.a ^ s.b ^ s.c ^ s.d;
}

void siphash_key_make(struct siphash_key *key)
{
	/* So early that there is no entropy yet: better a poor key than none. */
	if (getrandom(key, sizeof(*key), 0) != sizeof(*key))
		*key = (struct siphash_key){ { (uint64_t)clock_wall_ms(), (uint64_t)getpid() } };
}
