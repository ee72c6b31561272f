/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of bento.ko share. Data path: a VFS table (one C file each)
 * -> bento_invoke() -> trampoline -> thunk in the file system's module.
 *
 * Who owns what:
 *   main.c    module, bento_register, file_system_type by name, versions
 *   slot.c    the gate of one mount (G1), its health
 *   swap.c    upgrade, downgrade, restart (bento-runtime/src/slot.rs)
 *   epoch.c   instances: the current one and those it replaced; sweep.c ends
 *             them; migrate.c moves inode data from one to the next
 *   call.c    bento_invoke: gate, nofs, ledger, abandon; trampoline.S
 *   super.c   fs_context and mount; superops.c the super_operations
 *   inode.c   iget, attributes, pins; new.c inodes being created (S4);
 *   evict.c   their end
 *   attr.c    setattr getattr permission get_link fileattr
 *   helpers.c alloc.c lockdep.c   what Rust calls back
 *   device.c  blocks of the device (data = "extents"); journal.c jbd2 below
 *             them; tx.c transactions and their undo log; space.c free blocks
 *   sysfs.c   /sys/fs/bento
 *   fsmod.c   linked into each file system's module, not into bento.ko
 *   dir.c     lookup create ... rename tmpfile; readdir.c iterate
 *   file.c    file fops; pages.c the page cache of bytes files, sinks and
 *             sources; resident.c of resident ones; iomap.c of those with
 *             extents, by the map that extents.c keeps
 *   xattr.c   xattr handlers, ACLs, listxattr
 *   export.c  NFS file handles      ioctl.c  ioctl, poll
 *   trace.c   tracepoints
 */
#ifndef BENTO_SHIM_H
#define BENTO_SHIM_H

#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/exportfs.h>
#include <linux/fileattr.h>
#include <linux/kobject.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/ratelimit.h>
#include <linux/wait.h>
#include <linux/xattr.h>

#include "bento_abi.h"
#include "compat.h"
#include "iomap.h"

/* ---- one loaded version, one name ---- */

struct bento_version {
	struct list_head list; /* in bento_fs.versions, newest first */
	const struct bento_ops *ops;
	const struct bento_module *mod;
	struct module *owner; /* each mount holds a reference */
	u32 number;
};

/* One name. Stays for bento.ko's life once registered (S1). */
struct bento_fs {
	struct list_head list;
	struct list_head versions; /* under bento_fs_lock */
	struct file_system_type type;
	struct kobject kobj; /* /sys/fs/bento/<name> */
	char name[33];
	u32 chosen; /* version of new mounts; 0 = the newest */
};

/* ---- the slot: the current instance behind its gate ---- */

/*
 * One instance and what it left in the cache. Every inode is counted by one
 * epoch: data are never older than that one, so epochs end oldest first.
 */
struct bento_epoch {
	struct list_head list; /* in bento_slot.old, newest first; RCU */
	void *instance; /* the author's F */
	const struct bento_ops *ops;
	struct bento_version *version; /* referenced: see bento_version.owner */
	u32 generation;
	bool abandoned; /* nothing of it is read or dropped again (C2) */
	bool told; /* that it was, in the log */
	/* How inode data reach the current version. */
	bool crosses;
	u64 inode_shape;
	s64 __percpu *inodes;
	struct rcu_head rcu;
};

enum bento_health { BENTO_OK, BENTO_RESTARTING, BENTO_QUARANTINED };

/* Counted: somebody is about to close it, and readers still enter. */
enum bento_gate { BENTO_GATE_OPEN, BENTO_GATE_COUNTED, BENTO_GATE_CLOSED };

struct bento_slot {
	u32 health; /* enum bento_health: nothing enters unless ok */
	u32 gate; /* enum bento_gate */
	long __percpu *inside; /* readers, calls inside Rust: the sum, and `since` */
	u32 generation; /* these three are now's, for a short way in */
	void *instance;
	const struct bento_ops *ops;
	struct bento_epoch *now;
	struct list_head old; /* epochs that inodes are still counted by */
	struct bento_epoch *making; /* behind the closed gate */
	struct mutex swapping; /* one swap at a time; `old` changes under it */
	wait_queue_head_t wait; /* closer and those at a closed gate */
	struct mutex closing;
	atomic_long_t since; /* counted readers, less who left that came before */
	long before; /* the sum of `inside`, when the gate was closed last */
	u64 closed_at; /* ns, monotonic */
	s64 pause_ns; /* of the last closing, -ETIMEDOUT if it was given up */
	spinlock_t waiters_lock; /* calls that sleep on a lock: bento_wait */
	struct list_head waiters;
#ifdef CONFIG_LOCKDEP
	struct lockdep_map dep_map;
#endif
};

/* Every VFS table of a mount, filled from presence bits: absent is NULL. */
struct bento_tables {
	struct super_operations super;
	struct export_operations export;
	struct inode_operations dir_iops, file_iops, symlink_iops, special_iops;
	struct file_operations dir_fops, file_fops;
	struct address_space_operations aops;
};

/* ---- a disk file system's device: data = "extents" ---- */

/* Free blocks, in the mount's block size: what the handlers claim and release,
 * and what delayed allocations have been promised. Exact: one lock. */
struct bento_space {
	spinlock_t lock;
	s64 free; /* less what running transactions have claimed */
	s64 reserved; /* of `free`: promised to dirty data */
	u64 root, margin; /* see bento_mount_args */
	kuid_t uid; /* who may use `root` as well */
	kgid_t gid;
	bool freed; /* blocks have been, the last ones by transaction `tid` */
	u32 tid;
};

struct bento_sum; /* a checksum and its jbd2 trigger: journal.c */

struct bento_disk {
	struct bento_space space;
	struct journal_s *journal; /* NULL: without one */
	struct bento_run *runs; /* where it lies, for j_bmap */
	size_t run_count;
	struct bento_sum *sums;
	u32 sum_count, sums_added; /* added: by the mount call that runs */
	u32 journal_flags; /* BENTO_JOURNAL_* */
	bool writable; /* transactions may begin */
	bool recovered; /* that handler has been called */
	bool skipped; /* a journal was there and left alone: never writable */
	bool opened; /* bento_journal_open has been called */
	bool settled; /* what blocks hold now is not replayed over */
	bool failed; /* errors=ro or the journal stopped: told once */
	bool auto_da_alloc; /* what replaces a file is written first */
	s32 journal_error; /* in the journal until the mount has succeeded */
	spinlock_t discard_lock;
	struct list_head discards; /* discard.c */
	wait_queue_head_t discard_wait; /* for that to become shorter */
	bool discard_failed; /* told once */
};

struct bento_super {
	struct super_block *sb;
	struct bento_fs *fs;
	struct rcu_head rcu; /* RCU-walk may still read our tables */
	struct bento_slot slot;
	struct bento_tables tables;
	u64 handlers; /* presence bits of the current version */
	u64 filled; /* and of all so far: what `tables` were filled from */
	u32 data; /* BENTO_DATA_* */
	char *source, *options; /* options under sb->s_umount or options_lock */
	spinlock_t options_lock;
	u64 root_ino;
	u32 magic, name_max;
	struct inode *root; /* set while mounted */

	/* Limits of a resident mount, 0 = none, and what is in use. file.c
	 * charges pages with bento_charge_bytes(), inode.c inodes. */
	u64 max_bytes, max_inodes;
	atomic64_t used_bytes, used_inodes;

	struct bento_disk disk; /* bento_extents() only */

	/* Evicted while the gate was closed: see evict.c */
	spinlock_t orphan_lock;
	struct list_head orphans;
	wait_queue_head_t orphan_wait;
	struct work_struct orphan_work;
	atomic_t deferred; /* workers that drop stale pages, and hold inodes */
	atomic_t owing; /* inodes whose written data a handler has refused to hear of */

	/* swap.c and sweep.c */
	bool live; /* mounted: a restart makes sense */
	bool dying; /* under act_lock: no work is queued any more */
	spinlock_t act_lock;
	bool acting; /* swap_work has something to do */
	u32 act, act_version;
	struct work_struct swap_work, restart_work, sweep_work;
	unsigned int timeout_ms;
	unsigned int restart_limit; /* a minute; 0 = none */
	unsigned int restarts_lately;
	unsigned long restarts_since; /* jiffies */
	u64 swaps, restarts, acts;
	char last_swap[448]; /* under act_lock */
	struct bento_state *snapshot; /* under snapshot_lock */
	struct mutex snapshot_lock;

	atomic64_t panics, bad_values;
	struct ratelimit_state log_limit, panic_limit;
	char last_error[160]; /* what the handler logged during mount */
	/* sysfs asked for the gate to be closed for some milliseconds */
	struct work_struct pause_work;
	unsigned int pause_ms;
	struct kobject kobj; /* /sys/fs/bento/<fs>/<dev>; frees us */
	bool kobj_added;
};

/* ---- inodes ---- */

struct bento_kinode {
	struct bento_inode pub; /* what Rust sees */
	struct timespec64 btime;
	u32 fsflags; /* FS_*_FL as chattr shows them */
	u32 blksize; /* preferred I/O size, 0 = the mount's */
	unsigned long state; /* BENTO_KI_* bits */
	wait_queue_head_t poll_wait; /* ioctl.c polls, bento_inode_wake wakes */
	s64 charged; /* file.c: bytes charged to a resident mount */
	struct bento_epoch *epoch; /* that counts it; NULL before and after */
	u32 made; /* generation of `data` while data_generation is 0: poisoned */
	u32 failures; /* to migrate or load it, since the last swap */
	/* bento_extents() only. disk_size: of i_size what has reached the device,
	 * under i_lock to change. The journal's transactions that fsync and
	 * fdatasync wait for; stored_size: the disk_size of the last of them. */
	u64 disk_size, stored_size;
	u32 project;
	u32 sync_tid, datasync_tid;
	struct bento_map map; /* extents.c */
	struct inode vfs;
};

enum {
	BENTO_KI_LOADED, /* pub.data is valid: forget_inode is due at eviction */
	BENTO_KI_PINNED, /* resident: one extra reference while nlink > 0 */
	BENTO_KI_COUNTED, /* counted in used_inodes */
	BENTO_KI_SETTLING, /* bit lock: one task moves its data */
	BENTO_KI_EMPTIED, /* bento_extents(): written when a writer closes it */
};

static inline struct bento_super *bento_sb(const struct super_block *sb)
{
	return sb->s_fs_info;
}

static inline struct bento_super *bento_isb(const struct inode *inode)
{
	return inode->i_sb->s_fs_info;
}

static inline struct bento_kinode *bento_ki(const struct inode *inode)
{
	return container_of(inode, struct bento_kinode, vfs);
}

/* For argument blocks. NULL in, NULL out. */
static inline struct bento_inode *bento_pub(const struct inode *inode)
{
	return inode ? &bento_ki(inode)->pub : NULL;
}

static inline struct inode *bento_vfs(const struct bento_inode *pub)
{
	return &container_of(pub, struct bento_kinode, pub)->vfs;
}

static inline bool bento_has(const struct bento_super *bs, enum bento_op op)
{
	return bs->handlers & (1ull << op);
}

/* Does any version so far have it? For what fills tables, which only grow. */
static inline bool bento_had(const struct bento_super *bs, enum bento_op op)
{
	return bs->filled & (1ull << op);
}

static inline bool bento_resident(const struct bento_super *bs)
{
	return bs->data == BENTO_DATA_RESIDENT;
}

/* A disk file system: a block device below, transactions, attributes that the
 * handlers stage (bento_tx_inode) and the shim does not change for them. */
static inline bool bento_extents(const struct bento_super *bs)
{
	return bs->data == BENTO_DATA_EXTENTS;
}

static inline struct bento_bytes bento_bytes(const void *ptr, size_t len)
{
	return (struct bento_bytes){ .ptr = ptr, .len = len };
}

static inline struct bento_bytes bento_name(const struct qstr *name)
{
	return bento_bytes(name->name, name->len);
}

/* ---- call.c: one call (C1) ---- */

#define BENTO_INLINE_REFS 4
#define BENTO_INLINE_BLOCKS 8

struct bento_deferred; /* invalidations */
struct bento_tx; /* tx.c */
struct buffer_head;

/* The shim's ledger of one call; Rust sees `pub` only. */
struct bento_kcall {
	struct bento_call pub;
	bento_idmap *idmap; /* for bento_generic_permission */
	struct inode *need_acl; /* that check met an ACL which is not cached */
	unsigned int nrefs;
	bool nested; /* below another call, or beside the gate: bento_direct */
	bool overflowed; /* no stack was left, at `overflow` (line 0: not known) */
	struct bento_location overflow;
	void *args; /* of the thunk: whose inodes it has */
	struct inode *refs[BENTO_INLINE_REFS];
	struct bento_more_refs *more;
	struct bento_deferred *deferred;
	struct bento_tx *tx; /* the call's transaction */
	u64 reserved; /* allocate_extents: what is left of args->reserved */
	unsigned int nblocks; /* slots in use are below this one; device.c */
	unsigned int block_room; /* how many it has been */
	struct buffer_head *blocks[BENTO_INLINE_BLOCKS];
	struct bento_more_blocks *more_blocks;
};

/*
 * Call thunk `op` with its argument block: waits at a closed gate, -EIO on a
 * quarantined slot, nofs scope inside, ledger drained after the gate. Returns
 * what the thunk returned, a negative value being a sane errno (-4095..-1).
 * Outputs in `args` are still to be distrusted. May sleep; hold no spinlock,
 * no RCU.
 */
s64 bento_invoke(struct bento_super *bs, enum bento_op op, void *args);
/* The same with a ledger of the caller's (kc->idmap set or NULL before, the
 * outcome readable after). bento_kcall_init first. */
s64 bento_invoke_kc(struct bento_super *bs, enum bento_op op, void *args,
		    struct bento_kcall *kc);
/* All that is read before the call, so that a frame need not be zeroed. */
static inline void bento_kcall_init(struct bento_kcall *kc)
{
	kc->pub.op = BENTO_OP_COUNT;
	kc->pub.outcome = BENTO_OUTCOME_RETURNED;
	kc->idmap = NULL;
	kc->need_acl = NULL;
	kc->nrefs = 0;
	kc->nested = false;
	kc->overflowed = false;
	kc->more = NULL;
	kc->deferred = NULL;
	kc->tx = NULL;
	kc->reserved = 0;
	kc->nblocks = 0;
	kc->block_room = 0;
	kc->more_blocks = NULL;
}

/* The call alone, by one who is inside the gate; the caller drains `kc`. */
s64 bento_inside(struct bento_super *bs, enum bento_op op, void *args,
		 struct bento_kcall *kc);
/*
 * Into the code of one epoch, whichever: by who has closed the gate, or is
 * inside it, or knows that nobody else reaches what is passed. References go
 * to `outer`, whoever drains that; NULL drops them here, outside of the gate.
 */
s64 bento_direct(struct bento_super *bs, struct bento_epoch *epoch,
		 enum bento_op op, void *args, struct bento_kcall *outer);
void bento_drain(struct bento_kcall *kc);

/* Type-checked form: s64 r = bento_call(bs, lookup, &args). */
#define bento_call(bs, name, argp)                                           \
	({                                                                   \
		struct bento_##name##_args *__args = (argp);                 \
		bento_invoke((bs), BENTO_OP_##name, __args);                 \
	})

/* A handler's `result` for a caller that wants 0 or an errno: a positive value
 * is dropped. */
static inline int bento_errno(s64 result)
{
	return result < 0 ? (int)result : 0;
}

/* Too little stack left in this task to enter Rust. */
bool bento_stack_short(void);
/* The same for I/O by one who is inside; told. */
bool bento_stack_short_io(struct bento_call *call);
struct bento_record *bento_find_record(unsigned long sp);

/* A reference that the call gives back after the gate. */
void bento_ledger_add(struct bento_kcall *kc, struct inode *inode);

/* Does `lock` lie in that inode's data? */
bool bento_holds(const struct bento_super *bs, const struct bento_inode *pub,
		 const void *lock);
struct bento_inode *bento_ledger_find(struct bento_kcall *kc, const void *lock);

extern struct workqueue_struct *bento_wq;
extern struct workqueue_struct *bento_urgent_wq; /* restarts */
extern struct workqueue_struct *bento_deep_wq; /* needs a stack of its own */
extern struct workqueue_struct *bento_done_wq; /* data I/O has ended */
extern const char *const bento_op_names[BENTO_OP_COUNT];

/*
 * A handler returned something impossible: rate-limited
 * `bento: memfs(none): lookup returned inode number 0`, counted; -EUCLEAN.
 * `fmt` starts with a verb: bento_bad(bs, BENTO_OP_lookup, "returned inode
 * number %llu", n).
 */
__printf(3, 4) int bento_bad(struct bento_super *bs, enum bento_op op,
			     const char *fmt, ...);
/* Any other line of this mount: level is KERN_ERR etc. Not rate-limited. */
#define bento_msg(bs, level, fmt, ...)                                       \
	printk(level "bento: %s(%s): " fmt "\n", (bs)->fs->name,             \
	       (bs)->source ?: "none", ##__VA_ARGS__)

/* ---- slot.c ---- */

int bento_slot_init(struct bento_slot *slot);
void bento_slot_exit(struct bento_slot *slot);
int bento_slot_enter(struct bento_slot *slot); /* waits; -EIO in quarantine */
bool bento_slot_try_enter(struct bento_slot *slot);
void bento_slot_enter_any(struct bento_slot *slot); /* whatever its health */
void bento_slot_leave(struct bento_slot *slot);
/* On timeout `who` names the handler that was waited for. */
int bento_slot_close(struct bento_slot *slot, unsigned long timeout, char *who,
		     size_t size);
void bento_slot_reopen(struct bento_slot *slot);
/* This instance goes on no more: restarted or quarantined. From inside. */
void bento_slot_fail(struct bento_super *bs, const char *why);

/* Those in bento_wait() look again. */
void bento_wake_waiters(struct bento_slot *slot);

/* ---- epoch.c ---- */

struct bento_epoch *bento_epoch_new(struct bento_version *version, u32 generation);
void bento_epoch_free(struct bento_epoch *epoch); /* the module reference too */
/* That generation's, if it has not ended. By who is inside the gate, or holds
 * `swapping`. */
struct bento_epoch *bento_epoch_find(struct bento_slot *slot, u32 generation);
/* An abandoned call was in it. */
void bento_epoch_abandoned(struct bento_super *bs, struct bento_epoch *epoch);
s64 bento_epoch_inodes(const struct bento_epoch *epoch);
void bento_epoch_count(struct bento_super *bs, struct bento_kinode *ki);
void bento_epoch_uncount(struct bento_kinode *ki);
/* Nothing of its data is left: the instance is dropped, the module let go. */
void bento_epoch_end(struct bento_super *bs, struct bento_epoch *epoch);
/* The first of `from` that is in `to`. */
bool bento_shape_choose(const struct bento_shapes *from,
			const struct bento_shapes *to, u64 *shape);

/* ---- migrate.c ---- */

struct bento_state {
	u8 *ptr;
	size_t len, cap;
};

int bento_state_reserve(struct bento_state *state, size_t cap);
void bento_state_free(struct bento_state *state);
/* Data of the current generation. Inside the gate. */
int bento_settle(struct bento_super *bs, struct bento_kinode *ki,
		 struct bento_kcall *outer);
/* Without a handler, by the version that made them; or leaked, as they must be. */
void bento_drop_data(struct bento_super *bs, struct bento_kinode *ki);

/* ---- swap.c, sweep.c, trace.c ---- */

enum bento_act { BENTO_UPGRADE, BENTO_RESTART, BENTO_SNAPSHOT };

void bento_swap_init(struct bento_super *bs);
/* -EBUSY while one is under way, -ENODEV on a mount that is going. */
int bento_swap_queue(struct bento_super *bs, enum bento_act act, u32 version);
/* The mount is going: no swap, no sweep from here on. */
void bento_swap_stop(struct bento_super *bs);
void bento_sweep_start(struct bento_super *bs);
void bento_sweep_work(struct work_struct *work);
s64 bento_old_inodes(struct bento_super *bs);
void bento_trace_swap(struct bento_super *bs, const char *what, u32 from, u32 to,
		      int err, u64 pause, u64 drain, u64 save, u64 load,
		      u64 bytes, s64 inodes);

/* ---- inode.c ---- */

extern struct kmem_cache *bento_inode_cache;

/* The inode of that number, loaded. ERR_PTR: -EUCLEAN for 0, what load_inode
 * said otherwise. `op` is named in the complaint about a bad number. Never
 * inside the gate. */
struct inode *bento_iget(struct super_block *sb, u64 ino, enum bento_op op);

/* After i_nlink changed (set_nlink, drop_nlink, inc_nlink by the caller):
 * takes or drops the pin of a resident inode. The caller holds a reference. */
void bento_nlink_changed(struct inode *inode);
/* Attributes changed: to be written by write_inode, if there is one. */
void bento_dirty(struct inode *inode);
/* mtime and ctime = now, bento_dirty: a directory whose entries changed, a
 * file whose bytes did. */
void bento_touch(struct inode *inode);
/* ctime = now, bento_dirty. */
void bento_touch_ctime(struct inode *inode);
/* i_op, i_fop, i_mapping by type; mode and rdev are set. */
void bento_init_ops(struct inode *inode);

void bento_fill_attr(const struct inode *inode, struct bento_attr *attr);
/* A handler's change of attributes: possible (0 or -EUCLEAN, told), two made one,
 * and done. */
int bento_attr_check(struct bento_call *call, struct inode *inode,
		     const struct bento_attr *attr, u32 valid);
void bento_attr_merge(struct bento_attr *to, const struct bento_attr *attr, u32 valid);
void bento_attr_store(struct inode *inode, const struct bento_attr *attr, u32 valid);
void bento_set_fsflags(struct inode *inode, u32 fsflags);

static inline struct bento_time bento_time(struct timespec64 ts)
{
	return (struct bento_time){ .sec = ts.tv_sec, .nsec = ts.tv_nsec };
}

/* ---- evict.c ---- */

void bento_evict_inode(struct inode *inode);
/* Drop the author's data of an inode, if it has any. */
void bento_forget(struct inode *inode);
/* Until no data of that number waits to be dropped. */
void bento_wait_orphan(struct bento_super *bs, u64 ino);
void bento_orphans_init(struct bento_super *bs);

/* ---- new.c: create, mkdir, mknod, symlink, tmpfile, whiteout (S4) ---- */

#define BENTO_NEW_XATTRS 8

struct bento_making {
	struct inode *inode; /* ours until bento_new_finish */
	struct bento_new node; /* hand out &node or copy it into make_args */
	unsigned int count;
	struct bento_xattr xattrs[BENTO_NEW_XATTRS];
	struct posix_acl *acl, *default_acl;
};

/*
 * Allocate and initialise: owner, sgid, mode by default ACL, ACL and security
 * xattrs (when the handler setxattr is there). `name` may be empty (tmpfile).
 * -ENOSPC at a resident mount's limit. Outside the gate.
 */
int bento_new_prepare(struct bento_making *mk, bento_idmap *idmap,
		      struct inode *dir, const struct qstr *name, umode_t mode,
		      dev_t rdev);
/*
 * After the handler: `result` is what bento_invoke gave, `node` the bento_new
 * the handler saw (it may lie in make_args). On success the inode is hashed,
 * I_NEW, nlink set (directory 2, others 1; of a tmpfile too, which d_tmpfile()
 * drops), times now, pinned (not a tmpfile), i_link set from `target` for
 * symlinks (NULL otherwise); the caller applies d_instantiate_new(), or
 * d_tmpfile() and unlock_new_inode(), and updates the directory.
 * On failure everything is given back, the author's data by forget_inode, and
 * the errno returned.
 */
int bento_new_finish(struct bento_making *mk, const struct bento_new *node,
		     enum bento_op op, s64 result,
		     const struct bento_bytes *target);

/* ---- attr.c ---- */

/* setattr getattr permission fileattr for any inode type; get_link for
 * symlinks. */
void bento_fill_common_iops(struct bento_super *bs, struct inode_operations *iops);
void bento_fill_symlink_iops(struct bento_super *bs, struct inode_operations *iops);
/* The handler alone. */
int bento_ask_setattr(bento_idmap *idmap, struct inode *inode,
		      const struct iattr *ia);
/* Through the handler alone, with ctime. */
int bento_set_mode(struct inode *inode, umode_t mode);
int bento_set_link(struct inode *inode, const void *target, size_t len);

/* ---- dir.c (kmodio) ---- */

void bento_fill_dir_iops(struct bento_super *bs, struct inode_operations *iops);
void bento_fill_dir_fops(struct bento_super *bs, struct file_operations *fops);

/* ---- file.c, pages.c, resident.c (kmodio) ---- */

/* Directories and files. */
int bento_open(struct inode *inode, struct file *file);
int bento_release(struct inode *inode, struct file *file);
int bento_fsync(struct file *file, loff_t start, loff_t end, int datasync);

void bento_fill_file_iops(struct bento_super *bs, struct inode_operations *iops);
void bento_fill_file_fops(struct bento_super *bs, struct file_operations *fops);
void bento_fill_aops(struct bento_super *bs, struct address_space_operations *aops);
/* A regular file's mapping, at load and creation: gfp mask, unevictable when
 * resident, large folios. i_mapping->a_ops is set by bento_init_ops. */
void bento_init_mapping(struct inode *inode);
/* st_blocks: pages present when resident, i_blocks otherwise. */
u64 bento_file_blocks(const struct inode *inode);
/*
 * setattr of a size. Both under i_rwsem and invalidate_lock (attr.c takes
 * them). `prepare` before the handler: may fail; for a shrinking bytes file
 * writes back what lies beyond, so that no writeback races the handler.
 * `apply` after it agreed: truncate_setsize, uncharge.
 */
int bento_setsize_prepare(struct inode *inode, loff_t size);
void bento_setsize_apply(struct inode *inode, loff_t size);
/* Eviction: truncate_inode_pages_final and uncharge. Every inode type. */
void bento_evict_pages(struct inode *inode);

/* A regular file that has just been made: nothing lies anywhere yet. */
void bento_map_fresh(struct inode *inode);
/* Blocks that are reserved and not in i_blocks yet. */
u64 bento_map_delayed(const struct inode *inode);
/* Eviction: what was reserved is given back. */
void bento_map_end(struct inode *inode);
/* setattr of a size, data = "extents": under i_rwsem and invalidate_lock, with
 * the handler's call in the middle. */
int bento_extents_resize(bento_idmap *idmap, struct inode *inode,
			 const struct iattr *ia);

/* auto_da_alloc, data = "extents": before a rename over another file; when a
 * regular file is closed. */
int bento_extents_replaces(struct inode *inode);
void bento_extents_close(struct inode *inode, struct file *file);

/* Resident limit: true and charged, or false (-ENOSPC). inode.c. */
bool bento_count_inode(struct inode *inode);
bool bento_charge_bytes(struct bento_super *bs, s64 bytes);
void bento_uncharge_bytes(struct bento_super *bs, s64 bytes);

/* ---- device.c, journal.c, tx.c, space.c: data = "extents" ---- */

/* Blocks that a call still holds. Inside the gate. */
void bento_blocks_release(struct bento_kcall *kc);
/* Its open transaction undone. Inside the gate, in the call's nofs scope. */
void bento_tx_drop(struct bento_kcall *kc);
int bento_tx_init(void);
void bento_tx_exit(void);
/* The inodes in a call's arguments, at most 4; some may be NULL. */
unsigned int bento_inodes_of(struct bento_kcall *kc, struct bento_inode **out);

void bento_disk_init(struct bento_super *bs);
/* Does the journal lie in these blocks of the device? Its shim's own. */
bool bento_journal_overlaps(const struct bento_super *bs, u64 number, u64 count);
/* What the mount handler chose, checked. */
int bento_disk_mounted(struct bento_super *bs, const struct bento_mount_args *args);
void bento_disk_reconfigured(struct bento_super *bs,
			     const struct bento_reconfigure_args *args);
/* Read-only until now. */
int bento_disk_writable(struct bento_super *bs);
/* The mount has succeeded: `recover`, and no error is left in the journal. */
int bento_disk_ready(struct bento_super *bs);
/* After the unmount handler: the journal is emptied and closed. */
void bento_disk_exit(struct bento_super *bs);
/* What has been committed reaches the device: waits with `wait`. */
int bento_journal_sync(struct bento_super *bs, bool wait);
void bento_journal_make_room(struct bento_super *bs);
/* All of it, and the journal is empty: freeze, and read-only from now on. */
int bento_journal_empty(struct bento_super *bs);
/* Until the transaction that last touched that inode is on the device, and the
 * device's cache is empty. Outside of the gate. */
int bento_journal_wait(struct inode *inode, bool datasync);
/* The same, if changes of that directory or inode are to be synchronous. */
static inline int bento_journal_dirsync(struct inode *inode)
{
	return unlikely(IS_DIRSYNC(inode)) && bento_extents(bento_isb(inode)) ?
		       bento_journal_wait(inode, false) : 0;
}
/* A fresh inode may have been changed by a transaction that is not on the device
 * yet: fsync waits for the one that runs. */
void bento_journal_loaded(struct inode *inode);
/* This transaction of the journal changed what is stored of an inode. */
void bento_journal_touched(struct inode *inode, u32 tid, bool data);

/*
 * Blocks promised to data that have just become dirty: 0 or -ENOSPC, at once.
 * They are counted as used from here on. allocate_extents, called with
 * BENTO_ALLOCATE_DELAYED and `reserved`, takes its claims from them; on return
 * args->reserved is what it has not taken. Those stay reserved until
 * bento_space_unreserve, by whoever reserved them.
 */
int bento_space_reserve(struct bento_super *bs, u64 blocks);
void bento_space_unreserve(struct bento_super *bs, u64 blocks);
/* For statfs, in blocks: free ones, and those of them that anybody may have. */
void bento_space_statfs(struct bento_super *bs, u64 *bfree, u64 *bavail);
/* A transaction's: from `*reserved` first. -ENOSPC. */
int bento_space_claim(struct bento_super *bs, u64 blocks, u64 *reserved, bool margin);
void bento_space_unclaim(struct bento_super *bs, u64 blocks, u64 reserved);
void bento_space_freed(struct bento_super *bs, u32 tid);
/* A handler found no space: after waiting for what was freed, is it to be called
 * once more? Never inside of the gate. */
bool bento_space_again(struct bento_super *bs, s64 r, int *tries);

/* discard.c. Is the device still to hear of blocks that transactions up to this
 * one have freed? */
bool bento_discard_pending(struct bento_super *bs, u32 tid);
void bento_discard_wait(struct bento_super *bs, u32 tid);
long bento_fitrim(struct file *file, void __user *user);

/* ---- xattr.c (kmodio) ---- */

extern const struct xattr_handler *const bento_xattr_handlers[];
/* A mode that an ACL follows, in one transaction: 1 when that is done. */
int bento_chmod_acl(struct inode *inode, umode_t mode);
/* listxattr, get_inode_acl (6.1: get_acl), set_acl: for any inode type. */
void bento_fill_xattr_iops(struct bento_super *bs, struct inode_operations *iops);

/* ---- export.c, ioctl.c (kmodio) ---- */

void bento_fill_export(struct bento_super *bs, struct export_operations *ops);
/* unlocked_ioctl, compat_ioctl, poll: for directories and files. */
void bento_fill_ioctl_fops(struct bento_super *bs, struct file_operations *fops);

/* ---- super.c, superops.c, main.c, sysfs.c, lockdep.c ---- */

extern struct mutex bento_fs_lock; /* names and versions */
extern const struct bento_host bento_kernel_host;

int bento_init_fs_context(struct fs_context *fc);
void bento_kill_sb(struct super_block *sb);
void bento_put_super(struct super_block *sb);
/* Tables that lead to `handlers` as well. */
int bento_grow_tables(struct bento_super *bs, u64 handlers);
/* A new instance below a live mount, by `epoch`'s version (S3). */
int bento_remount(struct bento_super *bs, struct bento_epoch *epoch,
		  struct bento_kcall *kc);
void bento_fill_super_ops(struct bento_super *bs, struct super_operations *ops);
void bento_unpin_all(struct super_block *sb);
/* That version, or the default one for 0; its module referenced. */
struct bento_version *bento_version_get(struct bento_fs *fs, u32 number);
void bento_version_put(struct bento_version *version);
void bento_free_fs(struct bento_fs *fs);

int bento_sysfs_init(void);
void bento_sysfs_exit(void);
int bento_sysfs_add_fs(struct bento_fs *fs);
void bento_sysfs_init_super(struct bento_super *bs);
int bento_sysfs_add_super(struct bento_super *bs);
void bento_sysfs_del_super(struct bento_super *bs);

s64 bento_allocated_bytes(void);
void bento_lockdep_exit(void);

/* trampoline.S */
s64 bento_trampoline(struct bento_call *call, void *thunk, void *args);
void mcount(void);
asmlinkage void bento_stack_overflow(const struct bento_regs *regs);

#endif
