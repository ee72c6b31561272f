// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A directory of some mounted file system.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::ops::{At, Name, Op, SLOTS, What};
use crate::random::Random;
use crate::tree::{Answer, Bytes, Node, Sum, Target, Time, Tree, join};

type Result<T> = std::result::Result<T, i32>;

/// Everything below `root`.
#[derive(Debug)]
pub struct Mounted {
    root: PathBuf,
    slots: [Option<OwnedFd>; SLOTS],
    /// Times from here on are of the run.
    since: i64,
}

/// The rights of a user, for the files that this thread touches, until dropped.
struct Acting(u32);

impl Acting {
    fn new(uid: u32) -> Acting {
        if uid != 0 {
            // SAFETY: they take numbers, and fail without harm.
            unsafe {
                libc::setfsgid(uid);
                libc::setfsuid(uid);
            }
        }
        Acting(uid)
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        if self.0 != 0 {
            // SAFETY: as above; the process is root, or `new` did nothing either.
            unsafe {
                libc::setfsuid(libc::geteuid());
                libc::setfsgid(libc::getegid());
            }
        }
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64)
}

fn last() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// A system call that answers 0 or -1.
macro_rules! sys {
    ($call:expr) => {
        // SAFETY: paths and names have their NUL, buffers and lists are as long as is said, the rest are numbers.
        check(unsafe { $call })
    };
}

fn check(result: libc::c_int) -> Result<Answer> {
    if result < 0 { Err(last()) } else { Ok(Answer::Done) }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

impl Mounted {
    /// `seconds`: so long ago a time may be to count as one of the run.
    pub fn new(root: &Path, seconds: i64) -> Mounted {
        Mounted { root: root.to_owned(), slots: [const { None }; SLOTS], since: now() - seconds }
    }

    /// The file's last change is not to be told from any other from now on.
    pub fn forget_change(&self, file: &At) {
        let _ = self.with(file, libc::O_RDONLY, |fd| {
            let times = [(0, libc::UTIME_OMIT), (1, 0)].map(|(tv_sec, tv_nsec)| libc::timespec { tv_sec, tv_nsec });
            sys!(libc::futimens(fd, times.as_ptr()))
        });
    }

    fn full(&self, path: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(path))
    }

    fn c(&self, path: &Name) -> CString {
        // No generated name has a NUL.
        CString::new(self.full(&path.0).into_os_string().as_encoded_bytes()).unwrap_or_default()
    }

    fn open(&self, path: &Name, flags: i32, mode: u32) -> Result<OwnedFd> {
        let flags = flags | libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY;
        // SAFETY: a path with its NUL; the descriptor is new and nobody else's.
        unsafe {
            let fd = libc::open(self.c(path).as_ptr(), flags, mode);
            if fd < 0 { Err(last()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
        }
    }

    fn with<T>(&self, at: &At, flags: i32, work: impl FnOnce(i32) -> Result<T>) -> Result<T> {
        match at {
            At::Path(path) => work(self.open(&Name(path.clone()), flags, 0)?.as_raw_fd()),
            At::Slot(slot) => work(self.slots[*slot].as_ref().ok_or(libc::EBADF)?.as_raw_fd()),
        }
    }

    fn do_it(&mut self, op: &Op) -> Result<Answer> {
        let nofollow = libc::AT_SYMLINK_NOFOLLOW;
        match &op.what {
            What::Create { path, mode, exclusive } => {
                let exclusive = if *exclusive { libc::O_EXCL } else { 0 };
                self.open(path, libc::O_CREAT | libc::O_RDWR | exclusive, *mode).map(|_| Answer::Done)
            }
            What::Mkdir { path, mode } => sys!(libc::mkdir(self.c(path).as_ptr(), *mode)),
            What::Symlink { path, target } => {
                let target = CString::new(target.0.as_slice()).map_err(|_| libc::EINVAL)?;
                sys!(libc::symlink(target.as_ptr(), self.c(path).as_ptr()))
            }
            What::Mknod { path, mode, rdev } => {
                let device = mode & libc::S_IFMT == libc::S_IFCHR || mode & libc::S_IFMT == libc::S_IFBLK;
                let rdev = if device { libc::makedev(rdev.0, rdev.1) } else { 0 };
                sys!(libc::mknod(self.c(path).as_ptr(), *mode, rdev))
            }
            What::Link { from, to } => sys!(libc::link(self.c(from).as_ptr(), self.c(to).as_ptr())),
            What::Rename { from, to, flags } => {
                let cwd = libc::AT_FDCWD;
                sys!(libc::renameat2(cwd, self.c(from).as_ptr(), cwd, self.c(to).as_ptr(), *flags))
            }
            What::Unlink { path } => sys!(libc::unlink(self.c(path).as_ptr())),
            What::Rmdir { path } => sys!(libc::rmdir(self.c(path).as_ptr())),
            What::Write { file, offset, len, seed } => {
                let mut bytes = vec![0; *len as usize];
                Random::fill(*seed, &mut bytes);
                self.with(file, libc::O_WRONLY, |fd| {
                    // SAFETY: the buffer is as long as it says.
                    let done = unsafe { libc::pwrite(fd, bytes.as_ptr().cast(), bytes.len(), *offset as i64) };
                    u64::try_from(done).map(Answer::Count).map_err(|_| last())
                })
            }
            What::Append { path, len, seed } => {
                let mut bytes = vec![0; *len as usize];
                Random::fill(*seed, &mut bytes);
                self.with(&At::Path(path.0.clone()), libc::O_WRONLY | libc::O_APPEND, |fd| {
                    // SAFETY: as above.
                    let done = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
                    u64::try_from(done).map(Answer::Count).map_err(|_| last())
                })
            }
            What::Read { file, offset, len } => self.with(file, libc::O_RDONLY, |fd| {
                let mut bytes = vec![0; *len as usize];
                // SAFETY: as above.
                let done = unsafe { libc::pread(fd, bytes.as_mut_ptr().cast(), bytes.len(), *offset as i64) };
                bytes.truncate(usize::try_from(done).map_err(|_| last())?);
                Ok(Answer::Bytes(Bytes(bytes)))
            }),
            What::Truncate { file: At::Path(path), size } => {
                sys!(libc::truncate(self.c(&Name(path.clone())).as_ptr(), *size as i64))
            }
            What::Truncate { file, size } => {
                self.with(file, libc::O_RDWR, |fd| sys!(libc::ftruncate(fd, *size as i64)))
            }
            What::Fallocate { file, mode, offset, len } => {
                self.with(file, libc::O_RDWR, |fd| sys!(libc::fallocate(fd, *mode as i32, *offset as i64, *len as i64)))
            }
            What::Fsync { file, data } => self
                .with(file, libc::O_RDONLY, |fd| if *data { sys!(libc::fdatasync(fd)) } else { sys!(libc::fsync(fd)) }),
            What::Sync => {
                let root = std::fs::File::open(&self.root).map_err(|error| errno(&error))?;
                sys!(libc::syncfs(root.as_raw_fd()))
            }
            What::Setxattr { path, name, len, seed, flags } => {
                let mut value = vec![0; *len as usize];
                Random::fill(*seed, &mut value);
                let name = CString::new(*name).map_err(|_| libc::EINVAL)?;
                let (value, len) = (value.as_ptr().cast(), value.len());
                sys!(libc::lsetxattr(self.c(path).as_ptr(), name.as_ptr(), value, len, *flags))
            }
            What::Getxattr { path, name } => self.xattr(&self.c(path), name.as_bytes()).map(Answer::Bytes),
            What::Removexattr { path, name } => {
                let name = CString::new(*name).map_err(|_| libc::EINVAL)?;
                sys!(libc::lremovexattr(self.c(path).as_ptr(), name.as_ptr()))
            }
            What::Chmod { path, mode } => sys!(libc::chmod(self.c(path).as_ptr(), *mode)),
            What::Chown { path, uid, gid } => sys!(libc::lchown(self.c(path).as_ptr(), *uid, *gid)),
            What::Utimens { path, atime, mtime } => {
                let times = [*atime, *mtime].map(|(sec, nsec)| libc::timespec { tv_sec: sec, tv_nsec: nsec.into() });
                sys!(libc::utimensat(libc::AT_FDCWD, self.c(path).as_ptr(), times.as_ptr(), nofollow))
            }
            What::Stat { path } => self.node(&path.0).map(|(node, _)| Answer::Node(Box::new(node))),
            What::List { path } => {
                let mut names = Vec::new();
                for entry in std::fs::read_dir(self.full(&path.0)).map_err(|error| errno(&error))? {
                    names.push(Name(entry.map_err(|error| errno(&error))?.file_name().as_bytes().to_vec()));
                }
                names.sort();
                Ok(Answer::Names(names))
            }
            What::Open { slot, path } => {
                self.slots[*slot] = None;
                self.slots[*slot] = Some(self.open(path, libc::O_RDWR, 0)?);
                Ok(Answer::Done)
            }
            What::Tmpfile { slot, path, mode } => {
                self.slots[*slot] = None;
                self.slots[*slot] = Some(self.open(path, libc::O_TMPFILE | libc::O_RDWR, *mode)?);
                Ok(Answer::Done)
            }
            What::LinkHeld { slot, to } => {
                let fd = self.slots[*slot].as_ref().ok_or(libc::EBADF)?.as_raw_fd();
                let from = CString::new(format!("/proc/self/fd/{fd}")).map_err(|_| libc::EINVAL)?;
                let (cwd, follow) = (libc::AT_FDCWD, libc::AT_SYMLINK_FOLLOW);
                sys!(libc::linkat(cwd, from.as_ptr(), cwd, self.c(to).as_ptr(), follow))
            }
            What::Close { slot } => {
                self.slots[*slot] = None;
                Ok(Answer::Done)
            }
        }
    }

    fn xattr(&self, path: &CString, name: &[u8]) -> Result<Bytes> {
        let name = CString::new(name).map_err(|_| libc::EINVAL)?;
        let mut value = vec![0_u8; 65536];
        // SAFETY: name and path have their NUL, the buffer is as long as it says.
        let len = unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
        value.truncate(usize::try_from(len).map_err(|_| last())?);
        Ok(Bytes(value))
    }

    fn time(&self, sec: i64, nsec: i64) -> Time {
        // The kernel's clock for inodes is a tick behind.
        if (self.since - 2..=now() + 2).contains(&sec) { Time::Recent } else { Time::Set(sec, nsec as u32) }
    }

    /// Attributes and xattrs; and the inode number.
    fn node(&self, path: &[u8]) -> Result<(Node, u64)> {
        let name = self.c(&Name(path.to_vec()));
        let mut stat = MaybeUninit::<libc::stat>::zeroed();
        // SAFETY: a path with its NUL, and room for one `stat`.
        let stat = unsafe {
            if libc::lstat(name.as_ptr(), stat.as_mut_ptr()) < 0 {
                return Err(last());
            }
            stat.assume_init()
        };
        let kind = stat.st_mode & libc::S_IFMT;
        let mut target = None;
        if kind == libc::S_IFLNK {
            let link = std::fs::read_link(self.full(path)).map_err(|error| errno(&error))?;
            target = Some(Name(link.as_os_str().as_bytes().to_vec()));
        }
        let mut list = vec![0_u8; 65536];
        // SAFETY: as above.
        let len = unsafe { libc::llistxattr(name.as_ptr(), list.as_mut_ptr().cast(), list.len()) };
        let mut xattrs = BTreeMap::new();
        if let Ok(len) = usize::try_from(len) {
            for xattr in list[..len].split(|byte| *byte == 0).filter(|xattr| !xattr.is_empty()) {
                // Whose label it is decides the security module, not the file system.
                if !xattr.starts_with(b"security.selinux") {
                    xattrs.insert(Name(xattr.to_vec()), self.xattr(&name, xattr)?);
                }
            }
        }
        let node = Node {
            mode: stat.st_mode,
            nlink: stat.st_nlink,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: if kind == libc::S_IFDIR { 0 } else { stat.st_size as u64 },
            rdev: (libc::major(stat.st_rdev), libc::minor(stat.st_rdev)),
            atime: None,
            mtime: self.time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: self.time(stat.st_ctime, stat.st_ctime_nsec),
            first: None,
            target,
            xattrs,
            contents: None,
        };
        Ok((node, stat.st_ino))
    }

    /// The sum of a file's contents. Holes of large files are passed over, if the file system tells where they are.
    fn contents(&self, path: &[u8], size: u64) -> Result<u64> {
        let file = self.open(&Name(path.to_vec()), libc::O_RDONLY, 0)?;
        let (fd, mut at, mut sum) = (file.as_raw_fd(), 0, Sum::default());
        let mut bytes = vec![0; 1 << 18];
        while at < size {
            if size > 1 << 20 {
                // SAFETY: numbers only.
                let data = unsafe { libc::lseek(fd, at as i64, libc::SEEK_DATA) };
                match u64::try_from(data) {
                    Ok(data) => at = data & !4095,
                    Err(_) if last() == libc::ENXIO => break,
                    Err(_) => {}
                }
            }
            // SAFETY: the buffer is as long as it says.
            let done = unsafe { libc::pread(fd, bytes.as_mut_ptr().cast(), bytes.len(), at as i64) };
            let done = usize::try_from(done).map_err(|_| last())?;
            if done == 0 {
                break;
            }
            sum.add(at, &bytes[..done]);
            at += done as u64;
        }
        Ok(sum.value())
    }
}

impl Target for Mounted {
    fn apply(&mut self, op: &Op) -> Result<Answer> {
        let _acting = Acting::new(op.uid);
        self.do_it(op)
    }

    fn look(&mut self) -> std::result::Result<Tree, String> {
        let (mut tree, mut links) = (Tree::default(), HashMap::<u64, Vec<Name>>::new());
        let mut dirs = vec![Vec::new()];
        let failed = |what: &str, path: &[u8], errno: i32| {
            format!(
                "{what} {:?} in {}: {}",
                Name(path.to_vec()),
                self.root.display(),
                io::Error::from_raw_os_error(errno)
            )
        };
        let (root, _) = self.node(b"").map_err(|errno| failed("stat", b"", errno))?;
        tree.0.insert(Name(Vec::new()), root);
        while let Some(dir) = dirs.pop() {
            let entries = std::fs::read_dir(self.full(&dir)).and_then(Iterator::collect::<io::Result<Vec<_>>>);
            let entries = entries.map_err(|error| failed("list", &dir, errno(&error)))?;
            let mut names: Vec<_> = entries.iter().map(|entry| entry.file_name().as_bytes().to_vec()).collect();
            names.sort();
            for name in names {
                let path = join(&dir, &name);
                let (mut node, ino) = self.node(&path).map_err(|errno| failed("stat", &path, errno))?;
                match node.mode & libc::S_IFMT {
                    libc::S_IFDIR => dirs.push(path.clone()),
                    libc::S_IFREG => {
                        let contents = self.contents(&path, node.size).map_err(|errno| failed("read", &path, errno))?;
                        node.contents = Some(contents);
                    }
                    _ => {}
                }
                if node.nlink > 1 && node.mode & libc::S_IFMT != libc::S_IFDIR {
                    links.entry(ino).or_default().push(Name(path.clone()));
                }
                if tree.0.insert(Name(path.clone()), node).is_some() {
                    return Err(format!("{:?} is listed twice", Name(path)));
                }
            }
        }
        tree.link(links.into_values());
        Ok(tree)
    }
}
