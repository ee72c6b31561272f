// SPDX-License-Identifier: GPL-2.0 OR MIT
// The expansion of examples/hellofs/src/lib.rs, by tests/tests/expansions.rs; do not edit.

use bento::prelude::*;

const HELLO: Ino = Ino::new(2).unwrap();
const TEXT: &[u8] = b"Hello from safe Rust!\n";
pub struct HelloFs;

#[automatically_derived]
impl ::bento::fs::Declared for HelloFs {
    const NAME: &'static str = "hellofs";
    const VERSION: u32 = 1;
    const DATA: ::bento::fs::DataMode = ::bento::fs::DataMode::Bytes;
}

#[automatically_derived]
impl ::bento::state::State for HelloFs {
    const SHAPE: &'static ::bento::state::Shape = &::bento::state::Shape::Struct(
        "HelloFs",
        &[],
    );

    fn save(&self, out: &mut ::bento::state::Saver<'_>) -> ::bento::errno::Result<()> {
        out.map(0)?;
        ::core::result::Result::Ok(())
    }

    fn load(from: &mut ::bento::state::Loader<'_>) -> ::bento::errno::Result<Self> {
        from.fields(|_, _| ::core::result::Result::Ok(false))?;
        ::core::result::Result::Ok(HelloFs)
    }
}

impl FileSystem for HelloFs {
    type Inode = ();

    fn mount(_cx: &MountContext) -> Result<Self> {
        Ok(HelloFs)
    }

    fn load_inode(&self, _cx: &Context<Self>, ino: Ino) -> Result<(Attr, ())> {
        match ino {
            Ino::ROOT => Ok((Attr::directory(0o755), ())),
            HELLO => Ok((Attr::file(0o444, TEXT.len() as u64), ())),
            _ => Err(Errno::ESTALE),
        }
    }

    fn lookup(
        &self,
        _cx: &Context<Self>,
        _dir: &Inode<Self>,
        name: &Name,
    ) -> Result<Ino> {
        if name == "hello" { Ok(HELLO) } else { Err(Errno::ENOENT) }
    }

    fn iterate(
        &self,
        _cx: &Context<Self>,
        _dir: &Inode<Self>,
        pos: u64,
        entries: &mut DirEmitter,
    ) -> Result<()> {
        if pos == 0 {
            let _ = entries.emit("hello".into(), HELLO, FileType::Regular, 1);
        }
        Ok(())
    }

    fn read(
        &self,
        _cx: &Context<Self>,
        _inode: &Inode<Self>,
        offset: u64,
        sink: &mut ReadSink,
    ) -> Result<()> {
        let start = usize::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
        sink.put(TEXT.get(start..).unwrap_or_default())
    }
}

#[automatically_derived]
impl ::bento::fs::Handlers for HelloFs {
    const HANDLERS: ::bento::fs::HandlerSet = {
        use ::bento::fs::{HandlerSet, Op};
        HandlerSet::EMPTY
            .with(Op::mount)
            .with(Op::load_inode)
            .with(Op::lookup)
            .with(Op::iterate)
            .with(Op::read)
    };
}

const _: () = ::core::assert!(
    !::core::matches!(
        <HelloFs as ::bento::fs::Declared>::DATA,
        ::bento::fs::DataMode::Extents
    ),
    "a file system with `data = \"extents\"` has no `read`: the shim reads from the device what `map_extents` tells it to",
);

const _: () = ::core::assert!(
    !::core::matches!(
        <HelloFs as ::bento::fs::Declared>::DATA,
        ::bento::fs::DataMode::Resident
    ),
    "a file system with `data = \"resident\"` has no `read`: its page cache is the only copy of a file, so there is nothing to read it from",
);
