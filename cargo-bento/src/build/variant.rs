// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The object variants (SAFETY.md B1): which compiler flags make one Rust object fit every stock kernel, user-mode
//! Linux, or a shared object. Each flag is here because something refused to load, warned or crashed without it.

use crate::cli::Variant;
use crate::fetch::{Arch, Kernel};

impl Variant {
    /// Folder and display name.
    pub fn name(self) -> &'static str {
        match self {
            Variant::X86 => "x86",
            Variant::Uml => "uml",
            Variant::UmlKasan => "uml-kasan",
            Variant::User => "user",
        }
    }

    /// The variant whose object fits `kernel`.
    pub fn of(kernel: &Kernel) -> Variant {
        match (kernel.arch, kernel.debug) {
            (Arch::X86, _) => Variant::X86,
            (Arch::Um, false) => Variant::Uml,
            (Arch::Um, true) => Variant::UmlKasan,
        }
    }

    /// Bytes of nops that the compiler leaves before each function, for kernels with CONFIG_CALL_PADDING.
    fn padding(self) -> u32 {
        match self {
            Variant::X86 => 16,
            Variant::Uml | Variant::UmlKasan | Variant::User => 0,
        }
    }

    /// Flags for rustc, the same for `core`, `alloc`, the runtime and the author's crate.
    pub fn rustflags(self) -> Vec<String> {
        // The target's default is to abort; without unwinding there is nothing to contain a panic with.
        let mut flags = vec!["-Cpanic=unwind".to_owned(), "-Csymbol-mangling-version=v0".to_owned()];
        flags.push("-Cforce-frame-pointers=n".to_owned());
        if self != Variant::User {
            // The shim's functions are symbols here and entries of a table elsewhere (C7).
            flags.push("--cfg=bento_kernel".to_owned());
        }
        // Frame sizes for the 2 KiB rule, and room for `call mcount` where recursion is possible (G6).
        flags.push("-Zemit-stack-sizes".to_owned());
        flags.push(format!(
            "-Zpatchable-function-entry={},{}",
            self.padding() + super::recursion::ENTRY_NOP,
            self.padding()
        ));
        let own: &[&str] = match self {
            Variant::X86 => &[
                "-Crelocation-model=static",
                "-Ccode-model=kernel",
                // Otherwise mem* calls go through the GOT, which the module loader refuses.
                "-Zplt=yes",
                "-Cjump-tables=n",
                "-Zretpoline-external-thunk",
                "-Zfunction-return=thunk-extern",
                "-Zcf-protection=branch",
            ],
            Variant::Uml => UML,
            Variant::UmlKasan => &[],
            Variant::User => &["-Crelocation-model=pic", "-Zplt=yes", "-Cjump-tables=n", OWN_CODE],
        };
        flags.extend(own.iter().map(|flag| (*flag).to_owned()));
        if self == Variant::UmlKasan {
            let kasan = [
                "-Ccode-model=small",
                "-Zsanitizer=kernel-address",
                "-Zsanitizer-recover=kernel-address",
                "-Cllvm-args=-asan-mapping-offset=0x100000000000",
                // Calls instead of inline checks: the object then works whatever the kernel chose.
                "-Cllvm-args=-asan-instrumentation-with-call-threshold=0",
                "-Cllvm-args=-asan-stack=0",
                "-Cllvm-args=-asan-globals=0",
            ];
            flags.extend(UML.iter().chain(&kasan).map(|flag| (*flag).to_owned()));
        }
        flags
    }

    /// 2 where gdb is meant to show locals, 1 (lines and inlined calls) where size counts.
    pub fn debuginfo(self) -> u32 {
        match self {
            Variant::X86 => 1,
            Variant::Uml | Variant::UmlKasan | Variant::User => 2,
        }
    }

    /// Largest frame of one function in bytes (G6). KASAN's redzones make the same code need more.
    pub fn frame_limit(self) -> u64 {
        match self {
            Variant::UmlKasan => 4096,
            _ => 2048,
        }
    }
}

/// The UML program lies anywhere, so the kernel code model does not hold; data symbols are still in reach.
const UML: &[&str] =
    &["-Crelocation-model=pie", "-Zplt=yes", "-Zdirect-access-external-data=yes", "-Cjump-tables=n", OWN_CODE];

/// Where gdb is used, two handlers with the same body keep their own code each: a breakpoint in the one that was merged
/// away would never be reached.
const OWN_CODE: &str = "-Zmerge-functions=disabled";
