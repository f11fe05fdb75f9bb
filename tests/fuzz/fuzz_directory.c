/*
 * fuzz_directory - what a directory says, what stands on disk, and what another process asks
 *
 * Input: a byte that says which; then a value of an attribute, a copy (or what is in one behind a good hash), a question, or the name of an attribute.
 */
#include <assert.h>
#include <openssl/sha.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "directory/directory_address.h"
#include "directory/directory_copy.h"
#include "directory/directory_table.h"
#include "process/directory_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Good once, good again, and nothing in it that is more than a character of an address. */
static void check_address(const char *address)
{
	char again[DIRECTORY_ADDRESS_MAX];

	assert(strlen(address) > 0 && strlen(address) < DIRECTORY_ADDRESS_MAX);
	for (const char *p = address; *p; p++)
		assert((unsigned char)*p >= 0x20 && *p != 0x7f && !(*p >= 'A' && *p <= 'Z'));
	if (strchr(address, '@')) {
		assert(directory_wire_read(address, strlen(address), again));
		assert(strcmp(again, address) == 0);
	}
}

/* Whatever he is called, the filter has as many parentheses as ours have, and they are balanced. */
static void check_filter(const struct directory_conf *c, const struct directory_forms *f)
{
	AUTO(buf) struct buf out = BUF_INIT(256 * 1024);
	int depth = 0;

	assert(directory_filter(c, f, &out) == 0);
	for (const char *p = buf_str(&out); *p; p++) {
		assert((unsigned char)*p >= 0x20 && (unsigned char)*p < 0x7f);
		depth += *p == '(';
		depth -= *p == ')';
		assert(depth > 0 || !p[1]);
	}
	assert(depth == 0);
}

static void value(unsigned how, const char *p, size_t len)
{
	static char *attributes[] = { (char *)"proxyAddresses", (char *)"mail" };
	struct directory_conf c = { .filter = (char *)"(a=b)", .attribute = attributes, .attribute_count = 2, .schema = how & 1 ? DIRECTORY_DOMINO : DIRECTORY_ACTIVE,
				    .plus = how & 2, .subdomains = how & 4 };
	struct directory_forms f;
	char address[DIRECTORY_ADDRESS_MAX];

	if (directory_value(c.schema, p, len, address) < 0)
		return;
	check_address(address);
	directory_forms(&c, address, &f);
	assert(f.count <= DIRECTORY_FORMS_MAX && (f.count > 0) == (strchr(address, '@') != NULL));
	for (size_t i = 0; i < f.count; i++)
		assert(strlen(f.text[i]) > 0);
	assert(f.count == 0 || strcmp(f.text[0], address) == 0);
	check_filter(&c, &f);
}

static void copy(const void *p, size_t len)
{
	struct directory_copy c;

	if (directory_copy_parse(p, len, &c) < 0)
		return;
	assert(c.count <= DIRECTORIES_MAX);
	for (size_t i = 0; i < c.count; i++) {
		struct directory_table t = { .text = NULL };
		unsigned flags;

		assert(memchr(c.part[i].name, 0, sizeof(c.part[i].name)));
		if (directory_table_read(&t, c.part[i].text, c.part[i].len) == 0)
			for (size_t at = 0; at < t.used; at += strlen(t.text + at + 1) + 2)
				assert(directory_table_find(&t, t.text + at + 1, &flags));
		directory_table_release(&t);
	}
}

/* The hash as it should be, so that what is behind it is read. */
static void copy_hashed(const uint8_t *p, size_t len)
{
	unsigned char *whole = malloc(16 + len + SHA256_DIGEST_LENGTH);

	memcpy(whole, "gatepost-dir 2\n", 16);
	memcpy(whole + 16, p, len);
	SHA256(whole, 16 + len, whole + 16 + len);
	copy(whole, 16 + len + SHA256_DIGEST_LENGTH);
	free(whole);
}

static void attribute(const char *p, size_t len)
{
	char *name = strndup(p, len);
	long next = 7;

	if (directory_attribute_is(name, "proxyAddresses", &next))
		assert(strncasecmp(name, "proxyAddresses", 14) == 0);
	assert(next == -1 || (next > 0 && next <= INT32_MAX));
	free(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char address[DIRECTORY_ADDRESS_MAX];
	const char *p = (const char *)data + 1;

	if (size < 1)
		return 0;
	size--;
	switch (data[0] & 7) {
	case 0:
		copy(p, size);
		break;
	case 1:
		copy_hashed(data + 1, size);
		break;
	case 2:
		if (directory_wire_read(p, size, address))
			check_address(address);
		break;
	case 3:
		attribute(p, size);
		break;
	default:
		value(data[0] >> 3, p, size);
	}
	return 0;
}
