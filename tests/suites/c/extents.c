// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * File data over a device: every way to change a file mixed at random and compared with a copy in memory, then what only
 * such a file system has: allocation on demand, fiemap, bmap, swap, aio, a disk that is full.
 *
 * extents DIRECTORY BLOCK-SIZE SEED OPERATIONS
 */
#include "check.h"
#include <linux/aio_abi.h>
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/swap.h>
#include <sys/syscall.h>

#ifndef SEEK_DATA
#define SEEK_DATA 3
#define SEEK_HOLE 4
#endif

#define MAX (1l << 20)
#define CHUNK 65536l

static long block = 4096;
static unsigned char model[MAX + CHUNK];
static long size;
static unsigned long long state;

static unsigned long rnd(unsigned long below)
{
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (state >> 33) % below;
}

static void fill(unsigned char *to, long len)
{
	for (long i = 0; i < len; i++)
		to[i] = rnd(255) + 1;
}

static int compare(int fd, const char *what, long step)
{
	static unsigned char *buffer;
	struct stat st;

	if (!buffer && posix_memalign((void **)&buffer, 4096, MAX + CHUNK))
		return 0;
	if (fstat(fd, &st) || st.st_size != size) {
		printf("not ok step %ld, %s: size %ld instead of %ld\n", step, what, (long)st.st_size, size);
		return 0;
	}
	long got = pread(fd, buffer, MAX + CHUNK, 0);
	if (got != size) {
		printf("not ok step %ld, %s: read %ld instead of %ld, errno %d\n", step, what, got, size, errno);
		return 0;
	}
	for (long i = 0; i < size; i++)
		if (buffer[i] != model[i]) {
			printf("not ok step %ld, %s: byte %ld of %ld is %02x instead of %02x\n", step, what, i, size,
			       buffer[i], model[i]);
			return 0;
		}
	return 1;
}

static void grown(long to)
{
	if (to > size)
		size = to;
}

/* One operation; its name, or NULL when it failed. */
static const char *operate(int fd, int direct, unsigned char *bytes)
{
	static char said[128];
	long at = rnd(MAX - CHUNK), len = rnd(CHUNK) + 1, unit;
	const char *what = "nothing";
	long r = 0;

	switch (rnd(14)) {
	case 0: case 1:
		what = "write";
		fill(bytes, len);
		r = pwrite(fd, bytes, len, at) == len ? 0 : -1;
		memcpy(model + at, bytes, len);
		grown(at + len);
		break;
	case 2: case 3:
		what = "direct write";
		unit = rnd(2) ? 512 : block;
		at -= at % unit;
		len += unit - 1;
		len -= len % unit;
		if (len > CHUNK)
			len = CHUNK;
		fill(bytes, len);
		r = pwrite(direct, bytes, len, at) == len ? 0 : -1;
		memcpy(model + at, bytes, len);
		grown(at + len);
		break;
	case 4: {
		what = "direct read";
		at -= at % 512;
		len = (len + 511) / 512 * 512;
		if (len > CHUNK)
			len = CHUNK;
		long want = at >= size ? 0 : at + len > size ? size - at : len;
		r = pread(direct, bytes, len, at) == want ? 0 : -1;
		if (!r && memcmp(bytes, model + at, want)) {
			for (long i = 0; i < want; i++)
				if (bytes[i] != model[at + i]) {
					printf("not ok direct read at %ld: byte %ld is %02x instead of %02x\n", at, at + i,
					       bytes[i], model[at + i]);
					break;
				}
			return NULL;
		}
		break;
	}
	case 5: {
		what = "write by mapping";
		if (at + len > size)
			break;
		unsigned char *map = mmap(NULL, MAX, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		if (map == MAP_FAILED)
			return NULL;
		fill(bytes, len);
		memcpy(map + at, bytes, len);
		memcpy(model + at, bytes, len);
		/* Beyond the end: must never be seen. */
		if (rnd(2) && size % 4096)
			memset(map + size, 0xee, 4096 - size % 4096);
		munmap(map, MAX);
		break;
	}
	case 6:
		what = "truncate";
		at = rnd(MAX);
		r = ftruncate(fd, at);
		if (at < size)
			memset(model + at, 0, size - at);
		size = at;
		break;
	case 7:
		what = "punch";
		r = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, len);
		memset(model + at, 0, len);
		break;
	case 8: {
		int keep = rnd(2);

		what = keep ? "zero, size kept" : "zero";
		r = fallocate(fd, FALLOC_FL_ZERO_RANGE | (keep ? FALLOC_FL_KEEP_SIZE : 0), at, len);
		memset(model + at, 0, len);
		if (!keep)
			grown(at + len);
		break;
	}
	case 9: {
		int keep = rnd(2);

		what = keep ? "allocate, size kept" : "allocate";
		r = fallocate(fd, keep ? FALLOC_FL_KEEP_SIZE : 0, at, len);
		if (!keep)
			grown(at + len);
		break;
	}
	case 10:
		what = "collapse";
		at -= at % block;
		len = (len + block - 1) / block * block;
		if (at + len >= size)
			break;
		r = fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, at, len);
		memmove(model + at, model + at + len, size - at - len);
		memset(model + size - len, 0, len);
		size -= len;
		break;
	case 11:
		what = "insert";
		at -= at % block;
		len = (len + block - 1) / block * block;
		if (at >= size || size + len > MAX)
			break;
		r = fallocate(fd, FALLOC_FL_INSERT_RANGE, at, len);
		memmove(model + at + len, model + at, size - at);
		memset(model + at, 0, len);
		size += len;
		break;
	case 12:
		what = "fsync";
		r = fsync(fd);
		break;
	default:
		what = "drop";
		r = rnd(4) ? 0 : fsync(fd);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		break;
	}
	if (getenv("VERBOSE"))
		printf("# %s at %ld, %ld bytes, size %ld\n", what, at, len, size);
	if (r) {
		printf("not ok %s at %ld, %ld bytes: errno %d\n", what, at, len, errno);
		return NULL;
	}
	snprintf(said, sizeof(said), "%s at %ld, %ld bytes", what, at, len);
	return said;
}

static void mix(long operations)
{
	int fd = open("mix", O_RDWR | O_CREAT | O_TRUNC, 0644);
	int direct = open("mix", O_RDWR | O_DIRECT);
	unsigned char *bytes;
	long step;
	int good = fd >= 0 && direct >= 0 && !posix_memalign((void **)&bytes, 4096, CHUNK);

	for (step = 0; good && step < operations; step++) {
		const char *what = operate(fd, direct, bytes);

		good = what && compare(fd, what, step);
	}
	/* Once more from the device. */
	if (good) {
		good = !fsync(fd) && !posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) && compare(fd, "read again", step);
		good = good && compare(direct, "read directly", step);
	}
	OK("operations at random", good);
	close(direct);
	close(fd);
	unlink("mix");
}

static long blocks_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -1 : st.st_blocks * 512 / block;
}

static long free_blocks(void)
{
	struct statvfs st;

	return statvfs(".", &st) ? -1 : (long)st.f_bfree;
}

static unsigned int fiemap(int fd, struct fiemap_extent *out, unsigned int room)
{
	struct fiemap *map = calloc(1, sizeof(*map) + room * sizeof(*out));
	unsigned int count;

	map->fm_length = FIEMAP_MAX_OFFSET;
	map->fm_extent_count = room;
	count = ioctl(fd, FS_IOC_FIEMAP, map) ? UINT_MAX : map->fm_mapped_extents;
	memcpy(out, map->fm_extents, room * sizeof(*out));
	free(map);
	return count;
}

static void allocation(void)
{
	struct fiemap_extent extents[8];
	long before = free_blocks(), i;
	char *bytes = calloc(1, 64 * block);
	int fd = open("delayed", O_RDWR | O_CREAT | O_TRUNC, 0644);
	int nr;

	memset(bytes, 'x', 64 * block);
	GIVES("write", 64 * block, pwrite(fd, bytes, 64 * block, 0));
	GIVES("stat counts what is delayed", 64, blocks_of(fd));
	GIVES("so does statfs", before - 64, free_blocks());
	GIVES("one extent", 1, fiemap(fd, extents, 8));
	OK("without an address", extents[0].fe_flags & FIEMAP_EXTENT_DELALLOC);
	GIVES("cut it", 0, ftruncate(fd, 10 * block));
	GIVES("the rest is given back", before - 10, free_blocks());
	GIVES("fsync", 0, fsync(fd));
	GIVES("as many blocks", 10, blocks_of(fd));
	GIVES("and in statfs", before - 10, free_blocks());
	GIVES("still one extent", 1, fiemap(fd, extents, 8));
	OK("that is written", !(extents[0].fe_flags & (FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_UNWRITTEN)));
	nr = 3;
	GIVES("bmap", 0, ioctl(fd, FIBMAP, &nr));
	GIVES("and fiemap agree", extents[0].fe_physical / block + 3, nr);
	GIVES("allocate more", 0, fallocate(fd, FALLOC_FL_KEEP_SIZE, 10 * block, 20 * block));
	GIVES("it counts", 30, blocks_of(fd));
	GIVES("two extents", 2, fiemap(fd, extents, 8));
	OK("the second is unwritten", extents[1].fe_flags & FIEMAP_EXTENT_UNWRITTEN);
	GIVES("append into it", 5 * block, pwrite(fd, bytes, 5 * block, 10 * block));
	GIVES("takes nothing", 30, blocks_of(fd));
	GIVES("fsync it", 0, fsync(fd));
	GIVES("what was written is joined", 2, fiemap(fd, extents, 8));
	GIVES("to fifteen blocks", 15 * block, extents[0].fe_length);
	/* One block of four. */
	GIVES("cut to nothing", 0, ftruncate(fd, 0));
	GIVES("all is free", before, free_blocks());
	for (i = 0; i < 16; i += 4)
		pwrite(fd, bytes, block, i * block);
	GIVES("holes are not counted", 4, blocks_of(fd));
	GIVES("SEEK_HOLE", block, lseek(fd, 0, SEEK_HOLE));
	GIVES("SEEK_DATA", 4 * block, lseek(fd, 1, SEEK_DATA) == 1 ? lseek(fd, block, SEEK_DATA) : -1);
	GIVES("nor on the device", 0, fsync(fd));
	GIVES("four", 4, blocks_of(fd));
	GIVES("SEEK_HOLE again", block, lseek(fd, 0, SEEK_HOLE));
	GIVES("SEEK_DATA again", 4 * block, lseek(fd, block, SEEK_DATA));
	close(fd);
	unlink("delayed");
	/* Dirty, and gone before it is written. */
	fd = open("gone", O_RDWR | O_CREAT, 0644);
	pwrite(fd, bytes, 64 * block, 0);
	unlink("gone");
	close(fd);
	GIVES("what nobody wrote is free", before, free_blocks());
	fd = open("huge", O_RDWR | O_CREAT, 0644);
	GIVES("a byte at 1 TiB", 1, pwrite(fd, "x", 1, 1l << 40));
	GIVES("is one block", 1, blocks_of(fd));
	GIVES("fsync of it", 0, fsync(fd));
	GIVES("found by SEEK_DATA", 1l << 40, lseek(fd, 0, SEEK_DATA));
	GIVES("read back", 1, pread(fd, bytes, 1, 1l << 40));
	GIVES("cut below", 0, ftruncate(fd, 1l << 39));
	GIVES("no block", 0, blocks_of(fd));
	close(fd);
	unlink("huge");
	free(bytes);
}

static void full(void)
{
	long before = free_blocks(), total = 0, n;
	int fd = open("full", O_RDWR | O_CREAT, 0644), other;
	char *bytes = malloc(1 << 20);

	memset(bytes, 'f', 1 << 20);
	while ((n = write(fd, bytes, 1 << 20)) > 0)
		total += n;
	OK("the disk is full", n < 0 && errno == ENOSPC);
	GIVES("to the last block", before * block, total);
	GIVES("nothing is free", 0, free_blocks());
	GIVES("all of it can be written back", 0, fsync(fd));
	GIVES("and read", 1, pread(fd, bytes, 1, total - 1));
	other = open("other", O_RDWR | O_CREAT | O_DIRECT, 0644);
	FAILS("no room for another", ENOSPC, write(other, "x", 1));
	FAILS("nor to allocate", ENOSPC, fallocate(other, 0, 0, block));
	char *map = MAP_FAILED;

	GIVES("a hole", 0, ftruncate(other, 2 * block));
	map = mmap(NULL, block, PROT_READ, MAP_SHARED, other, 0);
	OK("can be mapped and read", map != MAP_FAILED && map[0] == 0);
	munmap(map, block);
	GIVES("overwriting needs no room", 1 << 20, pwrite(fd, bytes, 1 << 20, 0));
	GIVES("nor fsync", 0, fsync(fd));
	GIVES("a hole punched", 0, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 8 * block));
	GIVES("is room", 8, free_blocks());
	GIVES("for as much", 8 * block, pwrite(other, bytes, 8 * block, 0));
	close(other);
	close(fd);
	unlink("full");
	unlink("other");
	GIVES("all is free again", before, free_blocks());
	free(bytes);
}

static void swapped(void)
{
	int fd = open("swap", O_RDWR | O_CREAT, 0600);
	char *page = calloc(1, 4096);
	long i;

	for (i = 0; i < 256; i++)
		pwrite(fd, page, 4096, i * 4096);
	*(unsigned int *)(page + 1024) = 1; /* version, last page */
	*(unsigned int *)(page + 1028) = 255;
	memcpy(page + 4096 - 10, "SWAPSPACE2", 10);
	pwrite(fd, page, 4096, 0);
	GIVES("fsync of the swap file", 0, fsync(fd));
	GIVES("swapon", 0, swapon("swap", 0));
	FAILS("cannot be written meanwhile", ETXTBSY, pwrite(fd, page, 1, 0));
	FAILS("nor cut", ETXTBSY, ftruncate(fd, 0));
	GIVES("swapoff", 0, swapoff("swap"));
	close(fd);
	unlink("swap");
	fd = open("holes", O_RDWR | O_CREAT, 0600);
	pwrite(fd, page, 4096, 0);
	GIVES("a file of holes", 0, ftruncate(fd, 1 << 20));
	OK("is no swap", swapon("holes", 0) < 0);
	close(fd);
	unlink("holes");
	free(page);
}

static void asynchronous(void)
{
	aio_context_t ctx = 0;
	struct iocb cbs[16], *list[16];
	struct io_event events[16];
	int fd = open("aio", O_RDWR | O_CREAT | O_DIRECT, 0644);
	unsigned char *bytes, *back;
	int i, good;

	if (posix_memalign((void **)&bytes, 4096, 16 * 65536) || posix_memalign((void **)&back, 4096, 16 * 65536))
		return;
	fill(bytes, 16 * 65536);
	GIVES("a file of holes for aio", 0, ftruncate(fd, 16 * 65536));
	if (syscall(SYS_io_setup, 16, &ctx)) {
		printf("ok no aio in this kernel\n");
		goto out;
	}
	memset(cbs, 0, sizeof(cbs));
	for (i = 0; i < 16; i++) {
		list[i] = &cbs[i];
		cbs[i].aio_fildes = fd;
		cbs[i].aio_lio_opcode = IOCB_CMD_PWRITE;
		cbs[i].aio_buf = (unsigned long)(bytes + i * 65536);
		cbs[i].aio_nbytes = 65536;
		/* Odd ones go beyond the end when that is cut. */
		cbs[i].aio_offset = (15 - i) * 65536;
	}
	GIVES("submit writes", 16, syscall(SYS_io_submit, ctx, 16, list));
	GIVES("they end", 16, syscall(SYS_io_getevents, ctx, 16, 16, events, NULL));
	for (i = 0, good = 1; i < 16; i++)
		good &= events[i].res == 65536;
	OK("each in full", good);
	GIVES("read", 16 * 65536, pread(fd, back, 16 * 65536, 0));
	for (i = 0, good = 1; i < 16; i++)
		good &= !memcmp(back + (15 - i) * 65536, bytes + i * 65536, 65536);
	OK("what was written", good);
	syscall(SYS_io_destroy, ctx);
out:
	close(fd);
	unlink("aio");
	free(bytes);
	free(back);
}

static void synchronous(void)
{
	static const struct { const char *what; int flags; } ways[] = {
		{ "O_DSYNC", O_DSYNC }, { "O_SYNC", O_SYNC }, { "O_DIRECT|O_DSYNC", O_DIRECT | O_DSYNC },
	};
	unsigned char *bytes;
	char what[80];

	if (posix_memalign((void **)&bytes, 4096, 65536))
		return;
	fill(bytes, 65536);
	for (unsigned int i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		int fd = open("sync", O_RDWR | O_CREAT | O_TRUNC | ways[i].flags, 0644);

		snprintf(what, sizeof(what), "write, %s", ways[i].what);
		GIVES(what, 65536, write(fd, bytes, 65536));
		snprintf(what, sizeof(what), "overwrite, %s", ways[i].what);
		GIVES(what, 4096, pwrite(fd, bytes, 4096, 4096));
		close(fd);
	}
	unlink("sync");
	free(bytes);
}

int main(int argc, char **argv)
{
	check_enter(argc, argv);
	block = argc > 2 ? atol(argv[2]) : 4096;
	state = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
	mix(argc > 4 ? atol(argv[4]) : 2000);
	allocation();
	synchronous();
	asynchronous();
	swapped();
	full();
	return check_done();
}
