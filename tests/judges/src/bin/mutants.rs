// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Writes damaged images for a guest to mount: the collected ones of one in EVERY, and RANDOM of each kind.
//!
//!     mutants DIR EVERY RANDOM SEED
//!     mutants recipes FOLDER          a fuzzer's inputs as lines of corpus.txt
//!
//! One file for each kind of image. Numbers are 64 bits, little-endian: the size of a sound image and its bytes; then for
//! each mutant its name, and the patches: lengths before names and bytes, the offset before a patch.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use bento_judges::corpus::{self, KINDS, Kind, Recipe};
use bento_judges::image::{Image, Mutant, RECORD};

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(bytes);
}

fn add(out: &mut Vec<u8>, name: &str, mutant: &Mutant) {
    put(out, name.as_bytes());
    out.extend((mutant.patches.len() as u64).to_le_bytes());
    for (at, bytes) in &mutant.patches {
        out.extend((*at as u64).to_le_bytes());
        put(out, bytes);
    }
}

fn list(kind: usize, image: &Image, every: usize, random: u64, seed: u64) -> Vec<u8> {
    let Kind { name, .. } = &KINDS[kind];
    let mut out = Vec::new();
    put(&mut out, image.bytes());
    for recipe in corpus::collected().iter().filter(|recipe| recipe.kind == kind).step_by(every) {
        add(&mut out, &corpus::line(recipe), &image.mutant(&recipe.changes));
    }
    for seed in seed..seed + random {
        add(&mut out, &format!("{name}, seed {seed}"), &image.random_mutant(seed, 1 + seed as usize % 4));
    }
    out
}

/// Prints each input in `folder` as a recipe.
fn recipes(folder: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{folder}: {error}");
    let mut lines = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let input = fs::read(entry.map_err(failed)?.path()).map_err(failed)?;
        let recipe = Recipe::of(&input).filter(|recipe| recipe.changes.len() >= RECORD);
        lines.extend(recipe.map(|recipe| (recipe.kind, corpus::line(&recipe))));
    }
    lines.iter().for_each(|(_, line)| println!("{line}"));
    Ok(())
}

fn run() -> Result<(), String> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    if let [word, folder] = &words[..]
        && word == "recipes"
    {
        return recipes(folder);
    }
    let [dir, numbers @ ..] = &words[..] else { return Err("usage: mutants DIR EVERY RANDOM SEED".to_owned()) };
    let numbers: Vec<u64> = numbers
        .iter()
        .map(|word| word.parse().map_err(|_| format!("{word} is no number")))
        .collect::<Result<_, _>>()?;
    let [every, random, seed] = numbers[..] else { return Err("usage: mutants DIR EVERY RANDOM SEED".to_owned()) };
    let dir = Path::new(dir);
    fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    for (kind, known) in KINDS.iter().enumerate() {
        let image = known.make(dir)?;
        let path = dir.join(known.name);
        let list = list(kind, &image, every.max(1) as usize, random, seed);
        fs::write(&path, list).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mutants: {error}");
            ExitCode::from(2)
        }
    }
}
