// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Contents of files over a crash: whatever a file was going through, the next mount finishes it, e2fsck finds nothing
//! wrong, and what was promised is there.

mod common;

use std::fs;

use bento::errno::Errno;
use bento_user_shim::{Harness, SimDisk, flags};
use common::Image;
use rext4::Rext4;

const STEPS: u64 = 24;

/// One change of a file that has `at` as its number; most take several transactions.
fn change(fs: &Harness, at: u64) -> Result<(), Errno> {
    let file = fs.open("/f", flags::READ_WRITE)?;
    let (block, size) = (1024, file.stat()?.size);
    match at % 8 {
        0 => {
            for piece in 0..150 {
                file.write_all_at(&[at as u8 + 1; 700], piece * 2 * block + at)?;
            }
        }
        1 => file.fallocate(0, 0, 2 << 20)?,
        2 => file.fallocate(3, 11 * block, 200 * block)?,
        3 => file.fallocate(8, 20 * block, 31 * block)?,
        4 => file.fallocate(32, 10 * block, 57 * block)?,
        5 => file.fallocate(16, 100 * block + 3, 150 * block)?,
        6 => file.truncate(size / 3)?,
        _ => {
            let gone = fs.create("/gone", 0o600)?;
            gone.write_all_at(&[1; 100_000], 5000)?;
            fs.unlink("/gone")?;
            file.write_all_at(&[9; 3000], size)?;
        }
    }
    Ok(())
}

fn storm(name: &str, options: &[&str], extents: bool) {
    let image = Image::new(name, 8, options);
    let disk = SimDisk::new(fs::read(&image.path).unwrap());
    let fs = Harness::mount_disk::<Rext4>(disk.clone(), "").unwrap();
    fs.create("/f", 0o644).unwrap();
    fs.create("/kept", 0o644).unwrap();
    for at in 0..STEPS {
        match change(&fs, at) {
            Ok(()) => {}
            Err(Errno::EOPNOTSUPP) if !extents => {}
            Err(error) => panic!("{options:?}, step {at}: {error:?} {:?}", fs.log()),
        }
        let kept = fs.open("/kept", flags::READ_WRITE).unwrap();
        kept.write_at(&[at as u8 + 1; 3000], at * 3000).unwrap();
        if at % 3 == 0 {
            kept.fsync().unwrap();
            disk.mark(at + 1);
        }
    }
    fs.unmount().unwrap();
    let (mut states, mut torn) = (0, 0);
    for state in disk.crash_states(99, 4) {
        fs::write(&image.path, &state.image).unwrap();
        let fs = match Harness::mount_image::<Rext4>(&image.path, "") {
            Ok(fs) => fs,
            // Half of it was written: e2fsck has copies, as for ext4.
            Err(error) if error.reason.as_deref().is_some_and(|why| why.contains("superblock's checksum")) => {
                torn += 1;
                continue;
            }
            Err(error) => panic!("{options:?}: {error:?} in {state:?}"),
        };
        if state.mark > 0 {
            let kept = fs.read_file("/kept").unwrap();
            for at in 0..state.mark {
                let (from, to) = (at as usize * 3000, (at as usize + 1) * 3000);
                assert!(kept.len() >= to, "{options:?}: {} bytes in {state:?}", kept.len());
                let whole = kept[from..to].iter().all(|byte| *byte == at as u8 + 1);
                assert!(whole, "{options:?}: piece {at} in {state:?}");
            }
        }
        if fs.exists("/f") {
            fs.read_file("/f").unwrap();
        }
        image.done(fs);
        states += 1;
    }
    println!("{options:?}: {states} crashes, {torn} torn superblocks");
    assert!(states > 20 && torn < 10, "{states}, {torn}");
}

#[test]
fn extents_over_a_crash() {
    storm("crash4", &["-t", "ext4", "-b", "1024"], true);
}

#[test]
fn indirect_blocks_over_a_crash() {
    storm("crash3", &["-t", "ext3", "-b", "1024"], false);
}
