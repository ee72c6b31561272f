// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Images that are damaged on purpose, kept as recipes: a sound image that `mke2fs` makes, and the changes to it. The file
//! `corpus.txt` has those that a fuzzer found worth keeping, one a line.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::image::{Image, Mutant, RECORD};

/// A kind of image.
#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    /// In words of `mke2fs`.
    options: &'static str,
    /// Of the whole, in MiB.
    size: u64,
    /// What `debugfs` does to it in the end.
    script: &'static str,
}

/// Attributes that fit an inode and some that do not; an ACL is stored in ext4's own form.
const ATTRIBUTES: &str = "ea_set /holes user.small value
ea_set /dir/sub/small user.large VALUE
ea_set /dir/sub/small user.other value
cd /dir
mknod null c 1 3
";
/// A journal that was not emptied, with blocks of the inode table, and inodes that somebody had still open.
const LEFT: &str = "ea_set /holes user.small value
unlink /dir/file
set_inode_field FILE links_count 0
set_super_value last_orphan FILE
jo -c
jw -b BLOCKS
jw -r 900,901
jw -b BLOCKS
jc
";

/// Each shape of the format that is read by code of its own.
pub const KINDS: [Kind; 7] = [
    Kind { name: "1k", options: "-t ext4 -b 1024 -g 1024 -N 256 -J size=1", size: 4, script: ATTRIBUTES },
    Kind { name: "4k", options: "-t ext4 -b 4096 -N 256 -J size=4", size: 10, script: ATTRIBUTES },
    Kind { name: "ext2", options: "-t ext2 -b 1024 -I 128 -N 256", size: 3, script: ATTRIBUTES },
    Kind {
        name: "unsummed",
        options: "-t ext4 -b 1024 -O ^metadata_csum,uninit_bg,^64bit -N 256 -J size=1",
        size: 4,
        script: ATTRIBUTES,
    },
    Kind {
        name: "orphans",
        options: "-t ext4 -b 1024 -O orphan_file,metadata_csum_seed,project,^64bit -N 256 -J size=1",
        size: 4,
        script: ATTRIBUTES,
    },
    Kind {
        name: "meta",
        options: "-t ext4 -b 1024 -O meta_bg,^resize_inode,^flex_bg -g 512 -N 512 -J size=1",
        size: 4,
        script: ATTRIBUTES,
    },
    Kind { name: "left", options: "-t ext4 -b 1024 -N 256 -J size=1", size: 4, script: LEFT },
];

/// Runs a program of e2fsprogs that may say up to `most`.
fn run(program: &str, words: &[&str], most: i32) -> Result<String, String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    // The same image each time: what depends on the clock would be other bytes.
    let output = Command::new(program)
        .env("PATH", path)
        .env("E2FSPROGS_FAKE_TIME", "1700000000")
        .args(words)
        .output()
        .map_err(|error| format!("{program} does not start: {error} (e2fsprogs must be installed)"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(code) if code <= most => Ok(text),
        _ => Err(format!("{program} {}: {text}", words.join(" "))),
    }
}

/// What lies in each image: hashed directories of two levels, extents of all depths, holes, links.
fn content(dir: &Path) -> std::io::Result<()> {
    fs::create_dir_all(dir.join("many"))?;
    fs::create_dir_all(dir.join("dir/sub"))?;
    let one = dir.join("many/one");
    fs::write(&one, "x")?;
    for number in 0..420 {
        fs::hard_link(&one, dir.join(format!("many/{number:0250}")))?;
    }
    let holes = fs::File::create(dir.join("holes"))?;
    for number in 0..350 {
        holes.write_all_at(&[number as u8; 1024], number * 8192)?;
    }
    let far = fs::File::create(dir.join("far"))?;
    for offset in [0, 20 << 10, 300 << 10, 70 << 20] {
        far.write_all_at(b"far", offset)?;
    }
    fs::write(dir.join("dir/file"), [7; 30_000])?;
    fs::write(dir.join("dir/sub/small"), "small")?;
    symlink("small", dir.join("dir/short"))?;
    symlink("t".repeat(200), dir.join("dir/long"))
}

impl Kind {
    /// Makes the image, with files beside it in `dir`, which is left as it was.
    ///
    /// # Errors
    /// What e2fsprogs said.
    pub fn make(&self, dir: &Path) -> Result<Image, String> {
        let place = dir.join(format!("corpus-{}-{}", self.name, std::process::id()));
        let failed = |error: std::io::Error| format!("{}: {error}", place.display());
        fs::create_dir_all(&place).map_err(failed)?;
        let made = self.make_in(&place);
        fs::remove_dir_all(&place).map_err(failed)?;
        made
    }

    fn make_in(&self, place: &Path) -> Result<Image, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", place.display());
        let (files, path) = (place.join("content"), place.join("image"));
        content(&files).map_err(failed)?;
        let uuid = "6d3b8e2c-1111-4222-8333-0123456789ab";
        let extended = format!("hash_seed={uuid},nodiscard,lazy_itable_init=0");
        let (files, image) = (files.to_string_lossy(), path.to_string_lossy());
        let size = format!("{}M", self.size);
        let mut words = vec!["-q", "-F", "-U", uuid, "-E", &extended];
        words.extend(self.options.split(' '));
        words.extend(["-d", &*files, &*image, &size]);
        run("mke2fs", &words, 0)?;
        // Hashed directories are made by -D only.
        run("e2fsck", &["-fyD", &image], 1)?;
        let file = run("debugfs", &["-R", "stat /dir/file", &image], 0)?;
        let number = file.split_whitespace().nth(1).unwrap_or_default();
        let logged = self.logged(place, &fs::read(&path).map_err(failed)?)?;
        let script = self.script.replace("VALUE", &"v".repeat(700)).replace("FILE", &format!("<{number}>"));
        let script = script.replace("last_orphan <", "last_orphan ").replace("<>", "").replace("BLOCKS", &logged);
        let script = script.lines().map(|line| match line.strip_prefix("set_super_value") {
            Some(_) => line.replace('>', ""),
            None => line.to_owned(),
        });
        let commands = place.join("script");
        fs::write(&commands, script.collect::<Vec<_>>().join("\n") + "\n").map_err(failed)?;
        run("debugfs", &["-w", "-f", &commands.to_string_lossy(), &image], 0)?;
        Image::new(fs::read(&path).map_err(failed)?)
    }

    /// Some blocks of metadata as they are, for the log: their numbers, and a file with them.
    fn logged(&self, place: &Path, bytes: &[u8]) -> Result<String, String> {
        let image = Image::new(bytes.to_vec())?;
        let mut numbers: Vec<_> = image.regions().iter().map(|region| region.at / image.block_size()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let numbers: Vec<_> =
            numbers.into_iter().filter(|number| number * image.block_size() > 1024).take(12).collect();
        let blocks: Vec<u8> = numbers
            .iter()
            .flat_map(|number| bytes[number * image.block_size()..][..image.block_size()].iter().copied())
            .collect();
        let path = place.join("blocks");
        fs::write(&path, blocks).map_err(|error| format!("{}: {error}", path.display()))?;
        let numbers: Vec<_> = numbers.iter().map(usize::to_string).collect();
        Ok(format!("{} {}", numbers.join(","), path.display()))
    }
}

/// Which kind, and what is done to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipe {
    pub kind: usize,
    pub changes: Vec<u8>,
}

impl Recipe {
    /// As a fuzzer has it: a byte for the kind, then the changes.
    pub fn of(input: &[u8]) -> Option<Recipe> {
        let (kind, changes) = input.split_first()?;
        Some(Recipe { kind: usize::from(*kind) % KINDS.len(), changes: changes.to_vec() })
    }

    pub fn mutant(&self, images: &[Image]) -> Mutant {
        images[self.kind].mutant(&self.changes)
    }
}

/// The collected recipes: a line has the kind's name and the changes in hexadecimal digits.
pub fn collected() -> Vec<Recipe> {
    parse(include_str!("../corpus.txt"))
}

fn parse(text: &str) -> Vec<Recipe> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let recipe = |line: &str| {
        let (kind, digits) = line.split_once(' ')?;
        let kind = KINDS.iter().position(|known| known.name == kind)?;
        let changes = (0..digits.len() / 2).map(|at| u8::from_str_radix(digits.get(at * 2..at * 2 + 2)?, 16).ok());
        Some(Recipe { kind, changes: changes.collect::<Option<_>>()? })
    };
    lines.map(|line| recipe(line).unwrap_or_else(|| panic!("corpus.txt: no recipe: {line}"))).collect()
}

/// A line of `corpus.txt`; what is left over behind the last whole change says nothing.
pub fn line(recipe: &Recipe) -> String {
    let whole = recipe.changes.len() / RECORD * RECORD;
    let digits: String = recipe.changes[..whole].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} {digits}", KINDS[recipe.kind].name)
}
