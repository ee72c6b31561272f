// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The kernel's trampoline is assembly and cannot include `bento_abi.h`. A panic finds its way out by the magic word that
//! both must agree on (SAFETY.md G6).

use std::fs;
use std::path::Path;

#[test]
fn the_trampoline_writes_the_headers_magic() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let header = fs::read_to_string(root.join("bento-runtime/include/bento_abi.h")).unwrap();
    let magic = header
        .lines()
        .find_map(|line| line.strip_prefix("#define BENTO_RECORD_MAGIC 0x"))
        .and_then(|rest| rest.strip_suffix("ull"))
        .expect("bento_abi.h defines BENTO_RECORD_MAGIC");
    let trampoline = fs::read_to_string(root.join("kmod-shim/trampoline.S")).unwrap();
    let written: Vec<&str> = trampoline
        .lines()
        .filter_map(|line| line.trim().strip_prefix("movabsq"))
        .filter_map(|rest| rest.trim().strip_prefix("$0x")?.split(',').next())
        .collect();
    assert_eq!(written, [magic], "kmod-shim/trampoline.S and BENTO_RECORD_MAGIC differ");
}
