// SPDX-License-Identifier: GPL-2.0 OR MIT
// The expansion of expected/cfgfs.in.rs, by tests/tests/expansions.rs; do not edit.

use bento::prelude::*;

struct CfgFs;

#[automatically_derived]
impl ::bento::fs::Declared for CfgFs {
    const NAME: &'static str = "cfgfs";
    const VERSION: u32 = 7;
    const DATA: ::bento::fs::DataMode = ::bento::fs::DataMode::Bytes;
}

#[automatically_derived]
impl ::bento::state::State for CfgFs {
    const SHAPE: &'static ::bento::state::Shape = &::bento::state::Shape::Struct(
        "CfgFs",
        &[],
    );

    fn save(&self, out: &mut ::bento::state::Saver<'_>) -> ::bento::errno::Result<()> {
        out.map(0)?;
        ::core::result::Result::Ok(())
    }

    fn load(from: &mut ::bento::state::Loader<'_>) -> ::bento::errno::Result<Self> {
        from.fields(|_, _| ::core::result::Result::Ok(false))?;
        ::core::result::Result::Ok(CfgFs)
    }
}

impl FileSystem for CfgFs {
    type Inode = ();

    fn mount(_cx: &MountContext) -> Result<Self> {
        Ok(CfgFs)
    }

    fn load_inode(&self, _cx: &Context<Self>, _ino: Ino) -> Result<(Attr, ())> {
        Ok((Attr::directory(0o755), ()))
    }

    fn lookup(
        &self,
        _cx: &Context<Self>,
        _dir: &Inode<Self>,
        _name: &Name,
    ) -> Result<Ino> {
        Err(Errno::ENOENT)
    }

    #[cfg(not(windows))]
    fn read(
        &self,
        _cx: &Context<Self>,
        _inode: &Inode<Self>,
        _offset: u64,
        _sink: &mut ReadSink,
    ) -> Result<()> {
        Ok(())
    }

    #[cfg(not(windows))]
    fn write(
        &self,
        _cx: &Context<Self>,
        _inode: &Inode<Self>,
        _offset: u64,
        _source: &mut WriteSource,
    ) -> Result<()> {
        Ok(())
    }

    #[cfg(windows)]
    fn fsync(
        &self,
        _cx: &Context<Self>,
        _inode: &Inode<Self>,
        _datasync: bool,
    ) -> Result<()> {
        Ok(())
    }
}

#[automatically_derived]
impl ::bento::fs::Handlers for CfgFs {
    const HANDLERS: ::bento::fs::HandlerSet = {
        use ::bento::fs::{HandlerSet, Op};
        let set = HandlerSet::EMPTY
            .with(Op::mount)
            .with(Op::load_inode)
            .with(Op::lookup);

        #[cfg(not(windows))]
        let set = set.with(Op::read);

        #[cfg(not(windows))]
        let set = set.with(Op::write);

        #[cfg(windows)]
        let set = set.with(Op::fsync);
        set
    };
}

#[cfg(not(windows))]
const _: () = ::core::assert!(
    !::core::matches!(
        <CfgFs as ::bento::fs::Declared>::DATA,
        ::bento::fs::DataMode::Extents
    ),
    "a file system with `data = \"extents\"` has no `read`: the shim reads from the device what `map_extents` tells it to",
);

#[cfg(not(windows))]
const _: () = ::core::assert!(
    !::core::matches!(
        <CfgFs as ::bento::fs::Declared>::DATA,
        ::bento::fs::DataMode::Resident
    ),
    "a file system with `data = \"resident\"` has no `read`: its page cache is the only copy of a file, so there is nothing to read it from",
);

#[cfg(not(windows))]
const _: () = ::core::assert!(
    <CfgFs as ::bento::fs::Handlers>::HANDLERS.has(::bento::fs::Op::read),
    "`write` needs `read` beside it: a write of part of a page first reads the rest of it",
);

#[cfg(not(windows))]
const _: () = ::core::assert!(
    !::core::matches!(
        <CfgFs as ::bento::fs::Declared>::DATA,
        ::bento::fs::DataMode::Extents
    ),
    "a file system with `data = \"extents\"` has no `write`: the shim writes to the device where `allocate_extents` tells it to",
);

#[cfg(not(windows))]
const _: () = ::core::assert!(
    !::core::matches!(
        <CfgFs as ::bento::fs::Declared>::DATA,
        ::bento::fs::DataMode::Resident
    ),
    "a file system with `data = \"resident\"` has no `write`: its page cache is the only copy of a file, so there is nothing to write it to",
);
