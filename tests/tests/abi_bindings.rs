// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `bento-runtime/src/abi.rs` is what bindgen makes of `bento_abi.h`: authors need no libclang because it is checked in,
//! and it cannot drift because this test makes it again. `BLESS=1` writes it.

use std::path::Path;

#[test]
fn abi_rs_is_what_bindgen_makes_of_the_header() {
    let runtime = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bento-runtime");
    let made = bindgen::Builder::default()
        .header(runtime.join("include/bento_abi.h").to_str().unwrap())
        .use_core()
        .ctypes_prefix("core::ffi")
        .allowlist_file(".*bento_abi.h")
        .prepend_enum_name(false)
        .default_macro_constant_type(bindgen::MacroTypeVariation::Unsigned)
        .derive_copy(true)
        .derive_debug(true)
        .derive_default(false)
        .layout_tests(true)
        .raw_line("// SPDX-License-Identifier: GPL-2.0 OR MIT")
        .raw_line("// Generated from include/bento_abi.h by tests/tests/abi_bindings.rs; do not edit.")
        .formatter(bindgen::Formatter::Prettyplease)
        .generate()
        .expect("bindgen reads bento_abi.h")
        .to_string();
    let path = runtime.join("src/abi.rs");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "bento-runtime/src/abi.rs is stale: run `BLESS=1 cargo test -p bento-tests --test abi_bindings`"
    );
}
