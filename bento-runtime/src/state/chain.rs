// SPDX-License-Identifier: GPL-2.0 OR MIT
//! From version to version: a value loaded through its predecessors, or saved as one of them. A derive that says
//! `extends`, `migrates` or `downgrades` calls these.

use alloc::vec::Vec;

use super::{Downgrade, Loader, Migrate, Saver, Shape, Shapes, State, to_vec};
use crate::errno::Result;

/// `load_as` of a type that extends `Old`: what `Old` wrote is read by tag, with defaults for what came since.
pub fn extend<New: State, Old: State>(shape: u64, from: &mut Loader<'_>) -> Result<New> {
    if shape == New::SHAPE.hash() || shape == Old::SHAPE.hash() {
        return load(from);
    }
    let old = older::<Old>(shape, from)?;
    load(&mut from.over(&old))
}

/// Apart: a whole instance by value, on a small stack.
#[inline(never)]
fn load<New: State>(from: &mut Loader<'_>) -> Result<New> {
    New::load(from)
}

/// What an older version saved, as the version before this one would have.
#[inline(never)]
fn older<Old: State>(shape: u64, from: &mut Loader<'_>) -> Result<Vec<u8>> {
    to_vec(&Old::load_as(shape, from)?)
}

/// `load_as` of a type that migrates from `Old`.
pub fn migrate<New: State + Migrate<Old>, Old: State>(shape: u64, from: &mut Loader<'_>) -> Result<New> {
    if shape == New::SHAPE.hash() { New::load(from) } else { New::migrate(Old::load_as(shape, from)?) }
}

/// `save_as` of a type that downgrades to `Old`.
pub fn downgrade<New: State + Downgrade<Old>, Old: State>(value: &New, shape: u64, out: &mut Saver<'_>) -> Result<()> {
    if shape == New::SHAPE.hash() { value.save(out) } else { save_older::<New, Old>(value, shape, out) }
}

/// Apart, as `load`.
#[inline(never)]
fn save_older<New: Downgrade<Old>, Old: State>(value: &New, shape: u64, out: &mut Saver<'_>) -> Result<()> {
    value.downgrade()?.save_as(shape, out)
}

/// Would bytes of a predecessor be taken for this version's own? Then nothing would ever migrate them.
pub const fn skips_migration(new: &'static Shape, old: Shapes) -> bool {
    old.has(new.hash())
}

/// The same for a type that extends `old`, whose own bytes it does read.
pub const fn skips_older(new: &'static Shape, old: &'static Shape, loads: Shapes) -> bool {
    new.hash() != old.hash() && loads.has(new.hash())
}

/// Can per-inode data of the version before be loaded by this one, from its bytes or from where it lies?
pub const fn inode_follows(old: &'static Shape, new: Shapes) -> bool {
    new.is_empty() || new.has(old.hash())
}

/// Can this version's per-inode data become that of an older one?
pub const fn inode_goes_back(old: Shapes, new: Shapes) -> bool {
    old.is_empty() || old.meets(new)
}
