// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The book's example of `migrates`: what no default can say is said in a function. Parts between anchors are the book's.
#![allow(dead_code)]

mod history {
    pub mod v1 {
        use bento::prelude::*;

        #[derive(State)]
        #[state(fs = "quotafs", version = 1)]
        pub struct QuotaFs {
            #[state(1)]
            pub used: Mutex<BTreeMap<u32, u64>>,
        }
    }
}

// ANCHOR: migrates
use bento::prelude::*;

#[bento_fs(name = "quotafs", version = 2, migrates = history::v1::QuotaFs)]
pub struct QuotaFs {
    /// Bytes and files by user. Tag 1 was the bytes alone; a tag is never given away twice.
    #[state(2)]
    used: Mutex<BTreeMap<u32, Usage>>,
    /// Made anew by every version.
    #[state(skip)]
    refused: Mutex<u64>,
}

#[derive(State)]
struct Usage {
    #[state(1)]
    bytes: u64,
    #[state(2)]
    files: u64,
}

impl Migrate<history::v1::QuotaFs> for QuotaFs {
    fn migrate(old: history::v1::QuotaFs) -> Result<Self> {
        let used = Mutex::new(BTreeMap::new());
        for (user, bytes) in old.used.into_inner() {
            // Version 1 did not count files. An error here would refuse the upgrade.
            used.lock().insert(user, Usage { bytes, files: bytes.div_ceil(4096) });
        }
        Ok(QuotaFs { used, refused: Mutex::default() })
    }
}
// ANCHOR_END: migrates

#[bento_fs]
impl FileSystem for QuotaFs {
    fn mount(_cx: &MountContext) -> Result<Self> {
        Ok(QuotaFs { used: Mutex::default(), refused: Mutex::default() })
    }

    fn load_inode(&self, _cx: &Context<Self>, _ino: Ino) -> Result<(Attr, ())> {
        Ok((Attr::directory(0o755), ()))
    }

    fn lookup(&self, _cx: &Context<Self>, _dir: &Inode<Self>, _name: &Name) -> Result<Ino> {
        Err(Errno::ENOENT)
    }
}

#[test]
fn version_2_counts_what_version_1_did_not() {
    let old = history::v1::QuotaFs { used: Mutex::new(BTreeMap::from([(1000, 5000), (0, 0)])) };
    let bytes = bento::state::to_vec(&old).unwrap();
    let new: QuotaFs = bento::state::from_slice(&bytes, history::v1::QuotaFs::SHAPE.hash()).unwrap();
    let used = new.used.lock();
    assert_eq!((used[&1000].bytes, used[&1000].files), (5000, 2));
    assert_eq!((used[&0].bytes, used[&0].files), (0, 0));
}
