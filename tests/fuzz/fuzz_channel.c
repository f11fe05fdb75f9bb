/*
 * fuzz_channel - a message from another process of ours that has been taken over: any octets, any descriptors. What is taken is sent again and taken the
 * same; no descriptor is left behind
 *
 * The first octet says how many descriptors come with it, the second how long the file is that the first of them is; then the message.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "process/channel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SENT_MAX = 3 };

static void send_raw(int sock, const uint8_t *p, size_t len, const int *fd, size_t count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(SENT_MAX * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)p, len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (count > 0) {
		mh.msg_control = control.bytes;
		mh.msg_controllen = CMSG_SPACE(count * sizeof(int));
		CMSG_FIRSTHDR(&mh)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&mh)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&mh)->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&mh)), fd, count * sizeof(int));
	}
	assert(sendmsg(sock, &mh, MSG_NOSIGNAL) == (ssize_t)len);
}

static int lowest_free(void)
{
	int fd = dup(0);

	assert(fd >= 0);
	close(fd);
	return fd;
}

static void again(const int pair[2], const struct channel_msg *m)
{
	struct channel_msg twin = CHANNEL_MSG_INIT;

	assert(channel_send(pair[0], m) == 0 && channel_recv(pair[1], &twin) == 0);
	assert(twin.type == m->type && twin.reply == m->reply && twin.id == m->id && twin.status == m->status && (twin.fd >= 0) == (m->fd >= 0));
	assert(twin.len == m->len && memcmp(twin.data, m->data, m->len + 1) == 0);
	channel_msg_release(&twin);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int pair[2] = { -1, -1 };
	struct channel_msg m = CHANNEL_MSG_INIT;
	int fd[SENT_MAX], rc, before;
	size_t count;

	if (size < 3)
		return 0;
	if (pair[0] < 0)
		assert(channel_pair(pair) == 0);
	before = lowest_free();
	count = data[0] % (SENT_MAX + 1);
	for (size_t i = 0; i < count; i++) {
		fd[i] = memfd_create("fuzz", MFD_CLOEXEC);
		assert(fd[i] >= 0 && (i > 0 || ftruncate(fd[i], data[1]) == 0));
	}
	send_raw(pair[0], data + 2, size - 2, fd, count);
	for (size_t i = 0; i < count; i++)
		close(fd[i]);
	rc = channel_recv(pair[1], &m);
	assert(rc == 0 || rc == -EPROTO);
	if (rc == 0) {
		assert(m.len <= CHANNEL_PAYLOAD_MAX && m.data[m.len] == 0);
		again(pair, &m);
	}
	channel_msg_release(&m);
	assert(channel_recv(pair[1], &m) == -EAGAIN && lowest_free() == before);
	return 0;
}
