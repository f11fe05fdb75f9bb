#include "base/netlink.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { ANSWER_BYTES = 32 * 1024, WAIT_S = 5, MESSAGES_MAX = 100000 };

struct request {
	struct nlmsghdr head;
	char body[256];
};

static char answer[ANSWER_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));

static void request_init(struct request *r, int type, int flags, const void *fixed, size_t len)
{
	memset(r, 0, sizeof(*r));
	r->head.nlmsg_type = (unsigned short)type;
	r->head.nlmsg_flags = (unsigned short)(NLM_F_REQUEST | flags);
	r->head.nlmsg_len = (unsigned)NLMSG_LENGTH(len);
	memcpy(NLMSG_DATA(&r->head), fixed, len);
}

static void attribute(struct request *r, int type, const void *data, size_t len)
{
	struct rtattr *a = (struct rtattr *)((char *)r + NLMSG_ALIGN(r->head.nlmsg_len));

	a->rta_type = (unsigned short)type;
	a->rta_len = (unsigned short)RTA_LENGTH(len);
	memcpy(RTA_DATA(a), data, len);
	r->head.nlmsg_len = NLMSG_ALIGN(r->head.nlmsg_len) + RTA_ALIGN(a->rta_len);
}

static const void *attribute_find(const struct nlmsghdr *m, size_t fixed, int type, size_t size)
{
	int len = (int)m->nlmsg_len - (int)NLMSG_SPACE(fixed);

	for (const struct rtattr *a = (const struct rtattr *)((const char *)NLMSG_DATA(m) + NLMSG_ALIGN(fixed)); RTA_OK(a, len); a = RTA_NEXT(a, len))
		if (a->rta_type == type && RTA_PAYLOAD(a) >= size)
			return RTA_DATA(a);
	return NULL;
}

/* More than 0: the answer, and no more is read. 0: go on. */
typedef int message_fn(const struct nlmsghdr *m, const void *arg);

/* One datagram of answers. 0: go on; 1: the end (*result). */
static int answers(ssize_t len, message_fn *fn, const void *arg, int *result)
{
	size_t left = (size_t)len;

	for (const struct nlmsghdr *m = (const struct nlmsghdr *)answer; left >= sizeof(*m) && m->nlmsg_len >= sizeof(*m) && m->nlmsg_len <= left;) {
		size_t step = NLMSG_ALIGN(m->nlmsg_len);

		if (m->nlmsg_type == NLMSG_DONE)
			return 1;
		if (m->nlmsg_type == NLMSG_ERROR) {
			if (m->nlmsg_len >= NLMSG_LENGTH(sizeof(struct nlmsgerr)))
				*result = ((const struct nlmsgerr *)NLMSG_DATA(m))->error;
			return 1;
		}
		*result = fn(m, arg);
		if (*result > 0 || !(m->nlmsg_flags & NLM_F_MULTI))
			return 1;
		if (step > left)                /* NLMSG_NEXT would go on behind the end: the last one need not be padded */
			return 0;
		left -= step;
		m = (const struct nlmsghdr *)((const char *)m + step);
	}
	return 0;
}

static int ask(int protocol, const struct request *r, message_fn *fn, const void *arg)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct timeval wait = { .tv_sec = WAIT_S };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol), result = 0;

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	if (sendto(fd, r, r->head.nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		result = -errno;
	for (int n = 0; result == 0 && n < MESSAGES_MAX; n++) {
		ssize_t len = recv(fd, answer, sizeof(answer), 0);

		if (len <= 0)
			result = len < 0 ? -errno : -EPIPE;
		else if (answers(len, fn, arg, &result))
			break;
	}
	close(fd);
	return result;
}

static int route_type(const struct nlmsghdr *m, const void *arg)
{
	if (m->nlmsg_type != RTM_NEWROUTE || m->nlmsg_len < NLMSG_LENGTH(sizeof(struct rtmsg)))
		return 0;
	return ((const struct rtmsg *)NLMSG_DATA(m))->rtm_type;
}

int netlink_route_type(const struct net_addr *to, uint32_t mark)
{
	size_t len = to->family == AF_INET6 ? 16 : 4;
	struct rtmsg rt = { .rtm_family = (unsigned char)to->family, .rtm_dst_len = (unsigned char)(len * 8) };
	struct request r;
	int rc;

	request_init(&r, RTM_GETROUTE, 0, &rt, sizeof(rt));
	attribute(&r, RTA_DST, to->ip, len);
	attribute(&r, RTA_MARK, &mark, sizeof(mark));
	rc = ask(NETLINK_ROUTE, &r, route_type, NULL);
	return rc == 0 ? -EPROTO : rc;
}

static int rule_has_mark(const struct nlmsghdr *m, const void *arg)
{
	const uint32_t *mark = arg, *has;

	if (m->nlmsg_type != RTM_NEWRULE)
		return 0;
	has = attribute_find(m, sizeof(struct fib_rule_hdr), FRA_FWMARK, sizeof(*has));
	return has && *has == *mark;
}

int netlink_rule(int family, uint32_t mark)
{
	struct fib_rule_hdr rule = { .family = (unsigned char)family };
	struct request r;

	request_init(&r, RTM_GETRULE, NLM_F_DUMP, &rule, sizeof(rule));
	return ask(NETLINK_ROUTE, &r, rule_has_mark, &mark);
}

static int any(const struct nlmsghdr *m, const void *arg)
{
	return 1;
}

int netlink_nft_table(const char *name)
{
	struct nfgenmsg nf = { .nfgen_family = NFPROTO_INET, .version = NFNETLINK_V0 };
	struct request r;
	int rc;

	request_init(&r, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, 0, &nf, sizeof(nf));
	attribute(&r, NFTA_TABLE_NAME, name, strlen(name) + 1);
	rc = ask(NETLINK_NETFILTER, &r, any, NULL);
	return rc == -ENOENT ? 0 : rc == 0 ? -EPROTO : rc;
}
