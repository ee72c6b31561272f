// SPDX-License-Identifier: GPL-2.0
/*
 * Commands of the author's own, and readiness. The argument of a command is
 * copied by the size its number encodes, before and after the gate (G3).
 */
#include <linux/compat.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "shim.h"

#define BENTO_POLL_EVENTS                                                      \
	((__force u32)(EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLERR | EPOLLHUP |   \
		       EPOLLNVAL | EPOLLRDNORM | EPOLLRDBAND | EPOLLWRNORM |   \
		       EPOLLWRBAND | EPOLLMSG | EPOLLRDHUP))

static long bento_do_ioctl(struct file *file, unsigned int cmd,
			   unsigned long word, void __user *user)
{
	struct inode *inode = file_inode(file);
	struct bento_super *bs = bento_isb(inode);
	size_t size = _IOC_SIZE(cmd);
	size_t in = _IOC_DIR(cmd) & _IOC_WRITE ? size : 0;
	size_t out = _IOC_DIR(cmd) & _IOC_READ ? size : 0;
	struct bento_ioctl_args args = {
		.inode = bento_pub(inode),
		.cmd = cmd,
		.arg = in + out ? 0 : word,
	};
	u8 *buf = NULL;
	s64 r = -EFAULT;

	if (in + out) {
		buf = kzalloc(in + out, GFP_KERNEL);
		if (!buf)
			return -ENOMEM;
		args.input = bento_bytes(buf, in);
		args.output.ptr = buf + in;
		args.output.cap = out;
		if (copy_from_user(buf, user, in))
			goto out;
	}
	r = bento_call(bs, ioctl, &args);
	if (r > INT_MAX)
		r = bento_bad(bs, BENTO_OP_ioctl, "returned %lld", r);
	else if (r >= 0 && args.output.len > out)
		r = bento_bad(bs, BENTO_OP_ioctl, "returned %zu bytes for %zu",
			      args.output.len, out);
	else if (r >= 0 && copy_to_user(user, args.output.ptr, args.output.len))
		r = -EFAULT;
out:
	kfree(buf);
	return r;
}

/* What the shim does itself comes first. */
static long bento_any_ioctl(struct file *file, unsigned int cmd,
			    unsigned long word, void __user *user)
{
	struct bento_super *bs = bento_isb(file_inode(file));

	if (cmd == FITRIM && bento_had(bs, BENTO_OP_trim))
		return bento_fitrim(file, user);
	return bento_had(bs, BENTO_OP_ioctl) ? bento_do_ioctl(file, cmd, word, user) : -ENOTTY;
}

static long bento_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return bento_any_ioctl(file, cmd, arg, (void __user *)arg);
}

#ifdef CONFIG_COMPAT
static long bento_compat_ioctl(struct file *file, unsigned int cmd,
			       unsigned long arg)
{
	return bento_any_ioctl(file, cmd, arg, compat_ptr(arg));
}
#endif

/* The wait queue is the inode's; Context::wake rings it. */
static __poll_t bento_poll(struct file *file, struct poll_table_struct *table)
{
	struct inode *inode = file_inode(file);
	struct bento_super *bs = bento_isb(inode);
	struct bento_poll_args args = {
		.inode = bento_pub(inode),
		.flags = (__force u32)poll_requested_events(table),
		.out = (__force u32)DEFAULT_POLLMASK, /* nobody to ask */
	};
	s64 r;

	/* First, or a wake between the answer and the wait would be lost. */
	poll_wait(file, &bento_ki(inode)->poll_wait, table);
	r = bento_call(bs, poll, &args);
	if (r >= 0 && args.out & ~(u64)BENTO_POLL_EVENTS)
		r = bento_bad(bs, BENTO_OP_poll, "returned events 0x%llx", args.out);
	return r < 0 ? EPOLLERR : (__force __poll_t)(u32)args.out;
}

void bento_fill_ioctl_fops(struct bento_super *bs, struct file_operations *fops)
{
	if (bento_had(bs, BENTO_OP_poll))
		fops->poll = bento_poll;
	if (!bento_had(bs, BENTO_OP_ioctl) && !bento_had(bs, BENTO_OP_trim))
		return;
	fops->unlocked_ioctl = bento_ioctl;
#ifdef CONFIG_COMPAT
	fops->compat_ioctl = bento_compat_ioctl;
#endif
}
