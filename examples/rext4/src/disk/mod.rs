// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where things lie on the disk. Offsets are in bytes from the start of the structure; all integers are little-endian.

mod group;
mod ip;
pub mod superblock;

pub use group::{BLOCK_UNINIT, Counts, Descriptor, INODE_UNINIT, ITABLE_ZEROED};
pub use ip::{Ip, inode};
pub use superblock::{Super, compat, incompat, ro_compat};

/// The file type in a directory entry, `None` when it is not one.
pub fn file_type_of_entry(byte: u8) -> Option<bento::fs::FileType> {
    use bento::fs::FileType::*;
    Some(match byte {
        1 => Regular,
        2 => Directory,
        3 => CharDevice,
        4 => BlockDevice,
        5 => Fifo,
        6 => Socket,
        7 => Symlink,
        _ => return None,
    })
}

/// The same the other way round.
pub fn entry_type(file_type: bento::fs::FileType) -> u8 {
    use bento::fs::FileType::*;
    match file_type {
        Regular => 1,
        Directory => 2,
        CharDevice => 3,
        BlockDevice => 4,
        Fifo => 5,
        Socket => 6,
        Symlink => 7,
    }
}
