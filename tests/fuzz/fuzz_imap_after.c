/*
 * fuzz_imap_after - the first line of a command: only one that everybody takes for one line, with a tag, passes
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "imap/imap_after.h"
#include "imap/imap_fetch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data;
	struct imap_after a;
	struct imap_fetch f;
	char name[64];
	bool literal, sync;
	uint64_t n;

	imap_after_more(p, size, &literal, &n, &sync);
	if (size == 0)
		return 0;
	imap_after_parse(p, size, &a);
	assert(strlen(a.tag) <= IMAP_TAG_MAX && !strpbrk(a.tag, " \r\n\""));
	assert((a.deed == IMAP_DEED_REFUSE) == (a.why != NULL));
	if (a.deed == IMAP_DEED_REFUSE || a.deed == IMAP_DEED_STRAY_DONE)
		return 0;
	assert(!a.bad_line && a.tag[0] && strcmp(a.tag, "*") != 0);
	assert(memchr(p, '\n', size) == p + size - 1 && memchr(p, '\r', size) == p + size - 2 && !memchr(p, '\0', size));
	assert(a.args.p >= p && a.args.p + a.args.len == p + size - 2);
	if (a.deed == IMAP_DEED_SELECT)
		assert(imap_after_mailbox(&a, name, sizeof(name)) < (int)sizeof(name));
	if (a.deed == IMAP_DEED_FETCH)
		imap_fetch_parse(a.args.p, a.args.len, &f);
	return 0;
}
