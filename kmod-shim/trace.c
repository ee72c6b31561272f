// SPDX-License-Identifier: GPL-2.0
/* Where the tracepoints of trace.h are made. */
#include "shim.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

void bento_trace_swap(struct bento_super *bs, const char *what, u32 from, u32 to,
		      int err, u64 pause, u64 drain, u64 save, u64 load,
		      u64 bytes, s64 inodes)
{
	trace_bento_swap(bs->sb->s_dev, what, from, to, err, pause, drain, save,
			 load, bytes, inodes);
}
