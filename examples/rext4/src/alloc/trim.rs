// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `FITRIM`: the device hears which blocks are free, group by group. Meanwhile they are held as what was just freed is:
//! nobody has them before the journal's transaction has committed and the device has been told.

use bento::prelude::*;

use crate::Rext4;
use crate::txn::Txn;

impl Rext4 {
    /// One step: of one group, or a part of it.
    pub fn trim(&self, device: Device<'_>, trim: &mut Trim) -> Result<()> {
        let (sb, size) = (&self.sb, u64::from(self.sb.block_size));
        if !self.settings.has_journal() {
            return Err(Errno::EOPNOTSUPP);
        }
        let least = trim.least().div_ceil(size).max(1);
        let start = trim.start().div_ceil(size).max(sb.first_block.into());
        if least > sb.blocks_per_group.into() || start >= sb.blocks || trim.end() - trim.start().min(trim.end()) < size
        {
            return Err(Errno::EINVAL);
        }
        let end = (trim.end() / size).min(sb.blocks);
        if start >= end {
            trim.advance(trim.end(), 0);
            return Ok(());
        }
        let (group, from) = sb.group_of(start);
        let base = sb.first_block_of(group);
        let to = (end - base).min(sb.blocks_of(group).into()) as u32;
        let txn = Txn::begin(self, device, 0)?;
        let mut state = txn.tx.lock(&self.groups.slot(group)?.state)?;
        state.sweep(&self.groups, device);
        let (runs, next) = self.free_runs(device, &mut state, group, (from, to), least as u32)?;
        let (id, mut blocks) = (txn.tx.id(), 0);
        for (start, count) in runs {
            txn.tx.discard(base + u64::from(start), count.into())?;
            state.free(start, count, id)?;
            blocks += u64::from(count);
        }
        txn.commit()?;
        let next = base + u64::from(next);
        trim.advance(if next >= end { trim.end().max(next * size) } else { next * size }, blocks * size);
        Ok(())
    }
}
