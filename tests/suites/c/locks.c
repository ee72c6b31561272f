// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Locks between processes: flock, record locks, open-file-description locks, leases. */
#include "check.h"
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

static int child(int (*body)(void))
{
	int status;

	if (!fork())
		_exit(body());
	wait(&status);
	return WEXITSTATUS(status);
}

static int record(int fd, int command, int type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = 10, .l_len = 10 };

	return fcntl(fd, command, &lock);
}

static int try_flock(void)
{
	int fd = open("lock", O_RDWR);

	return flock(fd, LOCK_EX | LOCK_NB) ? errno : 0;
}

static int try_record(void)
{
	int fd = open("lock", O_RDWR);

	return record(fd, F_SETLK, F_WRLCK) ? errno : 0;
}

static int get_record(void)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open("lock", O_RDWR);

	return fcntl(fd, F_GETLK, &lock) ? 99 : lock.l_type == F_WRLCK && lock.l_start == 10 ? 0 : 1;
}

int main(int argc, char **argv)
{
	int fd;

	check_enter(argc, argv);
	fd = open("lock", O_CREAT | O_RDWR, 0644);
	GIVES("flock", 0, flock(fd, LOCK_EX));
	GIVES("excludes another process", EWOULDBLOCK, child(try_flock));
	GIVES("unlock", 0, flock(fd, LOCK_UN));
	GIVES("and no more", 0, child(try_flock));
	GIVES("lock a record", 0, record(fd, F_SETLK, F_WRLCK));
	OK("excludes another process", child(try_record) == EAGAIN);
	GIVES("F_GETLK names it", 0, child(get_record));
	GIVES("unlock", 0, record(fd, F_SETLK, F_UNLCK));
	GIVES("and no more", 0, child(try_record));
	GIVES("an open-file-description lock", 0, record(fd, 37 /* F_OFD_SETLK */, F_WRLCK));
	OK("excludes this process's other descriptor", record(open("lock", O_RDWR), 37, F_WRLCK) == -1);
	close(fd);
	unlink("lock");
	return check_done();
}
