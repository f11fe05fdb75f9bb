/*
 * fuzz_smtp_command - one command line; what is accepted holds no control, and its parameters say the same when they are said again
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "smtp/smtp_command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void clean(const char *p)
{
	for (; *p; p++)
		assert((unsigned char)*p >= 0x20 && *p != 0x7f);
}

/* MAIL or RCPT as we would write it is understood as the same. */
static void again(const struct smtp_command *c)
{
	struct smtp_command *twin = malloc(sizeof(*twin));
	AUTO(buf) struct buf params = BUF_INIT(4096), line = BUF_INIT(8192), params2 = BUF_INIT(4096);

	assert(twin && smtp_command_params(c, &params) == 0);
	clean(buf_str(&params));
	buf_addf(&line, "%s<%s>%s%s\r\n", c->verb == VERB_MAIL ? "MAIL FROM:" : "RCPT TO:", c->path.text, params.len ? " " : "",
		 buf_str(&params));
	assert(smtp_command_parse(line.data, line.len, c->path.utf8, twin) == COMMAND_OK);
	assert(strcmp(twin->path.text, c->path.text) == 0);
	assert(smtp_command_params(twin, &params2) == 0);
	assert(strcmp(buf_str(&params), buf_str(&params2)) == 0);
	free(twin);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct smtp_command c;
	enum smtp_command_error e;
	char reply[128];
	bool utf8 = size > 0 && (data[0] & 1);

	if (size == 0)
		return 0;
	e = smtp_command_parse((const char *)data + 1, size - 1, utf8, &c);
	clean(c.word);
	clean(c.parameter);
	clean(smtp_command_reply(&c, e, reply, sizeof(reply)));
	assert(c.arg >= (const char *)data + 1 && c.arg + c.arg_len <= (const char *)data + size);
	if (e != COMMAND_OK)
		return 0;
	assert(size > 2 && data[size - 1] == '\n' && data[size - 2] == '\r');
	clean(c.helo);
	clean(c.path.text);
	assert((c.verb == VERB_AUTH) == (c.mechanism != 0));
	if (c.initial)
		assert(c.initial > c.arg && c.initial + c.initial_len == c.arg + c.arg_len);
	if (c.verb == VERB_MAIL || c.verb == VERB_RCPT)
		again(&c);
	return 0;
}
