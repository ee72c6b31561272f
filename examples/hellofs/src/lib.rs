// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The smallest file system worth mounting: one directory, one file, read-only. The book's first chapter builds it.
#![no_std]
#![forbid(unsafe_code)]

use bento::prelude::*;

const HELLO: Ino = Ino::new(2).unwrap();
const TEXT: &[u8] = b"Hello from safe Rust!\n";

#[bento_fs(name = "hellofs", version = 1)]
pub struct HelloFs;

#[bento_fs]
impl FileSystem for HelloFs {
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

    fn lookup(&self, _cx: &Context<Self>, _dir: &Inode<Self>, name: &Name) -> Result<Ino> {
        if name == "hello" { Ok(HELLO) } else { Err(Errno::ENOENT) }
    }

    fn iterate(&self, _cx: &Context<Self>, _dir: &Inode<Self>, pos: u64, entries: &mut DirEmitter) -> Result<()> {
        if pos == 0 {
            let _ = entries.emit("hello".into(), HELLO, FileType::Regular, 1);
        }
        Ok(())
    }

    fn read(&self, _cx: &Context<Self>, _inode: &Inode<Self>, offset: u64, sink: &mut ReadSink) -> Result<()> {
        let start = usize::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
        sink.put(TEXT.get(start..).unwrap_or_default())
    }
}
