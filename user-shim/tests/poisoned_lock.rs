// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A panic with a lock of the instance held, in a file system whose data exist nowhere else: a field with a default starts
//! afresh, and everything else crosses; without a default nothing does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bento::prelude::*;
use bento_user_shim::{File, Harness, Health, flags};

/// `mkdir` panics with `made` held, `unlink` of "kept" with `gone` held.
#[bento_fs(name = "notefs", version = 1, data = "resident", on_panic = "restart")]
struct NoteFs {
    #[state(1)]
    next_ino: AtomicU64,
    #[state(2, default = Mutex::default())]
    made: Mutex<Vec<NameBuf>>,
    #[state(3)]
    gone: RwLock<u64>,
}

#[derive(State)]
struct Node {
    #[state(1)]
    names: RwLock<BTreeMap<NameBuf, Ino>>,
}

impl Node {
    fn new() -> Node {
        Node { names: RwLock::default() }
    }
}

#[bento_fs]
impl FileSystem for NoteFs {
    type Inode = Node;

    fn mount(_cx: &MountContext) -> Result<Self> {
        Ok(NoteFs { next_ino: AtomicU64::new(2), made: Mutex::default(), gone: RwLock::new(0) })
    }

    fn load_inode(&self, _cx: &Context<Self>, ino: Ino) -> Result<(Attr, Node)> {
        if ino == Ino::ROOT { Ok((Attr::directory(0o755), Node::new())) } else { Err(Errno::ESTALE) }
    }

    fn lookup(&self, _cx: &Context<Self>, dir: &Inode<Self>, name: &Name) -> Result<Ino> {
        dir.names.read().get(name).copied().ok_or(Errno::ENOENT)
    }

    fn create(&self, _cx: &Context<Self>, dir: &Inode<Self>, name: &Name, new: NewInode<Self>) -> Result<Created> {
        self.made.lock().push(name.to_owned());
        let ino = Ino::new(self.next_ino.fetch_add(1, Ordering::Relaxed)).ok_or(Errno::ENOSPC)?;
        dir.names.write().insert(name.to_owned(), ino);
        Ok(new.assign(ino, Node::new()))
    }

    fn mkdir(&self, _cx: &Context<Self>, _dir: &Inode<Self>, name: &Name, _new: NewInode<Self>) -> Result<Created> {
        let mut made = self.made.lock();
        made.push(name.to_owned());
        panic!("directory {name} is half made");
    }

    fn unlink(&self, _cx: &Context<Self>, dir: &Inode<Self>, name: &Name, _inode: &Inode<Self>) -> Result<()> {
        let mut gone = self.gone.write();
        assert!(name.as_bytes() != b"kept", "{name} stays");
        *gone += 1;
        dir.names.write().remove(name).map(drop).ok_or(Errno::ENOENT)
    }

    /// What was made, a name in each line.
    fn getxattr(&self, _cx: &Context<Self>, _inode: &Inode<Self>, name: &Name, value: &mut XattrValue) -> Result<()> {
        if name != "user.made" {
            return Err(Errno::ENODATA);
        }
        self.made.lock().iter().for_each(|name| value.put(&[name.as_bytes(), b"\n"].concat()));
        Ok(())
    }
}

fn mounted() -> (Harness, File) {
    let fs = Harness::mount::<NoteFs>("").unwrap();
    fs.write_file("/kept", b"nowhere else").unwrap();
    let file = fs.open("/kept", flags::READ_WRITE).unwrap();
    (fs, file)
}

/// A panic with the lock of `made` held, and the call that meets it.
fn spoil(fs: &Harness) {
    assert_eq!(fs.mkdir("/d", 0o755), Err(Errno::EIO));
    assert_eq!(fs.health(), Health::Ok);
    assert_eq!(fs.write_file("/new", b"new"), Err(Errno::EIO));
}

/// Files and what is open are there, and `made` has begun again.
fn is_whole_again(fs: &Harness, file: &File) {
    assert_eq!(fs.health(), Health::Ok);
    assert_eq!(fs.read_file("/kept").unwrap(), b"nowhere else");
    assert_eq!(file.read_at(0, 100).unwrap(), b"nowhere else");
    assert_eq!(fs.getxattr("/kept", "user.made").unwrap(), b"");
    fs.write_file("/new", b"new").unwrap();
    assert_eq!(fs.getxattr("/kept", "user.made").unwrap(), b"new\n");
    fs.unlink("/new").unwrap();
}

fn warnings(fs: &Harness) -> usize {
    let afresh = "field `made` starts afresh: a panic left its lock poisoned";
    fs.log().iter().filter(|line| line.ends_with(afresh)).count()
}

#[test]
fn a_restart_makes_the_field_afresh_and_keeps_the_files() {
    let (fs, file) = mounted();
    assert_eq!(fs.getxattr("/kept", "user.made").unwrap(), b"kept\n");
    spoil(&fs);
    assert_eq!(fs.wait_for_restart(Duration::from_secs(5)), Health::Ok, "{}", fs.last_swap());
    is_whole_again(&fs, &file);
    assert_eq!(warnings(&fs), 1, "{:#?}", fs.log());
    file.close().unwrap();
    fs.unmount().unwrap();
}

#[test]
fn an_upgrade_heals_what_was_quarantined() {
    let (fs, file) = mounted();
    fs.set_restart_limit(1);
    spoil(&fs);
    assert_eq!(fs.wait_for_restart(Duration::from_secs(5)), Health::Ok, "{}", fs.last_swap());
    spoil(&fs);
    assert_eq!(fs.health(), Health::Quarantined);
    fs.upgrade::<NoteFs>().unwrap();
    is_whole_again(&fs, &file);
    assert_eq!(warnings(&fs), 2, "{:#?}", fs.log());
    file.close().unwrap();
    fs.unmount().unwrap();
}

#[test]
fn a_swap_needs_no_call_to_meet_the_lock_first() {
    let (fs, file) = mounted();
    assert_eq!(fs.mkdir("/d", 0o755), Err(Errno::EIO));
    fs.restart().unwrap();
    is_whole_again(&fs, &file);
    file.close().unwrap();
    fs.unmount().unwrap();
}

#[test]
fn without_a_default_it_stays_quarantined_and_says_why() {
    let (fs, file) = mounted();
    for _ in 0..2 {
        assert_eq!(fs.unlink("/kept"), Err(Errno::EIO));
    }
    assert_eq!(fs.wait_for_restart(Duration::from_secs(5)), Health::Quarantined);
    assert_eq!(fs.upgrade::<NoteFs>().unwrap_err().errno, Errno::EBUSY);
    let reason = fs.last_swap();
    assert!(
        reason.contains("RwLock cannot be saved: a panic left it poisoned; as a field with a `default`"),
        "{reason}"
    );
    file.close().unwrap();
    fs.unmount().unwrap();
}
