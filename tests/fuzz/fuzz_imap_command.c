/*
 * fuzz_imap_command - commands of an IMAP client, one behind the other; what is accepted is bounded, in order, and the same when its literals come in
 * other pieces
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/sasl.h"
#include "imap/imap_command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum imap_step feed(struct imap_command *c, const char *in, size_t len, size_t piece, size_t *used)
{
	enum imap_step step = IMAP_WANTS_LINE;
	size_t i = 0;

	for (int steps = 0; step < IMAP_COMMAND && i < len; steps++) {
		const char *lf = memchr(in + i, '\n', len - i);
		size_t n = lf ? (size_t)(lf - in) + 1 - i : len - i;

		if (step == IMAP_WANTS_CONTINUE) {
			assert(c->want <= IMAP_LITERAL_MAX);
			step = c->want ? IMAP_WANTS_LITERAL : IMAP_WANTS_LINE;
			continue;
		}
		if (step == IMAP_WANTS_LITERAL) {
			assert(c->want > 0 && c->want <= IMAP_SKIP_MAX);
			n = c->want < piece ? c->want : piece;
			n = n < len - i ? n : len - i;
			step = imap_command_literal(c, in + i, n);
		} else {
			step = imap_command_line(c, in + i, n);
		}
		i += n;
		assert(c->len <= IMAP_TEXT_MAX && c->literals <= IMAP_LITERALS_MAX);
	}
	*used = i;
	return step;
}

static void check_arg(const struct imap_command *c, const struct imap_arg *a)
{
	char out[IMAP_TEXT_MAX];
	int n = imap_arg_decode(c, a, out, sizeof(out));

	assert(a->off + a->len <= c->len && n >= 0 && (size_t)n <= a->len);
	assert(!memchr(out, '\0', (size_t)n));
	if (a->form != IMAP_LITERAL)
		assert(!imap_arg_has(c, a, "\r\n"));
}

static void check(const struct imap_command *c)
{
	struct imap_arg field, value;
	size_t pos = 0;
	int fields = 0;

	assert(c->tag[0] && c->tag[0] != '*' && strlen(c->tag) <= IMAP_TAG_MAX && c->verb != IMAP_UNKNOWN);
	if (c->verb == IMAP_LOGIN) {
		check_arg(c, &c->arg[0]);
		check_arg(c, &c->arg[1]);
	}
	if (c->verb == IMAP_AUTHENTICATE && c->arg[1].form != IMAP_NONE && !(c->arg[1].len == 1 && *imap_arg_text(c, &c->arg[1]) == '='))
		assert(sasl_base64_ok(imap_arg_text(c, &c->arg[1]), c->arg[1].len));
	while (c->verb == IMAP_ID && imap_id_next(c, &pos, &field, &value)) {
		check_arg(c, &field);
		check_arg(c, &value);
		assert(++fields <= IMAP_ID_FIELDS_MAX);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data;
	struct imap_command c, twin;

	imap_command_init(&c);
	imap_command_init(&twin);
	for (int n = 0; size > 0 && n < 100; n++) {
		size_t used, used_twin;
		enum imap_step step = feed(&c, p, size, SIZE_MAX, &used);

		assert(used > 0);
		assert(feed(&twin, p, size, 1, &used_twin) == step && used == used_twin);
		assert(twin.len == c.len && (c.len == 0 || memcmp(twin.text, c.text, c.len) == 0));
		if (step == IMAP_COMMAND)
			check(&c);
		if (step > IMAP_COMMAND)
			assert(c.why && c.tag[0]);
		imap_command_release(&c);
		imap_command_release(&twin);
		p += used;
		size -= used;
	}
	return 0;
}
