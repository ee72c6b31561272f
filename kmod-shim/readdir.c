// SPDX-License-Identifier: GPL-2.0
/*
 * Listing a directory. The handler packs entries into a kernel buffer; once
 * the gate is left each record is checked and handed to user space (G3), which
 * may fault or sleep as it likes.
 *
 * Positions: 0 and 1 are "." and "..", 2 asks the handler from its start, a
 * handler's cookie c shows as c + 2, and LLONG_MAX is past the last entry.
 */
#include "shim.h"

#include <linux/sched/signal.h>
#include <asm/word-at-a-time.h>

#define BENTO_DIR_BUFFER 8192u /* a kmalloc cache of its own size: no page allocator */
#define BENTO_DIR_START 2
#define BENTO_DIR_END LLONG_MAX
#define BENTO_COOKIE_MAX ((u64)LLONG_MAX - 3)

/* Eight bytes at a time: every name that is listed comes by. Records end at a
 * multiple of 8 of a buffer of so many, so a name's last word is all in there. */
static bool bento_slash_or_nul(const char *name, unsigned int len)
{
	const struct word_at_a_time constants = WORD_AT_A_TIME_CONSTANTS;
	unsigned long word, bits;

	for (; len >= sizeof(word); name += sizeof(word), len -= sizeof(word)) {
		word = *(const unsigned long *)name;
		if (has_zero(word, &bits, &constants) ||
		    has_zero(word ^ REPEAT_BYTE('/'), &bits, &constants))
			return true;
	}
	if (!len)
		return false;
	/* What is behind the name becomes what no name is refused for. */
	word = *(const unsigned long *)name | ~0ul << (8 * len);
	return has_zero(word, &bits, &constants) ||
	       has_zero(word ^ REPEAT_BYTE('/'), &bits, &constants);
}

static int bento_check_entry(struct bento_super *bs, const struct bento_dirent *de,
			     const char *name, u64 pos)
{
	if (!de->ino)
		return bento_bad(bs, BENTO_OP_iterate, "returned inode number 0");
	if (!de->namelen || de->namelen > bs->name_max)
		return bento_bad(bs, BENTO_OP_iterate, "returned a name of %u bytes",
				 de->namelen);
	if (bento_slash_or_nul(name, de->namelen))
		return bento_bad(bs, BENTO_OP_iterate,
				 "returned the name \"%*pE\" with a slash or NUL",
				 min_t(int, de->namelen, 64), name);
	if (name[0] == '.' &&
	    (de->namelen == 1 || (de->namelen == 2 && name[1] == '.')))
		return bento_bad(bs, BENTO_OP_iterate,
				 "returned \"%.*s\", which the kernel adds itself",
				 de->namelen, name);
	if (de->type > DT_WHT || (de->type & 1 && de->type != DT_FIFO))
		return bento_bad(bs, BENTO_OP_iterate, "returned type %u for \"%*pE\"",
				 de->type, min_t(int, de->namelen, 64), name);
	if (!de->next || de->next > BENTO_COOKIE_MAX)
		return bento_bad(bs, BENTO_OP_iterate,
				 "returned cookie %llu, outside 1..=%llu", de->next,
				 BENTO_COOKIE_MAX);
	if (de->next == pos)
		return bento_bad(bs, BENTO_OP_iterate,
				 "returned cookie %llu for the entry after it", pos);
	return 0;
}

/* 1: go on, 0: user space has enough, or an errno. */
static int bento_emit(struct bento_super *bs, struct dir_context *ctx,
		      const struct bento_iterate_args *args)
{
	const u8 *buf = args->entries.ptr;
	size_t len = args->entries.len, at = 0;

	while (at < len) {
		const struct bento_dirent *de = (const void *)(buf + at);
		const char *name = (const char *)(de + 1);
		int err;

		if (len - at < sizeof(*de) || len - at - sizeof(*de) < de->namelen)
			return bento_bad(bs, BENTO_OP_iterate,
					 "returned an entry cut off at byte %zu of %zu",
					 at, len);
		err = bento_check_entry(bs, de, name, args->pos);
		if (err)
			return err;
		if (!dir_emit(ctx, name, de->namelen, de->ino, de->type))
			return 0;
		ctx->pos = de->next + BENTO_DIR_START;
		at += ALIGN(sizeof(*de) + de->namelen, 8);
	}
	return 1;
}

static int bento_iterate(struct file *file, struct dir_context *ctx)
{
	struct inode *dir = file_inode(file);
	struct bento_super *bs = bento_isb(dir);
	void *buf;
	s64 r = 1;

	if (ctx->pos == BENTO_DIR_END || !dir_emit_dots(file, ctx))
		return 0;
	buf = kmalloc(BENTO_DIR_BUFFER, GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	while (r > 0) {
		struct bento_iterate_args args = {
			.dir = bento_pub(dir),
			.pos = ctx->pos - BENTO_DIR_START,
			.entries = { .ptr = buf, .cap = BENTO_DIR_BUFFER },
		};

		r = bento_call(bs, iterate, &args);
		if (r < 0)
			break;
		if (args.entries.len > BENTO_DIR_BUFFER) {
			r = bento_bad(bs, BENTO_OP_iterate,
				      "returned %zu bytes of entries for %u",
				      args.entries.len, BENTO_DIR_BUFFER);
			break;
		}
		if (!args.entries.len && !args.end) {
			r = bento_bad(bs, BENTO_OP_iterate,
				      "returned nothing at position %llu and not the end",
				      args.pos);
			break;
		}
		r = bento_emit(bs, ctx, &args);
		if (r > 0 && args.end) {
			ctx->pos = BENTO_DIR_END;
			break;
		}
		if (fatal_signal_pending(current))
			break;
		cond_resched();
	}
	kfree(buf);
	return bento_errno(r);
}

static loff_t bento_dir_llseek(struct file *file, loff_t offset, int whence)
{
	return generic_file_llseek_size(file, offset, whence, LLONG_MAX,
					i_size_read(file_inode(file)));
}

void bento_fill_dir_fops(struct bento_super *bs, struct file_operations *fops)
{
	fops->read = generic_read_dir;
	fops->llseek = bento_dir_llseek;
	fops->open = bento_open;
	fops->fsync = bento_fsync;
	if (bento_had(bs, BENTO_OP_release))
		fops->release = bento_release;
	if (bento_had(bs, BENTO_OP_iterate))
		fops->iterate_shared = bento_iterate;
	bento_fill_ioctl_fops(bs, fops);
}
