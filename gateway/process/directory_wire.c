#include "process/directory_wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

bool directory_wire_read(const void *data, size_t len, char out[DIRECTORY_ADDRESS_MAX])
{
	char text[DIRECTORY_ADDRESS_MAX], local[DIRECTORY_ADDRESS_MAX], *at;

	if (len == 0 || len >= sizeof(text) || memchr(data, '\0', len))
		return false;
	memcpy(text, data, len);
	text[len] = '\0';
	at = strrchr(text, '@');
	if (!at)
		return false;
	memcpy(local, text, (size_t)(at - text));
	local[at - text] = '\0';
	return directory_address(local, at + 1, out) == 0;
}

static json_t *age(int64_t since_ms)
{
	return since_ms > 0 ? json_integer((clock_wall_ms() - since_ms) / 1000) : json_null();
}

/* Texts may be half of one and half of another. */
static json_t *text(const char *p, size_t size)
{
	char copy[DIRECTORY_SAID_MAX];
	size_t i;

	for (i = 0; i + 1 < sizeof(copy) && i < size && p[i]; i++)
		copy[i] = (unsigned char)p[i] < 0x20 || (unsigned char)p[i] >= 0x7f ? '?' : p[i];
	copy[i] = '\0';
	return json_string(copy);
}

void directory_describe(const struct directory_shared *s, json_t *answer)
{
	int count = atomic_load(&s->count);
	json_t *list;

	if (count <= 0 || count > DIRECTORIES_MAX)
		return;
	list = json_array();
	for (int i = 0; i < count; i++) {
		const struct directory_view *v = &s->view[i];

		json_array_append_new(list, json_pack("{s:o,s:I,s:I,s:o,s:o,s:s,s:i,s:I,s:I,s:I,s:I,s:o}", "name", text(v->name, sizeof(v->name)), "addresses",
						      (json_int_t)v->count, "bytes", (json_int_t)v->bytes, "refreshed_s", age(v->refreshed_ms), "tried_s",
						      age(v->tried_ms), "state", v->away ? "away" : v->tried_ms ? "up" : "starting", "failures", v->failures,
						      "doubted", (json_int_t)v->doubted, "asked", (json_int_t)v->asked, "found", (json_int_t)v->found, "spared",
						      (json_int_t)v->spared, "why", text(v->why, sizeof(v->why))));
	}
	json_object_set_new(answer, "directories", list);
}

int directory_command_refresh(struct directory_shared *s)
{
	if (atomic_load(&s->count) <= 0)
		return -ENODEV;
	atomic_fetch_add(&s->refresh_wanted, 1);
	return 0;
}

int directory_command_ask(struct directory_shared *s, json_t *request, json_t *answer)
{
	const char *address = json_string_value(json_object_get(request, "address"));
	char normal[DIRECTORY_ADDRESS_MAX];

	if (atomic_load(&s->count) <= 0)
		return -ENODEV;
	if (!address || !directory_wire_read(address, strlen(address), normal))
		return -EINVAL;
	memcpy(s->question, normal, sizeof(s->question));
	return json_object_set_new(answer, "number", json_integer(atomic_fetch_add(&s->asked, 1) + 1)) < 0 ? -ENOMEM : 0;
}

int directory_command_answer(struct directory_shared *s, json_t *request, json_t *answer)
{
	static const char *const words[DIRECTORY_ANSWERS] = {
		[DIRECTORY_LATER] = "later", [DIRECTORY_KNOWN] = "known", [DIRECTORY_KNOWN_RESTRICTED] = "restricted", [DIRECTORY_UNKNOWN] = "unknown",
		[DIRECTORY_ELSEWHERE] = "elsewhere",
	};
	json_int_t number = json_integer_value(json_object_get(request, "number"));
	int said = s->told.answer;

	if (number <= 0 || (unsigned)number != atomic_load(&s->answered) || said < 0 || said >= DIRECTORY_ANSWERS)
		return 0;
	json_object_set_new(answer, "answer", json_string(words[said]));
	json_object_set_new(answer, "directory", text(s->told.directory, sizeof(s->told.directory)));
	json_object_set_new(answer, "by", text(s->told.by, sizeof(s->told.by)));
	return 0;
}
