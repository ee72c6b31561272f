// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Which of the author's lines a return address belongs to. A failed allocation and a stack that ran out are noticed in
//! code that is not the author's; the runtime walks up to the first return address of this list and logs its line.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use iced_x86::FlowControl;

use super::elf::{Prelinked, demangle};
use super::flow::{Callee, Flow, Program, callee};
use super::source::{Frame, Lines};

/// The folders that tell the author's source files from everybody else's.
#[derive(Debug, Clone)]
pub struct Author {
    /// Names are relative to it, as in what cargo prints.
    pub workspace: PathBuf,
    /// The runtime, which may lie inside.
    pub bento: PathBuf,
}

impl Author {
    /// The name of one of the author's source files; `None` for a library's.
    fn file(&self, path: &str) -> Option<String> {
        // Toolchains and crates of a cache that was put into the workspace.
        const LIBRARIES: [&str; 3] = ["/rustlib/src/", "/registry/src/", "/git/checkouts/"];
        if Path::new(path).starts_with(&self.bento) || LIBRARIES.iter().any(|part| path.contains(part)) {
            return None;
        }
        Some(Path::new(path).strip_prefix(&self.workspace).ok()?.to_string_lossy().into_owned())
    }

    /// The innermost level of inlining that the author wrote.
    fn frame(&self, chain: &[Frame]) -> Option<(String, u32, u32)> {
        chain
            .iter()
            .filter(|frame| frame.line != 0)
            .find_map(|frame| Some((self.file(&frame.file)?, frame.line, frame.column)))
    }

    /// The first line of the author's function, for a call that stands for several lines: the compiler made one of them
    /// and says line 0.
    fn function(&self, chain: &[Frame], start: u64, flow: &Flow, lines: &Lines) -> Option<(String, u32, u32)> {
        let merged = chain.iter().find(|frame| self.file(&frame.file).is_some())?;
        let end = flow.instructions.last()?.next_ip();
        let mut rows = lines.rows(start..end);
        rows.retain(|row| row.line != 0 && row.file == merged.file);
        rows.sort_by_key(|row| (row.line, row.column));
        let first = rows.iter().find(|row| {
            let chain = lines.inlined(row.at);
            chain.first().is_some_and(|frame| frame.function == merged.function)
        })?;
        Some((self.file(&merged.file)?, first.line, first.column))
    }
}

/// A call in the author's code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Offset in `.text` that the call comes back to.
    pub back: u32,
    pub file: String,
    pub line: u32,
    pub column: u16,
}

/// Places of all calls that may lead to an allocation or to a stack check, sorted.
pub fn places(
    object: &Prelinked,
    program: &Program,
    checked: &BTreeSet<u64>,
    lines: &Lines,
    author: &Author,
) -> Result<Vec<Place>> {
    let leading = leading(object, program, checked);
    let mut places = Vec::new();
    for (start, flow) in &program.flows {
        for call in &flow.instructions {
            let leads = match call.flow_control() {
                FlowControl::IndirectCall => true,
                FlowControl::Call => leads(&leading, &callee(object, call)),
                _ => false,
            };
            if !leads {
                continue;
            }
            let chain = lines.inlined(call.next_ip() - 1);
            let place = author.frame(&chain).or_else(|| author.function(&chain, *start, flow, lines));
            if let Some((file, line, column)) = place {
                let back = u32::try_from(call.next_ip()).context("more than 4 GiB of code")?;
                places.push(Place { back, file, line, column: u16::try_from(column).unwrap_or(u16::MAX) });
            }
        }
    }
    places.sort_by_key(|place| place.back);
    places.dedup_by_key(|place| place.back);
    Ok(places)
}

/// Functions from which a failed allocation, a stack check or a panic can be reached. A panic tells its own place, but
/// that may be the library's.
fn leading(object: &Prelinked, program: &Program, checked: &BTreeSet<u64>) -> BTreeSet<u64> {
    const ENDS: [&str; 3] =
        ["alloc::alloc::handle_alloc_error", "__rustc::__rust_alloc_error_handler", "core::panicking::"];
    let ends = |start: &u64| {
        let name = object.function_at(*start).map(|function| demangle(&function.name)).unwrap_or_default();
        ENDS.iter().any(|path| name.starts_with(path))
    };
    let mut leading: BTreeSet<u64> =
        program.flows.keys().copied().filter(|start| checked.contains(start) || ends(start)).collect();
    loop {
        let before = leading.len();
        for (start, flow) in &program.flows {
            if flow.calls.iter().chain(&flow.tails).any(|callee| leads(&leading, callee)) {
                leading.insert(*start);
            }
        }
        if leading.len() == before {
            return leading;
        }
    }
}

fn leads(leading: &BTreeSet<u64>, callee: &Callee) -> bool {
    match callee {
        Callee::Local(start) => leading.contains(start),
        Callee::Indirect => true,
        // The kernel's way to call through a pointer.
        Callee::Extern(name) => name.starts_with("__x86_indirect_thunk_"),
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, process};

    use super::super::agrees::{SEED, Scratch, seed};
    use super::super::{checks, recursion, unwind};
    use super::*;
    use bento::unwind::table::Table;

    fn author(workspace: &Path) -> Author {
        Author { workspace: workspace.to_owned(), bento: workspace.join("bento-runtime") }
    }

    #[test]
    fn the_authors_files_are_named_as_cargo_names_them() {
        let author = author(Path::new("/home/a/fs"));
        assert_eq!(author.file("/home/a/fs/src/lib.rs").as_deref(), Some("src/lib.rs"));
        assert_eq!(author.file("/home/a/fs/helper/src/lib.rs").as_deref(), Some("helper/src/lib.rs"));
        assert_eq!(author.file("/home/a/fs/bento-runtime/src/contain.rs"), None);
        assert_eq!(author.file("/home/a/.cargo/registry/src/index/memchr-2/src/lib.rs"), None);
        assert_eq!(author.file("/home/a/fs/.rustup/toolchains/x/lib/rustlib/src/rust/library/core/src/lib.rs"), None);
    }

    #[test]
    fn calls_that_recurse_have_the_line_that_makes_them() {
        let dir = Scratch(env::temp_dir().join(format!("bento-places-{}", process::id())));
        fs::create_dir_all(&dir.0).unwrap();
        let object = Prelinked::parse(&seed(&dir.0).0).unwrap();
        let program = Program::read(&object);
        let checked = recursion::analyse(&object, &program, &checks::frame_sizes(&object)).checked;
        let lines = Lines::of(&dir.0.join("collected.o"));
        let places = places(&object, &program, &checked, &lines, &author(&dir.0)).unwrap();
        assert!(places.windows(2).all(|pair| pair[0].back < pair[1].back));
        let source: Vec<&str> = SEED.lines().collect();
        let said: Vec<&str> = places.iter().map(|place| source[place.line as usize - 1]).collect();
        for line in ["out.push(walk(&text, 3));", "walk(&text[1..], depth - 1)"] {
            assert!(said.iter().any(|said| said.contains(line)), "{line}: {places:?}");
        }
        let blob = unwind::blob(&object, &unwind::frames(&object).unwrap(), &places).unwrap();
        let table = Table::parse(&blob).unwrap();
        assert_eq!(table.places(), places.len());
        for place in &places {
            let found = table.place(place.back).unwrap();
            assert_eq!((found.file, found.line, found.column), ("seed.rs", place.line, place.column.into()));
            assert_eq!(table.place(place.back + 1), None);
        }
    }
}
