#include "command/check_inline.h"

#include <dirent.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/netlink.h"
#include "base/transparent.h"
#include "command/routes.h"
#include "command/routes_servers.h"
#include "policy/conf.h"

static void say(const struct site *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(const struct site *s, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: inline: ", s->path);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static const char *words(int family)
{
	return family == AF_INET6 ? "IPv6" : "IPv4";
}

/* Whether sockets can bear other hosts' addresses at all. */
static int check_sockets(const struct site *s, int family)
{
	int fd = transparent_socket(family);

	if (fd >= 0) {
		close(fd);
		return 0;
	}
	if (fd == -EPERM && geteuid() != 0) {
		say(s, "%s: not checked whether the capability CAP_NET_RAW is there: that takes root", words(family));
		return 0;
	}
	if (fd == -EPERM)
		say(s, "%s: the capability CAP_NET_RAW is missing: add it to CapabilityBoundingSet of the service (systemctl edit gatepost)", words(family));
	else if (fd == -EAFNOSUPPORT)
		say(s, "%s: this kernel does not have it, but there is a transparent listener for it: remove that", words(family));
	else
		say(s, "%s: this kernel has no IP_TRANSPARENT (%s): install one with CONFIG_NETFILTER_XT_TARGET_TPROXY or CONFIG_NFT_TPROXY", words(family),
		    strerror(-fd));
	return 1;
}

/* Whether what is marked is delivered here. */
static void check_route(const struct site *s, int family)
{
	const char *o = family == AF_INET6 ? "-6" : "-4";
	struct net_addr to;
	int rc;

	(void)net_parse(family == AF_INET6 ? "2001:db8::1" : "192.0.2.1", &to);
	rc = netlink_route_type(&to, TRANSPARENT_MARK);
	if (rc == RTN_LOCAL)
		return;
	if (rc == -EPERM || rc == -EACCES || rc == -EAFNOSUPPORT)
		say(s, "%s: not checked how marked packets are routed: netlink says %s", words(family), strerror(-rc));
	else if (netlink_rule(family, TRANSPARENT_MARK) <= 0)
		say(s, "%s: no routing rule for the mark: ip %s rule add fwmark 0x%x lookup %d", words(family), o, TRANSPARENT_MARK, TRANSPARENT_TABLE);
	else
		say(s, "%s: no local route for the mark: ip %s route add local %s dev lo table %d", words(family), o, family == AF_INET6 ? "::/0" : "0.0.0.0/0",
		    TRANSPARENT_TABLE);
}

/* The number in a file of /proc/sys, or -1. */
static int setting(const char *path)
{
	FILE *f = fopen(path, "re");
	int n = -1;

	if (!f)
		return -1;
	if (fscanf(f, "%d", &n) != 1)
		n = -1;
	fclose(f);
	return n;
}

static void check_forwarding(const struct site *s, int family)
{
	if (family == AF_INET && setting("/proc/sys/net/ipv4/ip_forward") == 0)
		say(s, "IPv4: this machine does not forward: all that is not taken in ends here: sysctl -w net.ipv4.ip_forward=1");
	if (family == AF_INET6 && setting("/proc/sys/net/ipv6/conf/all/forwarding") == 0)
		say(s, "IPv6: this machine does not forward: all that is not taken in ends here: sysctl -w net.ipv6.conf.all.forwarding=1");
}

/* The checks of source addresses, IPv4: per interface, and for all. */
static void check_sources(const struct site *s)
{
	static const char base[] = "/proc/sys/net/ipv4/conf";
	int all = setting("/proc/sys/net/ipv4/conf/all/rp_filter");
	DIR *d = opendir(base);
	const struct dirent *e;

	while (d && (e = readdir(d)) != NULL) {
		char path[600];
		int filter;

		if (e->d_name[0] == '.' || strcmp(e->d_name, "default") == 0)
			continue;
		snprintf(path, sizeof(path), "%s/%.255s/src_valid_mark", base, e->d_name);
		if (setting(path) > 0)
			say(s, "IPv4: the mark takes part in the check of source addresses, and drops all that is taken in: "
			    "sysctl -w net/ipv4/conf/%.255s/src_valid_mark=0", e->d_name);
		snprintf(path, sizeof(path), "%s/%.255s/rp_filter", base, e->d_name);
		filter = setting(path);
		if (strcmp(e->d_name, "all") != 0 && strcmp(e->d_name, "lo") != 0 && (filter > all ? filter : all) == 1)
			say(s, "IPv4: rp_filter of %.255s is strict: who comes in by another interface than his route leads out by is dropped: "
			    "sysctl -w net.ipv4.conf.all.rp_filter=2", e->d_name);
	}
	if (d)
		closedir(d);
}

/* Its exit status, or -errno: it could not be started. What it has to say it says on stderr. */
static int nft_check(const struct buf *text)
{
	static const char nft[] = "/usr/sbin/nft";
	char *const argv[] = { "nft", "-c", "-f", "-", NULL };
	int fd = memfd_create("gatepost-rules", MFD_CLOEXEC), status = 0, rc;
	posix_spawn_file_actions_t actions;
	pid_t pid;

	if (fd < 0)
		return -errno;
	rc = write(fd, text->data, text->len) == (ssize_t)text->len && lseek(fd, 0, SEEK_SET) == 0 ? 0 : EIO;
	if (rc == 0)
		rc = posix_spawn_file_actions_init(&actions);
	if (rc == 0) {
		rc = posix_spawn_file_actions_adddup2(&actions, fd, 0);
		if (rc == 0)
			rc = posix_spawn(&pid, nft, &actions, NULL, argv, environ);
		posix_spawn_file_actions_destroy(&actions);
	}
	close(fd);
	if (rc != 0)
		return -rc;
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* Whether kernel and nft take the rules, without setting them. */
static void check_ruleset(const struct site *s)
{
	AUTO(buf) struct buf text = BUF_INIT(8 << 20), err = BUF_INIT(64 * 1024), before = BUF_INIT(4096);
	struct routes_server *server = NULL;
	size_t count = 0;
	int rc;

	if (routes_servers(s, &server, &count, &err) < 0) {
		fputs(buf_str(&err), stderr);
		free(server);
		return;
	}
	buf_addf(&before, "%s: inline: ", s->path);
	routes_missing(s, server, count, buf_str(&before), &err);
	fputs(buf_str(&err), stderr);
	routes_ruleset(s, server, count, false, &text);
	free(server);
	rc = nft_check(&text);
	if (rc == -ENOENT)
		say(s, "there is no nft: apt-get install nftables");
	else if (rc != 0)
		say(s, "this kernel does not take the rules (the lines above say why): modprobe nft_tproxy nft_socket nft_fib_inet nft_reject_inet");
}

static void check_rules(const struct site *s)
{
	int rc = netlink_nft_table("gatepost");

	if (rc < 0) {
		if (rc != -EPERM)
			say(s, "this kernel has no nftables (%s): modprobe nf_tables", strerror(-rc));
		else if (geteuid() != 0)
			say(s, "not checked whether connections are taken in: that takes root");
		return;         /* root without CAP_NET_ADMIN, as the service is: it may not know */
	}
	check_ruleset(s);
	if (rc == 0)
		say(s, "nothing is taken in yet: gatepost routes -c %s | sh", s->path);
}

static void check_listeners(const struct site *s)
{
	for (size_t i = 0; i < s->listener_count; i++) {
		const struct listener_conf *l = &s->listener[i];
		bool some = false;

		if (!l->transparent || l->direction != DIRECTION_OUTBOUND)
			continue;
		for (size_t k = 0; k < s->relay_network_count; k++)
			some |= s->relay_networks[k].addr.family == l->address.family;
		if (!some)
			say(s, "listener %s: takes in nobody's mail, as relay_networks has no %s network: relay_networks = { \"...\" }", l->name,
			    words(l->address.family));
	}
}

int check_inline(const struct site *s)
{
	static const int families[] = { AF_INET, AF_INET6 };
	int bad = 0;

	if (!routes_any(s))
		return 0;
	for (int i = 0; i < 2; i++) {
		if (!routes_any_of(s, families[i]))
			continue;
		bad |= check_sockets(s, families[i]);
		check_route(s, families[i]);
		check_forwarding(s, families[i]);
	}
	if (routes_any_of(s, AF_INET))
		check_sources(s);
	check_rules(s);
	check_listeners(s);
	return bad;
}
