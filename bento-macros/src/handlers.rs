// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The table of handlers, one row each, in the order of `enum bento_op`: parser, checks, suggestions and the book's
//! reference know a handler from here alone. `tests/tests/handlers.rs` keeps it equal to the trait and to `bento_abi.h`.

/// One handler of `trait FileSystem`.
#[derive(Debug)]
pub struct Row {
    /// As in the signature.
    pub name: &'static str,
    /// The heading it stands under in the trait and in the book.
    pub group: &'static str,
    /// As in the trait, on one line.
    pub signature: &'static str,
    /// As in the trait, on one line.
    pub doc: &'static str,
    /// No file system is without it.
    pub mandatory: bool,
    /// Handlers it makes no sense without, and why.
    pub needs: &'static [(&'static str, &'static str)],
    /// Words of `data` that a file system with this handler cannot have, and why.
    pub not: &'static [(&'static str, &'static str)],
    /// What FUSE, the VFS or older kernels call the same thing.
    pub also: &'static [&'static str],
}

const MOUNT: &str = "the mount";
const CACHE: &str = "inodes in and out of the cache";
const NAMES: &str = "names";
const ATTRIBUTES: &str = "attributes";
const FILES: &str = "open files";

/// For handlers that speak of a device.
const NO_DEVICE: &[(&str, &str)] = &[
    ("bytes", "without `data = \"extents\"` there is no device"),
    ("resident", "without `data = \"extents\"` there is no device"),
];

/// What `data = "extents"` cannot be without, and why.
pub const EXTENTS_NEED: (&str, &str) = ("map_extents", "nothing else tells where the bytes of a file are");

const fn row(group: &'static str, signature: &'static str, doc: &'static str) -> Row {
    let name = name(signature);
    Row { name, group, signature, doc, mandatory: false, needs: &[], not: &[], also: &[] }
}

/// The word between `fn ` and `(`.
const fn name(signature: &'static str) -> &'static str {
    let mut end = 0;
    while signature.as_bytes()[end] != b'(' {
        end += 1;
    }
    signature.split_at(end).0.split_at("fn ".len()).1
}

impl Row {
    const fn mandatory(self) -> Row {
        Row { mandatory: true, ..self }
    }

    const fn needs(self, needs: &'static [(&'static str, &'static str)]) -> Row {
        Row { needs, ..self }
    }

    const fn not(self, not: &'static [(&'static str, &'static str)]) -> Row {
        Row { not, ..self }
    }

    const fn also(self, also: &'static [&'static str]) -> Row {
        Row { also, ..self }
    }
}

/// The row of the handler `name`.
pub fn find(name: &str) -> Option<&'static Row> {
    HANDLERS.iter().find(|row| row.name == name)
}

/// Every handler.
pub static HANDLERS: &[Row] = &[
    row(
        MOUNT,
        "fn mount(cx: &MountContext) -> Result<Self>",
        "Makes the instance of a mount. Options and source are in `cx`.",
    )
    .mandatory()
    .also(&["init", "new", "fill_super", "get_tree"]),
    row(
        MOUNT,
        "fn unmount(&self, cx: &Context<Self>)",
        "The last call of a mount, before the instance is dropped.",
    )
    .also(&["destroy", "put_super", "kill_sb", "umount"]),
    row(
        MOUNT,
        "fn statfs(&self, cx: &Context<Self>, statfs: &mut Statfs) -> Result<()>",
        "Sizes and counts for `statfs(2)`; `statfs` comes with the mount's block size and longest name filled in.",
    )
    .also(&["statvfs"]),
    row(
        MOUNT,
        "fn sync_fs(&self, cx: &Context<Self>, wait: bool) -> Result<()>",
        "Makes the whole file system durable; data pages have been written before. `wait` is false for the first pass of `sync(2)`.",
    )
    .also(&["sync", "syncfs"]),
    row(
        MOUNT,
        "fn reconfigure(&self, cx: &Context<Self>, change: &mut Reconfigure) -> Result<()>",
        "`mount -o remount`.",
    )
    .also(&["remount", "remount_fs"]),
    row(
        MOUNT,
        "fn freeze(&self, cx: &Context<Self>) -> Result<()>",
        "Everything is written and no call changes the file system until `thaw`.",
    )
    .also(&["freeze_fs"]),
    row(
        MOUNT,
        "fn thaw(&self, cx: &Context<Self>) -> Result<()>",
        "The end of `freeze`.",
    )
    .also(&["unfreeze", "unfreeze_fs", "thaw_super"]),
    row(
        MOUNT,
        "fn recover(&self, cx: &Context<Self>) -> Result<()>",
        "The last step of mounting a device that may be written: what an earlier mount left half-way is finished. Not called when an instance is restarted. (`data = \"extents\"`)",
    )
    .not(NO_DEVICE)
    .also(&["orphan_cleanup"]),
    row(
        CACHE,
        "fn load_inode(&self, cx: &Context<Self>, ino: Ino) -> Result<(Attr, Self::Inode)>",
        "Attributes and data of an inode that is not cached. The first call is for the root.",
    )
    .mandatory()
    .also(&["read_inode", "iget"]),
    row(
        CACHE,
        "fn write_inode(&self, cx: &Context<Self>, inode: &Inode<Self>, wait: bool) -> Result<()>",
        "Makes the attributes of `inode` durable (`inode.attr()`); `wait` as for `fsync`.",
    ),
    row(
        CACHE,
        "fn evict_inode(&self, cx: &Context<Self>, inode: &Inode<Self>) -> Result<()>",
        "The last name and the last user of `inode` are gone: free its number and its space.",
    )
    .also(&["delete_inode", "drop_inode"]),
    row(
        CACHE,
        "fn forget_inode(&self, cx: &Context<Self>, inode: &Inode<Self>)",
        "`inode` leaves the cache, whether it lives on or not; its data is dropped next.",
    )
    .also(&["forget", "batch_forget", "clear_inode"]),
    row(
        NAMES,
        "fn lookup(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name) -> Result<Ino>",
        "The inode number behind `name`, or `ENOENT`, which the VFS remembers.",
    )
    .mandatory(),
    row(
        NAMES,
        "fn create(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created>",
        "A regular file. `new` has its owner, mode and xattrs already; give it a number and data with `NewInode::assign`.",
    )
    .also(&["atomic_open", "creat"]),
    row(
        NAMES,
        "fn mkdir(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created>",
        "A directory.",
    ),
    row(
        NAMES,
        "fn mknod(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created>",
        "A device, fifo or socket: see `NewInode::file_type` and `NewInode::rdev`.",
    ),
    row(
        NAMES,
        "fn symlink(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, target: &[u8], new: NewInode<Self>) -> Result<Created>",
        "A symbolic link to `target`, which is any bytes but NUL.",
    )
    .needs(&[("get_link", "a symbolic link whose target nobody can read leads nowhere")]),
    row(
        NAMES,
        "fn link(&self, cx: &Context<Self>, inode: &Inode<Self>, dir: &Inode<Self>, name: &Name) -> Result<()>",
        "One more name for `inode`.",
    ),
    row(
        NAMES,
        "fn unlink(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, inode: &Inode<Self>) -> Result<()>",
        "Removes the name of a file.",
    ),
    row(
        NAMES,
        "fn rmdir(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name, inode: &Inode<Self>) -> Result<()>",
        "Removes a directory; `ENOTEMPTY` when it has entries.",
    ),
    row(
        NAMES,
        "fn rename(&self, cx: &Context<Self>, rename: Rename<Self>) -> Result<()>",
        "Renames, exchanges, or leaves a whiteout behind. `RENAME_NOREPLACE` has been checked.",
    ),
    row(
        NAMES,
        "fn tmpfile(&self, cx: &Context<Self>, dir: &Inode<Self>, new: NewInode<Self>) -> Result<Created>",
        "A file without a name (`O_TMPFILE`).",
    )
    .also(&["o_tmpfile"]),
    row(
        ATTRIBUTES,
        "fn get_link(&self, cx: &Context<Self>, inode: &Inode<Self>, target: &mut LinkTarget) -> Result<()>",
        "The target of a symbolic link. Asked once; the shim remembers it.",
    )
    .also(&["readlink", "follow_link"]),
    row(
        ATTRIBUTES,
        "fn setattr(&self, cx: &Context<Self>, inode: &Inode<Self>, change: &SetAttr) -> Result<()>",
        "A change of attributes that the VFS has allowed; applied to the inode when this returns `Ok`. With `data = \"extents\"`, what the handler stages is applied instead.",
    )
    .also(&["chmod", "chown", "truncate", "utimens", "utimensat"]),
    row(
        ATTRIBUTES,
        "fn getattr(&self, cx: &Context<Self>, inode: &Inode<Self>, stat: &mut Stat) -> Result<()>",
        "`stat` comes filled from the inode, birth time included; change what should read otherwise.",
    )
    .also(&["stat", "statx"]),
    row(
        ATTRIBUTES,
        "fn permission(&self, cx: &Context<Self>, inode: &Inode<Self>, mask: u32) -> Result<()>",
        "May the caller do `mask` (`access`) to `inode`? Left out, mode bits and ACLs decide (`Context::generic_permission`).",
    )
    .also(&["access", "check_permission"]),
    row(
        ATTRIBUTES,
        "fn getxattr(&self, cx: &Context<Self>, inode: &Inode<Self>, name: &Name, value: &mut XattrValue) -> Result<()>",
        "The value of an extended attribute, or `ENODATA`. `name` has its prefix; ACLs are `system.posix_acl_access` and `…_default`.",
    )
    .also(&["get_acl", "xattr_get"]),
    row(
        ATTRIBUTES,
        "fn listxattr(&self, cx: &Context<Self>, inode: &Inode<Self>, names: &mut XattrList) -> Result<()>",
        "The names of all extended attributes.",
    )
    .needs(&[("getxattr", "names without values cannot be read")])
    .also(&["list_xattr"]),
    row(
        ATTRIBUTES,
        "fn setxattr(&self, cx: &Context<Self>, inode: &Inode<Self>, name: &Name, value: &[u8], flags: u32) -> Result<()>",
        "Sets one; `flags` is 0, 1 (must be new: `EEXIST`) or 2 (must exist: `ENODATA`).",
    )
    .needs(&[("getxattr", "a value that was set could never be read")])
    .also(&["xattr_set"]),
    row(
        ATTRIBUTES,
        "fn removexattr(&self, cx: &Context<Self>, inode: &Inode<Self>, name: &Name) -> Result<()>",
        "Removes one, or `ENODATA`.",
    )
    .needs(&[("getxattr", "what is there to remove could never be read")]),
    row(
        ATTRIBUTES,
        "fn set_acl(&self, cx: &Context<Self>, inode: &Inode<Self>, name: &Name, acl: Option<&[u8]>, mode: u32) -> Result<()>",
        "Stores an ACL, or takes it away, and the mode that goes with it, in one transaction: when one is set, and for a `chmod` of a file that has one. Without this handler they come one after the other, as `setattr` and `setxattr` or `removexattr`. (`data = \"extents\"`)",
    )
    .needs(&[("setxattr", "without it there are no ACLs")])
    .not(NO_DEVICE),
    row(
        ATTRIBUTES,
        "fn fileattr_get(&self, cx: &Context<Self>, inode: &Inode<Self>, attr: &mut FileAttr) -> Result<()>",
        "What `lsattr` shows.",
    )
    .also(&["getflags", "lsattr"]),
    row(
        ATTRIBUTES,
        "fn fileattr_set(&self, cx: &Context<Self>, inode: &Inode<Self>, attr: &FileAttr) -> Result<()>",
        "`chattr`: the new set of flags.",
    )
    .needs(&[("fileattr_get", "`chattr` reads the flags before it changes them")])
    .also(&["setflags", "chattr"]),
    row(
        NAMES,
        "fn iterate(&self, cx: &Context<Self>, dir: &Inode<Self>, pos: u64, entries: &mut DirEmitter) -> Result<()>",
        "The entries of `dir` after position `pos`: 0 at the start, else the `next` of the last one taken.",
    )
    .also(&["readdir", "readdirplus", "opendir", "releasedir", "iterate_shared"]),
    row(
        FILES,
        "fn open(&self, cx: &Context<Self>, inode: &Inode<Self>, flags: u32) -> Result<()>",
        "A file is being opened with `flags` (`O_*`).",
    ),
    row(
        FILES,
        "fn release(&self, cx: &Context<Self>, inode: &Inode<Self>, flags: u32)",
        "The last descriptor of an open file is gone.",
    )
    .also(&["close"]),
    row(
        FILES,
        "fn flush(&self, cx: &Context<Self>, inode: &Inode<Self>) -> Result<()>",
        "`close(2)`: an error here is what `close` returns.",
    ),
    row(
        FILES,
        "fn fsync(&self, cx: &Context<Self>, inode: &Inode<Self>, datasync: bool) -> Result<()>",
        "Makes `inode` durable; its pages and attributes have been written before.",
    )
    .also(&["fsyncdir", "fdatasync"]),
    row(
        FILES,
        "fn read(&self, cx: &Context<Self>, inode: &Inode<Self>, offset: u64, sink: &mut ReadSink) -> Result<()>",
        "Fills a range of the page cache from `offset`: `sink.remaining()` bytes, what is not put reads as zero. (`data = \"bytes\"`)",
    )
    .not(&[
        ("extents", "the shim reads from the device what `map_extents` tells it to"),
        ("resident", "its page cache is the only copy of a file, so there is nothing to read it from"),
    ])
    .also(&["read_iter", "readpage", "read_folio", "readahead", "read_buf"]),
    row(
        FILES,
        "fn write(&self, cx: &Context<Self>, inode: &Inode<Self>, offset: u64, source: &mut WriteSource) -> Result<()>",
        "Takes a range of dirty pages at `offset`: `source.remaining()` bytes. (`data = \"bytes\"`)",
    )
    .needs(&[("read", "a write of part of a page first reads the rest of it")])
    .not(&[
        ("extents", "the shim writes to the device where `allocate_extents` tells it to"),
        ("resident", "its page cache is the only copy of a file, so there is nothing to write it to"),
    ])
    .also(&["write_iter", "writepage", "writepages", "write_buf"]),
    row(
        FILES,
        "fn fallocate(&self, cx: &Context<Self>, inode: &Inode<Self>, mode: u32, offset: u64, len: u64) -> Result<()>",
        "`fallocate(2)` with its `mode` flags; the shim has dropped or will drop the pages concerned.",
    )
    .also(&["punch_hole"]),
    row(
        FILES,
        "fn ioctl(&self, cx: &Context<Self>, inode: &Inode<Self>, cmd: u32, arg: &mut IoctlArg) -> Result<u32>",
        "A command of the author's own; the shim copies the argument by the size that `cmd` encodes.",
    )
    .also(&["unlocked_ioctl", "compat_ioctl"]),
    row(
        FILES,
        "fn poll(&self, cx: &Context<Self>, inode: &Inode<Self>, events: u32) -> Result<u32>",
        "Which of `events` (`EPOLL*`) are ready; wake pollers with `Context::wake`.",
    ),
    row(
        FILES,
        "fn seek(&self, cx: &Context<Self>, inode: &Inode<Self>, from: SeekFrom) -> Result<u64>",
        "The next data or hole at or after an offset; `ENXIO` beyond the end.",
    )
    .not(&[("extents", "the shim finds data and holes by `map_extents`")])
    .also(&["lseek", "llseek"]),
    row(
        FILES,
        "fn fadvise(&self, cx: &Context<Self>, inode: &Inode<Self>, offset: u64, len: u64, advice: u32) -> Result<()>",
        "`posix_fadvise(2)`: a hint about a range.",
    )
    .also(&["hint"]),
    row(
        NAMES,
        "fn get_parent(&self, cx: &Context<Self>, dir: &Inode<Self>) -> Result<Ino>",
        "The directory that contains `dir`: with this handler the mount can be exported over NFS and has file handles.",
    ),
    row(
        FILES,
        "fn map_extents(&self, cx: &Context<Self>, inode: &Inode<Self>, offset: u64, len: u64, extents: &mut Extents) -> Result<()>",
        "Where a range of the file lies, holes included; may stop early. (`data = \"extents\"`)",
    )
    .not(NO_DEVICE)
    .also(&["iomap_begin", "get_block", "bmap", "fiemap"]),
    row(
        FILES,
        "fn allocate_extents(&self, cx: &Context<Self>, inode: &Inode<Self>, offset: u64, len: u64, how: Allocate, extents: &mut Extents) -> Result<()>",
        "Allocates what is not allocated yet of a range; may stop early, and an error means that none of it was allocated. With `how.written`, what was unwritten in the range is data afterwards as well. (`data = \"extents\"`)",
    )
    .needs(&[
        ("map_extents", "what was allocated could never be found again"),
        ("write_inode", "the size and the times of a file that was written are stored by nothing else"),
    ])
    .not(NO_DEVICE)
    .also(&["map_blocks"]),
    row(
        FILES,
        "fn convert_extents(&self, cx: &Context<Self>, inode: &Inode<Self>, written: Written) -> Result<()>",
        "The data of a range have reached the device: what was unwritten there is data from now on. (`data = \"extents\"`)",
    )
    .needs(&[("allocate_extents", "nothing else makes extents that are to be converted")])
    .not(NO_DEVICE)
    .also(&["end_io", "ioend"]),
    row(
        MOUNT,
        "fn trim(&self, cx: &Context<Self>, trim: &mut Trim) -> Result<()>",
        "A step of `FITRIM`: free blocks are given to `Transaction::discard`. Called until it has come to the end; what one step holds is nobody's until the device has heard of it. (`data = \"extents\"`)",
    )
    .not(NO_DEVICE)
    .also(&["fitrim", "fstrim", "discard"]),
];
