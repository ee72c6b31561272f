// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Commands and readiness that go to the author's handlers, and what must hold around them.
 * Usage: calls MOUNTPOINT, on which bytesfs is mounted.
 */
#include "check.h"
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#define REVERSE _IOWR('b', 1, char[16])
#define PLUS_ONE _IO('b', 2)

static void commands(int fd)
{
	char text[17] = "abcdefghijklmnop";

	GIVES("a command with an argument both ways", 0, ioctl(fd, REVERSE, text));
	OK("its bytes came back", !strcmp(text, "ponmlkjihgfedcba"));
	GIVES("a command with a plain word", 42, ioctl(fd, PLUS_ONE, 41L));
	FAILS("a bad address", EFAULT, ioctl(fd, REVERSE, 8L));
	FAILS("a word the handler cannot use", EOVERFLOW, ioctl(fd, PLUS_ONE, 0xffffffffL));
	FAILS("a command it does not know", ENOTTY, ioctl(fd, _IO('b', 99), 0));
	FAILS("the terminal's", ENOTTY, ioctl(fd, 0x5401, text));
}

/* What poll says of the file within `ms`. */
static int ready(int fd, short events, int ms)
{
	struct pollfd one = { .fd = fd, .events = events };

	return poll(&one, 1, ms) < 0 ? -1 : one.revents;
}

static void readiness(int fd)
{
	struct epoll_event event = { .events = EPOLLIN };
	int set = epoll_create1(0), status;
	pid_t child;

	GIVES("an empty file is not readable", 0, ready(fd, POLLIN, 0));
	GIVES("but writable", POLLOUT, ready(fd, POLLIN | POLLOUT, 0));
	GIVES("epoll takes it", 0, epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
	GIVES("not ready yet", 0, epoll_wait(set, &event, 1, 0));
	child = fork();
	if (!child) {
		usleep(200000);
		_exit(write(fd, "x", 1) != 1 || fsync(fd));
	}
	GIVES("woken when there is something", POLLIN, ready(fd, POLLIN, 20000));
	GIVES("epoll too", 1, epoll_wait(set, &event, 1, 20000));
	waitpid(child, &status, 0);
	GIVES("the writer was content", 0, status);
	close(set);
}

int main(int argc, char **argv)
{
	int fd;

	check_enter(argc, argv);
	fd = open("calls", O_CREAT | O_RDWR | O_TRUNC, 0644);
	commands(fd);
	readiness(fd);
	close(fd);
	unlink("calls");
	return check_done();
}
