// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The expansion of cfgfs compiles again, and nothing in it is `unsafe`.
#![forbid(unsafe_code)]
#![allow(dead_code)]

include!("../expected/cfgfs.rs");

#[test]
fn cfg_reaches_the_presence_bits() {
    use bento::fs::{Handlers, Op};
    let there: Vec<_> = Op::ALL.iter().filter(|op| CfgFs::HANDLERS.has(**op)).map(|op| op.name()).collect();
    assert_eq!(there, ["mount", "load_inode", "lookup", "read", "write"]);
}
