// SPDX-License-Identifier: GPL-2.0 OR MIT
//! rext4 version 2: version 1, and [who made each file](own), kept with the file on the disk. It takes the place of version 1
//! under running programs and gives it back ([`Downgrade`]); what it wrote stays.
//!
//! The code is version 1's, file by file, but for what this version keeps by itself. Whoever mounts the disk next, native
//! ext4 too, can read that as any other attribute.
#![no_std]
#![forbid(unsafe_code)]

#[path = "../../rext4/src/alloc/mod.rs"]
mod alloc;
#[path = "../../rext4/src/check.rs"]
mod check;
#[path = "../../rext4/src/dir/mod.rs"]
mod dir;
#[path = "../../rext4/src/disk/mod.rs"]
mod disk;
mod downgrade;
#[path = "../../rext4/src/file.rs"]
mod file;
#[path = "../../rext4/src/handlers.rs"]
mod handlers;
mod history {
    pub mod v1;
}
#[path = "../../rext4/src/journal.rs"]
mod journal;
#[path = "../../rext4/src/list.rs"]
mod list;
#[path = "../../rext4/src/map/mod.rs"]
mod map;
#[path = "../../rext4/src/mount.rs"]
mod mount;
#[path = "../../rext4/src/namei.rs"]
mod namei;
#[path = "../../rext4/src/node.rs"]
mod node;
#[path = "../../rext4/src/orphan.rs"]
mod orphan;
mod own;
#[path = "../../rext4/src/superblock.rs"]
mod superblock;
#[path = "../../rext4/src/txn.rs"]
mod txn;
#[path = "../../rext4/src/xattr/mod.rs"]
mod xattr;
#[path = "../../rext4/src/zones.rs"]
mod zones;

use bento::prelude::*;

use disk::Super;
pub use node::Node;

// ANCHOR: fs
#[bento_fs(
    name = "rext4",
    version = 2,
    data = "extents",
    extends = history::v1::Rext4,
    downgrades = history::v1::Rext4,
    on_panic = "restart"
)]
pub struct Rext4 {
    #[state(1)]
    pub(crate) sb: Super,
    #[state(2)]
    pub(crate) groups: alloc::Groups,
    #[state(3)]
    pub(crate) orphans: orphan::Orphans,
    #[state(4)]
    pub(crate) settings: mount::Settings,
    /// Files of which this version, since it came, has noted who made them.
    #[state(5, default = own::Noted::default())]
    pub(crate) noted: own::Noted,
    #[state(6)]
    pub(crate) zones: zones::Zones,
    #[state(skip)]
    pub(crate) shared_xattrs: txn::BlockLock,
}
// ANCHOR_END: fs

impl Rext4 {
    fn new(sb: Super, groups: alloc::Groups, settings: mount::Settings) -> Self {
        Rext4 {
            sb,
            groups,
            settings,
            orphans: orphan::Orphans::default(),
            noted: own::Noted::default(),
            zones: zones::Zones::default(),
            shared_xattrs: txn::BlockLock::default(),
        }
    }
}
