// SPDX-License-Identifier: GPL-2.0 OR MIT
//! notefs on a device in memory.

use bento_user_shim::{Harness, Image, flags};
use notefs::{BLOCK, MAGIC, NoteFs, SIZE};

/// A device that was something else before: what nobody wrote must never be seen.
fn device() -> Image {
    let mut bytes = vec![0xee; SIZE as usize];
    bytes[..17 * BLOCK as usize].fill(0);
    bytes[..MAGIC.len()].copy_from_slice(MAGIC);
    Image::new(bytes)
}

// ANCHOR: remount
#[test]
fn what_is_written_is_there_after_a_remount() {
    let device = device();
    let fs = Harness::mount_disk::<NoteFs>(device.clone(), "").unwrap();
    let file = fs.open("/3", flags::READ_WRITE).unwrap();
    file.write_all_at(b"remember the milk", 10_000).unwrap();
    file.close().unwrap();
    fs.unmount().unwrap();

    let fs = Harness::mount_disk::<NoteFs>(device, "").unwrap();
    let bytes = fs.read_file("/3").unwrap();
    assert_eq!(bytes.len(), 10_017);
    assert!(bytes.ends_with(b"remember the milk") && bytes[..10_000].iter().all(|byte| *byte == 0));
    assert_eq!(fs.stat("/4").unwrap().size, 0);
    fs.unmount().unwrap();
}
// ANCHOR_END: remount

#[test]
fn a_file_that_grows_again_shows_nothing_old() {
    let device = device();
    let fs = Harness::mount_disk::<NoteFs>(device.clone(), "").unwrap();
    let file = fs.open("/0", flags::READ_WRITE).unwrap();
    file.write_all_at(&[7; 50_000], 0).unwrap();
    file.fsync().unwrap();
    file.truncate(100).unwrap();
    file.truncate(60_000).unwrap();
    let bytes = file.read_all().unwrap();
    assert_eq!(bytes.len(), 60_000);
    assert!(bytes[..100].iter().all(|byte| *byte == 7) && bytes[100..].iter().all(|byte| *byte == 0));
    file.close().unwrap();
    fs.unmount().unwrap();

    let fs = Harness::mount_disk::<NoteFs>(device, "").unwrap();
    assert!(fs.read_file("/0").unwrap() == bytes);
    fs.unmount().unwrap();
}

#[test]
fn a_file_ends_where_the_next_one_begins() {
    let fs = Harness::mount_disk::<NoteFs>(device(), "").unwrap();
    let file = fs.open("/15", flags::READ_WRITE).unwrap();
    file.write_all_at(&[9; 1 << 20], 0).unwrap();
    assert!(file.write_all_at(b"x", 1 << 20).is_err());
    file.close().unwrap();
    assert_eq!(fs.read_file("/15").unwrap(), vec![9; 1 << 20]);
    assert_eq!(fs.read_dir("/").unwrap().iter().filter(|entry| entry.name[0] != b'.').count(), 16);
    fs.unmount().unwrap();
}

#[test]
fn a_device_of_something_else_is_refused_and_a_bad_header_too() {
    let error = Harness::mount_disk::<NoteFs>(Image::new(vec![0; SIZE as usize]), "").unwrap_err();
    assert!(error.reason.unwrap().contains("this is no notefs"));
    let mut bytes = device().bytes();
    bytes[BLOCK as usize * 2 + 7] = 0x80;
    let fs = Harness::mount_disk::<NoteFs>(Image::new(bytes), "").unwrap();
    assert_eq!(fs.stat("/1").unwrap_err(), bento::errno::Errno::EUCLEAN);
    assert!(fs.log().iter().any(|line| line.contains("the header in block 2")), "{:?}", fs.log());
    fs.unmount().unwrap();
}
