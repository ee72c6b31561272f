// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Free blocks and inodes. What a transaction takes is only noted ([`groups`]) and goes into bitmaps and descriptors when
//! it commits ([`commit`]).

mod blocks;
mod commit;
mod groups;
mod inodes;
mod trim;

pub use commit::{Change, Kind};
pub use groups::{Groups, Ticket};
