/* fuzz_store_events - a file of events, as a crash or somebody's editor left it */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "policy/store_events.h"

static const char dot[] = "\n{\"what\":\"release-begin\",\"detail\":{\"rcpt\":[\"a\"]}}\n{\"what\":\"release-dot\",\"detail\":{\"rcpt\":[\"a\"]}}\n";

/* Whatever stands before: who was sent the end of a message has it, or perhaps has it. */
static void sent(const char *p, size_t len)
{
	static char text[64 * 1024];
	json_t *events;

	if (len > sizeof(text) - sizeof(dot))
		return;
	memcpy(text, p, len);
	memcpy(text + len, dot, sizeof(dot) - 1);
	events = store_events_parse(text, len + sizeof(dot) - 1);
	assert(store_events_state(events, "a") >= STORE_STATE_PERHAPS);
	assert(store_events_state(events, NULL) >= STORE_STATE_PARTLY);
	json_decref(events);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	json_t *events = store_events_parse((const char *)data, len);

	assert(json_is_array(events));
	(void)store_state_name(store_events_state(events, NULL));
	assert(store_events_state(events, "a") != STORE_STATE_PARTLY);
	json_decref(events);
	sent((const char *)data, len);
	return 0;
}
