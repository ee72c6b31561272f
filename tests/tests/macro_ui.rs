// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What an author sees for each mistake: one file each in `tests/ui`, with the compiler's words beside it.
//! `TRYBUILD=overwrite` writes them.

#[test]
fn mistakes_are_said_in_the_authors_words() {
    trybuild::TestCases::new().compile_fail("ui/*.rs");
}
