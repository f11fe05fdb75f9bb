/*
 * store_events - what was done with a quarantined message: by whom, when, with what result
 *
 *     quarantine/2026-11-22/ID.events     JSON, one event a line, never rewritten:
 *     {"at":1795310000,"who":"root","what":"released","detail":{"rcpt":["b@y.example"],"reply":"250 2.0.0 ok"}}
 *
 * An event is on stable storage (file and directory) before store_event_append returns 0. The file is the truth about releases; the index
 * only repeats its state. A line that a crash cut off is no event: it is passed over, and the next append begins a line of its own.
 *
 * A release of a message to some recipients leaves, in this order, each with "rcpt" (store_event_address) in its detail:
 *
 *     release-begin    the command has begun to talk to the backend
 *     release-dot      all but the end of the message has been sent; the end follows at once. From here on these perhaps have it.
 *     released         the backend has said 2xx ("reply"). "left": how many recipients of the envelope have not been released to yet;
 *                      0 when it went to others instead ("to")
 *     release-failed   they do not have it: the backend refused, or there was no backend, or the session broke before the end ("reply" of the
 *                      backend, or why in words; "replies" by recipient, where they differ)
 *     release-unknown  the session broke between the end and the reply ("why")
 *
 * A release that was killed leaves what it had written. The other events (deleted, allowed, exported, ...) change no state.
 *
 * Two releases, or a release and a deletion, exclude each other by store_event_lock.
 */
#ifndef STORE_EVENTS_H
#define STORE_EVENTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define STORE_EVENT_BEGIN "release-begin"
#define STORE_EVENT_DOT "release-dot"
#define STORE_EVENT_RELEASED "released"
#define STORE_EVENT_FAILED "release-failed"
#define STORE_EVENT_UNKNOWN "release-unknown"
#define STORE_EVENT_DELETED "deleted"
#define STORE_EVENT_ALLOWED "allowed"
#define STORE_EVENT_EXPORTED "exported"

enum {
	STORE_EVENT_MAX = 4 * 1024 * 1024,      /* one line: thousands of recipients, each with a reply */
	STORE_EVENTS_MAX = 16 * 1024 * 1024,    /* the file */
};

/* Of a message; and of one recipient, who is never PARTLY. */
enum store_state {
	STORE_STATE_KEPT,
	STORE_STATE_FAILED,             /* kept; the last release did not come about */
	STORE_STATE_PARTLY,             /* released to some of its recipients */
	STORE_STATE_PERHAPS,            /* perhaps delivered: somebody was sent its end, and the reply is not known */
	STORE_STATE_RELEASED,
};

/* "kept", "release-failed", "partly-released", "perhaps-delivered", "released" */
const char *store_state_name(enum store_state state);

/*
 * Append one event to ID.events below dir_fd, the quarantine's directory. detail: any JSON value, stays the caller's; NULL: none.
 * 0 or -errno: it may be there or not. -EINVAL: no id; -EMSGSIZE: too long.
 */
int store_event_append(int dir_fd, const char *id, const char *what, const char *who, json_t *detail);

/*
 * All events of a message, oldest first, as an array of objects (new reference); an empty one if there are none. 0 or -errno:
 * -EFBIG past STORE_EVENTS_MAX.
 */
int store_events_read(int dir_fd, const char *id, json_t **out);

/* The same of bytes: lines that are no event are passed over. NULL: no memory. No I/O. */
json_t *store_events_parse(const char *p, size_t len);

/* What the events say. address: of one recipient, as store_event_address gives it; NULL: of the message as a whole. */
enum store_state store_events_state(const json_t *events, const char *address);

/* The same of all recipients at once: {address: enum store_state}; who is not in it is KEPT. New reference, or NULL: no memory. */
json_t *store_events_recipients(const json_t *events);

/*
 * How a recipient is named in events: the address; where it is no UTF-8, "base64:" and its octets so. envelope_rcpt: a member of
 * "rcpt" in a record's "envelope" (record.h). New reference, or NULL: it is none.
 */
json_t *store_event_address(const json_t *envelope_rcpt);

/*
 * The message's lock: a descriptor to close, or -EWOULDBLOCK: another process is at this message; -ENOENT: there is none (any more).
 * wait: until it is free. Who releases, deletes or purges a message holds it. Dies with the process.
 */
int store_event_lock(int dir_fd, const char *id, bool wait);

#endif
