/*
 * A reply for each recipient after the message, draft-hall-prdr-00 (Exim knows it on both sides): 353, then one reply for each RCPT that was taken,
 * in their order, then one for the message. A reply other than 353 stands for all of it.
 */
#include "smtp/smtp_session.h"

#include "smtp/smtp_groups.h"

/* What became of it for recipient i. text: DELIVERY_REPLY_MAX */
static const char *reply_for(const struct smtp_session *s, const struct smtp_groups *groups, size_t i, char *text)
{
	const struct smtp_group *g = &groups->group[groups->of[i]];

	if (g->fate == ACTION_REJECT || g->fate == ACTION_DEFER)
		return smtp_with_id(s, s->t->judge[i].verdict.reply, text);
	return g->reply;
}

/*
 * The last reply is 250 if anybody was taken: one that is not makes the client forget the others. A recipient that may come again is
 * tried again then, whatever was said of those refused for good.
 */
int smtp_prdr_say(struct smtp_session *s, const struct smtp_groups *groups)
{
	size_t taken = 0, later = 0;
	char text[DELIVERY_REPLY_MAX];
	int rc = smtp_say(s, "353 a reply for each recipient follows");

	for (size_t i = 0; rc == 0 && i < groups->rcpt_count; i++) {
		const char *reply = reply_for(s, groups, i, text);

		taken += reply[0] == '2';
		later += reply[0] == '4';
		rc = smtp_say(s, reply);
	}
	if (rc < 0)
		return rc;
	if (taken)
		return smtp_sayf(s, "250 2.0.0 taken for %zu of %zu (%s)", taken, groups->rcpt_count, s->t->txn.id);
	if (later)
		return smtp_sayf(s, "451 4.0.0 taken for nobody, try again later (%s)", s->t->txn.id);
	return smtp_refuse(s, smtp_with_id(s, "550 5.0.0 taken for nobody", text));
}
