// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the examples do not show: handlers that are there in some configurations only, and no `type Inode`.

use bento::prelude::*;

#[bento_fs(name = "cfgfs", version = 7, extends = ())]
struct CfgFs;

#[bento_fs]
impl FileSystem for CfgFs {
    fn mount(_cx: &MountContext) -> Result<Self> {
        Ok(CfgFs)
    }

    fn load_inode(&self, _cx: &Context<Self>, _ino: Ino) -> Result<(Attr, ())> {
        Ok((Attr::directory(0o755), ()))
    }

    fn lookup(&self, _cx: &Context<Self>, _dir: &Inode<Self>, _name: &Name) -> Result<Ino> {
        Err(Errno::ENOENT)
    }

    #[cfg(not(windows))]
    fn read(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _offset: u64, _sink: &mut ReadSink) -> Result<()> {
        Ok(())
    }

    #[cfg(not(windows))]
    fn write(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _offset: u64, _source: &mut WriteSource) -> Result<()> {
        Ok(())
    }

    #[cfg(windows)]
    fn fsync(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _datasync: bool) -> Result<()> {
        Ok(())
    }
}
