// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Judges of a disk file system that know nothing of how it is made: what another file system does with the same calls
//! ([`ops`], and the program `differ`), and what must be there after a crash ([`ace`]). Each is random by a seed, which is printed: the same seed is the same run.

pub mod ace;
pub mod corpus;
#[cfg(feature = "harness")]
pub mod harness;
pub mod image;
pub mod mounted;
pub mod ops;
pub mod random;
pub mod tree;
