// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Variants that went or changed under `extends`.

use bento::prelude::*;

mod old {
    use bento::prelude::*;

    #[derive(State)]
    pub enum Kind {
        #[state(1)]
        File {
            #[state(1)]
            size: u64,
        },
        #[state(2)]
        Link,
    }

    #[derive(State)]
    pub enum Gone {
        #[state(1)]
        File,
        #[state(2)]
        Link,
    }

    #[derive(State)]
    pub struct Flags {
        #[state(1)]
        bits: u32,
    }
}

#[derive(State)]
#[state(extends = old::Kind)]
enum Kind {
    #[state(1)]
    File {
        #[state(1)]
        size: u32,
        #[state(2)]
        blocks: u64,
    },
    #[state(2)]
    Link,
    #[state(3)]
    Fifo {
        #[state(1)]
        pipe: u64,
    },
}

#[derive(State)]
#[state(extends = old::Gone)]
enum Gone {
    #[state(1)]
    File,
}

#[derive(State)]
#[state(extends = old::Flags)]
enum Flags {
    #[state(1)]
    None,
}

fn main() {}
