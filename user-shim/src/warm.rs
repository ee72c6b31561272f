// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The runtime installs its panic hook at the first contained call of the program and keeps what it allocates for that.
//! A mount of nothing gets it done before allocations are counted.

use std::sync::Once;

use bento::abi;
use bento::errno::{Errno, Result};
use bento::fs::{
    Attr, Context, DataMode, Declared, FileSystem, HandlerSet, Handlers, Ino, Inode, MountContext, Name, Op,
};
use bento::state::{Loader, Saver, Shape, State};

struct Nothing;

impl Declared for Nothing {
    const NAME: &'static str = "nothing";
    const VERSION: u32 = 1;
    const DATA: DataMode = DataMode::Bytes;
}

impl Handlers for Nothing {
    const HANDLERS: HandlerSet = HandlerSet::EMPTY.with(Op::mount);
}

impl State for Nothing {
    const SHAPE: &'static Shape = &Shape::Unit;

    fn save(&self, _out: &mut Saver<'_>) -> Result<()> {
        Ok(())
    }

    fn load(_from: &mut Loader<'_>) -> Result<Nothing> {
        Ok(Nothing)
    }
}

impl FileSystem for Nothing {
    type Inode = ();

    fn mount(_cx: &MountContext) -> Result<Nothing> {
        Err(Errno::ENODEV)
    }

    fn load_inode(&self, _cx: &Context<Self>, _ino: Ino) -> Result<(Attr, ())> {
        Err(Errno::ENODEV)
    }

    fn lookup(&self, _cx: &Context<Self>, _dir: &Inode<Self>, _name: &Name) -> Result<Ino> {
        Err(Errno::ENODEV)
    }
}

/// Once per program.
pub fn up() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: integers and pointers: all-zero is valid.
        let (mut call, mut args): (abi::bento_call, abi::bento_mount_args) = unsafe { std::mem::zeroed() };
        if let Some(mount) = bento::thunk::ops::<Nothing>().mount {
            // SAFETY: SAFETY.md C1: both live through the call; the handler looks at neither.
            unsafe { mount(&raw mut call, &raw mut args) };
        }
    });
}
