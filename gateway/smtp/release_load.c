/* release_load - a quarantined message from its files, and who of its recipients shall have it */
#include <errno.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#include "filters/message.h"
#include "policy/conf.h"
#include "policy/released.h"
#include "policy/store_file.h"
#include "smtp/outgoing.h"
#include "smtp/release.h"
#include "smtp/smtp_address.h"
#include "smtp/trace.h"

enum {
	CHUNK_BYTES = 64 * 1024,
	MEMORY_BYTES = 1024 * 1024,
};

static void json_cleanup(json_t **j)
{
	json_decref(*j);
}

static const char *text_at(const json_t *o, const char *a, const char *b)
{
	return json_string_value(json_object_get(json_object_get(o, a), b));
}

/* --- files --- */

static int memory_file(void *arg)
{
	int fd = memfd_create("message", MFD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int message_fill(struct message *m, int fd, char *chunk)
{
	off_t at = 0;

	for (;;) {
		ssize_t n = pread(fd, chunk, CHUNK_BYTES, at);
		int rc = n < 0 ? -errno : n > 0 ? message_add(m, chunk, (size_t)n) : message_end(m);

		if (rc < 0 || n == 0)
			return rc;
		at += n;
	}
}

/* It was within the limits of when it came, whatever those of now are. */
static int message_load(struct release *r)
{
	static const struct message_limits limits = { .memory_bytes = MEMORY_BYTES, .header_bytes = SIZE_MAX / 2, .header_fields = SIZE_MAX / 2 };
	char *chunk = malloc(CHUNK_BYTES);
	int rc = -ENOMEM;

	r->message = message_new(&limits, memory_file, NULL);
	if (chunk && r->message)
		rc = message_fill(r->message, r->lock_fd, chunk);
	free(chunk);
	return rc;
}

static int edit_add(struct release *r, struct smtp_edit one)
{
	struct smtp_edit *edit = reallocarray(r->edit, r->edit_count + 1, sizeof(*edit));

	if (!edit)
		return -ENOMEM;
	edit[r->edit_count++] = one;
	r->edit = edit;
	return 0;
}

/*
 * Of a message that lay in a mailbox already: where it was delivered to, and from whom. The server writes both anew, and would take the first for a mail
 * that goes round in a circle.
 */
static bool is_of_delivery(const struct header_field *h)
{
	static const char *const names[] = { "Delivered-To", "X-Original-To", "Return-Path" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (h->name_len == strlen(names[i]) && strncasecmp(h->name, names[i], h->name_len) == 0)
			return true;
	return false;
}

/* What is left out: what the server would take for our words; and what keeps it from looking for them where we have not. */
static int find_forged(struct release *r)
{
	size_t at = 0;
	int rc = 0;

	for (size_t i = 0; i < message_field_count(r->message) && rc == 0; i++) {
		const struct header_field *h = message_field(r->message, i);

		if (outgoing_is_forged(h, r->site) || (release_fetched(r) && is_of_delivery(h)))
			rc = edit_add(r, (struct smtp_edit){ .off = at, .len = h->raw_len });
		at += h->raw_len;
	}
	/* A line that is no field ends the header: as in any delivery, an empty one says so, or what stands behind it, forged or not, is read as fields by some. */
	if (rc == 0 && message_header_broken(r->message))
		rc = edit_add(r, (struct smtp_edit){ .off = at, .text = "\r\n", .text_len = 2 });
	return rc;
}

enum { CLIENT_FIELD_MAX = 160 };        /* its name has 60 at most */

/* The field that tells the client's address, where the site wants one; of our own mail, which may go out into the world, none. */
static int tell_client(struct release *r)
{
	char ip[NET_TEXT_MAX];

	if (!r->site->client_header || !r->client.addr.family || release_is_ours(r))
		return 0;
	buf_init(&r->client_field, CLIENT_FIELD_MAX);
	trace_client(r->site, net_text(&r->client.addr, ip), &r->client_field);
	return r->client_field.failed ? -ENOMEM :
	       edit_add(r, (struct smtp_edit){ .off = 0, .text = r->client_field.data, .text_len = r->client_field.len });
}

/* --- envelope --- */

/* Octets that JSON could not say. */
static char *decode_base64(const char *b64)
{
	size_t len = strlen(b64), pad = len && b64[len - 1] == '=' ? 1 + (len > 1 && b64[len - 2] == '=') : 0;
	char *out = len % 4 == 0 && len < 4096 ? calloc(1, len + 1) : NULL;
	int n = out ? EVP_DecodeBlock((unsigned char *)out, (const unsigned char *)b64, (int)len) : -1;

	if (n < (int)pad) {
		free(out);
		return NULL;
	}
	out[n - (int)pad] = '\0';
	return out;
}

/* An address of the envelope, as it was said. NULL: there is none, or no memory. */
static char *address_of(const json_t *o, const char *key, const char *key_b64)
{
	const char *b64 = json_string_value(json_object_get(o, key_b64)), *plain = json_string_value(json_object_get(o, key));

	return b64 ? decode_base64(b64) : plain ? strdup(plain) : NULL;
}

static int rcpt_add(struct release *r, char *address, const char *params, char *name, bool envelope)
{
	struct release_rcpt *more = NULL, *one;

	if (address && name && r->rcpt_count < RELEASE_RCPT_MAX)
		more = reallocarray(r->rcpt, r->rcpt_count + 1, sizeof(*more));
	if (!more) {
		free(address);
		free(name);
		return -EBADMSG;
	}
	r->rcpt = more;
	one = &more[r->rcpt_count++];
	*one = (struct release_rcpt){ .address = address, .params = strdup(params ? params : ""), .name = name, .envelope = envelope };
	return one->params ? 0 : -ENOMEM;
}

static int envelope_load(struct release *r)
{
	const json_t *envelope = json_object_get(r->meta, "envelope");
	const char *params = json_string_value(json_object_get(envelope, "params"));
	json_t *one;
	size_t i;
	int rc = 0;

	r->from = address_of(envelope, "from", "from_b64");
	r->params = strdup(params ? params : "");
	if (!r->from || !r->params)
		return -EBADMSG;
	json_array_foreach(json_object_get(envelope, "rcpt"), i, one) {
		AUTO(json) json_t *name = store_event_address(one);
		const char *text = json_string_value(name);

		rc = rcpt_add(r, address_of(one, "address", "address_b64"), json_string_value(json_object_get(one, "params")),
			      text ? strdup(text) : NULL, true);
		if (rc < 0)
			return rc;
	}
	return r->rcpt_count ? 0 : -EBADMSG;
}

/* A name counts only if it has been confirmed (client.fcrdns). */
static void client_load(struct release *r)
{
	const char *ip = text_at(r->meta, "client", "ip"), *fcrdns = text_at(r->meta, "facts", "client.fcrdns");
	const json_t *names = json_object_get(json_object_get(r->meta, "facts"), "client.rdns");
	const json_t *esmtp = json_object_get(json_object_get(r->meta, "client"), "esmtp");

	/* Who fetched it is not who sent it. */
	if (!ip || release_fetched(r) || net_parse(ip, &r->client.addr) < 0)
		return;
	r->client.addr.port = 0;
	r->client.helo = text_at(r->meta, "client", "helo");
	r->client.esmtp = !json_is_false(esmtp);
	if (fcrdns && strcmp(fcrdns, "pass") == 0)
		r->client.name = json_string_value(json_array_get(names, 0));
}

static int before_load(struct release *r)
{
	json_t *events = NULL;
	int rc = store_events_read(r->dir_fd, r->id, &events);

	if (rc == 0)
		r->before = store_events_recipients(events);
	json_decref(events);
	return rc == 0 && !r->before ? -ENOMEM : rc;
}

static int load(struct release *r, struct buf *why)
{
	json_int_t bytes;
	int rc;

	r->lock_fd = store_event_lock(r->dir_fd, r->id, false);
	if (r->lock_fd < 0) {
		rc = r->lock_fd;
		if (rc == -EINVAL)
			rc = -ENOENT;
		buf_adds(why, rc == -ENOENT ? "there is no such message in the quarantine" : rc == -EWOULDBLOCK ?
			 "another command is at this message" : strerror(-rc));
		return rc;
	}
	r->meta = store_file_record(r->dir_fd, r->id);
	if (!r->meta) {
		buf_adds(why, "its metadata cannot be read");
		return -EBADMSG;
	}
	rc = before_load(r);
	if (rc < 0) {
		buf_addf(why, "what was done with it cannot be read: %s", strerror(-rc));
		return rc;
	}
	rc = envelope_load(r);
	if (rc < 0) {
		buf_adds(why, "its metadata holds no envelope");
		return rc;
	}
	client_load(r);
	rc = message_load(r);
	if (rc == 0)
		rc = tell_client(r);
	if (rc == 0)
		rc = find_forged(r);
	if (rc < 0) {
		buf_addf(why, "the message cannot be read: %s", strerror(-rc));
		return rc;
	}
	bytes = json_integer_value(json_object_get(json_object_get(r->meta, "kept"), "bytes"));
	if ((uint64_t)bytes != message_size(r->message)) {
		buf_addf(why, "the file has %zu bytes, and %lld were kept: it is damaged", message_size(r->message), (long long)bytes);
		return -EBADMSG;
	}
	return 0;
}

int release_load(int dir_fd, const char *id, const struct site *site, struct release **out, struct buf *why)
{
	AUTO(release) struct release *r = calloc(1, sizeof(*r));
	int rc;

	if (!r || strlen(id) >= sizeof(r->id)) {
		buf_adds(why, r ? "there is no such message in the quarantine" : "out of memory");
		return r ? -ENOENT : -ENOMEM;
	}
	memcpy(r->id, id, strlen(id) + 1);
	r->site = site;
	r->dir_fd = dir_fd;
	r->lock_fd = -1;
	r->who = "?";
	rc = load(r, why);
	if (rc < 0)
		return rc;
	*out = r;
	r = NULL;
	return 0;
}

void release_free(struct release *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->rcpt_count; i++) {
		free(r->rcpt[i].address);
		free(r->rcpt[i].params);
		free(r->rcpt[i].name);
	}
	free(r->rcpt);
	free(r->edit);
	buf_release(&r->client_field);
	buf_release(&r->signatures);
	free(r->name);
	free(r->from);
	free(r->params);
	message_free(r->message);
	json_decref(r->meta);
	json_decref(r->before);
	if (r->lock_fd >= 0)
		close(r->lock_fd);
	free(r);
}

const char *release_fetched(const struct release *r)
{
	const char *content = text_at(r->meta, "retrieval", "content");

	return content && released_content_ok(content) ? content : NULL;
}

/* --- who shall have it --- */

/* As before: who has it stays out, unless he shall have it again. */
static void rcpt_choose(struct release *r, struct release_rcpt *one, bool again)
{
	enum store_state state = release_before(r, one->name);

	if (one->envelope && release_fetched(r) && !strchr(one->address, '@')) {
		one->result = RELEASE_REFUSED;
		snprintf(one->reply, sizeof(one->reply), "this is how he logs in, and no address: --redirect-to ADDRESS delivers a copy; the original is shown again");
		return;
	}
	if (one->envelope && json_object_get(json_object_get(r->meta, "retrieval"), "of_bytes")) {
		one->result = RELEASE_REFUSED;
		snprintf(one->reply, sizeof(one->reply), "the copy is only the beginning of a large message, and is not delivered; the original is shown again");
		return;
	}
	one->result = again ? RELEASE_PENDING : state == STORE_STATE_RELEASED ? RELEASE_HAD_IT :
		      state == STORE_STATE_PERHAPS ? RELEASE_PERHAPS_BEFORE : RELEASE_PENDING;
}

int release_choose(struct release *r, const char *const *address, size_t count, bool again, struct buf *why)
{
	for (size_t i = 0; count == 0 && i < r->rcpt_count; i++)
		rcpt_choose(r, &r->rcpt[i], again);
	for (size_t k = 0; k < count; k++) {
		bool found = false;

		for (size_t i = 0; i < r->rcpt_count; i++) {
			if (strcasecmp(r->rcpt[i].name, address[k]) != 0)
				continue;
			rcpt_choose(r, &r->rcpt[i], again);
			found = true;
		}
		if (!found) {
			buf_addf(why, "%s is none of its recipients", address[k]);
			return -EINVAL;
		}
	}
	return 0;
}

int release_instead(struct release *r, const char *const *address, size_t count, bool again, struct buf *why)
{
	const unsigned flags = strcasestr(r->params, "SMTPUTF8") ? MAILBOX_UTF8 : 0;

	r->instead = true;
	for (size_t k = 0; k < count; k++) {
		struct smtp_mailbox *m = malloc(sizeof(*m));
		enum smtp_address_error bad = m ? smtp_mailbox_parse(address[k], strlen(address[k]), flags, m) : ADDRESS_SYNTAX;
		int rc = -EINVAL;

		/* A bounce would tell the sender, who need not know, that somebody else got it. */
		if (bad == ADDRESS_OK)
			rc = rcpt_add(r, strdup(m->text), "NOTIFY=NEVER", strdup(m->text), false);
		free(m);
		if (rc < 0) {
			buf_addf(why, "%s is no address, expected local@domain", address[k]);
			return rc;
		}
		rcpt_choose(r, &r->rcpt[r->rcpt_count - 1], again);
	}
	return 0;
}

enum store_state release_before(const struct release *r, const char *name)
{
	return (enum store_state)json_integer_value(json_object_get(r->before, name));
}

size_t release_count(const struct release *r, enum release_result result)
{
	size_t n = 0;

	for (size_t i = 0; i < r->rcpt_count; i++)
		n += r->rcpt[i].result == result;
	return n;
}
