/*
 * delay - a DNS server, farther away
 *
 *     delay LISTEN:PORT SERVER:PORT MS
 *
 * Passes UDP questions on to the server and its answers back, MS milliseconds after they came. A client of TCP (an answer
 * that was cut off) waits as long for its connection, then bytes pass as they come. On SIGUSR1 prints the number of questions so far.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/net.h"

enum { ASKED_MAX = 65536, PACKET_MAX = 4096, WAITING_MAX = 65536, PAIRS_MAX = 256 };

/* Who asked: the question goes on under an id of ours, the index into asked. */
struct asker {
	struct sockaddr_storage from;
	socklen_t from_len;
	uint8_t id[2];
};

struct waiting {
	int64_t due_us;
	size_t len;
	uint8_t packet[PACKET_MAX];
};

static struct asker asked[ASKED_MAX];
static struct waiting *queue;           /* a ring: all wait equally long */
static size_t queue_first, queue_count;
static unsigned long questions;
static uint16_t next_id;
static int64_t delay_us;
static int client_fd, server_fd, timer_fd;

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void timer_arm(void)
{
	struct itimerspec when = { 0 };

	if (queue_count) {
		int64_t due = queue[queue_first].due_us;

		when.it_value.tv_sec = due / 1000000;
		when.it_value.tv_nsec = due % 1000000 * 1000;
	}
	timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void answer_send(uint8_t *p, size_t len)
{
	struct asker *a = &asked[(size_t)p[0] << 8 | p[1]];

	if (!a->from_len)
		return;
	memcpy(p, a->id, 2);
	sendto(client_fd, p, len, 0, (struct sockaddr *)&a->from, a->from_len);
	a->from_len = 0;
}

static void queue_run(void)
{
	int64_t now = now_us();

	while (queue_count && queue[queue_first].due_us <= now) {
		struct waiting *w = &queue[queue_first];

		answer_send(w->packet, w->len);
		queue_first = (queue_first + 1) % WAITING_MAX;
		queue_count--;
	}
	timer_arm();
}

static void questions_read(void)
{
	uint8_t p[PACKET_MAX];

	for (;;) {
		struct asker *a = &asked[next_id];
		ssize_t n;

		a->from_len = sizeof a->from;
		n = recvfrom(client_fd, p, sizeof p, MSG_DONTWAIT, (struct sockaddr *)&a->from, &a->from_len);
		if (n < 12) {
			a->from_len = 0;
			if (n < 0)
				return;
			continue;
		}
		memcpy(a->id, p, 2);
		p[0] = (uint8_t)(next_id >> 8);
		p[1] = (uint8_t)next_id;
		next_id++;
		questions++;
		send(server_fd, p, (size_t)n, 0);
	}
}

static void answers_read(void)
{
	bool idle = queue_count == 0;

	while (queue_count < WAITING_MAX) {
		struct waiting *w = &queue[(queue_first + queue_count) % WAITING_MAX];
		ssize_t n = recv(server_fd, w->packet, sizeof w->packet, MSG_DONTWAIT);

		if (n < 12)
			break;
		w->len = (size_t)n;
		w->due_us = now_us() + delay_us;
		if (delay_us)
			queue_count++;
		else
			answer_send(w->packet, w->len);
	}
	if (idle && queue_count)
		timer_arm();
}

/* TCP: rare, and simple therefore; a process for each connection. */
static void tcp_serve(int fd, const struct net_addr *to)
{
	struct sockaddr_storage sa;
	socklen_t len = net_to_sockaddr(to, &sa);
	struct timespec wait = { .tv_sec = delay_us / 1000000, .tv_nsec = delay_us % 1000000 * 1000 };
	int server = socket(AF_INET, SOCK_STREAM, 0);
	struct pollfd poll_fd[2] = { { fd, POLLIN, 0 }, { server, POLLIN, 0 } };
	char p[PACKET_MAX];

	nanosleep(&wait, NULL);
	if (connect(server, (struct sockaddr *)&sa, len))
		_exit(1);
	while (poll(poll_fd, 2, 10000) > 0) {
		for (int i = 0; i < 2; i++) {
			ssize_t n;

			if (!poll_fd[i].revents)
				continue;
			n = read(poll_fd[i].fd, p, sizeof p);
			if (n <= 0 || write(poll_fd[!i].fd, p, (size_t)n) != n)
				_exit(0);
			if (i == 1)
				nanosleep(&wait, NULL);
		}
	}
	_exit(0);
}

static int socket_bound(const struct net_addr *at, int type)
{
	struct sockaddr_storage sa;
	socklen_t len = net_to_sockaddr(at, &sa);
	int fd = socket(sa.ss_family, type | SOCK_NONBLOCK, 0), one = 1, size = 8 << 20;

	assert(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
	if (at->port && bind(fd, (struct sockaddr *)&sa, len)) {
		perror("bind");
		exit(1);
	}
	return fd;
}

static void watch(int poll, int fd)
{
	struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };

	assert(epoll_ctl(poll, EPOLL_CTL_ADD, fd, &e) == 0);
}

int main(int argc, char **argv)
{
	struct net_addr listen_at, server;
	struct sockaddr_storage sa;
	struct signalfd_siginfo info;
	socklen_t sa_len;
	sigset_t signals;
	int poll_fd, tcp_fd, signal_fd;

	if (argc != 4 || net_parse_port(argv[1], 53, &listen_at) || net_parse_port(argv[2], 53, &server)) {
		fputs("usage: delay LISTEN:PORT SERVER:PORT MS\n", stderr);
		return 1;
	}
	delay_us = (int64_t)(atof(argv[3]) * 1000);
	queue = calloc(WAITING_MAX, sizeof *queue);
	assert(queue);
	client_fd = socket_bound(&listen_at, SOCK_DGRAM);
	tcp_fd = socket_bound(&listen_at, SOCK_STREAM);
	assert(listen(tcp_fd, 128) == 0);
	server_fd = socket_bound(&(struct net_addr){ .family = AF_INET }, SOCK_DGRAM);
	sa_len = net_to_sockaddr(&server, &sa);
	assert(connect(server_fd, (struct sockaddr *)&sa, sa_len) == 0);
	timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	signal_fd = signalfd(-1, &signals, 0);
	signal(SIGCHLD, SIG_IGN);
	poll_fd = epoll_create1(0);
	watch(poll_fd, client_fd);
	watch(poll_fd, server_fd);
	watch(poll_fd, timer_fd);
	watch(poll_fd, signal_fd);
	watch(poll_fd, tcp_fd);
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct epoll_event e[8];
		int n = epoll_wait(poll_fd, e, 8, -1);

		for (int i = 0; i < n; i++) {
			int fd = e[i].data.fd;
			uint64_t ticks;

			if (fd == client_fd) {
				questions_read();
			} else if (fd == server_fd) {
				answers_read();
			} else if (fd == timer_fd) {
				if (read(timer_fd, &ticks, sizeof ticks) > 0)
					queue_run();
			} else if (fd == signal_fd) {
				if (read(signal_fd, &info, sizeof info) > 0)
					printf("{\"questions\":%lu}\n", questions), fflush(stdout);
			} else if (fd == tcp_fd) {
				int client = accept(tcp_fd, NULL, NULL);

				questions++;
				if (client >= 0 && fork() == 0)
					tcp_serve(client, &server);
				close(client);
			}
		}
	}
}
