/*
 * fuzz_srs - return paths: what nobody has made here is refused, what is made here comes back
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "policy/srs.h"

static char domain[] = "example.com", secret[] = "0123456789abcdef", older[] = "fedcba9876543210";
static const struct srs_conf conf = { .domain = domain, .secret = { secret, older }, .secret_count = 2, .life_s = 21 * 86400 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[400], out[SRS_ADDRESS_MAX], back[SRS_ADDRESS_MAX];
	const int64_t now = 1795000000;

	if (size >= sizeof(text) || memchr(data, 0, size))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	assert(srs_reverse(&conf, text, now, out) < 0 || srs_is(text));
	if (srs_forward(&conf, text, now, out) < 0)
		return 0;
	*strrchr(out, '@') = '\0';
	assert(srs_is(out) && srs_reverse(&conf, out, now, back) == 0);
	/* The address itself, but for what another forwarder has put around it. */
	assert(srs_is(text) || strcmp(back, text) == 0);
	return 0;
}
