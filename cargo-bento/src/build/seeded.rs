// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The checks against objects with one fault each: every fault must be found and named, a clean object must pass.

use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs, process};

use super::elf::Prelinked;
use super::flow::Program;
use super::places::Author;
use super::source::Lines;
use super::{checks, prelink, recursion, unwind};
use crate::cli::Variant;

/// Two functions as the compiler would emit them; a fault is added after them.
const CLEAN: &str = r#"
    .text
    .globl bento_text_anchor
    .type bento_text_anchor, @function
bento_text_anchor:
    .cfi_startproc
    nopl 8(%rax,%rax,1)
    ret
    .cfi_endproc
    .size bento_text_anchor, .-bento_text_anchor

    .globl leaf
    .type leaf, @function
leaf:
    .cfi_startproc
    nopl 8(%rax,%rax,1)
    pushq %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_offset %rbx, -16
    call bento_log
    popq %rbx
    .cfi_adjust_cfa_offset -8
    ret
    .cfi_endproc
    .size leaf, .-leaf

    .section .rodata
    .globl bento_fs_main
    .type bento_fs_main, @object
bento_fs_main:
    .quad leaf
    .size bento_fs_main, .-bento_fs_main
    .text
"#;

/// A function with this body.
fn function(name: &str, body: &str) -> String {
    format!(
        ".text\n.globl {name}\n.type {name}, @function\n{name}:\n.cfi_startproc\n\
         nopl 8(%rax,%rax,1)\n{body}\n.cfi_endproc\n.size {name}, .-{name}\n"
    )
}

fn assemble(name: &str, source: &str) -> Vec<u8> {
    let dir = env::temp_dir().join(format!("bento-seeded-{}-{name}", process::id()));
    fs::create_dir_all(&dir).unwrap();
    let (assembly, object) = (dir.join("seed.s"), dir.join("seed.o"));
    fs::write(&assembly, source).unwrap();
    let status = Command::new("cc").arg("-c").arg(&assembly).arg("-o").arg(&object).stdin(Stdio::null()).status();
    assert!(status.unwrap().success(), "the seed does not assemble");
    let bytes = fs::read(&object).unwrap();
    fs::remove_dir_all(&dir).unwrap();
    bytes
}

/// An author who wrote nothing: assembly has no lines.
fn nobody() -> Author {
    Author { workspace: "/nowhere".into(), bento: "/nowhere".into() }
}

/// What the tool says about the clean object with `fault` added.
fn verdict(name: &str, fault: &str) -> Result<String, String> {
    verdict_of(Variant::X86, name, fault)
}

fn verdict_of(variant: Variant, name: &str, fault: &str) -> Result<String, String> {
    let bytes = assemble(name, &format!("{CLEAN}{fault}"));
    match prelink::convert(&bytes, variant, &Lines::of(Path::new("/nonexistent")), &nobody()) {
        Ok((_, summary)) => Ok(summary),
        Err(error) => Err(format!("{error:#}")),
    }
}

fn refused(name: &str, fault: &str, words: &[&str]) {
    refused_in(Variant::X86, name, fault, words);
}

fn refused_in(variant: Variant, name: &str, fault: &str, words: &[&str]) {
    let said = verdict_of(variant, name, fault).expect_err("the fault was not found");
    for word in words {
        assert!(said.contains(word), "{word:?} is missing in: {said}");
    }
}

#[test]
fn a_clean_object_passes() {
    verdict("clean", "").unwrap();
}

#[test]
fn vector_instructions_are_named() {
    refused("sse", &function("author_sum", "addsd %xmm1, %xmm0\nret"), &["author_sum", "addsd"]);
    refused("avx", &function("author_sum", "vpxor %ymm1, %ymm0, %ymm0\nret"), &["author_sum", "vpxor"]);
    refused("x87", &function("author_sum", "fld1\nret"), &["author_sum", "fld1"]);
}

#[test]
fn fences_and_hints_are_no_vector_instructions() {
    verdict("fence", &function("author_sum", "mfence\npause\nlfence\nret")).unwrap();
}

#[test]
fn writable_statics_are_named() {
    let fault = ".data\n.type COUNTER, @object\nCOUNTER: .quad 0\n.size COUNTER, 8\n";
    refused("data", fault, &["COUNTER", "field of the file system's struct"]);
    let fault = ".bss\n.type SCRATCH, @object\nSCRATCH: .zero 64\n.size SCRATCH, 64\n";
    refused("bss", fault, &["SCRATCH", "64 bytes"]);
    refused("anonymous", ".data\n.quad 1\n", &["8 bytes of writable data"]);
}

#[test]
fn large_frames_are_named() {
    let sizes = |size| format!(".section .stack_sizes,\"o\",@progbits,.text\n.quad leaf\n.uleb128 {size}\n");
    refused("frame", &sizes(2049), &["leaf", "2049 bytes", "2048"]);
    verdict("small-frame", &sizes(2048)).unwrap();
}

#[test]
fn aborts_are_named() {
    let fault = function("author_check", "testq %rdi, %rdi\nje 1f\nret\n1: ud2");
    refused("abort", &fault, &["author_check", "abort"]);
    refused("after-free", &function("author_drop", "call bento_dealloc\nud2"), &["author_drop"]);
    // A landing pad: nothing jumps there.
    refused("pad", &function("author_split", "ret\nendbr64\nud2"), &["author_split"]);
}

#[test]
fn a_trap_after_a_call_that_never_returns_is_no_abort() {
    verdict("resume", &function("author_panic", "call bento_resume\nud2")).unwrap();
    let fault = format!(
        "{}{}",
        function("panics", "call bento_abandon\nud2"),
        function("author", "testq %rdi, %rdi\njne 2f\ncall panics\njmp 1f\n2: call panics\n1: ud2")
    );
    verdict("panics", &fault).unwrap();
}

#[test]
fn a_trap_that_can_be_reached_past_such_a_call_is_an_abort() {
    // By a jump from elsewhere.
    let fault = function("author_jump", "testq %rdi, %rdi\nje 1f\ncall bento_resume\n1: ud2");
    refused("jump", &fault, &["author_jump"]);
    // By going round: the loop's head is where the function is entered.
    let fault = function("author_loop", "testq %rdi, %rdi\nje 1f\ndecq %rdi\njmp author_loop\n1: ud2");
    refused("loop", &fault, &["author_loop"]);
    // By a table of addresses.
    let fault = function("author_table", "call bento_resume\n2: ud2") + ".section .rodata\n.quad 2b\n";
    refused("table", &fault, &["author_table"]);
}

/// A function whose first call has a landing pad, which comes right after a call that does not return.
fn with_pad(name: &str, pad: &str) -> String {
    format!(
        r#"
    .text
    .globl {name}
    .type {name}, @function
{name}:
    .cfi_startproc
    .cfi_lsda 0x3, {name}_table
    nopl 8(%rax,%rax,1)
1:  call leaf
2:  call bento_resume
3:  {pad}
    .cfi_endproc
    .size {name}, .-{name}
    .section .gcc_except_table, "a", @progbits
{name}_table:
    .byte 0xff, 0xff, 0x01
    .uleb128 5f - 4f
4:  .uleb128 1b - {name}
    .uleb128 2b - 1b
    .uleb128 3b - {name}
    .uleb128 0
5:
"#
    )
}

#[test]
fn a_landing_pad_is_reached_by_the_panic_of_its_call() {
    refused("landing", &with_pad("author_guard", "ud2"), &["author_guard", "abort"]);
    verdict("landing-resumes", &with_pad("author_guard", "call bento_resume\nud2")).unwrap();
}

#[test]
fn instrumented_code_is_judged_too() {
    let fault = function("author_check", "call __asan_load8_noabort\nud2");
    refused_in(Variant::UmlKasan, "kasan", &fault, &["author_check", "abort"]);
    let fault = function("author_panic", "call __asan_handle_no_return\ncall bento_resume\nud2");
    verdict_of(Variant::UmlKasan, "kasan-resume", &fault).unwrap();
}

/// Real code, whose traps are told apart by their lines: a map's guards, and what an author put in himself.
const TRAPS: &str = r#"
#![no_std]
#![feature(lang_items)]
#![allow(internal_features)]
extern crate alloc;
use alloc::{alloc::{GlobalAlloc, Layout}, collections::BTreeMap, string::String, sync::Arc};

unsafe extern "C" {
    fn bento_alloc(size: usize) -> *mut u8;
    fn bento_dealloc(block: *mut u8);
    fn bento_resume() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    unsafe { bento_resume() }
}

#[lang = "eh_personality"]
fn personality() {}

struct Heap;

unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { bento_alloc(layout.size()) }
    }
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        unsafe { bento_dealloc(block) }
    }
}

#[global_allocator]
static HEAP: Heap = Heap;

#[unsafe(no_mangle)]
pub extern "C" fn bento_text_anchor() {}

#[unsafe(no_mangle)]
pub static bento_fs_main: fn(&mut BTreeMap<u64, Arc<String>>, u64, &Arc<String>) -> Option<Arc<String>> = author;

fn author(map: &mut BTreeMap<u64, Arc<String>>, key: u64, value: &Arc<String>) -> Option<Arc<String>> {
    let old = map.insert(key, value.clone());
    own(key, old.is_some());
    map.retain(|key, _| key % 3 != 0);
    old
}

#[cfg(clean)]
fn own(_: u64, _: bool) {}

#[cfg(check)]
#[inline(always)]
fn own(key: u64, old: bool) {
    if old && key > 7 {
        unsafe { core::arch::asm!("ud2", options(noreturn)) }
    }
}

#[cfg(guard)]
#[inline(always)]
fn own(key: u64, _: bool) {
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            unsafe { core::arch::asm!("ud2", options(noreturn)) }
        }
    }
    let guard = Guard;
    assert!(key != 7);
    core::mem::forget(guard);
}
"#;

/// The findings about the aborts of [`TRAPS`] with `cfg`, and how many traps were looked at.
fn traps(cfg: &str) -> (Vec<String>, usize) {
    let dir = env::temp_dir().join(format!("bento-traps-{}-{cfg}", process::id()));
    fs::create_dir_all(&dir).unwrap();
    let (source, library) = (dir.join("traps.rs"), dir.join("libtraps.a"));
    fs::write(&source, TRAPS).unwrap();
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition=2024", "--crate-type=staticlib", "-Copt-level=3", "-Ccodegen-units=1", "-g"]);
    rustc.args(["-Cpanic=unwind", "-Cjump-tables=n", "-Csymbol-mangling-version=v0", "-Awarnings", "--cfg", cfg]);
    assert!(rustc.env("RUSTC_BOOTSTRAP", "1").arg("-o").args([&library, &source]).status().unwrap().success());
    let collected = prelink::link(&library, &dir).unwrap();
    let object = Prelinked::parse(&fs::read(&collected).unwrap()).unwrap();
    let program = Program::read(&object);
    let found = checks::aborts(&object, &program, &Lines::of(&collected));
    fs::remove_dir_all(&dir).unwrap();
    (found, program.flows.values().map(|flow| flow.traps.len()).sum())
}

#[test]
fn the_librarys_guards_pass_and_the_authors_own_aborts_do_not() {
    let (found, looked_at) = traps("clean");
    assert_eq!(found, Vec::<String>::new());
    assert!(looked_at > 3, "the seed's traps were optimised away");
    for cfg in ["check", "guard"] {
        let (found, _) = traps(cfg);
        assert!(found.iter().any(|line| line.contains("author")), "{cfg}: {found:?}");
    }
}

#[test]
fn unknown_symbols_are_named_with_their_user() {
    refused("printf", &function("author_print", "call printf\nret"), &["author_print", "printf"]);
}

#[test]
fn unwind_tables_the_unwinder_cannot_read_are_named() {
    let fault = function("author_odd", ".cfi_return_column 3\nret");
    refused("column", &fault, &["return column 3"]);
    // DW_CFA_def_cfa_expression: an opcode that compilers emit for PLTs only.
    let fault = function("author_odd", "nop\n.cfi_escape 0x0f, 0x01, 0x30\nret");
    refused("opcode", &fault, &["author_odd", "UnknownOpcode(15)"]);
}

#[test]
fn landing_pads_filtered_by_type_are_named() {
    let fault = r#"
    .text
    .globl author_catch
    .type author_catch, @function
author_catch:
    .cfi_startproc
    .cfi_lsda 0x3, table
    nopl 8(%rax,%rax,1)
    ret
    .cfi_endproc
    .size author_catch, .-author_catch
    .section .gcc_except_table, "a", @progbits
table:
    .byte 0xff, 0x00
    .uleb128 14
    .byte 0x01
    .uleb128 0
    .byte 1, 0
    .balign 4
    .quad bento_type
    "#;
    refused("filter", fault, &["author_catch", "filtered by type"]);
}

#[test]
fn only_functions_that_can_recurse_get_a_stack_check() {
    let fault = format!(
        "{}{}{}",
        function("walk", "call walk\nret"),
        function("even", "call odd\nret"),
        function("odd", "call leaf\ncall even\nret")
    );
    let object = Prelinked::parse(&assemble("recursion", &format!("{CLEAN}{fault}"))).unwrap();
    let program = Program::read(&object);
    let found = recursion::analyse(&object, &program, &checks::frame_sizes(&object));
    let names: Vec<String> = found.checked.iter().map(|start| object.name_at(*start)).collect();
    assert_eq!(names, ["walk", "even", "odd"]);
}

#[test]
fn a_call_through_a_table_that_can_come_back_is_recursion() {
    let fault = function("visit", "call *%rax\nret").to_owned() + ".section .rodata\n.quad visit\n";
    let object = Prelinked::parse(&assemble("indirect", &format!("{CLEAN}{fault}"))).unwrap();
    let program = Program::read(&object);
    let found = recursion::analyse(&object, &program, &checks::frame_sizes(&object));
    assert!(found.checked.iter().any(|start| object.name_at(*start) == "visit"));
    assert!(!found.checked.iter().any(|start| object.name_at(*start) == "leaf"));
}

#[test]
fn the_blob_is_sorted_and_finds_its_bytes() {
    let object = Prelinked::parse(&assemble("blob", CLEAN)).unwrap();
    let frames = unwind::frames(&object).unwrap();
    let blob = unwind::blob(&object, &frames, &[]).unwrap();
    let word = |at: usize| u32::from_le_bytes(blob[at..at + 4].try_into().unwrap());
    assert_eq!((word(0), word(4)), (unwind::MAGIC, unwind::VERSION));
    let anchor = object.symbol(unwind::ANCHOR).unwrap().offset;
    assert_eq!((u64::from(word(8)), word(12), word(20) as usize), (anchor, 2, object.text.len()));
    let mut last = 0;
    for (index, frame) in frames.iter().enumerate() {
        let entry = word(16) as usize + index * 24;
        assert!(word(entry) >= last);
        last = word(entry) + word(entry + 4);
        assert_eq!((u64::from(word(entry)), u64::from(word(entry + 4))), (frame.start, frame.len));
        let cfi = word(entry + 8) as usize;
        let len = usize::from(u16::from_le_bytes(blob[entry + 12..entry + 14].try_into().unwrap()));
        assert_eq!(&blob[cfi..cfi + len], frame.cfi);
    }
}

#[test]
fn the_finished_object_shows_one_symbol_and_calls_the_check() {
    let seed = format!("{CLEAN}{}", function("walk", "call walk\nret"));
    let bytes = assemble("finished", &seed);
    let (finished, _) =
        prelink::convert(&bytes, Variant::X86, &Lines::of(Path::new("/nonexistent")), &nobody()).unwrap();
    let object = Prelinked::parse(&finished).unwrap();
    assert!(object.section(".eh_frame").is_none());
    assert!(object.section(".rodata.bento_unwind").is_some());
    assert_eq!(object.undefined, ["bento_log", "mcount"]);
    let walk = object.functions.iter().find(|function| function.name == "walk").unwrap();
    assert_eq!(object.code(walk)[0], 0xe8);
    let leaf = object.functions.iter().find(|function| function.name == "leaf").unwrap();
    assert_eq!(object.code(leaf)[..2], [0x0f, 0x1f]);
}
