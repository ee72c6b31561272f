// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Swaps the instance below a mount, again and again. `swap [-f] [-c FILE] [-w US] TARGET COUNT WHAT…`: TARGET is the
 * mount's folder in /sys/fs/bento or a daemon's socket; WHAT is a version, an object's path or "restart", taken in turn.
 * -f: swaps may fail, that is what is tested; -c: beside it a client stats FILE every 100 us; -w: a rest after each swap.
 * `swap TARGET get NAME` and `swap TARGET set NAME VALUE` are single attributes.
 * Prints counts, and median and maximum of the pauses and of the client's longest call during each swap.
 */
#include "check.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

static const char *target;
static int is_socket;

/* One line of the daemon's: a request and its answer. */
static int talk(const char *request, char *answer, size_t size)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), good;
	size_t used = 0;
	ssize_t len;

	snprintf(address.sun_path, sizeof address.sun_path, "%s", target);
	if (connect(fd, (void *)&address, sizeof address) || write(fd, request, strlen(request)) < 0) {
		snprintf(answer, size, "%s", strerror(errno));
		close(fd);
		return -1;
	}
	while (used < size - 1 && (len = read(fd, answer + used, size - 1 - used)) > 0) {
		used += len;
		if (memchr(answer, '\n', used))
			break;
	}
	close(fd);
	answer[used] = 0;
	good = !strncmp(answer, "OK", 2);
	memmove(answer, answer + (good ? 2 : 0), strlen(answer) + 1 - (good ? 2 : 0));
	answer[strcspn(answer, "\n")] = 0;
	if (answer[0] == ' ')
		memmove(answer, answer + 1, strlen(answer));
	return good ? 0 : -1;
}

static int get(const char *name, char *value, size_t size)
{
	char path[PATH_MAX];
	ssize_t len;
	int fd;

	if (is_socket) {
		snprintf(path, sizeof path, "GET %s\n", name);
		return talk(path, value, size);
	}
	snprintf(path, sizeof path, "%s/%s", target, name);
	fd = open(path, O_RDONLY);
	len = fd < 0 ? -1 : read(fd, value, size - 1);
	if (fd >= 0)
		close(fd);
	if (len < 0)
		return -1;
	value[len] = 0;
	value[strcspn(value, "\n")] = 0;
	return 0;
}

static int set(const char *name, const char *value, char *why, size_t size)
{
	char path[PATH_MAX];
	int fd, good;

	if (is_socket) {
		snprintf(path, sizeof path, "SET %s %s\n", name, value);
		return talk(path, why, size);
	}
	snprintf(path, sizeof path, "%s/%s", target, name);
	fd = open(path, O_WRONLY);
	good = fd >= 0 && write(fd, value, strlen(value)) >= 0;
	snprintf(why, size, "%s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return good ? 0 : -1;
}

static long sequence(char *line, size_t size)
{
	if (get("last_swap", line, size))
		return -1;
	return strtol(line, NULL, 10);
}

static long figure(const char *line, const char *name)
{
	const char *at = strstr(line, name);

	return at ? strtol(at + strlen(name), NULL, 10) : -1;
}

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

/* ---- the client ---- */

static const char *client_file;
static _Atomic uint64_t longest;
static _Atomic long client_failed, client_calls;

static void *client(void *unused)
{
	(void)unused;
	for (;;) {
		struct stat st;
		uint64_t start = now(), took;

		if (stat(client_file, &st))
			client_failed++;
		client_calls++;
		took = now() - start;
		if (took > longest)
			longest = took;
		usleep(100);
	}
	return NULL;
}

static int by_size(const void *one, const void *other)
{
	long a = *(const long *)one, b = *(const long *)other;

	return (a > b) - (a < b);
}

static void print(const char *name, long *values, long count)
{
	if (!count)
		return;
	qsort(values, count, sizeof *values, by_size);
	printf("%s median=%ld max=%ld count=%ld\n", name, values[count / 2], values[count - 1], count);
}

int main(int argc, char **argv)
{
	long count, done = 0, good = 0, failed = 0, refused = 0, shown = 0, kept = 0, seen = 0;
	long *pauses, *calls, *drains;
	int may_fail = 0, option, rest = 0;
	char line[2048] = "", why[512];
	struct stat st;

	while ((option = getopt(argc, argv, "+fc:w:")) != -1) {
		if (option == 'f')
			may_fail = 1;
		else if (option == 'c')
			client_file = optarg;
		else if (option == 'w')
			rest = atoi(optarg);
		else
			return 2;
	}
	if (argc - optind < 3)
		return 2;
	target = argv[optind];
	if (stat(target, &st)) {
		fprintf(stderr, "swap: %s: %s\n", target, strerror(errno));
		return 2;
	}
	is_socket = S_ISSOCK(st.st_mode);
	if (!strcmp(argv[optind + 1], "get")) {
		int bad = get(argv[optind + 2], line, sizeof line);

		puts(line);
		return bad != 0;
	}
	if (!strcmp(argv[optind + 1], "set") && argc - optind == 4) {
		if (!set(argv[optind + 2], argv[optind + 3], why, sizeof why))
			return 0;
		fprintf(stderr, "swap: %s: %s\n", argv[optind + 2], why);
		return 1;
	}
	count = atol(argv[optind + 1]);
	pauses = calloc(count, sizeof *pauses);
	calls = calloc(count, sizeof *calls);
	drains = calloc(count, sizeof *drains);
	if (client_file) {
		pthread_t thread;

		pthread_create(&thread, NULL, client, NULL);
		usleep(100000);
	}
	for (; done < count; done++) {
		const char *what = argv[optind + 2 + done % (argc - optind - 2)];
		int again = strcmp(what, "restart") == 0;
		long before = sequence(line, sizeof line);
		uint64_t end = now() + 60000000000ull;

		longest = 0;
		if (set(again ? "restart" : "upgrade", again ? "1" : what, why, sizeof why) && sequence(line, sizeof line) == before) {
			refused++;
			if (!may_fail && shown++ < 5)
				printf("swap %ld to %s was refused: %s\n", done, what, why);
			continue;
		}
		while (sequence(line, sizeof line) == before && now() < end)
			usleep(200);
		if (now() >= end) {
			printf("swap %ld to %s has not ended for 60 s\n", done, what);
			return 1;
		}
		if (strstr(line, " ok ")) {
			pauses[good] = figure(line, "pause_ns=");
			drains[good] = figure(line, "drain_ns=");
			good++;
		} else {
			failed++;
			if (!may_fail && shown++ < 5)
				printf("swap %ld failed: %s\n", done, line);
		}
		if (client_file) {
			/* A call that waits at the gate ends after it. */
			seen = client_calls;
			while (client_calls < seen + 2)
				usleep(100);
			calls[kept++] = longest;
		}
		if (rest)
			usleep(rest);
	}
	printf("swaps ok=%ld failed=%ld refused=%ld client_calls=%ld client_failed=%ld\n", good, failed, refused,
	       client_calls, client_failed);
	print("pause_ns", pauses, good);
	print("drain_ns", drains, good);
	print("call_ns", calls, kept);
	printf("last %s\n", line);
	return !may_fail && good != count ? 1 : client_failed != 0;
}
