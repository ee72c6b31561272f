// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A file system with a device below it (a map that outlives the mount): what `mount` reads again after an abandoned call.

use std::collections::HashMap;
use std::sync::{Mutex as StdMutex, OnceLock, PoisonError};

use bento::fs::Why;
use bento::prelude::*;

#[derive(Default)]
pub struct Device {
    names: HashMap<Vec<u8>, u64>,
    files: HashMap<u64, Vec<u8>>,
    pub mounts: u32,
    pub restarts: u32,
}

fn devices() -> &'static StdMutex<Vec<Device>> {
    static DEVICES: OnceLock<StdMutex<Vec<Device>>> = OnceLock::new();
    DEVICES.get_or_init(StdMutex::default)
}

/// A new one; its number is the mount option.
pub fn device() -> usize {
    let mut devices = devices().lock().unwrap_or_else(PoisonError::into_inner);
    devices.push(Device::default());
    devices.len() - 1
}

pub fn with_device<T>(number: usize, then: impl FnOnce(&mut Device) -> T) -> T {
    then(&mut devices().lock().unwrap_or_else(PoisonError::into_inner)[number])
}

#[derive(MountOptions)]
struct Options {
    #[option(default = 0)]
    device: u32,
}

#[bento_fs(name = "devfs", version = 1, on_panic = "restart")]
pub struct DevFs {
    #[state(1)]
    device: u32,
}

/// Made again by `load_inode`.
#[derive(State)]
#[state(reload)]
pub struct Loaded;

impl DevFs {
    fn with<T>(&self, then: impl FnOnce(&mut Device) -> T) -> T {
        with_device(self.device as usize, then)
    }
}

#[bento_fs]
impl FileSystem for DevFs {
    type Inode = Loaded;

    fn mount(cx: &MountContext) -> Result<Self> {
        let Options { device } = cx.options()?;
        with_device(device as usize, |device| match cx.why() {
            Why::Restart => device.restarts += 1,
            _ => device.mounts += 1,
        });
        Ok(DevFs { device })
    }

    fn load_inode(&self, _cx: &Context<Self>, ino: Ino) -> Result<(Attr, Loaded)> {
        if ino == Ino::ROOT {
            return Ok((Attr::directory(0o755), Loaded));
        }
        let size = self.with(|device| device.files.get(&ino.get()).map(Vec::len)).ok_or(Errno::ESTALE)?;
        Ok((Attr::file(0o644, size as u64), Loaded))
    }

    fn lookup(&self, _cx: &Context<Self>, _dir: &Inode<Self>, name: &Name) -> Result<Ino> {
        self.with(|device| device.names.get(name.as_bytes()).copied()).and_then(Ino::new).ok_or(Errno::ENOENT)
    }

    fn create(&self, _cx: &Context<Self>, _dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        let number = self.with(|device| {
            let number = device.names.len() as u64 + 2;
            device.names.insert(name.as_bytes().to_vec(), number);
            device.files.insert(number, Vec::new());
            number
        });
        Ok(new.assign(Ino::new(number).ok_or(Errno::EIO)?, Loaded))
    }

    fn setattr(&self, _cx: &Context<Self>, inode: &Inode<Self>, change: &SetAttr) -> Result<()> {
        if let Some(size) = change.size() {
            self.with(|device| device.files.entry(inode.ino().get()).or_default().resize(size as usize, 0));
        }
        Ok(())
    }

    fn read(&self, _cx: &Context<Self>, inode: &Inode<Self>, offset: u64, sink: &mut ReadSink) -> Result<()> {
        self.with(|device| {
            let bytes = device.files.get(&inode.ino().get()).ok_or(Errno::ESTALE)?;
            sink.put(bytes.get(offset as usize..).unwrap_or_default())
        })
    }

    fn write(&self, _cx: &Context<Self>, inode: &Inode<Self>, offset: u64, source: &mut WriteSource) -> Result<()> {
        self.with(|device| {
            let bytes = device.files.entry(inode.ino().get()).or_default();
            let end = offset as usize + source.remaining() as usize;
            bytes.resize(bytes.len().max(end), 0);
            source.copy_to(&mut bytes[offset as usize..end]).map(drop)
        })
    }
}
