// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where files come from: who created, wrote, renamed or linked each one, and from which files that process had read.
//!
//! Bounds, so that memory stays in proportion: [`EVENTS`] for each file (the first one stays, then the newest), [`SOURCES`]
//! for each event, [`PROCESSES`] remembered for each mount (the most recently seen), [`READ`] files for each of them. What a
//! process learns through a pipe, or a child from its parent, is not seen; a pid that is used again inherits.

use core::fmt::{self, Write as _};

use bento::prelude::*;

/// The extended attribute that shows the events of a file or directory: a line for each, oldest first, as
///
/// `SECONDS.NANOSECONDS EVENT pid=N comm=NAME uid=N [name=NAME] [from=INO,INO,…[,+N]]`
///
/// where EVENT is `create`, `write`, `rename` or `link`, `name=` is the name that a file got by it, `from=` are the inode
/// numbers of files that the process had read by then, oldest first, and `+N` stands for so many more. A byte that is no
/// printing ASCII, and the backslash, is `\xNN`. `listxattr` leaves it out, as it cannot be set, and programs that copy
/// every attribute would fail.
pub const XATTR: &str = "user.provenance";

/// Events kept for each inode.
pub const EVENTS: usize = 16;
/// Sources kept for each event.
pub const SOURCES: usize = 16;
/// Processes remembered.
pub const PROCESSES: usize = 64;
/// Files remembered that a process has read.
pub const READ: usize = 64;

/// Access mode of `open`'s flags: read-only is 0.
const O_ACCMODE: u32 = 3;
const O_WRONLY: u32 = 1;

pub fn reads(flags: u32) -> bool {
    flags & O_ACCMODE != O_WRONLY
}

pub fn writes(flags: u32) -> bool {
    flags & O_ACCMODE != 0
}

#[derive(Clone, Copy, PartialEq, Eq, State)]
pub enum Action {
    #[state(1)]
    Create,
    #[state(2)]
    Write,
    #[state(3)]
    Rename,
    #[state(4)]
    Link,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Write => "write",
            Action::Rename => "rename",
            Action::Link => "link",
        }
    }
}

/// What a process has read: the newest, and how many more.
#[derive(Clone, Default, State)]
pub struct Sources {
    #[state(1)]
    inos: Vec<Ino>,
    #[state(2)]
    more: u32,
}

impl Sources {
    /// The newest `SOURCES` but the file itself.
    fn of(read: &Sources, file: Ino) -> Sources {
        let inos: Vec<Ino> = read.inos.iter().copied().filter(|ino| *ino != file).collect();
        let left_out = inos.len().saturating_sub(SOURCES);
        Sources { inos: inos[left_out..].to_vec(), more: read.more.saturating_add(left_out as u32) }
    }

    fn add(&mut self, ino: Ino) {
        match self.inos.iter().position(|known| *known == ino) {
            Some(at) => drop(self.inos.remove(at)),
            None if self.inos.len() == READ => {
                self.inos.remove(0);
                self.more = self.more.saturating_add(1);
            }
            None => {}
        }
        self.inos.push(ino);
    }
}

/// One thing that happened to a file.
#[derive(Clone, State)]
pub struct Event {
    #[state(1)]
    action: Action,
    #[state(2)]
    time: Timestamp,
    #[state(3)]
    pid: u32,
    #[state(4)]
    uid: u32,
    #[state(5)]
    comm: [u8; 16],
    #[state(6)]
    name: Option<NameBuf>,
    #[state(7)]
    from: Sources,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Timestamp { sec, nsec } = self.time;
        write!(f, "{sec}.{nsec:09} {} pid={} comm=", self.action.word(), self.pid)?;
        word(f, self.comm.split(|byte| *byte == 0).next().unwrap_or_default())?;
        write!(f, " uid={}", self.uid)?;
        if let Some(name) = &self.name {
            f.write_str(" name=")?;
            word(f, name.as_bytes())?;
        }
        let Sources { inos, more } = &self.from;
        for (index, ino) in inos.iter().enumerate() {
            write!(f, "{}{ino}", if index == 0 { " from=" } else { "," })?;
        }
        match (inos.is_empty(), *more) {
            (_, 0) => Ok(()),
            (true, more) => write!(f, " from=+{more}"),
            (false, more) => write!(f, ",+{more}"),
        }
    }
}

/// The bytes in ASCII, without a blank among them.
fn word(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| match byte {
        b'\\' => f.write_str("\\x5c"),
        byte if byte.is_ascii_graphic() => f.write_char(char::from(*byte)),
        byte => write!(f, "\\x{byte:02x}"),
    })
}

/// The events of one inode.
#[derive(Default, State)]
pub struct Events {
    #[state(1)]
    list: Vec<Event>,
}

impl Events {
    /// Writing again is no new event: the last one is brought up to date.
    pub fn add(&mut self, event: Event) {
        if event.action == Action::Write
            && let Some(last) = self.list.last_mut()
            && last.action == Action::Write
            && last.pid == event.pid
        {
            *last = event;
            return;
        }
        if self.list.len() == EVENTS {
            self.list.remove(1);
        }
        self.list.push(event);
    }

    /// A file is closed that was open for writing: what the process read meanwhile belongs to it. A file without a writer
    /// was opened before this version came.
    pub fn close(&mut self, event: Event) {
        let written = |known: &Event| known.action == Action::Write;
        match self.list.iter().rposition(|known| written(known) && known.pid == event.pid) {
            Some(at) => self.list[at] = event,
            None if self.list.iter().any(written) => {}
            None => self.add(event),
        }
    }

    pub fn show(&self, value: &mut XattrValue) -> Result<()> {
        if self.list.is_empty() {
            return Err(Errno::ENODATA);
        }
        let mut text = Text(value);
        self.list.iter().try_for_each(|event| writeln!(text, "{event}")).map_err(|fmt::Error| Errno::EIO)
    }
}

struct Text<'a, 'call>(&'a mut XattrValue<'call>);

impl fmt::Write for Text<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.put(text.as_bytes());
        Ok(())
    }
}

#[derive(Default, State)]
struct Process {
    #[state(1)]
    read: Sources,
    /// The turn it was last seen in.
    #[state(2)]
    seen: u64,
}

/// What processes have read, by pid.
#[derive(Default, State)]
pub struct Processes {
    #[state(1)]
    known: BTreeMap<u32, Process>,
    #[state(2)]
    turn: u64,
}

impl Processes {
    fn seen(&mut self, pid: u32) -> &mut Process {
        self.turn += 1;
        if self.known.len() >= PROCESSES && !self.known.contains_key(&pid) {
            let longest_ago = self.known.iter().min_by_key(|(_, process)| process.seen).map(|(pid, _)| *pid);
            longest_ago.map(|pid| self.known.remove(&pid));
        }
        let process = self.known.entry(pid).or_default();
        process.seen = self.turn;
        process
    }

    /// Process `pid` reads `file`.
    pub fn reads(&mut self, pid: u32, file: Ino) {
        self.seen(pid).read.add(file);
    }

    /// Something happens to `file`.
    pub fn event(
        &mut self,
        action: Action,
        who: &Credentials,
        time: Timestamp,
        file: Ino,
        name: Option<&Name>,
    ) -> Event {
        let from = self.known.get(&who.pid).map(|process| Sources::of(&process.read, file)).unwrap_or_default();
        Event { action, time, pid: who.pid, uid: who.uid, comm: who.comm, name: name.map(Name::to_owned), from }
    }
}
