// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The expansion of hellofs compiles again, and nothing in it is `unsafe`.
#![forbid(unsafe_code)]
#![allow(dead_code)]

include!("../expected/hellofs.rs");
