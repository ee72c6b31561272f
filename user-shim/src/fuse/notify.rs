// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Telling the kernel that what it caches is stale. A thread of its own does it: the kernel may wait for a page that
//! one of our workers is about to fill.

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fuser::{INodeNo, Notifier, PollNotifier};

use crate::inode::held;
use crate::superblock::Front;

enum Note {
    /// Bytes of a range (length 0: to the end) and attributes.
    Bytes(u64, i64, i64),
    Attributes(u64),
    Connect(Notifier, u64),
    /// The kernel writes its dirty pages of a node first, then this is done.
    Flushed(INodeNo, Box<dyn FnOnce() + Send>),
    Stop,
}

/// Those who poll, by inode.
type Pollers = Arc<Mutex<HashMap<u64, Vec<PollNotifier>>>>;

const LOG_BURST: u32 = 100;
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Lines shown since then.
struct Window {
    since: Instant,
    lines: u32,
}

impl Default for Window {
    fn default() -> Window {
        Window { since: Instant::now(), lines: 0 }
    }
}

/// The core's way to the kernel.
pub struct KernelDoor {
    window: Mutex<Window>,
    notes: Sender<Note>,
    pollers: Pollers,
}

/// The daemon's end of it.
pub struct Line {
    notes: Sender<Note>,
    pollers: Pollers,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Both ends, and the thread between them.
pub fn line() -> std::io::Result<(KernelDoor, Line)> {
    let (notes, inbox) = mpsc::channel();
    let pollers = Pollers::default();
    let thread = std::thread::Builder::new().name("bento-notify".to_owned()).spawn(move || deliver(&inbox))?;
    let door = KernelDoor { window: Mutex::default(), notes: notes.clone(), pollers: Arc::clone(&pollers) };
    Ok((door, Line { notes, pollers, thread: Some(thread) }))
}

fn deliver(inbox: &Receiver<Note>) {
    let mut kernel: Option<(Notifier, u64)> = None;
    for note in inbox {
        // ENOENT: the kernel does not know the inode. Anything else: it is going away.
        match (note, &kernel) {
            (Note::Connect(notifier, root), _) => kernel = Some((notifier, root)),
            (Note::Bytes(ino, offset, len), Some((notifier, root))) => {
                let _ = notifier.inval_inode(node(ino, *root), offset, len);
            }
            (Note::Attributes(ino), Some((notifier, root))) => {
                let _ = notifier.inval_inode(node(ino, *root), -1, 0);
            }
            (Note::Flushed(node, then), kernel) => {
                if let Some((notifier, _)) = kernel {
                    let _ = notifier.inval_inode(node, 0, 0);
                }
                then();
            }
            (Note::Stop, _) => return,
            (_, None) => {}
        }
    }
}

fn node(ino: u64, root: u64) -> INodeNo {
    INodeNo(if ino == root {
        1
    } else if ino == 1 {
        root
    } else {
        ino
    })
}

impl Line {
    /// The session is up.
    pub fn connect(&self, notifier: Notifier, root: u64) {
        let _ = self.notes.send(Note::Connect(notifier, root));
    }

    /// `notifier` is told at the next `Context::wake` of the inode.
    pub fn poll(&self, ino: u64, notifier: PollNotifier) {
        held(&self.pollers).entry(ino).or_default().push(notifier);
    }

    /// Does `then` once the kernel has written its dirty pages of `node`. Not on the caller's thread: the kernel's writes
    /// need every worker there is.
    pub fn flushed(&self, node: INodeNo, then: impl FnOnce() + Send + 'static) {
        let _ = self.notes.send(Note::Flushed(node, Box::new(then)));
    }

    pub fn forget_pollers(&self, ino: u64) {
        held(&self.pollers).remove(&ino);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.notes.send(Note::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Front for KernelDoor {
    fn keeps_inodes(&self) -> bool {
        false
    }

    fn keeps_pages(&self) -> bool {
        false
    }

    fn invalidate(&self, ino: u64, offset: u64, len: u64) {
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        let _ = self.notes.send(Note::Bytes(ino, offset, i64::try_from(len).unwrap_or(0)));
    }

    fn changed(&self, ino: u64) {
        let _ = self.notes.send(Note::Attributes(ino));
    }

    fn wake(&self, ino: u64) {
        for notifier in held(&self.pollers).remove(&ino).unwrap_or_default() {
            let _ = notifier.notify();
        }
    }

    /// At most [`LOG_BURST`] lines in [`LOG_INTERVAL`]: a file system that panics all the time must not fill a disk.
    fn log(&self, _level: u32, line: &str) {
        let mut window = held(&self.window);
        if window.since.elapsed() >= LOG_INTERVAL {
            if window.lines > LOG_BURST {
                eprintln!("bento: {} lines not shown", window.lines - LOG_BURST);
            }
            *window = Window::default();
        }
        window.lines += 1;
        if window.lines <= LOG_BURST {
            eprintln!("{line}");
        }
    }
}
