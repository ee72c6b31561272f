// SPDX-License-Identifier: GPL-2.0 OR MIT
//! From the entry crate's static library to one object that any linker may take: collected, checked, its unwind tables
//! converted, its entry nops turned into stack checks where recursion is possible, one global symbol left.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use object::build::elf::{Builder, Relocation, SectionData, SectionId, SymbolId};
use object::elf;

use super::elf::Prelinked;
use super::files::{hash, write_if_changed};
use super::flow::Program;
use super::places::{self, Author};
use super::recursion;
use super::source::Lines;
use super::{checks, unwind};
use crate::cli::Variant;
use crate::ui;

/// What every object exports: its description (`struct bento_module` of bento_abi.h) and its unwind table.
pub const MAIN: &str = "bento_fs_main";
pub const UNWIND: [&str; 2] = ["__bento_unwind_start", "__bento_unwind_end"];

/// Bytes of stack that code between two checks may use: one large frame and a short chain. The shim's check keeps that
/// and what C needs free (BENTO_STACK_RESERVE).
pub const RESERVE: u64 = 2560;

const SCRIPT: &str = include_str!("prelink.lds");
/// The kernel has its own, faster ones; compiler_builtins' copies get other names so that nothing finds them.
const MEMORY: [&str; 6] = ["memcpy", "memmove", "memset", "memcmp", "bcmp", "strlen"];

/// What is told about a finished object.
#[derive(Debug, Clone)]
pub struct Finished {
    pub object: PathBuf,
    pub hash: String,
}

/// Makes `<out>/rust.o` from the static library; nothing is done when the library is the one seen last.
pub fn prelink(library: &Path, out: &Path, variant: Variant, name: &str, author: &Author) -> Result<Finished> {
    fs::create_dir_all(out)?;
    let object = out.join("rust.o");
    let stamp = out.join("rust.stamp");
    let key = format!("{}\n{}\n{variant:?}\n", hash(library)?, tool()?);
    if let Ok(seen) = fs::read_to_string(&stamp)
        && let Some(rest) = seen.strip_prefix(&key)
        && hash(&object).is_ok_and(|now| now == rest)
    {
        return Ok(Finished { object, hash: rest.to_owned() });
    }
    let step = ui::step(format!("prelink and check {name} ({})", variant.name()));
    let collected = link(library, out)?;
    let bytes = fs::read(&collected)?;
    let (finished, summary) = convert(&bytes, variant, &Lines::of(&collected), author)?;
    write_if_changed(&object, &finished)?;
    let hash = hash(&object)?;
    fs::write(&stamp, format!("{key}{hash}"))?;
    step.done(&summary);
    Ok(Finished { object, hash })
}

/// A changed tool may convert differently.
fn tool() -> Result<String> {
    let exe = fs::metadata(std::env::current_exe()?)?;
    Ok(format!("{:?} {}", exe.modified()?, exe.len()))
}

/// `ar x`, then `ld -r` with section collection; compiler_builtins only when something needs it.
pub(super) fn link(library: &Path, out: &Path) -> Result<PathBuf> {
    let parts = out.join("parts");
    if parts.exists() {
        fs::remove_dir_all(&parts)?;
    }
    fs::create_dir_all(&parts)?;
    ui::run(Command::new("ar").current_dir(&parts).arg("x").arg(library), "the static library cannot be unpacked")?;
    let mut objects: Vec<PathBuf> = Vec::new();
    let mut builtins: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(&parts)? {
        let path = entry?.path();
        let list = if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("compiler_builtins")) {
            &mut builtins
        } else {
            &mut objects
        };
        list.push(path);
    }
    objects.sort();
    let script = out.join("prelink.lds");
    write_if_changed(&script, SCRIPT.as_bytes())?;
    let collected = out.join("collected.o");
    let run = |objects: &[PathBuf]| {
        ui::run(
            Command::new("ld")
                .args(["-r", "--gc-sections", "--force-group-allocation", "-u", MAIN, "-u", unwind::ANCHOR, "-T"])
                .arg(&script)
                .arg("-o")
                .arg(&collected)
                .args(objects),
            "the object cannot be linked",
        )
    };
    run(&objects)?;
    let missing = Prelinked::parse(&fs::read(&collected)?)?.undefined;
    if missing.iter().any(|name| is_builtin(name)) {
        for object in &builtins {
            let mut objcopy = Command::new("objcopy");
            objcopy.args(["--remove-section", ".eh_frame", "--remove-section", ".rela.eh_frame"]);
            for name in MEMORY {
                objcopy.arg("--redefine-sym").arg(format!("{name}=__builtin_rust_{name}"));
            }
            ui::run(objcopy.arg(object), "compiler_builtins cannot be prepared")?;
        }
        objects.extend(builtins);
        run(&objects)?;
    }
    Ok(collected)
}

/// 128-bit arithmetic and the like: `__udivti3`.
fn is_builtin(name: &str) -> bool {
    name.starts_with("__")
        && !name.starts_with("__x86_")
        && !name.starts_with("__asan_")
        && !name.starts_with("__bento")
}

/// Checks the collected object and rewrites it.
pub fn convert(bytes: &[u8], variant: Variant, lines: &Lines, author: &Author) -> Result<(Vec<u8>, String)> {
    let object = Prelinked::parse(bytes)?;
    let program = Program::read(&object);
    checks::all(&object, &program, variant, lines)?;
    let frames = unwind::frames(&object)?;
    let sizes = checks::frame_sizes(&object);
    let recursion = recursion::analyse(&object, &program, &sizes);
    let chain = &recursion.chain;
    ensure!(
        chain.bytes <= RESERVE,
        "{} bytes of stack are needed between two stack checks, {RESERVE} are kept free: shorten {}",
        chain.bytes,
        chain.functions.iter().map(|start| object.name_at(*start)).collect::<Vec<_>>().join(" > ")
    );
    let places = places::places(&object, &program, &recursion.checked, lines, author)?;
    let blob = unwind::blob(&object, &frames, &places)?;
    unwind::verify(&object, &program, &places, &blob)?;
    let mut patches = BTreeSet::new();
    for start in &recursion.checked {
        let at = recursion::nop_at(&object, *start);
        patches.insert(at.with_context(|| format!("{} has no room for its stack check", object.name_at(*start)))?);
    }
    let summary = format!(
        "{} KiB code, {} functions, {} with a stack check, {} bytes of stack below one and {} for a panic, {} B of unwind tables with {} lines",
        object.text.len().div_ceil(1024),
        object.functions.len(),
        patches.len(),
        chain.bytes,
        recursion.panic.bytes,
        blob.len(),
        places.len()
    );
    Ok((rewrite(bytes, variant, &patches, blob)?, summary))
}

/// The object with checks in place, tables replaced, and only [`MAIN`] and [`UNWIND`] visible.
fn rewrite(bytes: &[u8], variant: Variant, patches: &BTreeSet<u64>, blob: Vec<u8>) -> Result<Vec<u8>> {
    let mut builder = Builder::read(bytes).context("the prelinked object cannot be read")?;
    let mut text = None;
    let mut symtab = None;
    for section in builder.sections.iter_mut() {
        let name = section.name.to_string();
        match name.trim_start_matches(".rela") {
            ".eh_frame" | ".gcc_except_table" | ".stack_sizes" | ".bento_personality" => section.delete = true,
            _ if name == ".text" => text = Some(section.id()),
            _ => {}
        }
        if section.sh_type == elf::SHT_SYMTAB {
            symtab = Some(section.id());
        }
    }
    let text = text.context("no .text")?;
    for symbol in builder.symbols.iter_mut() {
        let name = symbol.name.to_string();
        if symbol.st_shndx == elf::SHN_UNDEF && symbol.section.is_none() {
            // UML's own functions lie out of reach of a 32-bit call; the shim's copies do not.
            if matches!(variant, Variant::Uml | Variant::UmlKasan) && MEMORY.contains(&name.as_str()) {
                symbol.name = format!("bento_{name}").into_bytes().into();
            }
        } else if symbol.st_bind() != elf::STB_LOCAL && name != MAIN && !UNWIND.contains(&name.as_str()) {
            let kind = symbol.st_type();
            symbol.set_st_info(elf::STB_LOCAL, kind);
        }
    }

    let len = blob.len() as u64;
    let section = builder.sections.add();
    section.name = b".rodata.bento_unwind"[..].into();
    section.sh_type = elf::SHT_PROGBITS;
    section.sh_flags = elf::SHF_ALLOC;
    section.sh_addralign = 8;
    section.sh_size = len;
    section.data = SectionData::Data(blob.into());
    let table = section.id();
    for (name, value) in UNWIND.into_iter().zip([0, len]) {
        define(&mut builder, name, table, value);
    }

    if !patches.is_empty() {
        let check = builder.symbols.add();
        check.name = recursion::check(variant).as_bytes().into();
        check.set_st_info(elf::STB_GLOBAL, elf::STT_NOTYPE);
        let check = check.id();
        patch(&mut builder, text, symtab, check, patches)?;
    }
    builder.delete_orphans();
    builder.set_section_sizes();
    let mut out = Vec::new();
    builder.write(&mut out).context("the checked object cannot be written")?;
    Ok(out)
}

/// Defines a global symbol; the shim's C hands the table to the runtime. An existing reference is turned into it.
fn define(builder: &mut Builder, name: &'static str, section: SectionId, value: u64) {
    let existing =
        builder.symbols.iter().find(|symbol| symbol.name.as_slice() == name.as_bytes()).map(|symbol| symbol.id());
    let symbol = match existing {
        Some(id) => builder.symbols.get_mut(id),
        None => builder.symbols.add(),
    };
    symbol.name = name.as_bytes().into();
    symbol.section = Some(section);
    symbol.st_value = value;
    symbol.set_st_info(elf::STB_GLOBAL, elf::STT_OBJECT);
}

fn patch(
    builder: &mut Builder,
    text: SectionId,
    symtab: Option<SectionId>,
    check: SymbolId,
    patches: &BTreeSet<u64>,
) -> Result<()> {
    let section = builder.sections.get_mut(text);
    let SectionData::Data(code) = &section.data else { anyhow::bail!(".text holds no code") };
    let mut code = code.as_slice().to_vec();
    for at in patches {
        let at = *at as usize;
        code[at..at + 5].copy_from_slice(&[0xe8, 0, 0, 0, 0]);
    }
    section.data = SectionData::Data(code.into());
    let added = patches.iter().map(|at| Relocation {
        r_offset: at + 1,
        symbol: Some(check),
        r_type: elf::R_X86_64_PLT32,
        r_addend: -4,
    });
    let relocs = builder
        .sections
        .iter_mut()
        .find(|section| section.sh_info_section == Some(text) && matches!(section.data, SectionData::Relocation(_)));
    match relocs {
        Some(section) => {
            if let SectionData::Relocation(relocs) = &mut section.data {
                relocs.extend(added);
                relocs.sort_by_key(|reloc| reloc.r_offset);
            }
        }
        None => {
            let added = added.collect();
            let section = builder.sections.add();
            section.name = b".rela.text"[..].into();
            section.sh_type = elf::SHT_RELA;
            section.sh_flags = elf::SHF_INFO_LINK;
            section.sh_link_section = symtab;
            section.sh_info_section = Some(text);
            section.sh_addralign = 8;
            section.sh_entsize = 24;
            section.data = SectionData::Relocation(added);
        }
    }
    Ok(())
}
