/*
 * smtp_data - the message between DATA and CRLF.CRLF, both directions, RFC 5321 4.5.2
 *
 * Both are pure state machines that give slices of their input (no copy): call until the input is eaten.
 *
 *     while (len > 0) {
 *             enum smtp_data_event e = smtp_data_decode(&d, in, len, &used, &p, &n);
 *             if (n > 0)
 *                     message_add(m, p, n);
 *             in += used, len -= used;
 *             if (e != DATA_MORE)
 *                     break;
 *     }
 *
 * End of data is CRLF.CRLF and nothing else. A dot that stands alone between any two of CRLF, LF and CR of which
 * at least one is not CRLF is a smuggling attempt: DATA_SMUGGLED (550 5.5.2, close). Other bare CR and LF are normalised to CRLF, and the
 * line that begins there has its dot removed like any other; or refused.
 */
#ifndef SMTP_DATA_H
#define SMTP_DATA_H

#include <stdbool.h>
#include <stddef.h>

enum smtp_data_event {
	DATA_MORE,              /* go on */
	DATA_END,               /* CRLF.CRLF was eaten; what follows are commands */
	DATA_SMUGGLED,          /* says so for ever */
	DATA_BARE,              /* first bare CR or LF, when they are refused; may go on (normalising) to drain */
	DATA_NUL,               /* first NUL, it lies in this slice; may go on to drain */
};

struct smtp_data {
	int state;              /* private */
	bool left_bare;         /* private: the present line began after a bare CR or LF */
	bool refuse_bare;
	bool bare_cr, bare_lf, nul;     /* seen */
};

void smtp_data_init(struct smtp_data *d, bool refuse_bare);

/*
 * Eat *used of in[0..len) (len > 0); *out, *out_len: decoded bytes, part of in or constant, maybe none. *used may be 0 when
 * *out_len is not.
 */
enum smtp_data_event smtp_data_decode(struct smtp_data *d, const char *in, size_t len, size_t *used,
				      const char **out, size_t *out_len);

struct smtp_encode {
	int state;              /* private */
};

void smtp_encode_init(struct smtp_encode *e);

/* The same the other way: dots are stuffed; bare CR and LF leave as CRLF, so that no message can end early anywhere. */
void smtp_encode(struct smtp_encode *e, const char *in, size_t len, size_t *used, const char **out, size_t *out_len);

/* What ends the data: ".\r\n" with a CRLF before it if the message did not end with one. */
const char *smtp_encode_end(struct smtp_encode *e);

#endif
