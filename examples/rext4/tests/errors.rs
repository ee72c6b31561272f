// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What becomes of a mount that finds the file system damaged: `errors=`, as the superblock or the mount option says.

mod common;

use bento::errno::Errno;
use bento_user_shim::Harness;
use common::Image;

const OPTIONS: &[&str] = &["-t", "ext4", "-b", "1024", "-J", "size=1", "-O", "^metadata_csum"];

/// An image with a directory whose first entry is nonsense, and what its superblock says to do then.
fn damaged(behaviour: &str) -> Image {
    let image = Image::new("errors", 16, &[OPTIONS, &["-e", behaviour]].concat());
    let fs = image.mount("");
    fs.mkdir("/bad", 0o755).unwrap();
    image.done(fs);
    let said = image.debugfs("bmap /bad 0");
    let block: usize = said.lines().find_map(|line| line.trim().parse().ok()).unwrap_or_else(|| panic!("{said}"));
    let mut bytes = image.bytes();
    bytes[block * 1024 + 4] = 3;
    image.with("damaged", &bytes)
}

fn state(image: &Image) -> String {
    let stats = image.debugfs("show_super_stats -h");
    stats.lines().find(|line| line.starts_with("Filesystem state")).unwrap_or_default().to_owned()
}

/// Finds the damage; may anything be written afterwards?
fn find(fs: &Harness) -> Result<(), Errno> {
    fs.mkdir("/before", 0o755).unwrap();
    assert_eq!(fs.names_in("/bad").unwrap_err(), Errno::EUCLEAN);
    let log = fs.log().join("\n");
    assert!(log.contains("directory") && log.contains("bad entry at byte 0"), "{log}");
    fs.mkdir("/after", 0o755)
}

#[test]
fn as_the_superblock_or_the_option_says() {
    for (stored, option, goes_on) in [
        ("continue", "", true),
        ("remount-ro", "", false),
        ("continue", "errors=remount-ro", false),
        ("remount-ro", "errors=continue", true),
        // A process does not stop the machine.
        ("panic", "", false),
        ("panic", "errors=continue", true),
    ] {
        let image = damaged(stored);
        let fs = image.mount(option);
        assert_eq!(find(&fs), if goes_on { Ok(()) } else { Err(Errno::EROFS) }, "{stored}, {option}");
        assert!(fs.exists("/before"), "it can still be read");
        fs.unmount().unwrap();
        // The next mount hears of it, and e2fsck without being asked to look at everything.
        let fs = image.mount("errors=continue");
        let log = fs.log().join("\n");
        assert!(log.contains("e2fsck"), "{stored}, {option}: {log}");
        assert_eq!(fs.exists("/after"), goes_on);
        fs.unmount().unwrap();
        assert!(state(&image).contains("with errors"), "{stored}, {option}: {}", state(&image));
    }
}

#[test]
fn a_remount_changes_it() {
    let image = damaged("continue");
    let fs = image.mount("errors=continue");
    fs.remount("errors=remount-ro").unwrap();
    assert_eq!(find(&fs), Err(Errno::EROFS));
    fs.unmount().unwrap();
}
