// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Prose that points at a file points at one that is there: links of every Markdown file, and what the book includes.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn pages(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// Targets of `[text](target)` outside of code blocks.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        if !code {
            found.extend(line.split("](").skip(1).filter_map(|rest| rest.split(')').next()));
        }
    }
    found
}

/// Files and anchors of mdBook's include directives.
fn includes(text: &str) -> Vec<(&str, Option<&str>)> {
    let directive = concat!("{", "{#include ");
    text.split(directive)
        .skip(1)
        .filter_map(|rest| rest.split('}').next())
        .map(|target| match target.trim().split_once(':') {
            Some((file, anchor)) => (file, Some(anchor)),
            None => (target.trim(), None),
        })
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut found = Vec::new();
    pages(root(), &mut found);
    let mut wrong = Vec::new();
    for page in &found {
        let text = fs::read_to_string(page).unwrap();
        for link in links(&text) {
            let file = link.split('#').next().unwrap();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            if !page.parent().unwrap().join(file).exists() {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(found.len() >= 5, "only {} pages were found", found.len());
    assert!(wrong.is_empty(), "links to nothing:\n{}", wrong.join("\n"));
}

#[test]
fn every_include_has_its_file_and_anchor() {
    let mut found = Vec::new();
    pages(&root().join("book/src"), &mut found);
    let mut wrong = Vec::new();
    let mut count = 0;
    for page in &found {
        let text = fs::read_to_string(page).unwrap();
        for (file, anchor) in includes(&text) {
            count += 1;
            let Ok(included) = fs::read_to_string(page.parent().unwrap().join(file)) else {
                wrong.push(format!("{}: {file} cannot be read", page.display()));
                continue;
            };
            let named = |anchor| {
                included.lines().any(|line| line.trim().ends_with(&format!("ANCHOR: {anchor}")))
                    && included.lines().any(|line| line.trim().ends_with(&format!("ANCHOR_END: {anchor}")))
            };
            // Numbers are lines; they move, so a listing has an anchor or is a whole file.
            if anchor.is_some_and(|anchor| !named(anchor)) {
                wrong.push(format!("{}: {file} has no anchor {}", page.display(), anchor.unwrap_or_default()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 0, "the book includes nothing: has the directive changed?");
}

#[test]
fn every_page_of_the_book_is_in_its_summary() {
    let source = root().join("book/src");
    let summary = fs::read_to_string(source.join("SUMMARY.md")).unwrap();
    let listed = links(&summary);
    for entry in fs::read_dir(&source).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(
            name == "SUMMARY.md" || !name.ends_with(".md") || listed.contains(&name.as_str()),
            "{name} is not in SUMMARY.md"
        );
    }
}
