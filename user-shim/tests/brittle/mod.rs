// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A file system of one file that waits and breaks where a test wants it to. After a panic it is restarted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex as StdMutex, OnceLock, PoisonError};

use bento::prelude::*;
use bento::state::{Loader, Saver, Shape};

/// A door that calls wait at while it is shut.
#[derive(Default)]
pub struct Door {
    /// Shut, and how many wait.
    state: StdMutex<(bool, usize)>,
    changed: Condvar,
}

impl Door {
    fn change<T>(&self, change: impl FnOnce(&mut (bool, usize)) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
        result
    }

    fn wait_while(&self, waits: impl Fn(&(bool, usize)) -> bool) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(state, |state| waits(state)).unwrap_or_else(PoisonError::into_inner));
    }

    pub fn shut(&self) {
        self.change(|state| state.0 = true);
    }

    pub fn open(&self) {
        self.change(|state| state.0 = false);
    }

    /// Until somebody waits at it.
    pub fn wait_for_a_caller(&self) {
        self.wait_while(|(_, waiting)| *waiting == 0);
    }

    fn pass(&self) {
        self.change(|state| state.1 += 1);
        self.wait_while(|(shut, _)| *shut);
        self.change(|state| state.1 -= 1);
    }
}

/// What a test wants of one mount.
#[derive(Default)]
pub struct Wishes {
    pub statfs: Door,
    /// The file's data follow a swap through it.
    pub load_data: Door,
    /// `sync_fs` panics with the instance's lock held; the next one meets that.
    pub break_sync: AtomicBool,
    pub refuse_to_write: AtomicBool,
}

fn all() -> &'static StdMutex<Vec<Arc<Wishes>>> {
    static ALL: OnceLock<StdMutex<Vec<Arc<Wishes>>>> = OnceLock::new();
    ALL.get_or_init(StdMutex::default)
}

/// For a new mount, and its options.
pub fn wishes() -> (Arc<Wishes>, String) {
    let mut all = all().lock().unwrap_or_else(PoisonError::into_inner);
    let wishes = Arc::new(Wishes::default());
    all.push(Arc::clone(&wishes));
    (wishes, format!("wishes={}", all.len() - 1))
}

fn wishes_of(number: u32) -> Arc<Wishes> {
    Arc::clone(&all().lock().unwrap_or_else(PoisonError::into_inner)[number as usize])
}

#[derive(MountOptions)]
struct Options {
    #[option(default = 0)]
    wishes: u32,
}

#[bento_fs(name = "brittlefs", version = 1, on_panic = "restart")]
pub struct BrittleFs {
    #[state(1)]
    wishes: u32,
    #[state(2)]
    lock: Lock,
}

/// A lock whose state is nothing, so that it can be saved whoever has it.
#[derive(Default)]
struct Lock(Mutex<()>);

impl State for Lock {
    const SHAPE: &'static Shape = <()>::SHAPE;

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        ().save(out)
    }

    fn load(from: &mut Loader<'_>) -> Result<Lock> {
        <()>::load(from).map(|()| Lock::default())
    }
}

pub struct Data {
    wishes: u32,
}

impl State for Data {
    const SHAPE: &'static Shape = u32::SHAPE;

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        self.wishes.save(out)
    }

    fn load(from: &mut Loader<'_>) -> Result<Data> {
        let wishes = u32::load(from)?;
        wishes_of(wishes).load_data.pass();
        Ok(Data { wishes })
    }
}

const FILE: u64 = 2;

#[bento_fs]
impl FileSystem for BrittleFs {
    type Inode = Data;

    fn mount(cx: &MountContext) -> Result<Self> {
        let Options { wishes } = cx.options()?;
        Ok(BrittleFs { wishes, lock: Lock::default() })
    }

    fn statfs(&self, _cx: &Context<Self>, _statfs: &mut Statfs) -> Result<()> {
        wishes_of(self.wishes).statfs.pass();
        Ok(())
    }

    fn sync_fs(&self, _cx: &Context<Self>, _wait: bool) -> Result<()> {
        if wishes_of(self.wishes).break_sync.load(Ordering::Relaxed) {
            let _held = self.lock.0.lock();
            panic!("with a lock held");
        }
        Ok(())
    }

    fn load_inode(&self, _cx: &Context<Self>, ino: Ino) -> Result<(Attr, Data)> {
        let attr = if ino.get() == FILE { Attr::file(0o644, 0) } else { Attr::directory(0o755) };
        Ok((attr, Data { wishes: self.wishes }))
    }

    fn write_inode(&self, _cx: &Context<Self>, _inode: &Inode<Self>, _wait: bool) -> Result<()> {
        match wishes_of(self.wishes).refuse_to_write.load(Ordering::Relaxed) {
            true => Err(Errno::EIO),
            false => Ok(()),
        }
    }

    fn lookup(&self, _cx: &Context<Self>, _dir: &Inode<Self>, name: &Name) -> Result<Ino> {
        match name.as_bytes() {
            b"file" => Ino::new(FILE).ok_or(Errno::EIO),
            _ => Err(Errno::ENOENT),
        }
    }
}
