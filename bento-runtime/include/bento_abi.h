/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The whole contract between a shim (bento.ko, user-shim) and a file system
 * written in Rust, in both directions. bindgen reads this file and nothing
 * else. A change here bumps BENTO_ABI_VERSION.
 *
 * Conventions: integers are in host order; times are seconds and nanoseconds
 * since the epoch; every byte string has a length and no terminator; pointers
 * in an argument block are valid for that call only. A thunk returns >= 0 or a
 * negative errno, and the shim believes none of what comes back.
 */
#ifndef BENTO_ABI_H
#define BENTO_ABI_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stddef.h>
#include <stdint.h>
#endif

#define BENTO_ABI_MAGIC 0x31544e42u /* "BNT1" */
#define BENTO_ABI_VERSION 5u

#define BENTO_NAME_MAX 255u
#define BENTO_XATTR_SIZE_MAX 65536u
#define BENTO_ROOT_INO 1u

/*
 * Every handler, in the order of the table. The number is the presence bit
 * in bento_ops.handlers and the name that log lines use.
 * `forget_inode` and `unmount` also drop the author's data, so their thunks
 * are always there; their bits tell whether the author wrote a handler.
 */
#define BENTO_FOR_EACH_HANDLER(X)                                                   \
	X(mount) X(unmount) X(statfs) X(sync_fs) X(reconfigure)                \
	X(freeze) X(thaw) X(recover)                                           \
	X(load_inode) X(write_inode) X(evict_inode) X(forget_inode)            \
	X(lookup) X(create) X(mkdir) X(mknod) X(symlink) X(link) X(unlink)     \
	X(rmdir) X(rename) X(tmpfile)                                          \
	X(get_link) X(setattr) X(getattr) X(permission)                        \
	X(getxattr) X(listxattr) X(setxattr) X(removexattr) X(set_acl)         \
	X(fileattr_get) X(fileattr_set)                                        \
	X(iterate) X(open) X(release) X(flush) X(fsync)                        \
	X(read) X(write) X(fallocate) X(ioctl) X(poll) X(seek) X(fadvise)      \
	X(get_parent)                                                          \
	X(map_extents) X(allocate_extents) X(convert_extents)                  \
	X(trim)

/*
 * What replaces an instance behind a closed gate, and inode data after it. The
 * thunks are always there, the author writes none of them. (SAFETY.md S2)
 */
#define BENTO_FOR_EACH_STATE_OP(X)                                             \
	X(save) X(load) X(drop_instance)                                       \
	X(save_inode) X(migrate_inode) X(drop_inode)

#define BENTO_FOR_EACH_OP(X) BENTO_FOR_EACH_HANDLER(X) BENTO_FOR_EACH_STATE_OP(X)

enum bento_op {
#define X(name) BENTO_OP_##name,
	BENTO_FOR_EACH_OP(X)
#undef X
	BENTO_OP_COUNT
};

/* How many of them are handlers, and have a presence bit. */
#define BENTO_HANDLER_COUNT ((unsigned int)BENTO_OP_save)

/* Opaque to Rust. */
struct bento_super; /* one mount: its slot, gate and counters */
struct bento_sink; /* where `read` puts bytes: folios or a buffer of the shim */
struct bento_source; /* where `write` takes bytes from */
struct bento_state; /* where `save` puts bytes; grows in the shim */
struct bento_undo; /* below */

struct bento_time {
	int64_t sec;
	uint32_t nsec;
	uint32_t pad;
};

struct bento_bytes {
	const uint8_t *ptr;
	size_t len;
};

/* A kernel buffer private to this call, lent for writing. */
struct bento_buf {
	uint8_t *ptr;
	size_t cap;
	size_t len; /* out: bytes used, or needed when > cap */
};

/*
 * The public head of the shim's ledger of one call (SAFETY.md C1). The shim
 * embeds it; what follows it is the shim's own.
 */
struct bento_call {
	void *instance; /* the author's F; NULL only in mount */
	struct bento_super *sb;
	uint32_t op; /* enum bento_op */
	uint32_t outcome; /* BENTO_OUTCOME_*, written by the runtime */
	/* How many bytes of stack must stay free below a Rust frame; the
	 * lowest usable address of this task's stack. */
	uintptr_t stack_limit;
	/* Runtime's own while a panic unwinds; 0 at entry. */
	uint32_t unwinding;
	uint32_t generation; /* of `instance`; never 0 */
	/* The newest chunk of this call's undo log; NULL outside a transaction. */
	struct bento_undo *undo;
};

#define BENTO_OUTCOME_RETURNED 0u /* Ok or Err */
#define BENTO_OUTCOME_UNWOUND 1u /* a panic; destructors ran */
#define BENTO_OUTCOME_ABANDONED 2u /* no destructors: instance is poisoned */

/*
 * What the trampoline leaves on the stack below the shim's frame and above the
 * first Rust frame. The runtime finds it by scanning upwards from its own
 * stack pointer: the first word w at address a with w == (BENTO_RECORD_MAGIC ^ a).
 * The trampoline clears it on every way out, so a stale one never exists.
 */
#define BENTO_RECORD_MAGIC 0x33a70c5e91d2f468ull
struct bento_record {
	uint64_t magic; /* BENTO_RECORD_MAGIC ^ own address */
	struct bento_call *call;
	/* callee-saved registers follow, the trampoline's own business */
};

/* ---- inodes ---- */

/* The part of the shim's inode that Rust sees. */
struct bento_inode {
	uint64_t ino;
	void *data; /* the author's per-inode data; NULL before load */
	/* The instance's generation that `data` was made in: equal to the call's,
	 * it may be used as it is. Else, and always when it is 0 (no data, or
	 * poisoned), bento_inode_resolve() comes first. Written after `data`,
	 * with release. */
	uint32_t data_generation;
	uint32_t flags; /* BENTO_INODE_* */
};

#define BENTO_INODE_POISONED 1u

struct bento_attr {
	uint64_t ino;
	uint64_t size; /* bytes */
	uint64_t blocks; /* of 512 bytes */
	struct bento_time atime, mtime, ctime, btime;
	uint32_t mode; /* S_IFMT and permission bits */
	uint32_t nlink;
	uint32_t uid, gid; /* in the initial user namespace */
	uint32_t rdev_major, rdev_minor;
	uint32_t generation; /* for file handles */
	uint32_t flags; /* FS_*_FL as chattr shows them */
	uint32_t blksize; /* preferred I/O size; 0 = the mount's */
	uint32_t write_life; /* RWH_WRITE_LIFE_*: a hint, read-only */
	/* With data = "extents": how much of `size` is backed by bytes that have
	 * reached the device. That is what may be stored as the size; the shim's
	 * to change, except by a setattr or an update of the size itself. */
	uint64_t disk_size;
	uint32_t project;
	uint32_t pad;
};

/* Which fields of bento_attr a setattr or an update carries. */
#define BENTO_ATTR_MODE (1u << 0)
#define BENTO_ATTR_UID (1u << 1)
#define BENTO_ATTR_GID (1u << 2)
#define BENTO_ATTR_SIZE (1u << 3)
#define BENTO_ATTR_ATIME (1u << 4)
#define BENTO_ATTR_MTIME (1u << 5)
#define BENTO_ATTR_CTIME (1u << 6)
#define BENTO_ATTR_BTIME (1u << 7)
#define BENTO_ATTR_NLINK (1u << 8)
#define BENTO_ATTR_BLOCKS (1u << 9)
#define BENTO_ATTR_FLAGS (1u << 10)
#define BENTO_ATTR_GENERATION (1u << 11)
#define BENTO_ATTR_PROJECT (1u << 12)

struct bento_xattr {
	struct bento_bytes name; /* with its prefix: "system.posix_acl_access" */
	struct bento_bytes value;
};

/*
 * An inode the shim has allocated and initialised (owner, mode, ACLs, security
 * label: SAFETY.md S4) and the handler must give a number and its data to.
 */
struct bento_new {
	struct bento_inode *inode; /* handler fills ino and data */
	uint32_t mode, uid, gid, rdev_major, rdev_minor;
	uint32_t assigned; /* out: 1 once ino and data are set */
	const struct bento_xattr *xattrs; /* to be stored with it */
	size_t xattr_count;
};

/* ---- argument blocks, one per shape of call ---- */

#define BENTO_MOUNT_RDONLY 1u
/* With data = "extents": data that are not on the device yet are not written
 * before their file replaces another, or because theirs was emptied. */
#define BENTO_MOUNT_NOAUTO_DA_ALLOC 2u

#define BENTO_WHY_MOUNT 0u /* mount(2) */
/* A new instance below a live mount: inodes, attributes, pages, journal and
 * reservations are the shim's and stay; no recovery, no orphans (SAFETY.md S3). */
#define BENTO_WHY_RESTART 1u

struct bento_mount_args {
	struct bento_bytes source;
	struct bento_bytes options; /* "k=v,k2": generic VFS options removed */
	uint32_t flags; /* BENTO_MOUNT_*; out: may be set */
	uint32_t why; /* BENTO_WHY_* */
	/* out; preset by the shim to these defaults */
	void *instance;
	uint64_t root_ino; /* BENTO_ROOT_INO */
	uint64_t max_file_size; /* bytes; MAX_LFS_FILESIZE */
	uint64_t max_bytes; /* resident data limit; 0 = none */
	uint64_t max_inodes; /* resident inode limit; 0 = none */
	uint32_t block_size; /* 4096 */
	uint32_t magic; /* statfs f_type; BENTO_ABI_MAGIC */
	uint32_t time_granularity; /* ns; 1 */
	uint32_t name_max; /* 255 */
	/* With data = "extents", in blocks: free ones, those of them that only
	 * root (or CAP_SYS_RESOURCE, or these two) may use, and those kept back
	 * for metadata that writing back delayed allocations needs. From here on
	 * the shim counts: bento_tx_claim, bento_tx_release. */
	uint64_t space_free;
	uint64_t space_root;
	uint64_t space_margin;
	uint32_t space_uid, space_gid;
	/* Seconds: the first and the last time that can be stored; all of them. */
	int64_t time_min, time_max;
};

struct bento_unmount_args {
	uint32_t pad;
};

struct bento_statfs_args {
	uint64_t blocks, bfree, bavail; /* of bsize bytes */
	uint64_t files, ffree;
	uint32_t bsize, frsize, namelen;
	uint32_t fsid_lo, fsid_hi;
	uint32_t pad;
};

struct bento_sync_fs_args {
	uint32_t wait;
};

struct bento_reconfigure_args {
	struct bento_bytes options;
	uint32_t flags; /* BENTO_MOUNT_*; out: BENTO_MOUNT_NOAUTO_DA_ALLOC */
	uint32_t commit_interval; /* out: seconds; 0: as it was */
	/* in: current; out: new limits of a resident mount */
	uint64_t max_bytes;
	uint64_t max_inodes;
};

/* A step of FITRIM. In bytes; the shim calls again from `next` until that is `end`. */
struct bento_trim_args {
	uint64_t start, end;
	uint64_t least; /* shorter runs are not worth it */
	uint64_t next; /* out: behind what was looked at, > start */
	uint64_t trimmed; /* out: of those, how many are discarded with the commit */
};

struct bento_freeze_args {
	uint32_t pad;
};
#define bento_thaw_args bento_freeze_args
#define bento_recover_args bento_freeze_args

struct bento_load_inode_args {
	struct bento_inode *inode; /* ino set; handler's data goes in */
	struct bento_attr attr; /* out */
};

struct bento_inode_args { /* calls that need an inode and a word or two */
	struct bento_inode *inode;
	uint64_t a, b;
	uint32_t flags;
	uint32_t pad;
	uint64_t out;
};
/* write_inode: flags = wait. evict_inode: nlink is 0. open, release: flags =
 * O_*. fsync: flags = datasync. permission: flags = MAY_* (4 read, 2 write,
 * 1 execute, 8 append). fallocate: flags = mode, a = offset, b = length.
 * poll: flags = events asked, out = events. seek: flags = 3 data or 4 hole,
 * a = offset, out = offset. fadvise: flags = advice, a, b. get_parent: out =
 * ino. */
#define bento_write_inode_args bento_inode_args
#define bento_evict_inode_args bento_inode_args
#define bento_forget_inode_args bento_inode_args
#define bento_permission_args bento_inode_args
#define bento_open_args bento_inode_args
#define bento_release_args bento_inode_args
#define bento_flush_args bento_inode_args
#define bento_fsync_args bento_inode_args
#define bento_fallocate_args bento_inode_args
#define bento_poll_args bento_inode_args
#define bento_seek_args bento_inode_args
#define bento_fadvise_args bento_inode_args
#define bento_get_parent_args bento_inode_args

struct bento_lookup_args {
	struct bento_inode *dir;
	struct bento_bytes name;
	uint64_t ino; /* out */
};

struct bento_make_args { /* create, mkdir, mknod, symlink, tmpfile */
	struct bento_inode *dir;
	struct bento_bytes name; /* empty for tmpfile */
	struct bento_bytes target; /* symlink only */
	struct bento_new node;
	uint32_t flags; /* create: 1 = exclusive */
	uint32_t pad;
};
#define bento_create_args bento_make_args
#define bento_mkdir_args bento_make_args
#define bento_mknod_args bento_make_args
#define bento_symlink_args bento_make_args
#define bento_tmpfile_args bento_make_args

struct bento_entry_args { /* link, unlink, rmdir */
	struct bento_inode *dir;
	struct bento_bytes name;
	struct bento_inode *inode;
};
#define bento_link_args bento_entry_args
#define bento_unlink_args bento_entry_args
#define bento_rmdir_args bento_entry_args

#define BENTO_RENAME_NOREPLACE 1u /* checked by the shim */
#define BENTO_RENAME_EXCHANGE 2u
#define BENTO_RENAME_WHITEOUT 4u

struct bento_rename_args {
	struct bento_inode *old_dir;
	struct bento_bytes old_name;
	struct bento_inode *inode;
	struct bento_inode *new_dir;
	struct bento_bytes new_name;
	struct bento_inode *target; /* what new_name names now, or NULL */
	struct bento_new *whiteout; /* with BENTO_RENAME_WHITEOUT, else NULL */
	uint32_t flags;
	uint32_t pad;
};

struct bento_get_link_args {
	struct bento_inode *inode;
	struct bento_buf target;
};

struct bento_setattr_args {
	struct bento_inode *inode;
	const struct bento_attr *attr; /* the values asked for */
	uint32_t valid; /* BENTO_ATTR_* */
	uint32_t pad;
};

struct bento_getattr_args {
	struct bento_inode *inode;
	struct bento_attr attr; /* in: what the shim knows; out: what stat shows */
	uint64_t attributes; /* out: STATX_ATTR_* */
	uint32_t request_mask; /* STATX_* */
	uint32_t pad;
};

struct bento_getxattr_args {
	struct bento_inode *inode;
	struct bento_bytes name;
	struct bento_buf value; /* cap 0: only the size is asked for */
};

struct bento_listxattr_args {
	struct bento_inode *inode;
	struct bento_buf names; /* NUL-terminated names one after another */
};

#define BENTO_XATTR_CREATE 1u
#define BENTO_XATTR_REPLACE 2u

struct bento_setxattr_args {
	struct bento_inode *inode;
	struct bento_bytes name;
	struct bento_bytes value;
	uint32_t flags;
	uint32_t pad;
};

struct bento_removexattr_args {
	struct bento_inode *inode;
	struct bento_bytes name;
};

struct bento_set_acl_args {
	struct bento_inode *inode;
	struct bento_bytes name; /* "system.posix_acl_access" or "…_default" */
	struct bento_bytes value; /* as for setxattr; empty: there is none */
	uint32_t mode; /* what goes with it, S_IFMT included */
	uint32_t pad;
};

struct bento_fileattr_args {
	struct bento_inode *inode;
	uint32_t flags; /* FS_*_FL */
	uint32_t projid;
};
#define bento_fileattr_get_args bento_fileattr_args
#define bento_fileattr_set_args bento_fileattr_args

/*
 * Directory entries packed into `buf`: a bento_dirent, then `namelen` bytes,
 * then padding to 8. `pos` is 0 at the start of a directory, else the `next` of the last entry
 * taken. "." and ".." are the shim's. Cookies lie in 1..=INT64_MAX-3.
 */
struct bento_dirent {
	uint64_t ino;
	uint64_t next;
	uint16_t namelen;
	uint8_t type; /* DT_* */
	uint8_t pad[5];
};

struct bento_iterate_args {
	struct bento_inode *dir;
	uint64_t pos;
	struct bento_buf entries;
	uint32_t end; /* out: 1 = nothing after these */
	uint32_t pad;
};

struct bento_read_args {
	struct bento_inode *inode;
	uint64_t offset;
	uint64_t len; /* never past the inode's size */
	struct bento_sink *sink;
};

struct bento_write_args {
	struct bento_inode *inode;
	uint64_t offset;
	uint64_t len;
	struct bento_source *source;
	uint32_t write_life;
	uint32_t pad;
};

/* ---- data = "extents" ---- */

/* Where a range of a file lies on the device. Bytes, all of them multiples of
 * the mount's block size. */
struct bento_extent {
	uint64_t offset; /* in the file */
	uint64_t len;
	uint64_t addr; /* on the device; 0 in a hole */
	uint32_t flags; /* BENTO_EXTENT_*; 0 = a hole */
	uint32_t pad;
};

#define BENTO_EXTENT_MAPPED 1u /* holds data */
#define BENTO_EXTENT_UNWRITTEN 2u /* allocated; reads as zero until converted */
#define BENTO_EXTENT_NEW 4u /* with either: allocated by this very call */

/* allocate_extents: the shim sees to it that the bytes reach the device before
 * the transaction commits; extents may be MAPPED at once. Without it they are
 * UNWRITTEN, and convert_extents follows when the I/O is done. */
#define BENTO_ALLOCATE_WRITTEN 1u
/* `reserved` blocks were counted as used when the range became dirty. */
#define BENTO_ALLOCATE_DELAYED 2u

/*
 * map_extents: the range as it is, holes included, in order and without gaps
 * from `offset`; may stop early. allocate_extents: the same with no holes left.
 * convert_extents: `extents[0]` has been written; UNWRITTEN becomes MAPPED.
 */
struct bento_map_args {
	struct bento_inode *inode;
	uint64_t offset, len;
	struct bento_extent *extents;
	uint32_t cap; /* of `extents` */
	uint32_t count; /* out, or in for convert_extents: 1 */
	uint32_t flags; /* BENTO_ALLOCATE_* */
	uint32_t pad;
	uint64_t reserved;
};
#define bento_map_extents_args bento_map_args
#define bento_allocate_extents_args bento_map_args
#define bento_convert_extents_args bento_map_args

struct bento_ioctl_args {
	struct bento_inode *inode;
	uint32_t cmd;
	uint32_t flags;
	uint64_t arg; /* for commands that encode no size: the plain word */
	struct bento_bytes input; /* _IOC_WRITE: what user space passed */
	struct bento_buf output; /* _IOC_READ: cap = _IOC_SIZE */
};

/* ---- state: from one version's code to another's (SAFETY.md S2) ---- */

/*
 * A shape is a hash over tags and types: bytes saved in a shape are loaded by
 * whoever lists it. All that a type of the author's loads (`loads`) or can be
 * saved as (`saves`), its own shape first. count 0 in inode_loads: per-inode
 * data does not cross, load_inode makes it again.
 */
#define BENTO_SHAPES_MAX 16u
struct bento_shapes {
	uint32_t count;
	uint32_t pad;
	uint64_t shape[BENTO_SHAPES_MAX];
};

/* save: the instance, borrowed; CBOR with a header that names file system,
 * version and shape. No one else is inside. */
struct bento_save_args {
	uint64_t shape; /* one of `saves` */
	struct bento_state *out;
};

/* load: a new instance from such bytes. call->instance is NULL. */
struct bento_load_args {
	struct bento_bytes state;
	uint64_t shape; /* one of `loads` */
	void *instance; /* out */
};

/* drop_instance: as the end of unmount, without the handler. */
struct bento_drop_instance_args {
	uint32_t pad;
};

/* save_inode: `data`, made by this very version, borrowed. */
struct bento_save_inode_args {
	uint64_t ino;
	void *data;
	uint64_t shape; /* one of `inode_saves` */
	struct bento_state *out;
};

/* migrate_inode: new data from such bytes. */
struct bento_migrate_inode_args {
	uint64_t ino;
	struct bento_bytes state;
	uint64_t shape; /* one of `inode_loads` */
	void *data; /* out */
};

/* drop_inode: `data`, made by this very version, without a handler. */
struct bento_drop_inode_args {
	void *data;
};

/* ---- the table of thunks ---- */

/* An instance that can go on no more: nothing enters until it is upgraded or
 * unmounted; or a new one is made, from its state or from the device. */
#define BENTO_ON_PANIC_QUARANTINE 0u
#define BENTO_ON_PANIC_RESTART 1u

#define BENTO_DATA_BYTES 0u
#define BENTO_DATA_EXTENTS 1u
#define BENTO_DATA_RESIDENT 2u

struct bento_place_args;

struct bento_ops {
	uint32_t size; /* of this struct */
	uint32_t abi; /* BENTO_ABI_VERSION */
	struct bento_bytes name; /* [a-z][a-z0-9_]*, at most 32 bytes */
	uint32_t version; /* >= 1 */
	uint32_t data; /* BENTO_DATA_* */
	uint64_t handlers; /* presence bits by enum bento_op */
	uint64_t inode_data_size; /* of the author's per-inode data */
	uint64_t instance_size; /* of the author's F */
	uint32_t on_panic; /* BENTO_ON_PANIC_* */
	uint32_t pad;
	struct bento_shapes loads, saves; /* of the instance */
	struct bento_shapes inode_loads, inode_saves;
	struct bento_bytes layout; /* the shapes in words, for readable dumps */
	/* Called like a thunk, for a stack that ran out; NULL with std. */
	int64_t (*place)(struct bento_call *call, struct bento_place_args *args);
#define X(name)                                                                \
	int64_t (*name)(struct bento_call * call, struct bento_##name##_args * args);
	BENTO_FOR_EACH_OP(X)
#undef X
};

/* ---- what Rust may call ---- */

#define BENTO_LOG_ERR 3u
#define BENTO_LOG_WARN 4u
#define BENTO_LOG_INFO 6u
#define BENTO_LOG_DEBUG 7u

struct bento_cred {
	uint32_t uid, gid; /* fsuid, fsgid in the initial user namespace */
	uint32_t pid; /* thread group id in the initial pid namespace; 0 = kernel */
	uint32_t tid;
	uint8_t comm[16];
};

struct bento_location {
	struct bento_bytes file;
	uint32_t line, column;
};

/* One line of the file system's own log. */
void bento_log(struct bento_super *sb, uint32_t level, struct bento_bytes message);
/* A panic was caught, or abandoned: counted per mount and logged once with the
 * handler's name. `errno_` is what the caller will get. */
void bento_panicked(struct bento_call *call, struct bento_bytes message,
		    const struct bento_location *at, int32_t errno_);
/* A call ended without running destructors: nothing enters this instance
 * again. */
void bento_poison(struct bento_call *call);
/* A lock was let go by a call that unwinds: what it protects may be half done.
 * The shim poisons the inode whose data it lies in. */
void bento_lock_poisoned(struct bento_call *call, const void *lock);
/* A call met such a lock and ends; when it lies in the instance, that asks for
 * a restart. */
void bento_lock_refused(struct bento_call *call, const void *lock);

/* Memory. Up to two pages never fail (SAFETY.md C3); beyond: NULL. Aligned to
 * at least `align`, a power of two up to a page. */
void *bento_alloc(size_t size, size_t align);
void bento_dealloc(void *ptr, size_t size, size_t align);
void *bento_realloc(void *ptr, size_t old_size, size_t align, size_t new_size);

/* Inode attributes: the shim's inode is the authority. */
void bento_inode_attr(const struct bento_inode *inode, struct bento_attr *out);
int32_t bento_inode_update(struct bento_call *call, struct bento_inode *inode,
			   const struct bento_attr *attr, uint32_t valid);
/* Another inode, its data resolved; referenced until the call has left the
 * gate. 0, -ENOENT when it is not cached (Rust loads nothing itself), -EIO when poisoned. */
int32_t bento_inode_get(struct bento_call *call, uint64_t ino,
			struct bento_inode **out);
/* Brings that inode's data to the call's generation: migrated, or loaded again.
 * 0, -EIO when it is poisoned, else why not. */
int32_t bento_inode_resolve(struct bento_call *call, struct bento_inode *inode);
/* Wakes pollers of that inode. */
void bento_inode_wake(struct bento_call *call, struct bento_inode *inode);
/* Cached pages of the range (len 0 = to the end) and attributes are stale:
 * dropped once the call has left the gate. */
void bento_inode_invalidate(struct bento_call *call, struct bento_inode *inode,
			    uint64_t offset, uint64_t len);
/* The mode-bit and ACL check the VFS would make. */
int32_t bento_generic_permission(struct bento_call *call,
				 struct bento_inode *inode, uint32_t mask);

void bento_cred(struct bento_call *call, struct bento_cred *out);
void bento_now(struct bento_call *call, struct bento_time *out);
void bento_random(uint8_t *ptr, size_t len);

/* `pos` counts from the call's offset. 0 or -EINVAL when out of range; -EFAULT
 * never: both sides are the kernel's. */
int32_t bento_sink_put(struct bento_call *call, struct bento_sink *sink,
		       uint64_t pos, const uint8_t *ptr, size_t len);
int32_t bento_source_get(struct bento_call *call, struct bento_source *source,
			 uint64_t pos, uint8_t *ptr, size_t len);

/* Appends to what `save` makes. 0 or -ENOMEM. */
int32_t bento_state_put(struct bento_call *call, struct bento_state *out,
			const uint8_t *ptr, size_t len);

/* Sleep while *word == expected (spurious returns allowed); wake up to n or
 * more. On a poisoned instance, where who holds the lock may have been
 * abandoned, the call that waits is abandoned as well. */
void bento_wait(const uint32_t *word, uint32_t expected);
void bento_wake(const uint32_t *word, uint32_t n);
/* For lock validators: exclusive = 1 or shared = 0, at its construction site. */
void bento_lock_acquired(const void *lock, const struct bento_location *site,
			 uint32_t exclusive);
void bento_lock_released(const void *lock, const struct bento_location *site);

/* Back to the trampoline that left `record`, which returns `value` to the
 * shim. Never returns. */
void bento_abandon(struct bento_record *record, int64_t value);

/* Where the unwinder lands: the registers of a frame at its landing pad. */
struct bento_regs {
	uint64_t rbx, rbp, r12, r13, r14, r15, rsp, rip;
	uint64_t rax, rdx; /* what a landing pad receives */
};

/* Which of the author's lines a stack is in. */
struct bento_place_args {
	const struct bento_regs *regs; /* of a frame of Rust's; rax, rdx unread */
	/* out; the text lives as long as the object. Line 0: not known. */
	struct bento_location at;
};

/* Loads `regs` and jumps to regs->rip. Never returns. */
void bento_resume(const struct bento_regs *regs);

/* ---- the device and its blocks: data = "extents" only ---- */

struct bento_device {
	uint64_t size; /* bytes */
	uint32_t block_size; /* the unit of block numbers */
	uint32_t flags; /* BENTO_DEVICE_* */
};

#define BENTO_DEVICE_RDONLY 1u

/*
 * A block in the buffer cache, referenced by the call's ledger. Other calls may
 * change its bytes at any time: copies only, never a reference (SAFETY.md C4).
 */
struct bento_block {
	uint8_t *data; /* `size` bytes */
	uint64_t number;
	uint32_t size; /* the device's block size */
	uint32_t slot; /* in the ledger */
	uint32_t flags; /* BENTO_BLOCK_* */
	uint32_t pad;
};

#define BENTO_BLOCK_CHECKED 1u /* bento_block_checked was called since it was read */

void bento_device(struct bento_call *call, struct bento_device *out);
/* In mount, while no block is held: a power of two from 512 to a page. */
int32_t bento_device_block_size(struct bento_call *call, uint32_t size);
/* 0, -EIO, -EUCLEAN for a number past the end. */
int32_t bento_block_read(struct bento_call *call, uint64_t number,
			 struct bento_block *out);
/* The same for one of a table, of which `count` blocks from `first` on will be wanted
 * soon: when this one has to be read, reading them starts as well. */
int32_t bento_block_read_near(struct bento_call *call, uint64_t number,
			      uint64_t first, uint32_t count,
			      struct bento_block *out);
/* The same for one that holds nothing: zeroes, unless it is cached. */
int32_t bento_block_blank(struct bento_call *call, uint64_t number,
			  struct bento_block *out);
/* In a transaction: not read but zeroed, with write access. */
int32_t bento_block_new(struct bento_call *call, uint64_t number,
			struct bento_block *out);
void bento_block_put(struct bento_call *call, uint32_t slot);
/* What the file system verified of it holds as long as it stays cached. */
void bento_block_checked(struct bento_call *call, uint32_t slot);
/* Starts reading; never waits. */
void bento_block_ahead(struct bento_call *call, uint64_t number, uint32_t count);
/* Zeroes blocks that no one has cached, on the device. */
int32_t bento_blocks_zero(struct bento_call *call, uint64_t number, uint64_t count);
uint32_t bento_crc32c(uint32_t seed, const uint8_t *ptr, size_t len);

/* ---- journal and transactions (SAFETY.md T) ---- */

/* A run of the journal's blocks: `logical` counts in the journal. */
struct bento_run {
	uint64_t logical, physical, count;
};

#define BENTO_JOURNAL_64BIT 1u /* block numbers beyond 2^32 */
#define BENTO_JOURNAL_CHECKSUMS 2u /* of its own blocks, version 3 */
#define BENTO_JOURNAL_NO_BARRIER 4u
#define BENTO_JOURNAL_DISCARD 8u /* what it holds is dropped, not replayed */

struct bento_journal {
	const struct bento_run *runs; /* in order, without gaps */
	size_t count;
	uint32_t flags; /* BENTO_JOURNAL_* */
	uint32_t commit_interval; /* seconds; 0 = the journal's default */
	/* out */
	uint64_t replayed; /* transactions that were replayed just now */
	int32_t error; /* that an earlier mount left in it */
	uint32_t max_credits; /* most blocks of one transaction */
};

/*
 * A checksum that the shim keeps up to date in a block of the journal, when a
 * transaction commits or, without a journal, each time: crc32c, little-endian.
 * (SAFETY.md T5: no Rust runs in the journal's thread.)
 */
struct bento_checksum {
	uint32_t from, len; /* bytes of the block that are summed */
	uint32_t at; /* where the sum is; not in what is summed */
	uint32_t seed;
	uint32_t flags; /* BENTO_CHECKSUM_* */
};

#define BENTO_CHECKSUM_NUMBER 1u /* the block's number, 64 bits, goes first */
#define BENTO_CHECKSUMS_MAX 8u

/* In mount: replays the journal and opens it. Blocks read before are stale. */
int32_t bento_journal_open(struct bento_call *call, struct bento_journal *journal);
/* In mount: its index, from 1, or an errno. */
int32_t bento_checksum_add(struct bento_call *call, const struct bento_checksum *sum);

/*
 * A transaction of this call: at most one at a time. All that changes in blocks
 * goes through the undo log, so that ending it without `commit`, or not ending
 * it at all, leaves the blocks as they were. Without a journal it is the same,
 * but for what a crash may leave.
 */
int32_t bento_tx_begin(struct bento_call *call, uint32_t blocks, uint32_t revokes);
/* -ENOSPC when the running transaction has no such room. */
int32_t bento_tx_extend(struct bento_call *call, uint32_t blocks, uint32_t revokes);
/* Before the first change of that block. `checksum`: which of them, or 0. */
int32_t bento_tx_write(struct bento_call *call, uint32_t slot, uint32_t checksum);

/* A record: the bytes at `at` before they were changed, `len` of them, padded
 * to 8 bytes. Undone from the newest to the oldest. */
struct bento_undo_record {
	uint8_t *at;
	uint64_t len;
};

struct bento_undo {
	struct bento_undo *older;
	uint32_t used, cap; /* bytes of records behind this header */
};

/* Makes call->undo a chunk with room for `len` more bytes. 0 or -ENOMEM. */
int32_t bento_tx_undo_room(struct bento_call *call, size_t len);
/* A metadata block is being freed: its contents are of no interest once this
 * transaction commits, and are not replayed any more. */
int32_t bento_tx_forget(struct bento_call *call, uint64_t number);
/* Staged: what `valid` says becomes the inode's with the commit. */
int32_t bento_tx_inode(struct bento_call *call, struct bento_inode *inode,
		       const struct bento_attr *attr, uint32_t valid);
/* Takes blocks from the free ones: -ENOSPC. Given back if it does not commit. */
int32_t bento_tx_claim(struct bento_call *call, uint64_t blocks);
/* Gives blocks back when it commits. */
void bento_tx_release(struct bento_call *call, uint64_t blocks);
/* Blocks that are free, and nobody's before this transaction is: the device is
 * told of them once it has been committed, and bento_tx_is_committed says so
 * after that. -EOPNOTSUPP without a journal. */
int32_t bento_tx_discard(struct bento_call *call, uint64_t number, uint64_t count);
/* Names the journal's running transaction that this one is a part of. */
uint64_t bento_tx_id(struct bento_call *call);
/* Has that one been committed? Always, without a journal. */
int32_t bento_tx_is_committed(struct bento_call *call, uint64_t id);
/* commit = 1, or 0 to undo. Negative when it could not commit and was undone. */
int32_t bento_tx_end(struct bento_call *call, uint32_t commit);

#define BENTO_FAIL_CONTINUE 0u
#define BENTO_FAIL_RDONLY 1u /* nothing is written any more; the journal aborts */
#define BENTO_FAIL_PANIC 2u /* of the machine, where it is a kernel */
/* The file system found itself corrupt, and what its administrator wants then. */
void bento_fail(struct bento_call *call, uint32_t what);

#define BENTO_HOST_LOCKDEP 1u /* wants bento_lock_acquired/released */

/* The same functions as a table, for shims that are not the kernel
 * (SAFETY.md C7). */
struct bento_host {
	uint32_t size;
	uint32_t abi;
	uint32_t flags; /* BENTO_HOST_* */
	uint32_t pad;
	__typeof__(bento_log) *log;
	__typeof__(bento_panicked) *panicked;
	__typeof__(bento_poison) *poison;
	__typeof__(bento_lock_poisoned) *lock_poisoned;
	__typeof__(bento_lock_refused) *lock_refused;
	__typeof__(bento_alloc) *alloc;
	__typeof__(bento_dealloc) *dealloc;
	__typeof__(bento_realloc) *realloc;
	__typeof__(bento_inode_attr) *inode_attr;
	__typeof__(bento_inode_update) *inode_update;
	__typeof__(bento_inode_get) *inode_get;
	__typeof__(bento_inode_resolve) *inode_resolve;
	__typeof__(bento_inode_wake) *inode_wake;
	__typeof__(bento_inode_invalidate) *inode_invalidate;
	__typeof__(bento_generic_permission) *generic_permission;
	__typeof__(bento_cred) *cred;
	__typeof__(bento_now) *now;
	__typeof__(bento_random) *random;
	__typeof__(bento_sink_put) *sink_put;
	__typeof__(bento_source_get) *source_get;
	__typeof__(bento_state_put) *state_put;
	__typeof__(bento_wait) *wait;
	__typeof__(bento_wake) *wake;
	__typeof__(bento_lock_acquired) *lock_acquired;
	__typeof__(bento_lock_released) *lock_released;
	__typeof__(bento_abandon) *abandon;
	__typeof__(bento_resume) *resume;
	__typeof__(bento_device) *device;
	__typeof__(bento_device_block_size) *device_block_size;
	__typeof__(bento_block_read) *block_read;
	__typeof__(bento_block_read_near) *block_read_near;
	__typeof__(bento_block_blank) *block_blank;
	__typeof__(bento_block_new) *block_new;
	__typeof__(bento_block_put) *block_put;
	__typeof__(bento_block_checked) *block_checked;
	__typeof__(bento_block_ahead) *block_ahead;
	__typeof__(bento_blocks_zero) *blocks_zero;
	__typeof__(bento_crc32c) *crc32c;
	__typeof__(bento_journal_open) *journal_open;
	__typeof__(bento_checksum_add) *checksum_add;
	__typeof__(bento_tx_begin) *tx_begin;
	__typeof__(bento_tx_extend) *tx_extend;
	__typeof__(bento_tx_write) *tx_write;
	__typeof__(bento_tx_undo_room) *tx_undo_room;
	__typeof__(bento_tx_forget) *tx_forget;
	__typeof__(bento_tx_inode) *tx_inode;
	__typeof__(bento_tx_claim) *tx_claim;
	__typeof__(bento_tx_release) *tx_release;
	__typeof__(bento_tx_id) *tx_id;
	__typeof__(bento_tx_discard) *tx_discard;
	__typeof__(bento_tx_is_committed) *tx_is_committed;
	__typeof__(bento_tx_end) *tx_end;
	__typeof__(bento_fail) *fail;
};

/* ---- one loaded object (.ko or .so) ---- */

struct bento_object {
	const uint8_t *unwind; /* the prelinked unwind table, or NULL */
	size_t unwind_len;
};

/* The one symbol an object exports: `bento_fs_main`. */
struct bento_module {
	uint32_t magic; /* BENTO_ABI_MAGIC */
	uint32_t abi;
	const struct bento_ops *ops;
	/* Once, before any thunk. 0 or a negative errno. `host` may be NULL in
	 * the kernel. */
	int32_t (*init)(const struct bento_host *host,
			const struct bento_object *object);
};

#endif
