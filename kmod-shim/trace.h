/* SPDX-License-Identifier: GPL-2.0 */
/* Tracepoints: /sys/kernel/tracing/events/bento. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM bento

#if !defined(BENTO_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define BENTO_TRACE_H

#include <linux/tracepoint.h>

TRACE_EVENT(bento_swap,
	TP_PROTO(dev_t dev, const char *what, u32 from, u32 to, int err, u64 pause,
		 u64 drain, u64 save, u64 load, u64 bytes, s64 inodes),
	TP_ARGS(dev, what, from, to, err, pause, drain, save, load, bytes, inodes),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__array(char, what, 12)
		__field(u32, from)
		__field(u32, to)
		__field(int, err)
		__field(u64, pause)
		__field(u64, drain)
		__field(u64, save)
		__field(u64, load)
		__field(u64, bytes)
		__field(s64, inodes)
	),
	TP_fast_assign(
		__entry->dev = dev;
		strscpy(__entry->what, what, sizeof(__entry->what));
		__entry->from = from;
		__entry->to = to;
		__entry->err = err;
		__entry->pause = pause;
		__entry->drain = drain;
		__entry->save = save;
		__entry->load = load;
		__entry->bytes = bytes;
		__entry->inodes = inodes;
	),
	TP_printk("dev %u:%u %s %u -> %u err %d pause_ns %llu drain_ns %llu save_ns %llu load_ns %llu bytes %llu inodes %lld",
		  MAJOR(__entry->dev), MINOR(__entry->dev), __entry->what,
		  __entry->from, __entry->to, __entry->err, __entry->pause,
		  __entry->drain, __entry->save, __entry->load, __entry->bytes,
		  __entry->inodes)
);

#endif

#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
