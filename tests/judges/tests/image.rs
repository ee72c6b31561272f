// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The mutator, judged by e2fsprogs: it finds all kinds of metadata, knows their checksums, and what it damages is damaged
//! there and nowhere else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bento_judges::corpus::KINDS;
use bento_judges::image::{Image, Kind, Mutant, RECORD};

fn tool(name: &str) -> Command {
    // Not everyone has it on the path.
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// `None` where e2fsprogs is not installed, which is said.
fn image(name: &str, options: &[&str]) -> Option<(PathBuf, Image)> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("image-{name}"));
    let _ = fs::remove_dir_all(&dir);
    let content = dir.join("content");
    fs::create_dir_all(content.join("many")).unwrap();
    for number in 0..700 {
        fs::write(content.join(format!("many/a-name-that-takes-some-room-{number}")), "x").unwrap();
    }
    // So many holes that the extents need a block of their own.
    let holes = fs::File::create(content.join("holes")).unwrap();
    for number in 0..40 {
        std::os::unix::fs::FileExt::write_all_at(&holes, &[1; 4096], number * 65536).unwrap();
    }
    let path = dir.join("image");
    let mut mke2fs = tool("mke2fs");
    mke2fs.args(["-q", "-F", "-t", "ext4"]).args(options).arg("-d").arg(&content).arg(&path).arg("24M");
    match mke2fs.output() {
        Err(error) => {
            eprintln!("not tested: mke2fs does not start: {error}");
            return None;
        }
        Ok(output) => assert!(output.status.success(), "{output:?}"),
    }
    let value = "v".repeat(900);
    let set = format!("ea_set /holes user.large {value}");
    assert!(tool("debugfs").args(["-w", "-R", &set]).arg(&path).output().unwrap().status.success());
    // Hashed directories are made by -D only.
    let output = tool("e2fsck").args(["-fyD"]).arg(&path).output().unwrap();
    assert!(output.status.code().is_some_and(|code| code < 4), "{output:?}");
    let image = Image::new(fs::read(&path).unwrap()).unwrap();
    Some((path, image))
}

fn e2fsck(path: &Path) -> (Option<i32>, String) {
    let output = tool("e2fsck").arg("-fn").arg(path).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn metadata_are_found_and_their_checksums_known() {
    for (name, options) in
        [("4k", &["-b", "4096"][..]), ("1k", &["-b", "1024"]), ("seed", &["-O", "metadata_csum_seed"])]
    {
        let Some((path, image)) = image(name, options) else { return };
        let all = image.regions();
        let found = |is: fn(&Kind) -> bool| all.iter().filter(|region| is(&region.kind)).count();
        assert!(found(|kind| matches!(kind, Kind::Inode { .. })) > 700);
        for (what, count) in [
            ("superblock", found(|kind| *kind == Kind::Superblock)),
            ("descriptor", found(|kind| matches!(kind, Kind::Descriptor { .. }))),
            ("block bitmap", found(|kind| matches!(kind, Kind::BlockBitmap { .. }))),
            ("inode bitmap", found(|kind| matches!(kind, Kind::InodeBitmap { .. }))),
            ("extents", found(|kind| matches!(kind, Kind::Extents { .. }))),
            ("names", found(|kind| matches!(kind, Kind::Names { .. }))),
            ("index", found(|kind| matches!(kind, Kind::Index { .. }))),
            ("xattrs", found(|kind| matches!(kind, Kind::Xattrs { .. }))),
            ("journal", found(|kind| *kind == Kind::Journal)),
        ] {
            assert!(count > 0, "{name}: no {what}");
        }
        let summed = image.summed();
        let wrong = (0..summed.len()).find(|at| summed[*at] != image.bytes()[*at]);
        let region = wrong.map(|wrong| all.iter().find(|region| (region.at..region.at + region.len).contains(&wrong)));
        assert_eq!(wrong, None, "{name}: {region:?}");
        assert_eq!(e2fsck(&path).0, Some(0));
    }
}

/// What is damaged later is sound before, and the same each time.
#[test]
fn the_kinds_of_the_corpus_are_sound() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image-kinds");
    fs::create_dir_all(&dir).unwrap();
    for kind in &KINDS {
        let image = match kind.make(&dir) {
            Ok(image) => image,
            Err(error) => return eprintln!("not tested: {error}"),
        };
        let path = dir.join(kind.name);
        fs::write(&path, image.bytes()).unwrap();
        // With what the journal holds replayed, where it holds something.
        assert!(tool("e2fsck").arg("-p").arg(&path).output().unwrap().status.code().is_some_and(|code| code < 2));
        let (code, text) = e2fsck(&path);
        assert_eq!(code, Some(0), "{}: {text}", kind.name);
        let summed = image.summed();
        let wrong = (0..summed.len()).find(|at| summed[*at] != image.bytes()[*at]);
        let regions = image.regions();
        let region = wrong.map(|at| regions.iter().find(|region| (region.at..region.at + region.len).contains(&at)));
        assert_eq!(wrong, None, "{}: {region:?}", kind.name);
        let logged = regions.iter().filter(|region| matches!(region.kind, Kind::Log | Kind::Logged { .. })).count();
        assert_eq!(logged > 10, kind.name == "left");
        assert_eq!(kind.make(&dir).unwrap().regions(), image.regions());
    }
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_mutant_is_repeatable_and_small_and_its_sums_are_right() {
    let Some((path, image)) = image("mutants", &["-b", "1024"]) else { return };
    let (mut sums, mut found) = (0, 0);
    for seed in 0..24 {
        let mutant = image.random_mutant(seed, 1);
        assert_eq!(mutant, image.random_mutant(seed, 1));
        assert_eq!(mutant.what.len(), 1);
        let changed: usize = mutant.patches.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(changed < 250, "{seed}: {changed} bytes: {:?}", mutant.what);
        let mut bytes = image.bytes().to_vec();
        mutant.apply(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let (code, text) = e2fsck(&path);
        found += usize::from(code != Some(0));
        sums += usize::from(text.contains("checksum"));
    }
    assert!(found > 5, "e2fsck finds fault with {found} of 24 only");
    // An inode's generation goes into sums that nobody put right; some changes are not followed by a sum on purpose.
    assert!(sums < 8, "{sums} of 24 have a wrong checksum");
}

#[test]
fn anything_is_a_mutant_and_nothing_but_ext4_an_image() {
    let Some((_, image)) = image("any", &["-b", "4096"]) else { return };
    assert_eq!(image.mutant(&[]), Mutant::default());
    assert_eq!(image.mutant(&[7; RECORD - 1]), Mutant::default());
    for byte in (0..=255).step_by(5) {
        let mutant = image.mutant(&[byte; RECORD * 3]);
        assert_eq!(mutant.what.len(), 3);
        // A mutant is an image again, or says why not; it is never too much for the mutator.
        let mut bytes = image.bytes().to_vec();
        mutant.apply(&mut bytes);
        if byte % 3 == 0
            && let Ok(again) = Image::new(bytes)
        {
            again.random_mutant(1, 20);
        }
    }
    assert!(Image::new(vec![0; 4096]).unwrap_err().contains("no ext4 superblock"));
    assert!(Image::new(Vec::new()).is_err());
}
