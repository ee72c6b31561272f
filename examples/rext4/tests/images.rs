// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Images made by `mke2fs`, mounted in process, and judged by `e2fsck -fn` afterwards.

mod common;

use common::{Image, KINDS};

#[test]
fn mounts_and_leaves_every_kind_clean() {
    for options in KINDS {
        let image = Image::new("mounts", 64, options);
        let fs = image.mount("");
        let before = fs.statfs().unwrap();
        assert!(before.blocks_free > 0 && before.blocks_free < before.blocks, "{options:?}: {before:?}");
        image.done(fs);
    }
}
