/*
 * fuzz_smtp_address - mailboxes, paths, domains; the normal form is its own normal form
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "smtp/smtp_address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct smtp_mailbox *m, unsigned flags)
{
	struct smtp_mailbox twin;
	char domain[SMTP_DOMAIN_MAX + 1];
	size_t len = strlen(m->text);

	if (len == 0)
		return;
	assert(len <= SMTP_MAILBOX_MAX || !m->domain[0]);
	for (size_t i = 0; i < len; i++)
		assert((unsigned char)m->text[i] >= 0x20 && m->text[i] != 0x7f);
	for (const char *p = m->domain; *p; p++)
		assert(m->literal || (*p != '@' && *p != '>' && *p != ' ' && !(*p >= 'A' && *p <= 'Z')));
	assert(smtp_mailbox_parse(m->text, len, flags, &twin) == ADDRESS_OK);
	assert(strcmp(twin.text, m->text) == 0 && strcmp(twin.local, m->local) == 0 && strcmp(twin.domain, m->domain) == 0);
	assert(twin.trick == m->trick && twin.quoted == m->quoted && twin.literal == m->literal);
	if (m->domain[0])
		smtp_domain_ascii(m->domain, domain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct smtp_mailbox m;
	const char *p = (const char *)data + 1;
	unsigned flags;
	size_t used;

	if (size == 0)
		return 0;
	flags = data[0] & 15;
	if (smtp_mailbox_parse(p, size - 1, flags, &m) == ADDRESS_OK)
		check(&m, flags);
	if (smtp_path_parse(p, size - 1, flags, &used, &m) == ADDRESS_OK) {
		assert(used <= size - 1);
		check(&m, flags);
	}
	return 0;
}
