// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Comments cite the clauses of SAFETY.md by label: each label that is cited exists, and no clause is there twice.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The labels of headings such as `### G1. Every call …`.
fn clauses() -> Vec<String> {
    let text = fs::read_to_string(root().join("SAFETY.md")).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("### ")?.split_once(". "))
        .map(|(label, _)| label.to_owned())
        .collect()
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            sources(&path, found);
        } else if matches!(path.extension().and_then(|e| e.to_str()), Some("rs" | "c" | "h" | "S")) {
            found.push(path);
        }
    }
}

/// A letter and a number: "C5" of "C5:", nothing of "CI" or "x86".
fn label(word: &str) -> Option<&str> {
    let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let (letter, number) = word.split_at_checked(1)?;
    let known = "GCTDSBP".contains(letter) && !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit());
    known.then_some(word)
}

/// Labels after "SAFETY.md" on a line: "C1", "C4" and "C5" of "SAFETY.md C1, C4, C5: the buffer is …".
fn cited(line: &str) -> Vec<&str> {
    let mut labels = Vec::new();
    for rest in line.split("SAFETY.md ").skip(1) {
        labels.extend(rest.split_whitespace().map_while(label));
    }
    labels
}

#[test]
fn every_clause_has_its_own_label() {
    let clauses = clauses();
    let once: BTreeSet<_> = clauses.iter().collect();
    assert_eq!(once.len(), clauses.len(), "a label heads two clauses: {clauses:?}");
}

#[test]
fn every_label_that_a_comment_cites_is_a_clause() {
    let clauses: BTreeSet<String> = clauses().into_iter().collect();
    let mut files = Vec::new();
    sources(root(), &mut files);
    let mut wrong = Vec::new();
    let mut citations = 0;
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        for (number, line) in text.lines().enumerate() {
            for label in cited(line) {
                citations += 1;
                if !clauses.contains(label) {
                    wrong.push(format!("{}:{}: SAFETY.md has no {label}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(citations > 100, "{citations} citations were found: has their form changed?");
}
