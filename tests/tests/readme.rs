// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The file system in README.md works, and is the one between the two markers below.

// README
use bento::prelude::*;

#[bento_fs(name = "hi", version = 1)]
pub struct Hi;

#[bento_fs]
impl FileSystem for Hi {
    fn mount(_cx: &MountContext) -> Result<Self> {
        Ok(Hi)
    }
    fn load_inode(&self, _cx: &Context<Self>, ino: Ino) -> Result<(Attr, ())> {
        Ok((if ino == Ino::ROOT { Attr::directory(0o755) } else { Attr::file(0o444, 3) }, ()))
    }
    fn lookup(&self, _cx: &Context<Self>, _dir: &Inode<Self>, name: &Name) -> Result<Ino> {
        if name == "hi" { Ok(Ino::new(2).unwrap()) } else { Err(Errno::ENOENT) }
    }
    fn read(&self, _cx: &Context<Self>, _inode: &Inode<Self>, offset: u64, sink: &mut ReadSink) -> Result<()> {
        sink.put(&b"hi\n"[offset as usize..])
    }
}
// END README

#[test]
fn readme_shows_the_file_system_of_this_test() {
    let here = include_str!("readme.rs");
    let listing = here.split("// README\n").nth(1).and_then(|rest| rest.split("// END README\n").next()).unwrap();
    let readme = include_str!("../../README.md");
    let shown = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(shown, listing);
    assert_eq!(listing.lines().count(), 20);
}

#[test]
fn it_says_hi() {
    let fs = bento_user_shim::Harness::mount::<Hi>("").unwrap();
    assert_eq!(fs.read_file("/hi").unwrap(), b"hi\n");
    assert_eq!(fs.read_file("/ho"), Err(Errno::ENOENT));
    fs.unmount().unwrap();
}
