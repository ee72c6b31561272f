// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The stages in order: what each shows, what it needs, how many processors it fills and how long it may take.

use anyhow::Result;

use super::{Place, Tally, crash, guest, host, upgrade, user};

/// One stage.
#[derive(Debug, Clone, Copy)]
pub struct Stage {
    pub name: &'static str,
    pub what: &'static str,
    /// Stages that must have passed before.
    pub needs: &'static [&'static str],
    /// Processors it keeps busy.
    pub cores: usize,
    /// Killed, and failed, after so many minutes.
    pub minutes: u64,
    /// The kernel it runs in; empty on the host.
    pub kernel: &'static str,
    /// The file system it runs on, where it may be any.
    pub fs: &'static str,
    pub run: fn(&Place, &Stage) -> Result<Tally>,
}

const fn host(name: &'static str, what: &'static str, run: fn(&Place, &Stage) -> Result<Tally>) -> Stage {
    Stage { name, what, needs: &[], cores: 1, minutes: 10, kernel: "", fs: "", run }
}

const fn guest(
    name: &'static str,
    kernel: &'static str,
    fs: &'static str,
    what: &'static str,
    run: fn(&Place, &Stage) -> Result<Tally>,
) -> Stage {
    Stage { name, what, needs: &[], cores: 1, minutes: 8, kernel, fs, run }
}

impl Stage {
    const fn after(mut self, needs: &'static [&'static str]) -> Stage {
        self.needs = needs;
        self
    }

    const fn cores(mut self, cores: usize) -> Stage {
        self.cores = cores;
        self
    }

    const fn minutes(mut self, minutes: u64) -> Stage {
        self.minutes = minutes;
        self
    }
}

const QEMU: &[&str] = &["modules", "tools"];
const UML: &[&str] = &["modules-uml", "tools"];
const DEBUG: &[&str] = &["modules-uml-debug", "tools"];
const FUSE: &[&str] = &["tools", "uml"];

/// Everything, in the order it is started. The long builds come first, so that short stages fill the gaps beside them.
pub fn stages() -> Vec<Stage> {
    vec![
        host("packages", "Debian packages, Rust components", host::packages).minutes(15),
        host("kernels", "stock kernels 6.12 and 6.1, guest image", host::kernels).after(&["packages"]).minutes(20),
        host("fmt", "cargo fmt --check", host::fmt).after(&["packages"]),
        host("clippy", "cargo clippy without a warning", host::clippy).after(&["packages"]).minutes(15),
        host("uml", "user-mode Linux builds", host::uml).after(&["kernels"]).cores(2).minutes(25),
        host("unit", "cargo test: units, macros' UI, expansions, harness", host::unit).after(&["clippy"]).minutes(20),
        host("disk", "rext4 in process: images, crashes, damage, ext4 beside it", host::disk)
            .after(&["unit"])
            .minutes(20),
        host("miri", "Miri runs the thunks", host::miri).after(&["unit"]).minutes(15),
        host("tools", "the suites' programs, and the repository they clone", host::tools)
            .after(&["kernels"])
            .minutes(15),
        host("examples", "cargo bento check of the examples", host::examples).after(&["clippy"]),
        host("new", "a crate made by cargo bento new builds and tests", host::new).after(&["clippy"]),
        host("modules", "modules for stock 6.12 and 6.1: no warning, one Rust object", host::modules_x86)
            .after(&["kernels"])
            .minutes(15),
        host("explains", "bad input to the tool: one sentence each", host::explains).after(&["modules"]),
        guest("smoke-6.12", "6.12", "", "mount, use, unload in stock 6.12; bad input", guest::smoke).after(QEMU),
        guest("smoke-6.1", "6.1", "", "the same in stock 6.1", guest::smoke).after(QEMU),
        guest("storm-6.12", "6.12", "", "100,000 panics from 4 tasks on 2 CPUs", guest::storm)
            .after(QEMU)
            .cores(2)
            .minutes(12),
        guest(
            "upgrade-storm-6.12",
            "6.12",
            "",
            "1,000 upgrades under load, failing ones, 1,000 restarts",
            upgrade::storm,
        )
        .after(QEMU)
        .cores(2)
        .minutes(15),
        guest("upgrade-6.12", "6.12", "", "what an upgrade must not touch; upgrades that fail", upgrade::once)
            .after(QEMU),
        guest("upgrade-6.1", "6.1", "", "what survives, and modules, in stock 6.1", upgrade::once_older).after(QEMU),
        guest("containment-6.12", "6.12", "", "each fault in each handler", guest::containment).after(QEMU),
        guest("containment-6.1", "6.1", "", "the same in stock 6.1", guest::containment).after(QEMU),
        guest("hostile-6.12", "6.12", "", "a file system that lies", guest::hostile).after(QEMU),
        guest("hostile-6.1", "6.1", "", "the same in stock 6.1", guest::hostile).after(QEMU),
        guest("journal-6.12", "6.12", "", "transactions, and what a crash leaves of them", guest::journal).after(QEMU),
        guest("journal-6.1", "6.1", "", "the same in stock 6.1", guest::journal).after(QEMU),
        guest("data-memfs-6.12", "6.12", "memfs", "mmap, sparse, ACLs, handles… on memfs", guest::data).after(QEMU),
        guest("data-memfs-6.1", "6.1", "memfs", "the same in stock 6.1", guest::data).after(QEMU),
        guest("data-bytesfs-6.12", "6.12", "bytesfs", "the same on bytesfs, and write errors", guest::data).after(QEMU),
        guest("data-bytesfs-6.1", "6.1", "bytesfs", "the same in stock 6.1", guest::data).after(QEMU),
        guest("extents-6.12", "6.12", "extentfs", "file data over iomap, mixed; panics, lies", guest::extents)
            .after(QEMU),
        guest("extents-6.1", "6.1", "extentfs", "the same in stock 6.1", guest::extents).after(QEMU).minutes(12),
        guest("pjdfstest-6.12", "6.12", "memfs", "pjdfstest on memfs", guest::pjdfstest).after(QEMU),
        guest("pjdfstest-6.1", "6.1", "memfs", "the same in stock 6.1", guest::pjdfstest).after(QEMU),
        guest("pjdfstest-ext4-6.12", "6.12", "ext4", "the yardstick: ext4 in the same VM", guest::pjdfstest)
            .after(QEMU),
        guest("fsx-6.12", "6.12", "memfs", "fsx: 20,000 operations in stock 6.12", guest::fsx_some).after(QEMU),
        guest("work-6.12", "6.12", "memfs", "git, make, SQLite on memfs", guest::work).after(QEMU).minutes(10),
        guest("crash-ext4-6.12", "6.12", "ext4", "the yardstick: what a crash leaves of ext4", crash::crash)
            .after(QEMU),
        guest("crash-rext4-6.12", "6.12", "rext4", "what a crash leaves of rext4: nothing is lost", crash::crash)
            .after(QEMU),
        guest("crash-work-rext4-6.12", "6.12", "rext4", "what a crash leaves of git and SQLite on rext4", crash::work)
            .after(QEMU),
        guest("crash-ext2-6.12", "6.12", "ext2", "the control: ext2 loses something", crash::control).after(QEMU),
        guest("data-rext4-6.12", "6.12", "rext4", "file data, names, handles… on rext4", guest::data).after(QEMU),
        guest("data-rext4-6.1", "6.1", "rext4", "the same in stock 6.1", guest::data).after(QEMU),
        guest("pjdfstest-rext4-6.12", "6.12", "rext4", "pjdfstest on rext4", guest::pjdfstest).after(QEMU),
        guest("pjdfstest-rext4-6.1", "6.1", "rext4 -b 1024", "the same with blocks of 1 KiB, 6.1", guest::pjdfstest)
            .after(QEMU),
        guest("work-rext4-6.12", "6.12", "rext4", "git, make, SQLite on rext4", guest::work).after(QEMU).minutes(10),
        guest("hostile-rext4-6.12", "6.12", "rext4", "damaged images in stock 6.12", guest::hostile_images)
            .after(QEMU)
            .minutes(12),
        guest("upgrade-rext4-6.12", "6.12", "", "rext4 replaced under load, and after panics", upgrade::disk)
            .after(QEMU)
            .cores(2)
            .minutes(15),
        host("modules-uml", "modules for user-mode Linux", host::modules_uml).after(&["uml"]).minutes(15),
        guest("smoke-uml", "uml", "", "mount, use, unload in user-mode Linux", guest::smoke).after(UML),
        guest("upgrade-uml", "uml", "", "what an upgrade must not touch; upgrades that fail", upgrade::once).after(UML),
        host("demo", "cargo bento demo: a clone, an upgrade below it, provenance", host::demo).after(UML),
        guest("upgrade-storm-uml", "uml", "", "1,000 upgrades under load, on a large repository", upgrade::storm)
            .after(UML),
        guest("containment-uml", "uml", "", "each fault in each handler", guest::containment).after(UML),
        guest("hostile-uml", "uml", "", "a file system that lies", guest::hostile).after(UML),
        guest("journal-uml", "uml", "", "transactions, and what a crash leaves of them", guest::journal).after(UML),
        guest("data-memfs-uml", "uml", "memfs", "mmap, sparse, ACLs, handles… on memfs", guest::data).after(UML),
        guest("data-bytesfs-uml", "uml", "bytesfs", "the same on bytesfs, and write errors", guest::data).after(UML),
        guest("pjdfstest-uml", "uml", "memfs", "pjdfstest on memfs", guest::pjdfstest).after(UML),
        guest("pjdfstest-bytesfs-uml", "uml", "bytesfs", "pjdfstest on bytesfs", guest::pjdfstest).after(UML),
        guest("pjdfstest-ext4-uml", "uml", "ext4", "the yardstick: ext4 in the same VM", guest::pjdfstest).after(UML),
        guest("fsx-uml", "uml", "memfs", "fsx: 100,000 operations", guest::fsx).after(UML),
        guest("fsx-bytesfs-uml", "uml", "bytesfs", "fsx: 100,000 operations on bytesfs", guest::fsx).after(UML),
        guest("extents-uml", "uml", "extentfs", "file data over iomap, mixed; panics, lies", guest::extents).after(UML),
        guest("data-extentfs-uml", "uml", "extentfs", "the same over iomap", guest::data).after(UML),
        guest("fsx-extentfs-uml", "uml", "extentfs", "fsx: 100,000 operations over iomap", guest::fsx).after(UML),
        guest("fsx-extentfs-1k-uml", "uml", "extentfs block=1024", "the same with blocks of 1 KiB", guest::fsx)
            .after(UML),
        guest("work-uml", "uml", "memfs", "git, make, SQLite on memfs", guest::work).after(UML),
        guest("data-rext4-uml", "uml", "rext4", "file data, names, handles… on rext4", guest::data).after(UML),
        guest("pjdfstest-rext4-uml", "uml", "rext4", "pjdfstest on rext4", guest::pjdfstest).after(UML),
        guest("pjdfstest-rext4-1k-uml", "uml", "rext4 -b 1024", "the same with blocks of 1 KiB", guest::pjdfstest)
            .after(UML),
        guest("fsx-rext4-uml", "uml", "rext4", "fsx: 100,000 operations on rext4", guest::fsx).after(UML),
        guest("fsx-rext4-1k-uml", "uml", "rext4 -b 1024", "the same with blocks of 1 KiB", guest::fsx).after(UML),
        guest(
            "differential-rext4-uml",
            "uml",
            "rext4",
            "16,000 operations beside ext4, disks exchanged",
            guest::differential,
        )
        .after(UML),
        guest(
            "differential-rext4-1k-uml",
            "uml",
            "rext4 -b 1024",
            "the same with blocks of 1 KiB",
            guest::differential,
        )
        .after(UML),
        guest("work-rext4-uml", "uml", "rext4", "git, make, SQLite on rext4", guest::work).after(UML),
        guest("full-rext4-uml", "uml", "rext4", "full, emptied, and full again at once", guest::full).after(UML),
        guest("replace-rext4-uml", "uml", "rext4", "replaced without fsync, and a crash: never empty", guest::replace)
            .after(UML),
        guest("discard-rext4-uml", "uml", "rext4", "freed blocks given back: discard, fstrim", guest::discard)
            .after(UML),
        guest("hostile-rext4-uml", "uml", "rext4", "damaged images, checksums right", guest::hostile_images).after(UML),
        guest("upgrade-rext4-uml", "uml", "", "rext4 replaced under load, and after panics", upgrade::disk)
            .after(UML)
            .minutes(12),
        host("uml-debug", "user-mode Linux with KASAN, lockdep and kmemleak builds", host::uml_debug)
            .after(&["kernels"])
            .cores(2)
            .minutes(25),
        host("modules-uml-debug", "modules for it, the Rust half instrumented too", host::modules_uml_debug)
            .after(&["uml-debug"])
            .minutes(15),
        guest("seeded", "uml-debug", "", "each detector fires on a seeded bug", guest::seeded)
            .after(&["modules-uml-debug"]),
        guest("smoke-debug", "uml-debug", "", "the suites under all detectors: no report", guest::smoke).after(DEBUG),
        guest("upgrade-debug", "uml-debug", "", "upgrades, and what they must not touch", upgrade::once).after(DEBUG),
        guest("upgrade-storm-debug", "uml-debug", "", "upgrades and restarts under load", upgrade::storm_few)
            .after(DEBUG)
            .minutes(12),
        guest("upgrade-rext4-debug", "uml-debug", "", "rext4 replaced under load, and after panics", upgrade::disk)
            .after(DEBUG)
            .minutes(15),
        guest("containment-debug", "uml-debug", "", "each fault in each handler", guest::containment).after(DEBUG),
        guest("hostile-debug", "uml-debug", "", "a file system that lies", guest::hostile).after(DEBUG),
        guest("journal-debug", "uml-debug", "", "transactions, and what a crash leaves of them", guest::journal)
            .after(DEBUG)
            .minutes(12),
        guest("failnth-debug", "uml-debug", "", "each allocation of each call fails once", guest::failnth).after(DEBUG),
        guest("data-memfs-debug", "uml-debug", "memfs", "file data on memfs", guest::data).after(DEBUG),
        guest("data-bytesfs-debug", "uml-debug", "bytesfs", "file data on bytesfs", guest::data).after(DEBUG),
        guest("extents-debug", "uml-debug", "extentfs", "file data over iomap, under all detectors", guest::extents)
            .after(DEBUG),
        guest("data-rext4-debug", "uml-debug", "rext4", "file data, names, handles… on rext4", guest::data)
            .after(DEBUG),
        guest("pjdfstest-debug", "uml-debug", "memfs", "pjdfstest on memfs", guest::pjdfstest).after(DEBUG),
        guest("fsx-debug", "uml-debug", "bytesfs", "fsx: 10,000 operations", guest::fsx_few).after(DEBUG),
        guest(
            "hostile-rext4-debug",
            "uml-debug",
            "rext4",
            "damaged images, under all detectors",
            guest::hostile_images,
        )
        .after(DEBUG),
        host("fuse", "memfs and bytesfs over FUSE: data, panics, unmount", user::fuse).after(FUSE),
        host("fuse-upgrade", "upgrades over FUSE: what survives, what is refused, storms", upgrade::over_fuse)
            .after(FUSE),
        host("fuse-pjdfstest", "pjdfstest over FUSE", user::pjdfstest).after(FUSE),
        host("fuse-fsx", "fsx over FUSE: 100,000 operations", user::fsx).after(FUSE),
        guest("fuse-disk", "uml", "rext4", "rext4 over FUSE: daemons that die, mounts refused", user::disk).after(FUSE),
        guest("fuse-disk-1k", "uml", "rext4 -b 1024", "the same with blocks of 1 KiB", user::disk).after(FUSE),
        guest("fuse-pjdfstest-rext4", "uml", "rext4", "pjdfstest on rext4 over FUSE", user::pjdfstest).after(FUSE),
        guest("fuse-pjdfstest-rext4-1k", "uml", "rext4 -b 1024", "the same with blocks of 1 KiB", user::pjdfstest)
            .after(FUSE),
        guest("fuse-fsx-rext4", "uml", "rext4", "fsx on rext4 over FUSE: 50,000 operations", user::fsx).after(FUSE),
        guest("fuse-fsx-rext4-1k", "uml", "rext4 -b 1024", "the same with blocks of 1 KiB", user::fsx).after(FUSE),
    ]
}
