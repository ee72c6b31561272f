// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A panic with a lock held that lies neither in the instance nor in an inode's data, on a disk: whoever meets it poisoned asks
//! for a restart. One that can be made whole is not poisoned.

use std::time::Duration;

use bento::prelude::*;
use bento_user_shim::{Harness, Health, Image};

/// Locks on the heap: the one, and one that is mended.
struct Slots(Vec<Mutex<u64>>);

impl Default for Slots {
    fn default() -> Self {
        Slots(vec![Mutex::new(0), Mutex::mending(0, |value| *value = 7)])
    }
}

/// `mkdir` panics with the first lock held, `create` with the other; `statfs` shows the values.
#[bento_fs(name = "slotfs", version = 1, data = "extents", on_panic = "restart")]
struct SlotFs {
    #[state(skip)]
    slots: Slots,
}

#[derive(State)]
#[state(reload)]
struct Node;

#[bento_fs]
impl FileSystem for SlotFs {
    type Inode = Node;

    fn mount(_cx: &MountContext) -> Result<Self> {
        Ok(SlotFs { slots: Slots::default() })
    }

    fn load_inode(&self, _cx: &Context<Self>, ino: Ino) -> Result<(Attr, Node)> {
        if ino == Ino::ROOT { Ok((Attr::directory(0o755), Node)) } else { Err(Errno::ESTALE) }
    }

    fn lookup(&self, _cx: &Context<Self>, _dir: &Inode<Self>, _name: &Name) -> Result<Ino> {
        Err(Errno::ENOENT)
    }

    fn statfs(&self, _cx: &Context<Self>, statfs: &mut Statfs) -> Result<()> {
        let values = self.slots.0.iter().map(|slot| *slot.lock());
        statfs.files = values.fold(0, |all, value| all * 100 + value);
        Ok(())
    }

    fn mkdir(&self, _cx: &Context<Self>, _dir: &Inode<Self>, name: &Name, _new: NewInode<Self>) -> Result<Created> {
        *self.slots.0[0].lock() = 1;
        let mut held = self.slots.0[0].lock();
        *held = 2;
        panic!("{name} is half made");
    }

    fn create(&self, _cx: &Context<Self>, _dir: &Inode<Self>, name: &Name, _new: NewInode<Self>) -> Result<Created> {
        let mut held = self.slots.0[1].lock();
        *held = 3;
        panic!("{name} is half made");
    }

    fn map_extents(
        &self,
        _cx: &Context<Self>,
        _inode: &Inode<Self>,
        _offset: u64,
        _len: u64,
        _extents: &mut Extents,
    ) -> Result<()> {
        Err(Errno::EIO)
    }
}

#[test]
fn who_meets_it_asks_for_a_restart() {
    let fs = Harness::mount_disk::<SlotFs>(Image::new(vec![0; 1 << 16]), "").unwrap();
    assert_eq!(fs.mkdir("/d", 0o755), Err(Errno::EIO));
    assert_eq!(fs.health(), Health::Ok);
    assert_eq!(fs.statfs().map(|statfs| statfs.files), Err(Errno::EIO));
    assert_eq!(fs.wait_for_restart(Duration::from_secs(5)), Health::Ok, "{}", fs.last_swap());
    assert_eq!(fs.restarts(), 1);
    assert_eq!(fs.statfs().unwrap().files, 0);
    fs.unmount().unwrap();
}

#[test]
fn one_that_can_be_made_whole_is_not_poisoned() {
    let fs = Harness::mount_disk::<SlotFs>(Image::new(vec![0; 1 << 16]), "").unwrap();
    for _ in 0..3 {
        assert_eq!(fs.write_file("/f", b""), Err(Errno::EIO));
        assert_eq!(fs.statfs().unwrap().files, 7);
    }
    assert_eq!((fs.health(), fs.restarts()), (Health::Ok, 0));
    fs.unmount().unwrap();
}
