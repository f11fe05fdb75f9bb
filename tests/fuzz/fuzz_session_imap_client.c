/*
 * A whole session of IMAP, the client being the fuzzer: its input is what the client says, a script (tests/rig/script.h) behind one octet that chooses the
 * listener and whether the server offers TLS (tests/rig/access_site.h). The server is a good one (tests/rig/mailbox_host.h), which ends the program
 * when it hears, before the login, what no server should.
 */
#include <stdint.h>

#include "rig/access_site.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	access_site_open();
	access_site_session(true, (char)data[0], (const char *)data + 1, size - 1, NULL, 0);
	return 0;
}
