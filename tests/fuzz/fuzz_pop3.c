/*
 * fuzz_pop3 - a client's command, a server's status line and its list of CAPA: what is understood holds no control and stays within its line, and what is
 * not a whole line is nothing; a list that was adjusted is adjusted to itself
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "pop3/pop3_capa.h"
#include "pop3/pop3_command.h"
#include "pop3/pop3_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(const char *p, size_t n, const char *line, size_t len)
{
	assert(p >= line && p + n <= line + len);
}

static void command(const char *line, size_t len)
{
	struct pop3_command c;
	enum pop3_command_error e = pop3_command_parse(line, len, &c);

	for (const char *p = c.word; *p; p++)
		assert(*p > 0x20 && *p < 0x7f);
	inside(c.arg, c.arg_len, line, len);
	if (e != POP3_COMMAND_OK)
		return;
	assert(len >= 2 && line[len - 1] == '\n' && line[len - 2] == '\r');
	for (size_t i = 0; i < c.arg_len; i++)
		assert((unsigned char)c.arg[i] >= 0x20 || (c.verb == POP3_PASS && c.arg[i] == '\t'));
	assert(c.verb != POP3_UNKNOWN);
	assert((c.verb == POP3_USER || c.verb == POP3_APOP) == (c.name_len > 0));
	if (c.name_len > 0)
		inside(c.name, c.name_len, c.arg, c.arg_len);
	if (c.initial)
		inside(c.initial, c.initial_len, c.arg, c.arg_len);
	assert(!c.has_number || (c.number > 0 && c.number < UINT32_MAX));
	assert((c.verb != POP3_RETR && c.verb != POP3_TOP && c.verb != POP3_DELE) || c.has_number);
}

static void reply(const char *line, size_t len)
{
	struct pop3_reply r, twin;
	char *text, *again;
	size_t n;

	if (!pop3_reply_parse(line, len, &r))
		return;
	inside(r.text, r.text_len, line, len);
	if (r.code)
		inside(r.code, r.code_len, r.text, r.text_len);
	text = malloc(r.text_len + 1);
	assert(text);
	n = pop3_greeting_text(&r, true, text);
	assert(n <= r.text_len && !memchr(text, '<', n));
	/* what is left is a line of the same kind */
	again = malloc(n + 8);
	assert(again);
	memcpy(again, "+OK ", 4);
	memcpy(again + 4, text, n);
	memcpy(again + 4 + n, "\r\n", 2);
	if (r.status != POP3_STATUS_CHALLENGE)
		assert(n + 6 > POP3_REPLY_MAX || (pop3_reply_parse(again, n + 6, &twin) && twin.text_len == n));
	free(again);
	free(text);
}

static void capa(unsigned flags, const char *list, size_t len)
{
	struct pop3_capa_rules rules = {
		.stls = flags & 1, .no_clear = flags & 2, .routed = flags & 4, .scan = flags & 8, .mechanisms = SASL_PLAIN | SASL_CRAM_MD5,
	};
	AUTO(buf) struct buf out = BUF_INIT(1 << 20), twice = BUF_INIT(1 << 20);

	assert(pop3_capa_adjust(list, len, &rules, &out) == 0);
	for (size_t i = 0; i < out.len; i++)
		assert((out.data[i] >= 0x20 && out.data[i] < 0x7f) || out.data[i] == '\r' || out.data[i] == '\n');
	assert(!memmem(buf_str(&out), out.len, "\n.", 2));
	assert(pop3_capa_adjust(buf_str(&out), out.len, &rules, &twice) == 0);
	assert(twice.len == out.len && memcmp(buf_str(&out), buf_str(&twice), out.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 0)
		capa(data[0], (const char *)data + 1, size - 1);
	command((const char *)data, size);
	reply((const char *)data, size);
	return 0;
}
