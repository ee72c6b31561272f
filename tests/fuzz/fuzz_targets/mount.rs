// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Mounts damaged images with rext4, in process, and uses them: nothing panics, nothing hangs, nothing leaks. The input's
//! first byte chooses a sound image; each 12 bytes behind it are one change of its metadata, whose checksum is put right
//! afterwards (`bento_judges::image`).
//!
//! In tests/: `cargo +nightly fuzz run -s none --fuzz-dir fuzz mount -- -max_len=61 -timeout=60`. What is worth keeping goes
//! into judges/corpus.txt: `-set_cover_merge=1 -use_counters=0 KEPT fuzz/corpus/mount`, then `mutants recipes KEPT`.
#![no_main]

use std::sync::OnceLock;

use bento_judges::corpus::{KINDS, Recipe};
use bento_judges::harness::survive;
use bento_judges::image::Image;
use libfuzzer_sys::fuzz_target;
use rext4::Rext4;

fn images() -> &'static [Image] {
    static IMAGES: OnceLock<Vec<Image>> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let make = |kind: &bento_judges::corpus::Kind| kind.make(&std::env::temp_dir());
        KINDS.iter().map(|kind| make(kind).expect("e2fsprogs make an image")).collect()
    })
}

fuzz_target!(|input: &[u8]| {
    let Some(recipe) = Recipe::of(input) else { return };
    survive::<Rext4>(&images()[recipe.kind], &recipe.mutant(images()), input.len() as u64);
});
