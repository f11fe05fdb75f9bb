/*
 * A whole session of IMAP, the server behind being the fuzzer: its input is what that one says, a script (tests/rig/script.h) behind one octet that chooses
 * the listener (tests/rig/access_site.h). The client is a good one, which logs in and fetches.
 */
#include <stdint.h>

#include "rig/access_site.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	access_site_open();
	access_site_session(true, (char)data[0], NULL, 0, (const char *)data + 1, size - 1);
	return 0;
}
