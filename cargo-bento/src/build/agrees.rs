// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The runtime's interpreter of call frame instructions beside gimli's, on what rustc emits: every row of every function
//! must say the same. The blob that the kernel reads is on one side, the linker's own `.eh_frame` on the other.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process};

use bento::unwind::cfi::Reg;
use bento::unwind::table::Table;
use gimli::{BaseAddresses, CfaRule, EhFrame, LittleEndian, RegisterRule, UnwindSection, X86_64};
use object::{Object, ObjectSection};

use super::elf::Prelinked;
use super::{prelink, unwind};

/// Loops, drops, catch-alls, deep frames, early returns: what makes call frame instructions interesting.
pub(super) const SEED: &str = r#"
#![no_std]
extern crate alloc;
use alloc::{collections::BTreeMap, format, string::String, vec::Vec};

#[unsafe(no_mangle)]
pub extern "C" fn bento_text_anchor() {}

#[unsafe(no_mangle)]
pub static bento_fs_main: fn(&[u64], &mut BTreeMap<u64, String>) -> Vec<String> = author;

struct Guard<'a>(&'a mut u64);
impl Drop for Guard<'_> {
    fn drop(&mut self) {
        *self.0 += 1;
    }
}

fn author(keys: &[u64], map: &mut BTreeMap<u64, String>) -> Vec<String> {
    let mut drops = 0;
    let mut out = Vec::new();
    for pair in keys.windows(2) {
        let _guard = Guard(&mut drops);
        if pair[0] == 0 {
            return out;
        }
        let scratch = core::hint::black_box([pair[0]; 40]);
        map.insert(pair[1] / scratch[pair[1] as usize], format!("{}-{}", pair[0], map.len()));
        if let Some(text) = map.remove(&scratch[3]) {
            out.push(walk(&text, 3));
        }
    }
    out
}

fn walk(text: &str, depth: u32) -> String {
    if depth == 0 { String::from(text) } else { walk(&text[1..], depth - 1) + text }
}
"#;

/// A folder that goes away with the test.
pub(super) struct Scratch(pub(super) PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The seed as the pre-link step leaves it (`collected.o` in that folder), and the same linked by the system's linker.
pub(super) fn seed(dir: &Path) -> (Vec<u8>, Vec<u8>) {
    let source = dir.join("seed.rs");
    fs::write(&source, SEED).unwrap();
    let object = dir.join("seed.o");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    run(Command::new(rustc)
        .args(["--edition=2024", "--crate-type=lib", "--emit=obj", "-Copt-level=3", "-Ccodegen-units=1"])
        .args(["-Cpanic=unwind", "-Crelocation-model=pic", "-g", "-o"])
        .args([&object, &source]));
    let library = dir.join("libseed.a");
    run(Command::new("ar").arg("rc").arg(&library).arg(&object));
    let collected = prelink::link(&library, dir).unwrap();
    let linked = dir.join("seed.so");
    run(Command::new("ld").args(["-shared", "-o"]).args([&linked, &collected]));
    (fs::read(collected).unwrap(), fs::read(linked).unwrap())
}

#[test]
fn every_row_of_the_table_is_what_gimli_reads() {
    let dir = Scratch(env::temp_dir().join(format!("bento-agrees-{}", process::id())));
    fs::create_dir_all(&dir.0).unwrap();
    let (collected, linked) = seed(&dir.0);

    let ours = Prelinked::parse(&collected).unwrap();
    let blob = unwind::blob(&ours, &unwind::frames(&ours).unwrap(), &[]).unwrap();
    let table = Table::parse(&blob).unwrap();

    let theirs = object::File::parse(linked.as_slice()).unwrap();
    let text = theirs.section_by_name(".text").unwrap().address();
    let section = theirs.section_by_name(".eh_frame").unwrap();
    let eh_frame = EhFrame::new(section.data().unwrap(), LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame(section.address()).set_text(text);

    let mut functions = 0;
    let mut entries = eh_frame.entries(&bases);
    while let Some(entry) = entries.next().unwrap() {
        let gimli::CieOrFde::Fde(partial) = entry else { continue };
        let fde = partial.parse(|section, bases, offset| section.cie_from_offset(bases, offset)).unwrap();
        if fde.initial_address() < text || fde.len() == 0 {
            continue;
        }
        functions += 1;
        let start = (fde.initial_address() - text) as u32;
        let found = table.find(start).unwrap_or_else(|| panic!("no entry for {}", ours.name_at(start.into())));
        assert_eq!((u64::from(found.start), u64::from(found.len)), (start.into(), fde.len()));
        let mut context = gimli::UnwindContext::new();
        let mut rows = fde.rows(&eh_frame, &bases, &mut context).unwrap();
        while let Some(row) = rows.next_row().unwrap() {
            for at in [row.start_address(), row.end_address() - 1] {
                same(row, &found.row((at - text) as u32).unwrap(), &ours.name_at(at - text));
            }
        }
    }
    assert_eq!(functions, table.len());
    assert!(functions >= 5, "the seed was optimised away");
}

fn same(theirs: &gimli::UnwindTableRow<usize>, ours: &bento::unwind::cfi::Row, place: &str) {
    let number = |register: Reg| match register {
        Reg::Rbx => X86_64::RBX,
        Reg::Rbp => X86_64::RBP,
        Reg::R12 => X86_64::R12,
        Reg::R13 => X86_64::R13,
        Reg::R14 => X86_64::R14,
        Reg::R15 => X86_64::R15,
        Reg::Ra => X86_64::RA,
        Reg::Rsp => X86_64::RSP,
    };
    let &CfaRule::RegisterAndOffset { register, offset } = theirs.cfa() else { panic!("{place}: a computed CFA") };
    assert_eq!((register, offset), (number(ours.cfa_register), i64::from(ours.cfa_offset)), "{place}: CFA");
    for register in [Reg::Rbx, Reg::Rbp, Reg::R12, Reg::R13, Reg::R14, Reg::R15, Reg::Ra] {
        let saved = match theirs.register(number(register)) {
            Some(RegisterRule::Offset(offset)) => offset,
            None | Some(RegisterRule::Undefined | RegisterRule::SameValue) => 0,
            Some(other) => panic!("{place}: {register:?} has the rule {other:?}"),
        };
        assert_eq!(saved, i64::from(ours.saved[register as usize]), "{place}: {register:?}");
    }
}
