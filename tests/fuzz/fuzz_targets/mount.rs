// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Mounts damaged images with rext4, in process, and uses them: nothing panics, nothing hangs, nothing leaks. Each 12 bytes
//! of the input are one change of the metadata, whose checksum is put right afterwards (`bento_judges::image`).
//!
//! `BENTO_FUZZ_IMAGE` is a sound image, a small one: `mke2fs -t ext4 -b 1024 -J size=1 -d some/files image 8M`.
#![no_main]

use std::sync::OnceLock;

use bento_judges::harness::use_it;
use bento_judges::image::Image;
use bento_judges::tree::sum;
use bento_user_shim::Harness;
use libfuzzer_sys::fuzz_target;
use rext4::Rext4;

fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let path = std::env::var("BENTO_FUZZ_IMAGE").expect("BENTO_FUZZ_IMAGE names an image");
        Image::new(std::fs::read(&path).expect("the image can be read")).expect("the image is ext4")
    })
}

fuzz_target!(|changes: &[u8]| {
    let mutant = image().mutant(changes);
    let mut bytes = image().bytes().to_vec();
    mutant.apply(&mut bytes);
    let Ok(mount) = Harness::mount_disk::<Rext4>(bento_user_shim::Image::new(bytes), "") else { return };
    use_it(&mount, sum(0, changes));
    let report = mount.unmount_and_report().expect("nothing is open");
    assert!(report.panics.is_empty() && !report.poisoned, "{:?}: {:?}", mutant.what, report.panics);
    assert_eq!((report.leaked_inodes, report.leaked_allocations), (0, 0), "{:?}", mutant.what);
});
