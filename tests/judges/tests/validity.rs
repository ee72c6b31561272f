// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Images whose files and bitmaps claim what is the file system's own, with checksums that are right (`block_validity`): it
//! is said what and where, and nothing of it is read as a file's, handed out, freed or written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bento::errno::Errno;
use bento_judges::corpus::KINDS;
use bento_judges::image::{Image, Kind, Region};
use bento_user_shim::{Harness, Image as Disk, flags};
use rext4::Rext4;

fn place(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("validity-{name}"));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// A sound image, where its metadata lie, and its files' inodes.
struct Sound {
    image: Image,
    dir: PathBuf,
}

impl Sound {
    fn new(name: &str, kind: &str) -> Sound {
        let dir = place(&format!("{name}-{kind}"));
        let kind = KINDS.iter().find(|known| known.name == kind).unwrap();
        Sound { image: kind.make(&dir).unwrap(), dir }
    }

    /// With room in several groups, and next to nothing in it.
    fn empty(name: &str, options: &str) -> Sound {
        let dir = place(&format!("{name}-empty"));
        let path = dir.join("image");
        let mut mke2fs = Command::new("mke2fs");
        mke2fs.args(["-q", "-F", "-t", "ext4", "-b", "1024", "-g", "4096", "-J", "size=1"]);
        let output = mke2fs.args(options.split(' ')).arg(&path).arg("16M").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Sound { image: Image::new(fs::read(&path).unwrap()).unwrap(), dir }
    }

    fn region(&self, kind: Kind) -> Region {
        *self.image.regions().iter().find(|region| region.kind == kind).unwrap_or_else(|| panic!("no {kind:?}"))
    }

    fn block_of(&self, kind: Kind) -> u64 {
        (self.region(kind).at / self.image.block_size()) as u64
    }

    fn inode(&self, path: &str) -> Region {
        let fs = mount(self.image.bytes().to_vec(), "").0;
        let number = fs.stat(path).unwrap().ino as u32;
        fs.unmount().unwrap();
        self.region(Kind::Inode { number })
    }

    /// One block of each kind of metadata.
    fn own(&self) -> Vec<(&'static str, u64)> {
        let descriptors = self.block_of(Kind::Descriptor { group: 0 });
        let mut own = vec![
            ("descriptors", descriptors),
            ("block bitmap", self.block_of(Kind::BlockBitmap { group: 0 })),
            ("inode bitmap", self.block_of(Kind::InodeBitmap { group: 0 })),
            ("inode table", self.block_of(Kind::Inode { number: 2 })),
        ];
        if self.word(0x5c) & 0x10 != 0 && self.word(0xcc) >> 16 > 0 {
            own.push(("reserved for descriptors", descriptors + 1));
        }
        if self.word(0xe0) != 0 {
            own.push(("journal", self.block_of(Kind::Journal)));
        }
        if self.groups() > 1 {
            own.push(("copy of the superblock", u64::from(self.word(0x14) + self.word(0x20))));
        }
        own
    }

    /// Of the superblock.
    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.image.bytes()[1024 + at..][..4].try_into().unwrap())
    }

    fn groups(&self) -> u32 {
        (self.word(4) - self.word(0x14)).div_ceil(self.word(0x20))
    }

    fn bytes_of(&self, bytes: &[u8], block: u64) -> Vec<u8> {
        bytes[block as usize * self.image.block_size()..][..self.image.block_size()].to_vec()
    }

    /// Is the block in use in its group's bitmap, where there was one?
    fn is_used(&self, bytes: &[u8], block: u64) -> bool {
        let at = block - u64::from(self.word(0x14));
        let (group, bit) = ((at / u64::from(self.word(0x20))) as u32, (at % u64::from(self.word(0x20))) as usize);
        let bitmap = self.image.regions().iter().find(|region| region.kind == Kind::BlockBitmap { group });
        bitmap.is_none_or(|bitmap| bytes[bitmap.at + bit / 8] >> (bit % 8) & 1 == 1)
    }
}

impl Drop for Sound {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn mount(bytes: Vec<u8>, options: &str) -> (Harness, Disk) {
    let disk = Disk::new(bytes);
    (Harness::mount_disk::<Rext4>(disk.clone(), options).unwrap_or_else(|error| panic!("{error:?}")), disk)
}

/// Unmounts; what is on the disk then.
fn end(fs: Harness, disk: &Disk) -> Vec<u8> {
    let report = fs.unmount_and_report().unwrap();
    assert_eq!((report.panics, report.leaked_inodes), (Vec::new(), 0));
    disk.bytes()
}

fn told(fs: &Harness, words: &[&str]) {
    let log = fs.log();
    let found = log.iter().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(found, "{words:?}: {log:#?}");
}

/// Does to a file whatever needs its blocks. None of it may be done.
fn use_file(fs: &Harness, path: &str) {
    assert_eq!(fs.read_file(path).unwrap_err(), Errno::EUCLEAN);
    if let Ok(file) = fs.open(path, flags::READ_WRITE) {
        let wrote = file.write_at(&[0xee; 5000], 0).map(drop).and_then(|()| file.fsync());
        assert_eq!(wrote, Err(Errno::EUCLEAN));
        assert_eq!(file.fallocate(0x3, 0, 4096), Err(Errno::EUCLEAN), "punch a hole");
        let _ = file.close();
    }
    assert_eq!(fs.truncate(path, 10), Err(Errno::EUCLEAN));
    let _ = fs.unlink(path);
    let _ = fs.sync();
}

#[test]
fn a_file_that_claims_metadata() {
    for kind in ["1k", "4k", "meta"] {
        let sound = Sound::new("file", kind);
        let inode = sound.inode("/dir/file");
        for (what, own) in sound.own() {
            // The root's first extent.
            let bytes = sound.image.with(inode, 0x3c, &(own as u32).to_le_bytes());
            let (fs, disk) = mount(bytes, "errors=continue");
            use_file(&fs, "/dir/file");
            let place = format!("blocks at {own} of the device");
            told(&fs, &["inode ", "extent tree: block 0: ", &place, "no file's"]);
            assert_eq!(fs.read_file("/dir/sub/small").unwrap(), b"small", "{what}");
            let after = end(fs, &disk);
            assert!(sound.is_used(&after, own), "{kind}: {what} was freed");
            if ["copy of the superblock", "reserved for descriptors"].contains(&what) {
                assert_eq!(sound.bytes_of(&after, own), sound.bytes_of(sound.image.bytes(), own), "{kind}: {what}");
            }
        }
    }
}

/// With the option it is as it was before there was such a check, but for what is handed out or freed.
#[test]
fn noblock_validity_reads_it() {
    let sound = Sound::new("option", "1k");
    let (what, own) = sound.own()[3];
    let bytes = sound.image.with(sound.inode("/dir/file"), 0x3c, &(own as u32).to_le_bytes());
    let (fs, disk) = mount(bytes, "errors=continue,noblock_validity");
    assert!(fs.read_file("/dir/file").is_ok());
    assert_eq!(fs.truncate("/dir/file", 10), Err(Errno::EUCLEAN));
    told(&fs, &["blocks to be freed", "the file system's own"]);
    fs.remount("errors=continue,block_validity").unwrap();
    fs.truncate("/dir/sub/small", 2).unwrap();
    let after = end(fs, &disk);
    assert!(sound.is_used(&after, own), "{what}");
}

#[test]
fn a_node_of_a_tree_that_is_metadata() {
    for kind in ["1k", "4k"] {
        let sound = Sound::new("node", kind);
        for path in ["/holes", "/many"] {
            let inode = sound.inode(path);
            let depth = sound.image.bytes()[inode.at + 0x2e];
            for (what, own) in sound.own() {
                // The first child of the root, or what its only leaf maps first.
                let at = if depth > 0 { 0x38 } else { 0x3c };
                let (fs, disk) = mount(sound.image.with(inode, at, &(own as u32).to_le_bytes()), "errors=continue");
                if path == "/many" {
                    assert_eq!(fs.names_in(path).unwrap_err(), Errno::EUCLEAN, "{what}");
                    assert_eq!(fs.stat("/many/one").unwrap_err(), Errno::EUCLEAN);
                    assert_eq!(fs.write_file("/many/new", "x").unwrap_err(), Errno::EUCLEAN);
                } else {
                    use_file(&fs, path);
                }
                told(&fs, &["extent tree", &format!("at {}{own}", if depth > 0 { "block " } else { "" })]);
                assert!(sound.is_used(&end(fs, &disk), own), "{kind}: {what} was freed");
            }
        }
    }
}

#[test]
fn numbers_of_ext2_that_are_metadata() {
    let sound = Sound::new("numbers", "ext2");
    let inode = sound.inode("/holes");
    for (what, own) in sound.own() {
        // The first direct one; the first indirect one; the one of blocks of such.
        for at in [0, 12, 13] {
            let bytes = sound.image.with(inode, 0x28 + 4 * at, &(own as u32).to_le_bytes());
            let (fs, disk) = mount(bytes, "errors=continue");
            let file = fs.open("/holes", flags::READ_WRITE).unwrap();
            let offset = [0, 16 << 10, 512 << 10][at.saturating_sub(11)];
            assert_eq!(file.read_at(offset, 1024).unwrap_err(), Errno::EUCLEAN, "{what} at {at}");
            let wrote = file.write_at(&[0xee; 1024], offset).map(drop).and_then(|()| file.fsync());
            assert_eq!(wrote, Err(Errno::EUCLEAN));
            file.close().unwrap_or(());
            assert_eq!(fs.truncate("/holes", 0), Err(Errno::EUCLEAN));
            told(&fs, &["block", &format!(" {own}")]);
            assert!(sound.is_used(&end(fs, &disk), own), "{what} was freed");
        }
    }
}

#[test]
fn attributes_in_metadata() {
    for kind in ["1k", "ext2"] {
        let sound = Sound::new("attributes", kind);
        let inode = sound.inode("/dir/sub/small");
        for (what, own) in sound.own() {
            let (fs, disk) = mount(sound.image.with(inode, 0x68, &(own as u32).to_le_bytes()), "errors=continue");
            assert_eq!(fs.getxattr("/dir/sub/small", "user.large").unwrap_err(), Errno::EUCLEAN, "{what}");
            assert_eq!(fs.setxattr("/dir/sub/small", "user.more", [7; 600], 0), Err(Errno::EUCLEAN));
            let _ = fs.unlink("/dir/sub/small");
            told(&fs, &["inode ", &format!("block {own} of its attributes is no file's")]);
            assert!(sound.is_used(&end(fs, &disk), own), "{kind}: {what} was freed");
        }
    }
}

/// Nothing is taken of the group any more, and other groups do as well.
#[test]
fn a_bitmap_that_has_metadata_as_free() {
    for kind in ["-O ^orphan_file", "-O ^metadata_csum,uninit_bg"] {
        let sound = Sound::empty("bitmap", kind);
        let bitmap = sound.region(Kind::BlockBitmap { group: 0 });
        for (what, own) in sound.own().into_iter().take(4) {
            let bit = own as usize - 1;
            let byte = sound.image.bytes()[bitmap.at + bit / 8] & !(1 << (bit % 8));
            let bytes = sound.image.with(bitmap, bit / 8, &[byte]);
            let before = bytes[bitmap.at..][..bitmap.len].to_vec();
            let (fs, disk) = mount(bytes.clone(), "errors=continue");
            for number in 0..20u8 {
                fs.write_file(format!("/new{number}"), [number; 10_000]).unwrap();
                fs.mkdir(format!("/dir{number}"), 0o755).unwrap();
            }
            fs.sync().unwrap();
            told(&fs, &["group 0: the block bitmap has metadata", &format!("block {own},")]);
            let said = fs.log().iter().filter(|line| line.contains("the block bitmap has metadata")).count();
            assert_eq!(said, 1, "once is enough");
            let after = end(fs, &disk);
            assert_eq!(after[bitmap.at..][..bitmap.len], before, "{kind}: {what}");
            // What e2fsck finds is that, and what it mends is whole.
            let path = sound.dir.join("judged");
            fs::write(&path, &after).unwrap();
            let path = path.to_string_lossy();
            let fsck = |how: &str| Command::new("e2fsck").args([how, &path]).output().unwrap();
            let said = String::from_utf8_lossy(&fsck("-fn").stdout).into_owned();
            assert!(said.contains("Block bitmap differences") && !said.contains("nvalid"), "{said}");
            assert!(!said.contains("claimed"), "{said}");
            assert_eq!(fsck("-fy").status.code(), Some(1));
            assert_eq!(fsck("-fn").status.code(), Some(0));
            let (fs, disk) = mount(fs::read(&*path).unwrap(), "");
            for number in 0..20u8 {
                assert_eq!(fs.read_file(format!("/new{number}")).unwrap(), [number; 10_000]);
            }
            end(fs, &disk);
        }
    }
}

/// Where errors= says so, that is the end of writing.
#[test]
fn a_corrupt_bitmap_and_errors_remount_ro() {
    let sound = Sound::new("errors", "1k");
    let bitmap = sound.region(Kind::BlockBitmap { group: 0 });
    let bit = sound.block_of(Kind::InodeBitmap { group: 0 }) as usize - 1;
    let byte = sound.image.bytes()[bitmap.at + bit / 8] & !(1 << (bit % 8));
    let (fs, disk) = mount(sound.image.with(bitmap, bit / 8, &[byte]), "errors=remount-ro");
    assert!(fs.mkdir("/dir/new", 0o755).is_err());
    assert_eq!(fs.mkdir("/dir/other", 0o755), Err(Errno::EROFS));
    end(fs, &disk);
}

/// A group that says it never had a bitmap has its own metadata in use, and what of others' lies in it.
#[test]
fn a_group_without_bitmap_keeps_all_metadata() {
    let sound = Sound::empty("unused", "-O ^orphan_file");
    let descriptor = sound.region(Kind::Descriptor { group: 0 });
    let bytes = sound.image.with(descriptor, 0x12, &[sound.image.bytes()[descriptor.at + 0x12] | 2]);
    let (fs, disk) = mount(bytes, "errors=continue");
    // What was there of files is not safe, and others may fail for it.
    let made = (0..200).filter(|number| fs.write_file(format!("/new{number}"), [7; 3000]).is_ok()).count();
    assert!(made > 50, "{made}");
    let _ = fs.sync();
    for (what, own) in sound.own() {
        assert!(sound.is_used(&disk.bytes(), own), "{what} was handed out");
    }
    let _ = fs.unmount();
    let path = sound.dir.join("judged");
    fs::write(&path, disk.bytes()).unwrap();
    let said = Command::new("e2fsck").arg("-fn").arg(&path).output().unwrap().stdout;
    let said = String::from_utf8_lossy(&said);
    assert!(!said.contains("conflicts") && !said.contains("claimed"), "{said}");
}

#[test]
fn metadata_that_lie_on_one_another() {
    let sound = Sound::new("twice", "1k");
    let table = sound.block_of(Kind::Inode { number: 2 }) as u32;
    for at in [0, 4, 8] {
        let bytes = sound.image.with(sound.region(Kind::Descriptor { group: 1 }), at, &table.to_le_bytes());
        let error = Harness::mount_disk::<Rext4>(Disk::new(bytes.clone()), "").expect_err("it was mounted");
        let reason = error.reason.unwrap_or_default();
        assert!(reason.contains(&format!("block {table} is used twice for metadata")), "{reason}");
        let (fs, disk) = mount(bytes, "noblock_validity");
        assert_eq!(fs.read_file("/dir/sub/small").unwrap(), b"small");
        end(fs, &disk);
    }
}
