/*
 * A whole session of SMTP, the server behind being the fuzzer: its input is what that one answers, a script (tests/rig/script.h) behind one octet that
 * chooses whether it is a backend, and what that has said at the start that it offers, or the server that an MX names. The client is a good one, with one message by DATA and one, for two recipients, by BDAT.
 *
 * Besides crashes and leaks it is wrong when the client is told that a message is taken, and the server did not say so of exactly one of that transaction; when the
 * server hears what no server should (tests/rig/mailhost.h); when a reply is malformed; or when anybody waits for ever.
 */
#include <stdint.h>

#include "rig/smtp_site.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	smtp_site_open();
	smtp_site_server((char)data[0], (const char *)data + 1, size - 1);
	return 0;
}
