// SPDX-License-Identifier: GPL-2.0 OR MIT
// The expansion of examples/memfs/src/lib.rs, by tests/tests/expansions.rs; do not edit.

mod directory {
    use bento::prelude::*;

    /// A name and what it names.
    #[derive(Clone)]
    pub struct Entry {
        pub name: NameBuf,
        pub ino: Ino,
        pub file_type: FileType,
    }

    #[automatically_derived]
    impl ::bento::state::State for Entry {
        const SHAPE: &'static ::bento::state::Shape = &::bento::state::Shape::Struct(
            "Entry",
            &[
                ::bento::state::Field::of::<NameBuf>(1, "name"),
                ::bento::state::Field::of::<Ino>(2, "ino"),
                ::bento::state::Field::of::<FileType>(3, "file_type"),
            ],
        );

        fn save(
            &self,
            out: &mut ::bento::state::Saver<'_>,
        ) -> ::bento::errno::Result<()> {
            out.map(3)?;
            out.field(1, &self.name)?;
            out.field(2, &self.ino)?;
            out.field(3, &self.file_type)?;
            ::core::result::Result::Ok(())
        }

        fn load(from: &mut ::bento::state::Loader<'_>) -> ::bento::errno::Result<Self> {
            let mut name = ::core::option::Option::None;
            let mut ino = ::core::option::Option::None;
            let mut file_type = ::core::option::Option::None;
            from.fields(|tag, from| match tag {
                1 => from.field(&mut name),
                2 => from.field(&mut ino),
                3 => from.field(&mut file_type),
                _ => ::core::result::Result::Ok(false),
            })?;
            ::core::result::Result::Ok(Entry {
                name: name.ok_or_else(|| from.missing(1, "name"))?,
                ino: ino.ok_or_else(|| from.missing(2, "ino"))?,
                file_type: file_type.ok_or_else(|| from.missing(3, "file_type"))?,
            })
        }
    }

    impl Entry {
        pub fn new(name: &Name, ino: Ino, file_type: FileType) -> Entry {
            Entry {
                name: name.to_owned(),
                ino,
                file_type,
            }
        }

        /// The same inode under another name.
        pub fn with_name(&self, name: &Name) -> Entry {
            Entry::new(name, self.ino, self.file_type)
        }
    }

    /// A key is 54 bits of a name's hash and 8 that tell apart names with the same one.
    const COLLISIONS: u64 = 1 << 8;

    #[derive(Clone, Default)]
    pub struct Directory {
        entries: BTreeMap<u64, Entry>,
    }

    #[automatically_derived]
    impl ::bento::state::State for Directory {
        const SHAPE: &'static ::bento::state::Shape = &::bento::state::Shape::Struct(
            "Directory",
            &[::bento::state::Field::of::<BTreeMap<u64, Entry>>(1, "entries")],
        );

        fn save(
            &self,
            out: &mut ::bento::state::Saver<'_>,
        ) -> ::bento::errno::Result<()> {
            out.map(1)?;
            out.field(1, &self.entries)?;
            ::core::result::Result::Ok(())
        }

        fn load(from: &mut ::bento::state::Loader<'_>) -> ::bento::errno::Result<Self> {
            let mut entries = ::core::option::Option::None;
            from.fields(|tag, from| match tag {
                1 => from.field(&mut entries),
                _ => ::core::result::Result::Ok(false),
            })?;
            ::core::result::Result::Ok(Directory {
                entries: entries.ok_or_else(|| from.missing(1, "entries"))?,
            })
        }
    }

    impl Directory {
        fn base(name: &Name) -> u64 {
            (name.hash64() >> 10) << 8
        }

        /// Where `name` is, or where it would go; `None` when its hash has no room left.
        fn place(&self, name: &Name) -> (Option<u64>, Option<u64>) {
            let base = Self::base(name);
            let mut free = Some(base);
            for (key, entry) in self.entries.range(base..base + COLLISIONS) {
                if *entry.name == *name {
                    return (Some(*key), free);
                }
                if free == Some(*key) {
                    free = (key + 1 < base + COLLISIONS).then_some(key + 1);
                }
            }
            (None, free)
        }

        pub fn is_empty(&self) -> bool {
            self.entries.is_empty()
        }

        pub fn find(&self, name: &Name) -> Option<&Entry> {
            let base = Self::base(name);
            self.entries
                .range(base..base + COLLISIONS)
                .map(|(_, entry)| entry)
                .find(|entry| *entry.name == *name)
        }

        /// `EEXIST` when the name is taken.
        pub fn insert(&mut self, entry: Entry) -> Result<()> {
            match self.place(&entry.name) {
                (Some(_), _) => Err(Errno::EEXIST),
                (None, None) => Err(Errno::ENOSPC),
                (None, Some(key)) => {
                    self.entries.insert(key, entry);
                    Ok(())
                }
            }
        }

        /// Adds the entry or puts it in the place of the one with its name, which is returned.
        pub fn replace(&mut self, entry: Entry) -> Result<Option<Entry>> {
            match self.place(&entry.name) {
                (Some(key), _) | (None, Some(key)) => Ok(self.entries.insert(key, entry)),
                (None, None) => Err(Errno::ENOSPC),
            }
        }

        pub fn remove(&mut self, name: &Name) -> Result<Entry> {
            let key = self.place(name).0.ok_or(Errno::ENOENT)?;
            self.entries.remove(&key).ok_or(Errno::ENOENT)
        }

        /// The entries at `pos` and after it, each with the position that follows it.
        pub fn from(&self, pos: u64) -> impl Iterator<Item = (u64, &Entry)> {
            self.entries.range(pos..).map(|(key, entry)| (key + 1, entry))
        }
    }
}

mod node {
    use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
    use bento::prelude::*;
    use crate::directory::Directory;

    /// `chattr` flags that are kept: sync, immutable, append-only, nodump, noatime (`FS_*_FL`).
    const FLAGS: u32 = 0x8 | 0x10 | 0x20 | 0x40 | 0x80;
    /// Per-inode data.
    pub struct Node {
        kind: Kind,
        pub xattrs: RwLock<BTreeMap<NameBuf, Vec<u8>>>,
        pub flags: AtomicU32,
    }

    #[automatically_derived]
    impl ::bento::state::State for Node {
        const SHAPE: &'static ::bento::state::Shape = &::bento::state::Shape::Struct(
            "Node",
            &[
                ::bento::state::Field::of::<Kind>(1, "kind"),
                ::bento::state::Field::of::<
                    RwLock<BTreeMap<NameBuf, Vec<u8>>>,
                >(2, "xattrs"),
                ::bento::state::Field::of::<AtomicU32>(3, "flags"),
            ],
        );

        fn save(
            &self,
            out: &mut ::bento::state::Saver<'_>,
        ) -> ::bento::errno::Result<()> {
            out.map(3)?;
            out.field(1, &self.kind)?;
            out.field(2, &self.xattrs)?;
            out.field(3, &self.flags)?;
            ::core::result::Result::Ok(())
        }

        fn load(from: &mut ::bento::state::Loader<'_>) -> ::bento::errno::Result<Self> {
            let mut kind = ::core::option::Option::None;
            let mut xattrs = ::core::option::Option::None;
            let mut flags = ::core::option::Option::None;
            from.fields(|tag, from| match tag {
                1 => from.field(&mut kind),
                2 => from.field(&mut xattrs),
                3 => from.field(&mut flags),
                _ => ::core::result::Result::Ok(false),
            })?;
            ::core::result::Result::Ok(Node {
                kind: kind.ok_or_else(|| from.missing(1, "kind"))?,
                xattrs: xattrs.ok_or_else(|| from.missing(2, "xattrs"))?,
                flags: flags.ok_or_else(|| from.missing(3, "flags"))?,
            })
        }
    }

    enum Kind {
        Directory { entries: RwLock<Directory>, parent: AtomicU64 },
        Symlink(Box<[u8]>),
        Other,
    }

    #[automatically_derived]
    impl ::bento::state::State for Kind {
        const SHAPE: &'static ::bento::state::Shape = &::bento::state::Shape::Enum(
            "Kind",
            &[
                ::bento::state::Variant::new(
                    1,
                    "Directory",
                    &[
                        ::bento::state::Field::of::<RwLock<Directory>>(1, "entries"),
                        ::bento::state::Field::of::<AtomicU64>(2, "parent"),
                    ],
                ),
                ::bento::state::Variant::new(
                    2,
                    "Symlink",
                    &[::bento::state::Field::of::<Box<[u8]>>(1, "0")],
                ),
                ::bento::state::Variant::new(3, "Other", &[]),
            ],
        );

        fn save(
            &self,
            out: &mut ::bento::state::Saver<'_>,
        ) -> ::bento::errno::Result<()> {
            match self {
                Self::Directory { entries, parent } => {
                    out.variant(1, 2)?;
                    out.field(1, entries)?;
                    out.field(2, parent)?;
                }
                Self::Symlink(field_0) => {
                    out.variant(2, 1)?;
                    out.field(1, field_0)?;
                }
                Self::Other => {
                    out.variant(3, 0)?;
                }
            }
            ::core::result::Result::Ok(())
        }

        fn load(from: &mut ::bento::state::Loader<'_>) -> ::bento::errno::Result<Self> {
            match from.variant()? {
                1 => {
                    let mut entries = ::core::option::Option::None;
                    let mut parent = ::core::option::Option::None;
                    from.fields(|tag, from| match tag {
                        1 => from.field(&mut entries),
                        2 => from.field(&mut parent),
                        _ => ::core::result::Result::Ok(false),
                    })?;
                    ::core::result::Result::Ok(Self::Directory {
                        entries: entries.ok_or_else(|| from.missing(1, "entries"))?,
                        parent: parent.ok_or_else(|| from.missing(2, "parent"))?,
                    })
                }
                2 => {
                    let mut field_0 = ::core::option::Option::None;
                    from.fields(|tag, from| match tag {
                        1 => from.field(&mut field_0),
                        _ => ::core::result::Result::Ok(false),
                    })?;
                    ::core::result::Result::Ok(
                        Self::Symlink(field_0.ok_or_else(|| from.missing(1, "0"))?),
                    )
                }
                3 => {
                    from.fields(|_, _| ::core::result::Result::Ok(false))?;
                    ::core::result::Result::Ok(Self::Other)
                }
                tag => ::core::result::Result::Err(from.unknown("Kind", tag)),
            }
        }
    }

    impl Node {
        fn new(kind: Kind) -> Node {
            Node {
                kind,
                xattrs: RwLock::new(BTreeMap::new()),
                flags: AtomicU32::new(0),
            }
        }

        /// A regular file, device, fifo or socket: nothing but attributes.
        pub fn file() -> Node {
            Node::new(Kind::Other)
        }

        pub fn directory(parent: Ino) -> Node {
            Node::new(Kind::Directory {
                entries: RwLock::new(Directory::default()),
                parent: AtomicU64::new(parent.get()),
            })
        }

        pub fn symlink(target: &[u8]) -> Node {
            Node::new(Kind::Symlink(target.into()))
        }

        /// The names in a directory.
        pub fn entries(&self) -> Result<&RwLock<Directory>> {
            match &self.kind {
                Kind::Directory { entries, .. } => Ok(entries),
                _ => Err(Errno::ENOTDIR),
            }
        }

        /// `ENOTEMPTY` for a directory with names in it.
        pub fn check_empty(&self) -> Result<()> {
            match &self.kind {
                Kind::Directory { entries, .. } if !entries.read().is_empty() => {
                    Err(Errno::ENOTEMPTY)
                }
                _ => Ok(()),
            }
        }

        pub fn parent(&self) -> Result<Ino> {
            match &self.kind {
                Kind::Directory { parent, .. } => {
                    Ino::new(parent.load(Ordering::Relaxed)).ok_or(Errno::ESTALE)
                }
                _ => Err(Errno::ENOTDIR),
            }
        }

        /// Means something for directories only.
        pub fn set_parent(&self, ino: Ino) {
            if let Kind::Directory { parent, .. } = &self.kind {
                parent.store(ino.get(), Ordering::Relaxed);
            }
        }

        /// Where a symbolic link points.
        pub fn target(&self) -> Result<&[u8]> {
            match &self.kind {
                Kind::Symlink(target) => Ok(target),
                _ => Err(Errno::EINVAL),
            }
        }

        /// Takes the flags of `chattr`; `EOPNOTSUPP` for one that means nothing here.
        pub fn set_flags(&self, flags: u32) -> Result<()> {
            if flags & !FLAGS != 0 {
                return Err(Errno::EOPNOTSUPP);
            }
            self.flags.store(flags, Ordering::Relaxed);
            Ok(())
        }
    }
}
use core::sync::atomic::{AtomicU64, Ordering};
use bento::prelude::*;
use directory::Entry;

pub use node::Node;
struct Options {
    size: Size,
    nr_inodes: Size,
    mode: Octal,
    uid: u32,
    gid: u32,
}

#[automatically_derived]
impl ::bento::options::MountOptions for Options {
    const NAMES: &'static [&'static str] = &["size", "nr_inodes", "mode", "uid", "gid"];

    fn defaults() -> Self {
        Options {
            size: Size(0),
            nr_inodes: Size(0),
            mode: Octal(0o755),
            uid: 0,
            gid: 0,
        }
    }

    fn set(
        &mut self,
        name: &str,
        value: ::core::option::Option<&[u8]>,
    ) -> ::core::result::Result<(), ::bento::options::OptionError> {
        match name {
            "size" => {
                self.size = <Size as ::bento::options::OptionValue>::from_option(value)?;
            }
            "nr_inodes" => {
                self.nr_inodes = <Size as ::bento::options::OptionValue>::from_option(
                    value,
                )?;
            }
            "mode" => {
                self.mode = <Octal as ::bento::options::OptionValue>::from_option(value)?;
            }
            "uid" => {
                self.uid = <u32 as ::bento::options::OptionValue>::from_option(value)?;
            }
            "gid" => {
                self.gid = <u32 as ::bento::options::OptionValue>::from_option(value)?;
            }
            _ => {
                return ::core::result::Result::Err(
                    ::bento::options::OptionError::Unknown,
                );
            }
        }
        ::core::result::Result::Ok(())
    }
}

pub struct MemFs {
    next_ino: AtomicU64,
    root: Attr,
}

#[automatically_derived]
impl ::bento::fs::Declared for MemFs {
    const NAME: &'static str = "memfs";
    const VERSION: u32 = 1;
    const DATA: ::bento::fs::DataMode = ::bento::fs::DataMode::Resident;
}

#[automatically_derived]
impl ::bento::state::State for MemFs {
    const SHAPE: &'static ::bento::state::Shape = &::bento::state::Shape::Struct(
        "MemFs",
        &[
            ::bento::state::Field::of::<AtomicU64>(1, "next_ino"),
            ::bento::state::Field::of::<Attr>(2, "root"),
        ],
    );

    fn save(&self, out: &mut ::bento::state::Saver<'_>) -> ::bento::errno::Result<()> {
        out.map(2)?;
        out.field(1, &self.next_ino)?;
        out.field(2, &self.root)?;
        ::core::result::Result::Ok(())
    }

    fn load(from: &mut ::bento::state::Loader<'_>) -> ::bento::errno::Result<Self> {
        let mut next_ino = ::core::option::Option::None;
        let mut root = ::core::option::Option::None;
        from.fields(|tag, from| match tag {
            1 => from.field(&mut next_ino),
            2 => from.field(&mut root),
            _ => ::core::result::Result::Ok(false),
        })?;
        ::core::result::Result::Ok(MemFs {
            next_ino: next_ino.ok_or_else(|| from.missing(1, "next_ino"))?,
            root: root.ok_or_else(|| from.missing(2, "root"))?,
        })
    }
}

impl MemFs {
    fn next_ino(&self) -> Ino {
        Ino::new(self.next_ino.fetch_add(1, Ordering::Relaxed)).unwrap_or(Ino::ROOT)
    }

    /// A new inode with a name. The name goes in first: what can fail fails before the inode is there.
    fn make(
        &self,
        dir: &Inode<Self>,
        name: &Name,
        new: NewInode<Self>,
        node: Node,
    ) -> Result<Created> {
        let ino = self.next_ino();
        dir.entries()?.write().insert(Entry::new(name, ino, new.file_type()))?;
        Ok(assign(new, ino, node))
    }
}

fn assign(new: NewInode<MemFs>, ino: Ino, node: Node) -> Created {
    for (name, value) in new.xattrs() {
        node.xattrs.write().insert(name.to_owned(), value.into());
    }
    new.assign(ino, node)
}

impl FileSystem for MemFs {
    type Inode = Node;

    fn mount(cx: &MountContext) -> Result<Self> {
        let options: Options = cx.options()?;
        if options.mode.0 > 0o7777 {
            return Err(
                cx.refuse(format_args!("mode={:o} has bits beyond 7777", options.mode.0)),
            );
        }
        cx.set_limits(options.size.0, options.nr_inodes.0);
        let root = Attr {
            uid: options.uid,
            gid: options.gid,
            ..Attr::directory(options.mode.0)
        };
        Ok(MemFs {
            next_ino: AtomicU64::new(Ino::ROOT.get() + 1),
            root,
        })
    }

    fn reconfigure(&self, _cx: &Context<Self>, change: &mut Reconfigure) -> Result<()> {
        let options: Options = change.options()?;
        change.set_limits(options.size.0, options.nr_inodes.0);
        Ok(())
    }

    fn load_inode(&self, cx: &Context<Self>, ino: Ino) -> Result<(Attr, Node)> {
        match ino {
            Ino::ROOT => Ok((self.root.clone().at(cx.now()), Node::directory(Ino::ROOT))),
            _ => Err(Errno::ESTALE),
        }
    }

    fn lookup(
        &self,
        _cx: &Context<Self>,
        dir: &Inode<Self>,
        name: &Name,
    ) -> Result<Ino> {
        dir.entries()?.read().find(name).map(|entry| entry.ino).ok_or(Errno::ENOENT)
    }

    fn create(
        &self,
        _cx: &Context<Self>,
        dir: &Inode<Self>,
        name: &Name,
        new: NewInode<Self>,
    ) -> Result<Created> {
        self.make(dir, name, new, Node::file())
    }

    fn mkdir(
        &self,
        _cx: &Context<Self>,
        dir: &Inode<Self>,
        name: &Name,
        new: NewInode<Self>,
    ) -> Result<Created> {
        self.make(dir, name, new, Node::directory(dir.ino()))
    }

    fn mknod(
        &self,
        _cx: &Context<Self>,
        dir: &Inode<Self>,
        name: &Name,
        new: NewInode<Self>,
    ) -> Result<Created> {
        self.make(dir, name, new, Node::file())
    }

    fn symlink(
        &self,
        _cx: &Context<Self>,
        dir: &Inode<Self>,
        name: &Name,
        target: &[u8],
        new: NewInode<Self>,
    ) -> Result<Created> {
        self.make(dir, name, new, Node::symlink(target))
    }

    fn tmpfile(
        &self,
        _cx: &Context<Self>,
        _dir: &Inode<Self>,
        new: NewInode<Self>,
    ) -> Result<Created> {
        Ok(assign(new, self.next_ino(), Node::file()))
    }

    fn link(
        &self,
        _cx: &Context<Self>,
        inode: &Inode<Self>,
        dir: &Inode<Self>,
        name: &Name,
    ) -> Result<()> {
        let file_type = inode.attr().file_type().unwrap_or(FileType::Regular);
        dir.entries()?.write().insert(Entry::new(name, inode.ino(), file_type))
    }

    fn unlink(
        &self,
        _cx: &Context<Self>,
        dir: &Inode<Self>,
        name: &Name,
        _inode: &Inode<Self>,
    ) -> Result<()> {
        dir.entries()?.write().remove(name).map(drop)
    }

    fn rmdir(
        &self,
        _cx: &Context<Self>,
        dir: &Inode<Self>,
        name: &Name,
        inode: &Inode<Self>,
    ) -> Result<()> {
        inode.check_empty()?;
        dir.entries()?.write().remove(name).map(drop)
    }

    fn rename(&self, _cx: &Context<Self>, rename: Rename<Self>) -> Result<()> {
        let (from, to) = (rename.old_dir.entries()?, rename.new_dir.entries()?);
        if let Some(target) = rename.target && !rename.exchange {
            target.check_empty()?;
        }
        let moved = from
            .read()
            .find(rename.old_name)
            .ok_or(Errno::ENOENT)?
            .with_name(rename.new_name);
        let replaced = to.write().replace(moved)?;
        match (rename.exchange, rename.whiteout) {
            (true, _) => {
                let back = replaced.ok_or(Errno::ENOENT)?.with_name(rename.old_name);
                from.write().replace(back)?;
            }
            (false, Some(whiteout)) => {
                let ino = self.next_ino();
                from.write()
                    .replace(Entry::new(rename.old_name, ino, FileType::CharDevice))?;
                let _ = assign(whiteout, ino, Node::file());
            }
            (false, None) => drop(from.write().remove(rename.old_name)?),
        }
        rename.inode.set_parent(rename.new_dir.ino());
        if let (true, Some(target)) = (rename.exchange, rename.target) {
            target.set_parent(rename.old_dir.ino());
        }
        Ok(())
    }

    fn iterate(
        &self,
        _cx: &Context<Self>,
        dir: &Inode<Self>,
        pos: u64,
        entries: &mut DirEmitter,
    ) -> Result<()> {
        for (next, entry) in dir.entries()?.read().from(pos) {
            if !entries.emit(&entry.name, entry.ino, entry.file_type, next) {
                break;
            }
        }
        Ok(())
    }

    fn get_parent(&self, _cx: &Context<Self>, dir: &Inode<Self>) -> Result<Ino> {
        dir.parent()
    }

    fn get_link(
        &self,
        _cx: &Context<Self>,
        inode: &Inode<Self>,
        target: &mut LinkTarget,
    ) -> Result<()> {
        target.put(inode.target()?);
        Ok(())
    }

    fn setattr(
        &self,
        _cx: &Context<Self>,
        _inode: &Inode<Self>,
        _change: &SetAttr,
    ) -> Result<()> {
        Ok(())
    }

    fn getattr(
        &self,
        _cx: &Context<Self>,
        _inode: &Inode<Self>,
        _stat: &mut Stat,
    ) -> Result<()> {
        Ok(())
    }

    fn getxattr(
        &self,
        _cx: &Context<Self>,
        inode: &Inode<Self>,
        name: &Name,
        value: &mut XattrValue,
    ) -> Result<()> {
        value.put(inode.xattrs.read().get(name).ok_or(Errno::ENODATA)?);
        Ok(())
    }

    fn listxattr(
        &self,
        _cx: &Context<Self>,
        inode: &Inode<Self>,
        names: &mut XattrList,
    ) -> Result<()> {
        inode.xattrs.read().keys().for_each(|name| names.add(name));
        Ok(())
    }

    fn setxattr(
        &self,
        _cx: &Context<Self>,
        inode: &Inode<Self>,
        name: &Name,
        value: &[u8],
        flags: u32,
    ) -> Result<()> {
        let mut copy = Vec::new();
        copy.try_reserve_exact(value.len())?;
        copy.extend_from_slice(value);
        let mut xattrs = inode.xattrs.write();
        match (flags, xattrs.contains_key(name)) {
            (1, true) => Err(Errno::EEXIST),
            (2, false) => Err(Errno::ENODATA),
            _ => {
                xattrs.insert(name.to_owned(), copy);
                Ok(())
            }
        }
    }

    fn removexattr(
        &self,
        _cx: &Context<Self>,
        inode: &Inode<Self>,
        name: &Name,
    ) -> Result<()> {
        inode.xattrs.write().remove(name).map(drop).ok_or(Errno::ENODATA)
    }

    fn fileattr_get(
        &self,
        _cx: &Context<Self>,
        inode: &Inode<Self>,
        attr: &mut FileAttr,
    ) -> Result<()> {
        attr.flags = inode.flags.load(Ordering::Relaxed);
        Ok(())
    }

    fn fileattr_set(
        &self,
        _cx: &Context<Self>,
        inode: &Inode<Self>,
        attr: &FileAttr,
    ) -> Result<()> {
        inode.set_flags(attr.flags)
    }

    fn fallocate(
        &self,
        _cx: &Context<Self>,
        _inode: &Inode<Self>,
        _mode: u32,
        _offset: u64,
        _len: u64,
    ) -> Result<()> {
        Ok(())
    }
}

#[automatically_derived]
impl ::bento::fs::Handlers for MemFs {
    const HANDLERS: ::bento::fs::HandlerSet = {
        use ::bento::fs::{HandlerSet, Op};
        HandlerSet::EMPTY
            .with(Op::mount)
            .with(Op::reconfigure)
            .with(Op::load_inode)
            .with(Op::lookup)
            .with(Op::create)
            .with(Op::mkdir)
            .with(Op::mknod)
            .with(Op::symlink)
            .with(Op::tmpfile)
            .with(Op::link)
            .with(Op::unlink)
            .with(Op::rmdir)
            .with(Op::rename)
            .with(Op::iterate)
            .with(Op::get_parent)
            .with(Op::get_link)
            .with(Op::setattr)
            .with(Op::getattr)
            .with(Op::getxattr)
            .with(Op::listxattr)
            .with(Op::setxattr)
            .with(Op::removexattr)
            .with(Op::fileattr_get)
            .with(Op::fileattr_set)
            .with(Op::fallocate)
    };
}

const _: () = ::core::assert!(
    !::core::matches!(
        <MemFs as ::bento::fs::Declared>::DATA,
        ::bento::fs::DataMode::Resident
    )
        || !<<MemFs as ::bento::fs::FileSystem>::Inode as ::bento::state::State>::LOADS
            .is_empty(),
    "with `data = \"resident\"` nothing lies behind per-inode data, so `load_inode` cannot make it again: give its type tags instead of `#[state(reload)]`",
);
