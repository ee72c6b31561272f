// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Source lines for offsets in `.text`, inlined calls included: a scratch link resolves the debug information, which
//! is then read as in any program. Only used to say where something came from.

use std::cell::OnceCell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use addr2line::Context as Dwarf;
use anyhow::Result;
use gimli::{Dwarf as Sections, EndianRcSlice, RunTimeEndian, SectionId};
use object::{Object, ObjectSection};

use crate::ui;

/// Where the scratch link puts `.text`; any address that is not zero.
const BASE: u64 = 0x10_0000;

/// Line information of one object, read when it is first asked for.
pub struct Lines {
    object: PathBuf,
    dwarf: OnceCell<Option<Dwarf<EndianRcSlice<RunTimeEndian>>>>,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("object", &self.object).finish()
    }
}

/// One level of inlining, innermost first.
#[derive(Debug, Clone)]
pub struct Frame {
    pub function: String,
    pub file: String,
    pub line: u32,
    pub column: u32,
}

/// A stretch of code with one line.
#[derive(Debug, Clone)]
pub struct Row {
    pub at: u64,
    pub file: String,
    pub line: u32,
    pub column: u32,
}

impl Lines {
    /// Lines of the relocatable object in this file; a file that is not there has none.
    pub fn of(object: &Path) -> Lines {
        Lines { object: object.to_owned(), dwarf: OnceCell::new() }
    }

    /// Links a copy of the object next to it and reads its debug information.
    fn read(object: &Path) -> Result<Option<Dwarf<EndianRcSlice<RunTimeEndian>>>> {
        let scratch = object.with_extension("lines");
        ui::run(
            Command::new("ld")
                .args(["-o".as_ref(), scratch.as_os_str()])
                .args(["-e", "0", "--unresolved-symbols=ignore-all", "--no-warnings"])
                .arg(format!("-Ttext={BASE:#x}"))
                .arg(object),
            "the object's debug information cannot be linked",
        )?;
        let bytes = std::fs::read(&scratch)?;
        std::fs::remove_file(&scratch)?;
        let file = object::File::parse(bytes.as_slice())?;
        let load = |id: SectionId| -> Result<EndianRcSlice<RunTimeEndian>, addr2line::gimli::Error> {
            let data = file.section_by_name(id.name()).and_then(|section| section.uncompressed_data().ok());
            Ok(EndianRcSlice::new(data.unwrap_or_default().as_ref().into(), RunTimeEndian::Little))
        };
        Ok(Dwarf::from_dwarf(Sections::load(load)?).ok())
    }

    fn dwarf(&self) -> Option<&Dwarf<EndianRcSlice<RunTimeEndian>>> {
        self.dwarf.get_or_init(|| Self::read(&self.object).ok().flatten()).as_ref()
    }

    /// The lines of the code between two offsets of `.text`.
    pub fn rows(&self, code: Range<u64>) -> Vec<Row> {
        let Some(Ok(rows)) = self.dwarf().map(|dwarf| dwarf.find_location_range(BASE + code.start, BASE + code.end))
        else {
            return Vec::new();
        };
        rows.map(|(at, _, location)| Row {
            at: at - BASE,
            file: location.file.unwrap_or("?").to_owned(),
            line: location.line.unwrap_or(0),
            column: location.column.unwrap_or(0),
        })
        .collect()
    }

    /// The functions inlined at an offset of `.text`.
    pub fn inlined(&self, offset: u64) -> Vec<Frame> {
        let mut chain = Vec::new();
        let Some(dwarf) = self.dwarf() else {
            return chain;
        };
        let Ok(mut frames) = dwarf.find_frames(BASE + offset).skip_all_loads() else {
            return chain;
        };
        while let Ok(Some(frame)) = frames.next() {
            let function = frame.function.and_then(|name| name.raw_name().ok().map(|name| super::elf::demangle(&name)));
            let (file, line, column) = match frame.location {
                Some(at) => (at.file.unwrap_or("?").to_owned(), at.line.unwrap_or(0), at.column.unwrap_or(0)),
                None => ("?".to_owned(), 0, 0),
            };
            chain.push(Frame { function: function.unwrap_or_default(), file, line, column });
        }
        chain
    }
}
