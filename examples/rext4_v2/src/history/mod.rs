//! What older versions saved, as `cargo bento freeze` wrote it.

pub mod v1;
