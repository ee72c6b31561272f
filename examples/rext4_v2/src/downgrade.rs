// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The way back to version 1, whose state is this one's without what it does not know. What was noted is on the disk, in
//! attributes that version 1 reads as it reads any.

use bento::prelude::*;
use bento::state::{from_slice, to_vec};

use crate::Rext4;
use crate::history::v1;

impl Downgrade<v1::Rext4> for Rext4 {
    fn downgrade(&self) -> Result<v1::Rext4> {
        Ok(v1::Rext4 {
            sb: same(&self.sb)?,
            groups: same(&self.groups)?,
            orphans: same(&self.orphans)?,
            settings: same(&self.settings)?,
            zones: same(&self.zones)?,
        })
    }
}

/// The value as the frozen type of the same shape. Apart: a kernel's stack is small.
#[inline(never)]
fn same<New: State, Old: State>(value: &New) -> Result<Old> {
    from_slice(&to_vec(value)?, New::SHAPE.hash())
}
