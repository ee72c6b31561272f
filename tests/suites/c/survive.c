// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * What an upgrade must not touch. `survive DIR WITHOUT COMMAND…` sets everything up, keeps traffic running, and runs
 * each COMMAND (a swap) with sh; after each one, everything is checked. WITHOUT names what the file system cannot do.
 */
#include "check.h"
#include "traffic.h"
#include <dirent.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <poll.h>

#ifndef FIFREEZE
#define FIFREEZE _IOWR('X', 119, int)
#define FITHAW _IOWR('X', 120, int)
#endif

#define PAGE 4096
#define NAMES 600
#define TRAFFIC 3

static const char *without;
static char label[100];

static int can(const char *what) { return !strstr(without, what); }

/* "WHAT (after COMMAND)" */
static const char *after(const char *what, const char *command)
{
	snprintf(label, sizeof label, "%s after %s", what, command);
	return label;
}

/* Byte i of a file whose content can be told anywhere. */
static unsigned char byte_of(int file, long i) { return (unsigned char)(i * 7 + i / 251 + file * 31); }

static int fill(int fd, int file, long from, long len)
{
	unsigned char bytes[PAGE];

	for (long at = 0; at < len; at += PAGE) {
		for (int i = 0; i < PAGE; i++)
			bytes[i] = byte_of(file, from + at + i);
		if (pwrite(fd, bytes, PAGE, from + at) != PAGE)
			return -1;
	}
	return 0;
}

static int holds(int fd, int file, long from, long len)
{
	unsigned char bytes[PAGE];

	for (long at = 0; at < len; at += PAGE) {
		if (pread(fd, bytes, PAGE, from + at) != PAGE)
			return 0;
		for (int i = 0; i < PAGE; i++)
			if (bytes[i] != byte_of(file, from + at + i))
				return 0;
	}
	return 1;
}

/* ---- a child that answers over a pipe ---- */

struct helper {
	pid_t pid;
	int to, from;
};

static struct helper start(void (*body)(int in, int out))
{
	struct helper helper;
	int to[2], from[2];

	if (pipe(to) || pipe(from))
		exit(2);
	helper.pid = fork();
	if (!helper.pid) {
		close(to[1]);
		close(from[0]);
		body(to[0], from[1]);
		_exit(0);
	}
	close(to[0]);
	close(from[1]);
	helper.to = to[1];
	helper.from = from[0];
	return helper;
}

/* One byte there and one back, within two minutes; -1 when none comes. */
static int ask(struct helper *helper, char question)
{
	struct pollfd one = { .fd = helper->from, .events = POLLIN };
	char answer;

	if (write(helper->to, &question, 1) != 1 || poll(&one, 1, 120000) != 1 || read(helper->from, &answer, 1) != 1)
		return -1;
	return answer;
}

static int record(int fd, int command, short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 10 };

	return fcntl(fd, command, &lock);
}

/* Waits for the locks that its parent holds, and says when it has them. */
static void wait_for_record(int in, int out)
{
	int fd = open("locks", O_RDWR);
	char byte;

	while (read(in, &byte, 1) == 1) {
		write(out, "w", 1);
		byte = record(fd, F_SETLKW, F_WRLCK) ? 'n' : 'y';
		record(fd, F_SETLK, F_UNLCK);
		write(out, &byte, 1);
	}
}

static void wait_for_flock(int in, int out)
{
	int fd = open("locks", O_RDWR);
	char byte;

	while (read(in, &byte, 1) == 1) {
		write(out, "w", 1);
		byte = flock(fd, LOCK_EX) ? 'n' : 'y';
		flock(fd, LOCK_UN);
		write(out, &byte, 1);
	}
}

/* Someone else's try at the locks. */
static void try_locks(int in, int out)
{
	int fd = open("locks", O_RDWR);
	char byte;

	while (read(in, &byte, 1) == 1) {
		if (byte == 'r')
			byte = record(fd, F_SETLK, F_WRLCK) ? 'n' : 'y';
		else
			byte = flock(fd, LOCK_EX | LOCK_NB) ? 'n' : 'y';
		write(out, &byte, 1);
	}
}

static void live_in_directory(int in, int out)
{
	char byte, where[PATH_MAX];

	if (mkdir("cwd", 0755) || mkdir("cwd/deep", 0755) || chdir("cwd/deep"))
		_exit(2);
	close(open("here", O_CREAT | O_WRONLY, 0644));
	while (read(in, &byte, 1) == 1) {
		byte = getcwd(where, sizeof where) && !strcmp(where + strlen(where) - 9, "/cwd/deep") &&
				       !access("here", F_OK) && !access("../../locks", F_OK) ?
			       'y' :
			       'n';
		write(out, &byte, 1);
	}
}

static void run_from_mount(int in, int out)
{
	dup2(in, 0);
	dup2(out, 1);
	execl("./program", "program", "--echo", NULL);
	_exit(3);
}

/* ---- all of it ---- */

struct handle {
	struct file_handle head;
	unsigned char space[128];
};

/* A listing by getdents64 in small pieces: a large buffer, as readdir's, would hold all names before the swap. */
struct listing {
	int fd, count, stray;
	unsigned char seen[NAMES];
};

struct all {
	int file, append, gone, dirty, shared_fd, private_fd, lock, watch, here;
	unsigned char *shared, *private;
	struct listing listing, long_listing; /* of one swap; across all of them */
	struct handle handle, dir_handle;
	struct helper record, flock, other, cwd, program;
	long length;
};

static int copy_self(void)
{
	char buffer[65536];
	int from = open("/proc/self/exe", O_RDONLY), to = open("program", O_CREAT | O_WRONLY, 0755);
	ssize_t len;

	if (from < 0 || to < 0)
		return -1;
	while ((len = read(from, buffer, sizeof buffer)) > 0)
		if (write(to, buffer, len) != len)
			return -1;
	close(from);
	return close(to);
}

static int open_file(const char *name, int number, long len)
{
	int fd = open(name, O_CREAT | O_RDWR, 0644);

	return fd < 0 || fill(fd, number, 0, len) ? -1 : fd;
}

static void set_up(struct all *all)
{
	char name[40];
	int mount;

	all->here = open(".", O_RDONLY | O_DIRECTORY);
	OK("files", (all->file = open_file("file", 1, 8 * PAGE)) >= 0 && (all->gone = open_file("gone", 2, 4 * PAGE)) >= 0 &&
			    (all->dirty = open_file("dirty", 3, 4 * PAGE)) >= 0 &&
			    (all->shared_fd = open_file("shared", 4, 4 * PAGE)) >= 0 &&
			    (all->private_fd = open_file("private", 5, 4 * PAGE)) >= 0);
	OK("an append-only descriptor", (all->append = open("append", O_CREAT | O_RDWR | O_APPEND, 0644)) >= 0);
	fsync(all->file);
	GIVES("an offset", 1000, lseek(all->file, 1000, SEEK_SET));
	GIVES("a name that goes", 0, unlink("gone"));
	all->shared = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, all->shared_fd, 0);
	all->private = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, all->private_fd, 0);
	OK("mappings", all->shared != MAP_FAILED && all->private != MAP_FAILED);
	all->private[0] = 0xaa; /* copied; the other pages are the file's */
	GIVES("a large directory", 0, mkdir("names", 0755));
	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof name, "names/n%d", i);
		close(open(name, O_CREAT | O_WRONLY, 0644));
	}
	close(open("locks", O_CREAT | O_RDWR, 0644));
	all->lock = open("locks", O_RDWR);
	all->record = start(wait_for_record);
	all->flock = start(wait_for_flock);
	all->other = start(try_locks);
	all->cwd = start(live_in_directory);
	GIVES("a process in a directory", 'y', ask(&all->cwd, '?'));
	all->watch = inotify_init1(IN_NONBLOCK);
	OK("a watch", inotify_add_watch(all->watch, "names", IN_CREATE | IN_DELETE) >= 0);
	GIVES("an attribute", 0, setxattr("file", "user.survives", "yes", 3, 0));
	if (can("handles")) {
		all->handle.head.handle_bytes = all->dir_handle.head.handle_bytes = 128;
		GIVES("a file handle", 0, name_to_handle_at(AT_FDCWD, "file", &all->handle.head, &mount, 0));
		GIVES("a directory's", 0, name_to_handle_at(AT_FDCWD, "names", &all->dir_handle.head, &mount, 0));
	}
	GIVES("a program", 0, copy_self());
	all->program = start(run_from_mount);
	GIVES("which runs", 'b', ask(&all->program, 'a'));
	all->length = 0;
}

static void list_open(struct listing *listing)
{
	memset(listing, 0, sizeof *listing);
	listing->fd = open("names", O_RDONLY | O_DIRECTORY);
}

/* Reads on until `count` of the names were seen, or to the end. */
static void list_on(struct listing *listing, int count)
{
	char entries[512];
	long len;

	while (listing->count < count && (len = syscall(SYS_getdents64, listing->fd, entries, sizeof entries)) > 0)
		for (long at = 0; at < len; at += ((struct dirent64 *)(entries + at))->d_reclen) {
			struct dirent64 *entry = (void *)(entries + at);
			int number = atoi(entry->d_name + 1);

			if (entry->d_name[0] != 'n')
				continue; /* dots, and what comes and goes meanwhile */
			if (number < 0 || number >= NAMES)
				listing->stray++;
			else
				listing->seen[number]++;
			listing->count++;
		}
}

/* To the end: how many names were there exactly once. */
static int list_end(struct listing *listing)
{
	int once = 0;

	list_on(listing, INT_MAX);
	close(listing->fd);
	for (int i = 0; i < NAMES; i++)
		once += listing->seen[i] == 1;
	return once - listing->stray;
}

/* What stands half-way when the swap comes. */
static void before(struct all *all, int round, int rounds)
{
	list_open(&all->listing);
	list_on(&all->listing, NAMES / 3);
	list_on(&all->long_listing, NAMES * (round + 1) / (rounds + 2));
	OK("listings are half-way",
	   all->listing.count >= NAMES / 3 && all->listing.count < NAMES / 2 && all->long_listing.count < NAMES);
	GIVES("a record lock", 0, record(all->lock, F_SETLK, F_WRLCK));
	GIVES("a flock", 0, flock(all->lock, LOCK_EX));
	ask(&all->record, 'r');
	ask(&all->flock, 'f');
	usleep(50000);
	all->shared[round] = 0x55;
	fill(all->dirty, 10 + round, 0, 4 * PAGE);
}

/* The byte that a waiting helper sends when it has got what it waited for; 0 when it has not. */
static int answer(struct helper *helper, int ms)
{
	struct pollfd one = { .fd = helper->from, .events = POLLIN };
	char byte;

	return poll(&one, 1, ms) == 1 && read(helper->from, &byte, 1) == 1 ? byte : 0;
}

static int watched(struct all *all, int round)
{
	char name[40], events[4096];
	struct inotify_event *event = (void *)events;

	snprintf(name, sizeof name, "names/w%d", round);
	close(open(name, O_CREAT | O_WRONLY, 0644));
	if (read(all->watch, events, sizeof events) < (ssize_t)sizeof *event)
		return 0;
	return event->mask == IN_CREATE && !strcmp(event->name, name + 6) && !unlink(name) &&
	       read(all->watch, events, sizeof events) > 0 && event->mask == IN_DELETE;
}

static int opens(struct all *all, struct handle *handle, int flags)
{
	int fd = open_by_handle_at(all->here, &handle->head, flags);
	int good = fd >= 0 && (flags & O_DIRECTORY || holds(fd, 1, 0, 8 * PAGE));

	if (fd >= 0)
		close(fd);
	return good;
}

static void verify(struct all *all, int round, const char *swap)
{
	unsigned char byte, bytes[PAGE];
	struct stat st;
	int fd;

	OK(after("the offset stays", swap),
	   lseek(all->file, 0, SEEK_CUR) == 1000 && read(all->file, &byte, 1) == 1 && byte == byte_of(1, 1000) &&
		   lseek(all->file, 1000, SEEK_SET) == 1000);
	GIVES(after("an append goes to the end", swap), 5, write(all->append, "added", 5));
	all->length += 5;
	OK(after("and its size is right", swap), !fstat(all->append, &st) && st.st_size == all->length);
	OK(after("an open file without a name has its bytes", swap),
	   !fstat(all->gone, &st) && st.st_nlink == 0 && holds(all->gone, 2, 0, 4 * PAGE) &&
		   !fill(all->gone, 2, 0, 4 * PAGE));
	OK(after("dirty pages are there", swap), holds(all->dirty, 10 + round, 0, 4 * PAGE));
	OK(after("and can be written back", swap), !fsync(all->dirty) && !fsync(all->shared_fd));
	posix_fadvise(all->dirty, 0, 0, POSIX_FADV_DONTNEED);
	fd = open("dirty", O_RDONLY);
	OK(after("and read again", swap), holds(fd, 10 + round, 0, 4 * PAGE));
	close(fd);
	all->shared[PAGE + round] = 0x66;
	OK(after("a shared mapping is the file", swap),
	   pread(all->shared_fd, bytes, PAGE, PAGE) == PAGE && bytes[round] == 0x66 && all->shared[round] == 0x55 &&
		   pread(all->shared_fd, bytes, PAGE, 0) == PAGE && bytes[round] == 0x55);
	pwrite(all->private_fd, "\x77", 1, 0);
	OK(after("a private mapping keeps its copy", swap),
	   all->private[0] == 0xaa && all->private[2 * PAGE] == byte_of(5, 2 * PAGE));
	GIVES(after("a listing goes on: each name once", swap), NAMES, list_end(&all->listing));
	GIVES(after("the record lock holds", swap), 'n', ask(&all->other, 'r'));
	GIVES(after("the flock holds", swap), 'n', ask(&all->other, 'f'));
	GIVES(after("who waits for the record lock waits", swap), 0, answer(&all->record, 0));
	GIVES(after("who waits for the flock waits", swap), 0, answer(&all->flock, 0));
	record(all->lock, F_SETLK, F_UNLCK);
	flock(all->lock, LOCK_UN);
	GIVES(after("and gets the record lock", swap), 'y', answer(&all->record, 60000));
	GIVES(after("and the flock", swap), 'y', answer(&all->flock, 60000));
	OK(after("inotify tells", swap), watched(all, round));
	if (can("handles")) {
		OK(after("a file handle opens its file", swap), opens(all, &all->handle, O_RDONLY));
		OK(after("a directory's too", swap), opens(all, &all->dir_handle, O_RDONLY | O_DIRECTORY));
	}
	GIVES(after("a working directory stays", swap), 'y', ask(&all->cwd, '?'));
	GIVES(after("the program runs on", swap), 'b' + round, ask(&all->program, 'a' + round));
	FAILS(after("its file is busy", swap), ETXTBSY, open("program", O_WRONLY));
	OK(after("attributes stay", swap), getxattr("file", "user.survives", bytes, 10) == 3 && !memcmp(bytes, "yes", 3));
	OK(after("the file is unharmed", swap), holds(all->file, 1, 0, 8 * PAGE));
}

static int swapped(const char *command)
{
	int status = system(command);

	return WIFEXITED(status) && !WEXITSTATUS(status);
}

static void frozen(const char *command)
{
	int fd = open(".", O_RDONLY);
	struct helper writer;
	char byte;

	GIVES("freeze", 0, ioctl(fd, FIFREEZE, 0));
	writer = start(live_in_directory); /* a mkdir: waits */
	write(writer.to, "?", 1);
	OK("a swap while frozen", swapped(command));
	GIVES("it is still frozen: a writer waits", 0, answer(&writer, 300));
	FAILS("and freezing again is refused", EBUSY, ioctl(fd, FIFREEZE, 0));
	GIVES("thaw", 0, ioctl(fd, FITHAW, 0));
	GIVES("then it writes", 'y', answer(&writer, 60000));
	close(writer.to);
	read(writer.from, &byte, 1);
	close(fd);
}

static int echo(void)
{
	char byte;

	while (read(0, &byte, 1) == 1) {
		byte++;
		write(1, &byte, 1);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct all all = { 0 };
	struct traffic *load;
	struct helper helpers[5];
	int rounds = argc - 3;

	if (argc > 1 && !strcmp(argv[1], "--echo"))
		return echo();
	if (argc < 4)
		return 2;
	check_enter(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	without = argv[2];
	set_up(&all);
	list_open(&all.long_listing);
	load = traffic_start(TRAFFIC);
	for (int round = 0; round < rounds; round++) {
		long calls = load->calls;

		before(&all, round, rounds);
		OK(after("success", argv[3 + round]), swapped(argv[3 + round]));
		verify(&all, round, argv[3 + round]);
		while (load->calls < calls + 200 && !load->failed)
			usleep(1000);
	}
	GIVES("a listing across all swaps: each name once", NAMES, list_end(&all.long_listing));
	load->stop = 1;
	helpers[0] = all.record, helpers[1] = all.flock, helpers[2] = all.other, helpers[3] = all.cwd;
	helpers[4] = all.program;
	for (int i = 0; i < 5; i++)
		close(helpers[i].to);
	while (wait(NULL) > 0)
		;
	traffic_verdict(load);
	system("rm -rf cwd");
	if (can("freeze"))
		frozen(argv[3]);
	return check_done();
}
