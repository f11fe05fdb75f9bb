/* Any bytes as the body of a From field: bounds are kept, and what is called a domain is one. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "filters/domain.h"
#include "filters/from_parse.h"

static void domain_check(const char *d)
{
	char again[DOMAIN_MAX];

	if (d[0] == '[')
		return;
	assert(domain_canonical(d, strlen(d), again) == 0);
	assert(strcmp(d, again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct from_authors a = { .address = NULL };
	const char *why = NULL;
	int rc = from_parse((const char *)data, size, &a, &why);

	assert(rc == 0 || rc == -EBADMSG);
	assert((rc == 0) == (why == NULL));
	assert(a.address_count <= FROM_ADDRESSES_MAX && a.domain_count <= a.address_count);
	for (size_t i = 0; i < a.domain_count; i++)
		domain_check(a.domain[i]);
	for (size_t i = 0; i < a.address_count; i++)
		assert(strrchr(a.address[i], '@'));
	from_authors_release(&a);
	return 0;
}
