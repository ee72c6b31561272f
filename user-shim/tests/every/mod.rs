// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Every operation a handler exists for, on a tree of its own.

use std::time::Duration;

use bento::errno::Errno;
use bento::fs::Op;
use bento_user_shim::{Harness, Times, flags};

/// The handlers it comes to: all but those of file systems with a device.
#[allow(dead_code)] // not by every test
pub fn handlers() -> impl Iterator<Item = &'static Op> {
    let device = [Op::recover, Op::trim, Op::set_acl, Op::map_extents, Op::allocate_extents, Op::convert_extents];
    Op::HANDLERS.iter().filter(move |op| !device.contains(op))
}

/// Makes the calls one after the other, whatever comes back; what each said.
pub fn operation(fs: &Harness) -> Vec<(&'static str, Option<Errno>)> {
    let mut said = Vec::new();
    macro_rules! call {
        ($($name:literal: $call:expr;)*) => { $(said.push(($name, $call.err()));)* };
    }
    call! {
        "statfs": fs.statfs();
        "mkdir": fs.mkdir("/d", 0o755);
        "create": fs.create("/f", 0o644);
        "mknod": fs.mknod("/p", libc::S_IFIFO | 0o600, (0, 0));
        "symlink": fs.symlink("f", "/l");
        "readlink": fs.readlink("/l");
        "tmpfile": fs.tmpfile("/", 0o600);
        "link": fs.link("/f", "/g");
        "rename": fs.rename("/g", "/d/h");
        "exchange": fs.rename_with("/d/h", "/p", 2);
        "whiteout": fs.rename_with("/p", "/w", 4);
        "write": fs.write_file("/f", vec![7; 10_000]);
        "sync": fs.sync();
        "drop_caches": fs.drop_caches();
        "read": fs.open("/f", flags::READ_ONLY).and_then(|file| file.read_at(0, 65_536));
        "readlink again": fs.readlink("/l");
        "iterate": fs.root().and_then(|root| fs.iterate_in(&root, 0));
        "getattr": fs.stat("/f");
        "chmod": fs.chmod("/f", 0o600);
        "chown": fs.chown("/f", Some(1), Some(2));
        "utimes": fs.set_times("/f", Times::default());
        "truncate": fs.truncate("/f", 5000);
        "access": fs.as_user(9, 9).access("/f", 4);
        "setxattr": fs.setxattr("/f", "user.k", "v", 0);
        "getxattr": fs.getxattr("/f", "user.k");
        "large setxattr": fs.setxattr("/f", "user.large", vec![5; 60_000], 0);
        "large getxattr": fs.getxattr("/f", "user.large");
        "listxattr": fs.listxattr("/f");
        "removexattr": fs.removexattr("/f", "user.k");
        "fileattr": fs.fileattr("/f");
        "set_fileattr": fs.set_fileattr("/f", 0x40, 0);
        "parent": fs.root().and_then(|root| fs.parent(&root));
        "handle": fs.root().and_then(|root| fs.handle(&root)).and_then(|handle| fs.by_handle(handle));
    }
    if let Ok(file) = fs.open("/f", flags::READ_WRITE) {
        call! {
            "write_at": file.write_at(b"more", 4090);
            "fsync": file.fsync();
            "fdatasync": file.fdatasync();
            "fallocate": file.fallocate(0, 0, 20_000);
            "punch": file.fallocate(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, 0, 4096);
            "seek_data": file.seek_data(0);
            "seek_hole": file.seek_hole(0);
            "ioctl": file.ioctl(0xc008_6231, 0, &[1, 2, 3, 4, 5, 6, 7, 8]);
            "poll": file.poll(5);
            "fadvise": file.fadvise(0, 0, 4);
            "close": file.close();
        }
    }
    call! {
        "freeze": fs.freeze();
        "thaw": fs.thaw();
        "gate": fs.close_gate(Duration::from_secs(5)).map(|()| fs.open_gate());
        "unlink": fs.unlink("/f");
        "unlink the rest": ["/l", "/p", "/w", "/d/h"].iter().try_for_each(|name| fs.unlink(name));
        "rmdir": fs.rmdir("/d");
        "drop_caches at the end": fs.drop_caches();
        "remount": fs.remount("");
    }
    said
}
