/* Any bytes as an address of the web, and as a text with such: names come out canonical, and have a dot. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "filters/link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int check(void *arg, const struct link_host *h)
{
	char again[DOMAIN_MAX];

	assert((h->domain[0] == '\0') == (h->addr.family != 0));
	if (h->domain[0])
		assert(strchr(h->domain, '.') && domain_canonical(h->domain, strlen(h->domain), again) == 0);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct link_host h;

	if (link_parse((const char *)data, size, &h))
		check(NULL, &h);
	assert(link_scan((const char *)data, size, check, NULL) == 0);
	return 0;
}
