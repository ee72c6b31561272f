// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Directories and attributes with random bytes in them: errors, never a panic, never an endless loop.

mod image;

use bento_user_shim::Harness;
use image::{Image, Random};

fn visit(harness: &Harness, path: &str, depth: u32) {
    let listed = harness.read_dir(if path.is_empty() { "/" } else { path });
    let Ok(listed) = listed else { return };
    for entry in listed.iter().take(400) {
        let Ok(name) = std::str::from_utf8(&entry.name) else { continue };
        let child = format!("{path}/{name}");
        let _ = harness.readlink(&child);
        if let Ok(stat) = harness.lstat(&child) {
            for name in harness.listxattr(&child).unwrap_or_default() {
                let _ = harness.getxattr(&child, name);
            }
            if stat.is_dir() && depth < 3 {
                visit(harness, &child, depth + 1);
            }
        }
    }
}

fn change(harness: &Harness, random: &mut Random) {
    for n in 0..60 {
        let _ = harness.mknod(format!("/many/new{n}{}", "x".repeat(random.below(200))), 0o010600, (0, 0));
        let _ = harness.unlink(format!("/many/{}", random.below(600)));
        let _ = harness.rename(format!("/many/{}", random.below(600)), format!("/few/r{n}"));
        let _ = harness.mkdir(format!("/few/d{n}"), 0o755);
        let _ = harness.setxattr(format!("/few/{}", n % 4), format!("user.{n}"), vec![1; random.below(300)], 0);
        let _ = harness.removexattr(format!("/few/{}", n % 4), "user.a");
        let _ = harness.rmdir("/few");
    }
}

#[test]
fn random_bytes() {
    for options in ["-t ext4 -b 1024 -O ^metadata_csum", "-t ext4 -b 4096 -O ^metadata_csum", "-t ext2 -b 1024"] {
        let image = Image::new("hostile", 16, &format!("{options} -N 2000"));
        let harness = image.mount();
        harness.mkdir("/many", 0o755).unwrap();
        harness.mkdir("/few", 0o755).unwrap();
        for n in 0..600 {
            harness.mknod(format!("/many/{n}"), 0o010600, (0, 0)).unwrap();
        }
        for n in 0..4 {
            harness.write_file(format!("/few/{n}"), b"").unwrap();
            harness.setxattr(format!("/few/{n}"), "user.a", b"value", 0).unwrap();
            harness.setxattr(format!("/few/{n}"), "user.b", [7; 300], 0).unwrap();
            harness.symlink("target/".repeat(1 + 20 * n), format!("/few/l{n}")).unwrap();
        }
        harness.unmount().unwrap();
        drop(harness);
        image.check();

        // Where they lie.
        let size = if options.contains("4096") { 4096 } else { 1024 };
        let said =
            image.debugfs("blocks /\nblocks /many\nblocks /few\nblocks /few/l3\nimap /few/0\nimap /few\nimap /many\n");
        let mut places: Vec<usize> = Vec::new();
        for line in said.lines() {
            if line.split_whitespace().all(|word| word.parse::<usize>().is_ok()) {
                places.extend(line.split_whitespace().filter_map(|word| word.parse::<usize>().ok()));
            } else if let Some(rest) = line.split("located at block ").nth(1) {
                places.extend(rest.split(',').next().and_then(|word| word.parse::<usize>().ok()));
            }
        }
        for n in 0..4 {
            let said = image.debugfs(&format!("stat /few/{n}\n"));
            places.extend(
                said.split("File ACL: ").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok()),
            );
        }
        places.retain(|place| *place > 0);
        assert!(places.len() > 8, "{said}");
        let good = std::fs::read(image.path()).unwrap();
        for seed in 0..20 {
            let mut random = Random::new(seed);
            let mut bad = good.clone();
            for _ in 0..1 + random.below(12) {
                let place = places[random.below(places.len())] * size;
                // Most of what counts stands at the front.
                let within = if random.below(2) == 0 { 64 } else { size };
                let at = place + random.below(within);
                bad[at] = [0, 1, 0xff, random.next() as u8][random.below(4)];
            }
            std::fs::write(image.path(), &bad).unwrap();
            let Ok(harness) = Harness::mount_image::<rext4::Rext4>(image.path(), "errors=continue") else { continue };
            visit(&harness, "", 0);
            change(&harness, &mut random);
            visit(&harness, "", 0);
            assert!(harness.panics().is_empty(), "{options} seed {seed}: {:?}", harness.panics());
            let _ = harness.unmount();
        }
    }
}
