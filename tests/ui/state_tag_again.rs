// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A tag that went with version 2 and comes again with version 3: bytes of version 1 would look like version 3's.

use bento::prelude::*;

mod history {
    pub mod v1 {
        use bento::prelude::*;

        #[derive(State)]
        #[state(fs = "fs", version = 1)]
        pub struct Fs {
            #[state(1)]
            pub next_ino: u64,
            #[state(2)]
            pub files: u64,
        }
    }

    pub mod v2 {
        use bento::prelude::*;

        #[derive(State)]
        #[state(fs = "fs", version = 2, migrates = super::v1::Fs)]
        pub struct Fs {
            #[state(1)]
            pub next_ino: u64,
        }

        impl Migrate<super::v1::Fs> for Fs {
            fn migrate(old: super::v1::Fs) -> Result<Self> {
                Ok(Fs { next_ino: old.next_ino })
            }
        }
    }
}

#[derive(State)]
#[state(fs = "fs", version = 3, extends = history::v2::Fs)]
struct Fs {
    #[state(1)]
    next_ino: u64,
    #[state(2, default = 0)]
    bytes: u64,
}

fn main() {}
