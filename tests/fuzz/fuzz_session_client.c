/*
 * A whole session of SMTP, the client being the fuzzer: its input is what the client says, a script (tests/rig/script.h) behind one octet that chooses
 * the listener and what the server behind can do.
 *
 * Besides crashes and leaks it is wrong when the server hears what no server should (tests/rig/mailhost.h), when a message is said to be taken that
 * nobody has taken, when the server gets more messages than the client may have ended, when a reply is malformed, when what is said back is more
 * than FACTOR times what came, or when anybody waits for ever.
 */
#include <stdint.h>

#include "rig/smtp_site.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	smtp_site_open();
	smtp_site_client((char)data[0], (const char *)data + 1, size - 1);
	return 0;
}
