/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Marks on a disk whose writes are recorded: past the end of the file system, so that the record tells what came before
 * a crash.
 */
#ifndef MARK_H
#define MARK_H

#include "check.h"

/* Mark `number`, at `offset` + 512 * its number; 0, or -1 with an errno. */
static inline int mark_write(int device, off_t offset, int number)
{
	static char (*sector)[512];

	if (!sector && posix_memalign((void **)&sector, 4096, 4096)) {
		errno = ENOMEM;
		return -1;
	}
	memset(sector, 0, 512);
	snprintf(sector[0], 512, "bento mark %d", number);
	return pwrite(device, sector, 512, offset + 512L * number) == 512 ? 0 : -1;
}

#endif
