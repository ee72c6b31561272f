// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The prelinked object as the checks and the unwind converter see it: one text section, its functions, and what each
//! relocation points at. Nothing here judges; it only reads.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use object::read::elf::{ElfFile64, FileHeader, SectionHeader};
use object::{Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, SymbolKind, SymbolSection, elf};

/// A relocatable object after `ld -r`.
#[derive(Debug)]
pub struct Prelinked {
    pub text: Vec<u8>,
    /// Sorted by start; local names included.
    pub functions: Vec<Function>,
    /// By offset in `.text`.
    pub text_relocs: BTreeMap<u64, Reloc>,
    /// Relocations of every other section that stays in the object, by section.
    pub data_relocs: BTreeMap<String, BTreeMap<u64, Reloc>>,
    pub sections: Vec<Section>,
    pub symbols: Vec<Symbol>,
    pub undefined: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub start: u64,
    pub len: u64,
}

/// What a relocation's field will hold, with the instruction pointer's part taken out again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloc {
    pub target: Target,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Offset in `.text`.
    Text(u64),
    /// Section and offset.
    Data(String, u64),
    /// A symbol that another object defines.
    Extern(String),
}

#[derive(Debug, Clone)]
pub struct Section {
    pub name: String,
    pub data: Vec<u8>,
    pub size: u64,
    pub writable: bool,
}

#[derive(Debug, Clone)]
pub struct Symbol {
    pub name: String,
    pub section: String,
    pub offset: u64,
    pub size: u64,
}

impl Prelinked {
    /// Reads an ET_REL object.
    pub fn parse(bytes: &[u8]) -> Result<Prelinked> {
        let file = ElfFile64::<object::Endianness>::parse(bytes).context("the prelinked object is not ELF")?;
        let endian = file.endian();
        if file.elf_header().e_type(endian) != elf::ET_REL || file.elf_header().e_machine(endian) != elf::EM_X86_64 {
            bail!("the prelinked object is not a relocatable x86-64 file");
        }
        let names: BTreeMap<usize, String> = file
            .sections()
            .map(|section| Ok((section.index().0, section.name()?.to_owned())))
            .collect::<Result<_, object::Error>>()?;

        let mut prelinked = Prelinked {
            text: Vec::new(),
            functions: Vec::new(),
            text_relocs: BTreeMap::new(),
            data_relocs: BTreeMap::new(),
            sections: Vec::new(),
            symbols: Vec::new(),
            undefined: Vec::new(),
        };
        for symbol in file.symbols() {
            let name = symbol.name()?.to_owned();
            match symbol.section() {
                SymbolSection::Undefined if !name.is_empty() => prelinked.undefined.push(name),
                SymbolSection::Section(index) if symbol.kind() != SymbolKind::Section => {
                    let section = names.get(&index.0).cloned().unwrap_or_default();
                    if section == ".text" && symbol.kind() == SymbolKind::Text && symbol.size() > 0 {
                        let (start, len) = (symbol.address(), symbol.size());
                        prelinked.functions.push(Function { name: name.clone(), start, len });
                    }
                    let (offset, size) = (symbol.address(), symbol.size());
                    prelinked.symbols.push(Symbol { name, section, offset, size });
                }
                _ => {}
            }
        }
        // Several names for one body (identical code folded): the first name speaks for it.
        prelinked.functions.sort_by(|a, b| (a.start, &a.name).cmp(&(b.start, &b.name)));
        prelinked.functions.dedup_by_key(|function| function.start);
        prelinked.undefined.sort();

        for section in file.sections() {
            let name = section.name()?.to_owned();
            if name.starts_with(".debug") || name.starts_with(".rela") {
                continue;
            }
            let flags = section.elf_section_header().sh_flags(endian);
            let relocs = relocations(&file, &section, &names)?;
            let data = section.data().unwrap_or_default().to_vec();
            if name == ".text" {
                prelinked.text = data;
                prelinked.text_relocs = relocs;
                continue;
            }
            if !relocs.is_empty() {
                prelinked.data_relocs.insert(name.clone(), relocs);
            }
            if flags.contains(elf::SHF_ALLOC) || name == ".stack_sizes" {
                let writable = flags.contains(elf::SHF_WRITE);
                prelinked.sections.push(Section { name, data, size: section.size(), writable });
            }
        }
        if prelinked.text.is_empty() {
            bail!(
                "the prelinked object holds no code: is the file system type public, and does it implement FileSystem?"
            );
        }
        Ok(prelinked)
    }

    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    pub fn symbol(&self, name: &str) -> Option<&Symbol> {
        self.symbols.iter().find(|symbol| symbol.name == name)
    }

    /// The function that `offset` lies in.
    pub fn function_at(&self, offset: u64) -> Option<&Function> {
        let after = self.functions.partition_point(|function| function.start <= offset);
        let function = &self.functions[after.checked_sub(1)?];
        (offset < function.start + function.len).then_some(function)
    }

    /// The name a reader knows the code at `offset` by.
    pub fn name_at(&self, offset: u64) -> String {
        match self.function_at(offset) {
            Some(function) => demangle(&function.name),
            None => format!(".text+{offset:#x}"),
        }
    }

    /// A function's bytes.
    pub fn code(&self, function: &Function) -> &[u8] {
        let start = (function.start as usize).min(self.text.len());
        let end = ((function.start + function.len) as usize).min(self.text.len());
        &self.text[start..end]
    }
}

fn relocations<'d>(
    file: &ElfFile64<'d>,
    section: &impl ObjectSection<'d>,
    names: &BTreeMap<usize, String>,
) -> Result<BTreeMap<u64, Reloc>> {
    let mut relocs = BTreeMap::new();
    for (offset, reloc) in section.relocations() {
        let RelocationFlags::Elf { r_type } = reloc.flags() else {
            continue;
        };
        if r_type == elf::R_X86_64_NONE {
            continue;
        }
        let RelocationTarget::Symbol(index) = reloc.target() else {
            continue;
        };
        let symbol = file.symbol_by_index(index)?;
        // The field of a pc-relative relocation ends the instruction, except where an immediate follows it.
        let relative = matches!(r_type, elf::R_X86_64_PC32 | elf::R_X86_64_PLT32 | elf::R_X86_64_GOTPCREL)
            || matches!(r_type, elf::R_X86_64_GOTPCRELX | elf::R_X86_64_REX_GOTPCRELX);
        let addend = reloc.addend() + if relative && section.name() == Ok(".text") { 4 } else { 0 };
        let target = match symbol.section() {
            SymbolSection::Section(index) => {
                let at = symbol.address().wrapping_add_signed(addend);
                match names.get(&index.0).map(String::as_str) {
                    Some(".text") => Target::Text(at),
                    other => Target::Data(other.unwrap_or_default().to_owned(), at),
                }
            }
            SymbolSection::Undefined => Target::Extern(symbol.name()?.to_owned()),
            // Left behind by section collection.
            _ => continue,
        };
        relocs.insert(offset, Reloc { target });
    }
    Ok(relocs)
}

/// A v0 or legacy mangled name as the author wrote it, without hashes.
pub fn demangle(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

/// The crate that answers for a function: of generic code of the libraries, whoever it was made for.
pub fn crate_of(name: &str) -> String {
    const LIBRARIES: [&str; 6] = ["core", "alloc", "std", "bento", "compiler_builtins", "__rustc"];
    let crates = crates_in(name);
    let author = crates.iter().find(|name| !LIBRARIES.contains(&name.as_str()));
    author.or(crates.first()).cloned().unwrap_or_else(|| {
        // Arithmetic that the compiler calls by name: `__udivti3`.
        if name.starts_with("__") { "compiler_builtins".to_owned() } else { name.to_owned() }
    })
}

/// The crates a name's paths begin with, in their order.
pub fn crates_in(name: &str) -> Vec<String> {
    let plain = demangle(name);
    let mut crates = Vec::new();
    let mut rest = plain.as_str();
    let mut in_path = false;
    while let Some(at) = rest.find(|c: char| c.is_alphanumeric() || c == '_') {
        in_path &= rest[..at].ends_with("::");
        rest = &rest[at..];
        let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if !in_path && rest[len..].starts_with("::") {
            crates.push(rest[..len].to_owned());
        }
        in_path = rest[len..].starts_with("::");
        rest = &rest[len..];
    }
    crates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_code_of_the_libraries_counts_for_its_user() {
        assert_eq!(crate_of("bento::thunk::dir::lookup::<hellofs::HelloFs>"), "hellofs");
        assert_eq!(crate_of("<alloc::vec::Vec<memfs::node::Node> as core::ops::Drop>::drop"), "memfs");
        assert_eq!(crate_of("<memfs::MemFs as bento::fs::FileSystem>::lookup::walk"), "memfs");
        assert_eq!(crate_of("core::fmt::write"), "core");
        assert_eq!(crate_of("__udivti3"), "compiler_builtins");
    }
}
