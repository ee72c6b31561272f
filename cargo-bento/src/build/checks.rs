// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the object must not hold (SAFETY.md B1, C3, G6): floating point and vector instructions, writable statics,
//! large frames, aborts, symbols that nobody provides. Each failure names the crate, the symbol and what to do.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use iced_x86::{CpuidFeature, Instruction, Mnemonic, Register};

use super::elf::{Prelinked, Target, crate_of, crates_in, demangle};
use super::flow::{Program, Step, Verdict};
use super::source::{Frame, Lines};
use crate::cli::Variant;

/// Code that aborts instead of panicking and may stay, with the reason why it is never reached.
const MAY_ABORT: [(&str, &str); 6] = [
    // The host's way out, called through a pointer, which cannot say that it does not come back.
    ("bento::host::jump::", "G6"),
    // Its guard aborts when a node allocation unwinds in the middle of a split; allocations up to two pages do not fail.
    ("alloc::collections::btree::mem::", "C3"),
    // The next entry of a map, taken while its length says that there is one.
    ("alloc::collections::btree::navigate::LazyLeafRange", "C3"),
    // Reference counts beyond isize::MAX: more references than memory can hold.
    ("alloc::sync::", "C3"),
    ("alloc::rc::", "C3"),
    // Division by zero, which its callers check for; `core` is the only one.
    ("compiler_builtins::", "C3"),
];

/// Runs every check; all findings at once, so that one build shows all there is to mend.
pub fn all(object: &Prelinked, program: &Program, variant: Variant, lines: &Lines) -> Result<()> {
    let mut findings = Vec::new();
    findings.extend(vector_instructions(object, program));
    findings.extend(writable_statics(object));
    findings.extend(large_frames(object, &frame_sizes(object), variant.frame_limit()));
    findings.extend(aborts(object, program, lines));
    findings.extend(undefined(object, variant));
    if findings.is_empty() {
        return Ok(());
    }
    let count = findings.len();
    let first = findings.remove(0);
    if count == 1 {
        bail!("{first}");
    }
    let rest: Vec<String> = findings.iter().take(20).cloned().collect();
    Err(anyhow::anyhow!("{} more:\n{}", count - 1, rest.join("\n")).context(first))
}

/// The kernel saves no FPU or vector registers for modules: using one corrupts whatever user program was interrupted.
pub fn vector_instructions(object: &Prelinked, program: &Program) -> Vec<String> {
    let mut findings = Vec::new();
    for (start, flow) in &program.flows {
        if let Some(instruction) = flow.instructions.iter().find(|instruction| uses_fpu(instruction)) {
            let name = object.name_at(*start);
            findings.push(format!(
                "{}: {name} uses the floating point or vector instruction `{instruction}`, which a kernel module may not: \
                 remove inline assembly or #[target_feature] there",
                owner(object, *start)
            ));
        }
    }
    findings
}

fn uses_fpu(instruction: &Instruction) -> bool {
    // Fences and hints came with SSE but touch no register.
    if matches!(
        instruction.mnemonic(),
        Mnemonic::Mfence
            | Mnemonic::Lfence
            | Mnemonic::Sfence
            | Mnemonic::Pause
            | Mnemonic::Prefetcht0
            | Mnemonic::Prefetcht1
            | Mnemonic::Prefetcht2
            | Mnemonic::Prefetchnta
            | Mnemonic::Movnti
            | Mnemonic::Clflush
    ) {
        return false;
    }
    let registers = (0..instruction.op_count()).map(|operand| instruction.op_register(operand));
    let vector = |register: Register| {
        register.is_vector_register() || register.is_mm() || register.is_st() || register.is_k() || register.is_tmm()
    };
    registers.into_iter().any(vector)
        || instruction.cpuid_features().iter().any(|feature| {
            matches!(
                feature,
                CpuidFeature::FPU
                    | CpuidFeature::FPU287
                    | CpuidFeature::FPU387
                    | CpuidFeature::MMX
                    | CpuidFeature::SSE
                    | CpuidFeature::SSE2
                    | CpuidFeature::SSE3
                    | CpuidFeature::SSSE3
                    | CpuidFeature::SSE4_1
                    | CpuidFeature::SSE4_2
                    | CpuidFeature::AVX
                    | CpuidFeature::AVX2
                    | CpuidFeature::FXSR
                    | CpuidFeature::XSAVE
            )
        })
}

/// State in a static is lost at an upgrade and shared by all mounts (S5): it belongs in the file system's struct.
pub fn writable_statics(object: &Prelinked) -> Vec<String> {
    let mut findings = Vec::new();
    for section in object.sections.iter().filter(|section| section.writable && section.size > 0) {
        // Constants that hold addresses; the loader writes them once.
        if section.name.starts_with(".data.rel.ro") || section.name == ".bento_personality" {
            continue;
        }
        let mut named = 0;
        for symbol in object.symbols.iter().filter(|symbol| symbol.section == section.name && symbol.size > 0) {
            named += symbol.size;
            let name = demangle(&symbol.name);
            if crates_in(&symbol.name).first().is_some_and(|first| first == "bento") {
                continue;
            }
            findings.push(format!(
                "{}: {name} is a writable static ({} bytes): make it a field of the file system's struct, so that it is per mount and survives an upgrade",
                crate_of(&symbol.name),
                symbol.size
            ));
        }
        if named == 0 {
            findings.push(format!("{} bytes of writable data without a name in {}", section.size, section.name));
        }
    }
    findings
}

/// Frame sizes from `.stack_sizes`, by function start.
pub fn frame_sizes(object: &Prelinked) -> BTreeMap<u64, u64> {
    let mut sizes = BTreeMap::new();
    let (Some(section), Some(relocs)) = (object.section(".stack_sizes"), object.data_relocs.get(".stack_sizes")) else {
        return sizes;
    };
    for (at, reloc) in relocs {
        let Target::Text(start) = reloc.target else {
            continue;
        };
        let mut size = 0u64;
        let bytes = section.data.iter().skip(*at as usize + 8).take(10);
        for (shift, byte) in bytes.enumerate() {
            size |= u64::from(byte & 0x7f) << (7 * shift).min(63);
            if byte & 0x80 == 0 {
                break;
            }
        }
        sizes.insert(start, size);
    }
    sizes
}

/// A kernel stack has 16 KiB for everything from the system call down.
pub fn large_frames(object: &Prelinked, sizes: &BTreeMap<u64, u64>, limit: u64) -> Vec<String> {
    let over = sizes.iter().filter(|(_, size)| **size > limit);
    over.map(|(start, size)| {
        format!(
            "{}: {} needs {size} bytes of stack, the limit is {limit}: put large arrays in a Box or a Vec",
            owner(object, *start),
            object.name_at(*start)
        )
    })
    .collect()
}

/// An abort in a kernel is an oops; whatever can go wrong must panic, which is contained.
pub fn aborts(object: &Prelinked, program: &Program, lines: &Lines) -> Vec<String> {
    let mut findings = Vec::new();
    for (start, flow) in &program.flows {
        for trap in &flow.traps {
            // A trap whose own line the compiler lost, merging several into one, is judged by what leads to it.
            let excused = match verdict(lines, *trap, Step::Normal) {
                Verdict::Excused => true,
                Verdict::Guilty => program.unreachable(object, *start, *trap),
                Verdict::Silent => program.every_way_to(*start, *trap, &|way| {
                    if program.unreachable(object, *start, way.from.ip()) || program.ends(object, way) {
                        return Verdict::Excused;
                    }
                    verdict(lines, way.from.ip(), way.step)
                }),
            };
            if excused {
                continue;
            }
            let chain = lines.inlined(*trap);
            let place = chain.iter().find(|frame| !frame.function.starts_with("core::")).or(chain.first());
            let place = place.map(|frame| format!(" (in {} at {}:{})", frame.function, frame.file, frame.line));
            findings.push(format!(
                "{}: {} can abort at +{:#x}{}, which would stop the kernel: panic instead, or use a form that returns an error",
                owner(object, *start),
                object.name_at(*start),
                trap - start,
                place.unwrap_or_default()
            ));
        }
    }
    findings
}

/// What the source of the instruction at `at` says about an abort.
fn verdict(lines: &Lines, at: u64, step: Step) -> Verdict {
    let chain = lines.inlined(at);
    let may =
        |frame: &Frame| MAY_ABORT.iter().any(|(path, _)| frame.function.trim_start_matches('<').starts_with(path));
    // What a call that panics leaves behind is cleaned up by all that were under way; a guard may be anybody's of them.
    let excused = match step {
        Step::Unwind => chain.iter().any(may),
        Step::Normal => chain.iter().find(|frame| !frame.function.starts_with("core::")).is_some_and(may),
    };
    // Memory is released on many a way; that aborts nowhere and keeps the line of whoever owned it.
    let releases = chain.iter().any(|frame| frame.function == "alloc::alloc::dealloc");
    match chain.first() {
        _ if excused => Verdict::Excused,
        Some(frame) if frame.line != 0 && !releases => Verdict::Guilty,
        _ => Verdict::Silent,
    }
}

/// The object may call the shim and the kernel's memory functions, nothing else.
pub fn undefined(object: &Prelinked, variant: Variant) -> Vec<String> {
    let allowed = |name: &str| {
        name.starts_with("bento_")
            || name.starts_with("__bento_")
            || matches!(name, "memcpy" | "memmove" | "memset" | "memcmp" | "bcmp" | "strlen")
            || match variant {
                Variant::X86 => name.starts_with("__x86_indirect_thunk_") || name == "__x86_return_thunk",
                Variant::UmlKasan => name.starts_with("__asan_") || name == "_GLOBAL_OFFSET_TABLE_",
                Variant::Uml | Variant::User => name == "_GLOBAL_OFFSET_TABLE_",
            }
    };
    let missing = object.undefined.iter().filter(|name| !allowed(name));
    missing
        .map(|name| {
            let wanted = Target::Extern(name.clone());
            let user = object.text_relocs.iter().find(|(_, reloc)| reloc.target == wanted);
            let (owner, user) = match user {
                Some((at, _)) => (owner(object, *at), object.name_at(*at)),
                None => ("the object".to_owned(), "a table".to_owned()),
            };
            format!(
                "{owner}: {user} needs `{}`, which no kernel provides: it cannot be used in a file system",
                demangle(name)
            )
        })
        .collect()
}

fn owner(object: &Prelinked, at: u64) -> String {
    object.function_at(at).map(|function| crate_of(&function.name)).unwrap_or_default()
}
