// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Extended attributes, in inodes and in blocks, also those of debugfs.

mod image;

use std::collections::BTreeMap;

use bento::errno::Errno;
use bento_user_shim::Harness;
use image::{Image, Random};

const CREATE: u32 = 1;
const REPLACE: u32 = 2;

fn all(harness: &Harness, path: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let names = harness.listxattr(path).unwrap();
    names.into_iter().map(|name| (name.clone(), harness.getxattr(path, name).unwrap())).collect()
}

#[test]
fn set_replace_remove() {
    for options in ["-t ext4 -b 1024", "-t ext4 -b 4096 -I 512", "-t ext3 -b 1024 -I 128", "-t ext2 -b 2048"] {
        let image = Image::new("xattrs-set", 16, options);
        let harness = image.mount();
        harness.write_file("/f", b"").unwrap();
        let set = |name: &str, value: &[u8], flags| harness.setxattr("/f", name, value, flags);
        set("user.a", b"one", 0).unwrap();
        assert_eq!(set("user.a", b"two", CREATE), Err(Errno::EEXIST));
        assert_eq!(set("user.b", b"two", REPLACE), Err(Errno::ENODATA));
        set("user.a", b"", REPLACE).unwrap();
        set("trusted.t", &[7; 300], CREATE).unwrap();
        set("security.s", &[8; 33], 0).unwrap();
        set("user.big", &[9; 400], 0).unwrap();
        assert_eq!(set("user.huge", &[9; 5000], 0), Err(Errno::ENOSPC));
        assert_eq!(harness.removexattr("/f", "user.none"), Err(Errno::ENODATA));
        let expected: BTreeMap<Vec<u8>, Vec<u8>> = [
            (&b"user.a"[..], vec![]),
            (b"trusted.t", vec![7; 300]),
            (b"security.s", vec![8; 33]),
            (b"user.big", vec![9; 400]),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_vec(), value))
        .collect();
        assert_eq!(all(&harness, "/f"), expected, "{options}");
        harness.unmount().unwrap();
        drop(harness);
        image.check();

        let said = image.debugfs("ea_list /f\nea_get -x /f security.s\n");
        assert!(said.contains("user.big (400)") && said.contains("trusted.t (300)"), "{said}");
        let harness = image.mount();
        assert_eq!(all(&harness, "/f"), expected);
        for name in expected.keys() {
            harness.removexattr("/f", name).unwrap();
        }
        assert!(all(&harness, "/f").is_empty());
        assert_eq!(harness.stat("/f").unwrap().blocks, 0);
        harness.unmount().unwrap();
        drop(harness);
        image.check();
    }
}

#[test]
fn those_of_debugfs() {
    let image = Image::new("xattrs-debugfs", 16, "-t ext4 -b 1024");
    let said = image.debugfs(&format!(
        "write /dev/null f\nea_set f user.short value\nea_set f user.long {}\nea_set f trusted.x y\n",
        "l".repeat(500)
    ));
    image.check();
    let harness = image.mount();
    let found = all(&harness, "/f");
    assert_eq!(found.len(), 3, "{said} {found:?}");
    assert_eq!(found[&b"user.short"[..]], b"value");
    assert_eq!(found[&b"user.long"[..]], "l".repeat(500).as_bytes());
    harness.setxattr("/f", "user.more", [1; 200], CREATE).unwrap();
    harness.removexattr("/f", "user.short").unwrap();
    harness.unmount().unwrap();
    drop(harness);
    image.check();
    let said = image.debugfs("ea_list /f\n");
    assert!(said.contains("user.more (200)") && said.contains("trusted.x (1)") && !said.contains("short"), "{said}");
}

fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

#[test]
fn acls_and_what_is_inherited() {
    for options in ["-t ext4 -b 1024", "-t ext4 -b 1024 -I 128"] {
        let none = u32::MAX;
        let image = Image::new("xattrs-acl", 16, options);
        let harness = image.mount();
        harness.mkdir("/d", 0o755).unwrap();
        let default = acl(&[(1, 7, none), (2, 5, 1000), (4, 5, none), (8, 7, 70000), (0x10, 7, none), (0x20, 1, none)]);
        harness.setxattr("/d", "system.posix_acl_default", &default, 0).unwrap();
        assert_eq!(harness.getxattr("/d", "system.posix_acl_default").unwrap(), default);
        harness.mkdir("/d/sub", 0o777).unwrap();
        harness.write_file("/d/file", b"").unwrap();
        assert_eq!(harness.getxattr("/d/sub", "system.posix_acl_default").unwrap(), default);
        let inherited = harness.getxattr("/d/file", "system.posix_acl_access").unwrap();
        assert_eq!(inherited.len(), default.len());
        harness.unmount().unwrap();
        drop(harness);
        image.check();
        let harness = image.mount();
        assert_eq!(harness.getxattr("/d/sub", "system.posix_acl_default").unwrap(), default);
        assert_eq!(harness.getxattr("/d/file", "system.posix_acl_access").unwrap(), inherited);
        harness.unlink("/d/file").unwrap();
        harness.rmdir("/d/sub").unwrap();
        harness.removexattr("/d", "system.posix_acl_default").unwrap();
        harness.unmount().unwrap();
        drop(harness);
        image.check();
    }
}

/// A block that several inodes share is copied by who changes it, and freed by the last.
#[test]
fn shared_blocks() {
    let from = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("xattrs-from-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&from);
    std::fs::create_dir_all(&from).unwrap();
    let image = Image::new("xattrs-shared", 16, "-t ext4 -O ^metadata_csum,^64bit -b 1024 -I 128");
    let mut commands = String::new();
    for name in ["a", "b", "c"] {
        commands += &format!("write /dev/null {name}\n");
    }
    commands += &format!("ea_set a user.x {}\n", "v".repeat(100));
    image.debugfs(&commands);
    let said = image.debugfs("stat a\n");
    let block = said.split("File ACL: ").nth(1).unwrap().split_whitespace().next().unwrap().to_string();
    // What the kernel makes of equal attributes.
    for name in ["b", "c"] {
        image.debugfs(&format!("sif {name} file_acl {block}\nsif {name} blocks 2\n"));
    }
    let mut bytes = std::fs::read(image.path()).unwrap();
    let at = block.parse::<usize>().unwrap() * 1024;
    assert_eq!(bytes[at..at + 8], [0, 0, 2, 0xea, 1, 0, 0, 0]);
    bytes[at + 4] = 3;
    std::fs::write(image.path(), bytes).unwrap();
    std::fs::remove_dir_all(&from).unwrap();
    image.check();

    let harness = image.mount();
    let value = "v".repeat(100).into_bytes();
    harness.setxattr("/a", "user.y", b"mine", 0).unwrap();
    assert_eq!(all(&harness, "/a").len(), 2);
    for path in ["/b", "/c"] {
        assert_eq!(all(&harness, path), [(b"user.x".to_vec(), value.clone())].into(), "{path}");
    }
    harness.unlink("/b").unwrap();
    harness.sync().unwrap();
    assert_eq!(harness.getxattr("/c", "user.x").unwrap(), value);
    harness.unmount().unwrap();
    drop(harness);
    image.check();
    let harness = image.mount();
    harness.removexattr("/c", "user.x").unwrap();
    harness.unlink("/a").unwrap();
    harness.unmount().unwrap();
    drop(harness);
    image.check();
}

#[test]
fn random_attributes_against_a_model() {
    for (seed, options) in ["-t ext4 -b 1024", "-t ext4 -b 4096 -I 1024"].into_iter().enumerate() {
        let image = Image::new("xattrs-model", 32, options);
        let mut random = Random::new(seed as u64 + 11);
        let mut model: BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>> = BTreeMap::new();
        for _ in 0..3 {
            let harness = image.mount();
            for _ in 0..2000 {
                let path = format!("/{}", random.below(20));
                let values = model.entry(path.clone()).or_insert_with(|| {
                    harness.write_file(&path, b"").unwrap();
                    BTreeMap::new()
                });
                let prefix = ["user.", "trusted.", "security."][random.below(3)];
                let name = format!("{prefix}{}{}", random.below(6), "n".repeat(random.below(12)));
                match random.below(10) {
                    0..6 => {
                        let most = if random.below(5) == 0 { 900 } else { 40 };
                        let value = vec![random.next() as u8; random.below(most)];
                        match harness.setxattr(&path, &name, &value, 0) {
                            Ok(()) => drop(values.insert(name.into_bytes(), value)),
                            Err(error) => assert_eq!(error, Errno::ENOSPC),
                        }
                    }
                    6..9 => {
                        let there = values.remove(name.as_bytes()).is_some();
                        assert_eq!(harness.removexattr(&path, &name).err(), (!there).then_some(Errno::ENODATA));
                    }
                    _ => {
                        harness.unlink(&path).unwrap();
                        model.remove(&path);
                    }
                }
            }
            harness.drop_caches().unwrap();
            for (path, values) in &model {
                assert_eq!(all(&harness, path), *values, "{path}");
            }
            harness.unmount().unwrap();
            drop(harness);
            image.check();
        }
    }
}
