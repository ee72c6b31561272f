// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Who made each file and directory: an attribute on the disk, written in the transaction that makes the inode. So a file that
//! is there after a crash has it, and one that was not made has none.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering};

use bento::prelude::*;

use crate::Rext4;
use crate::disk::compat;

/// The attribute, one line: `SECONDS[.NANOSECONDS] create pid=N comm=NAME uid=N`, as memfs version 2 has it. In NAME, a byte that
/// is no printing ASCII, and the backslash, is `\xNN`. It cannot be set; `listxattr` leaves it out, or programs that copy every
/// attribute would fail.
pub const NAME: &[u8] = b"user.provenance";

/// What an inode of 256 bytes has room for besides the attribute's name: more would cost each file a block.
const ROOM: usize = 60;

/// How many were noted.
#[derive(Default, State)]
pub struct Noted(#[state(1)] AtomicU64);

pub fn is(name: &[u8]) -> bool {
    name == NAME
}

/// What a new inode of this kind is born with: a name, and a value. Attributes of the kind `user.` are for files and
/// directories only.
pub fn of_new(fs: &Rext4, cx: &Context<Rext4>, kind: FileType) -> Option<(&'static [u8], Vec<u8>)> {
    if !matches!(kind, FileType::Regular | FileType::Directory) || !fs.sb.has_compat(compat::EXT_ATTR) {
        return None;
    }
    fs.noted.0.fetch_add(1, Ordering::Relaxed);
    let line = |exact| {
        let mut line = Line(Vec::with_capacity(2 * ROOM));
        line.note(&cx.credentials(), cx.now(), exact).ok().map(|()| line.0)
    };
    // The inode itself has the time of its birth to the nanosecond.
    let line = line(true).filter(|line| line.len() <= ROOM).or_else(|| line(false))?;
    Some((NAME, line))
}

struct Line(Vec<u8>);

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.try_reserve(text.len()).map_err(|_| fmt::Error)?;
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl Line {
    fn note(&mut self, who: &Credentials, time: Timestamp, exact: bool) -> fmt::Result {
        write!(self, "{}", time.sec)?;
        if exact {
            write!(self, ".{:09}", time.nsec)?;
        }
        write!(self, " create pid={} comm=", who.pid)?;
        for byte in who.comm.iter().take_while(|byte| **byte != 0) {
            match byte {
                b'\\' => self.write_str("\\x5c")?,
                byte if byte.is_ascii_graphic() => self.write_char(char::from(*byte))?,
                byte => write!(self, "\\x{byte:02x}")?,
            }
        }
        write!(self, " uid={}", who.uid)
    }
}
