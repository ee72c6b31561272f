// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A guest in QEMU: a stock Debian kernel under software emulation. The kernel's log goes to a serial port that is a
//! file, the command's output and exit code come through virtio-serial ports that are Unix sockets.

use std::fs;
use std::io::{self, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::stage::{self, RunDir};
use super::{Disk, Outcome, RunSpec, bzimage, channel, guest, initramfs, log};

/// Boots, runs and ends one guest.
pub fn boot(spec: &RunSpec) -> Result<Outcome> {
    let run = RunDir::new()?;
    let payload = stage::payload(spec, &run)?;
    guest::ext4_of(&payload, &run.join("payload.ext4"))?;
    let console = run.join("console.log");
    let mut qemu = command(spec, &run)?;
    let interactive = spec.command.is_empty();

    let control = Arc::new(Mutex::new(String::new()));
    let out = Socket::bind(&run, "out")?;
    let err = Socket::bind(&run, "err")?;
    let ctl = Socket::bind(&run, "ctl")?;
    let results = Socket::bind(&run, "results")?;
    qemu.stdin(if interactive { Stdio::inherit() } else { Stdio::null() });
    qemu.stdout(if interactive { Stdio::inherit() } else { Stdio::null() });
    qemu.stderr(fs::File::create(run.join("qemu.err"))?);
    let mut child = qemu.spawn().context("QEMU cannot be started: run `sudo apt-get install qemu-system-x86`")?;

    // QEMU opens all its sockets before the guest runs, or exits at once.
    let mut streams = Vec::new();
    for socket in [out, err, ctl, results] {
        match socket.accept(&mut child) {
            Some(stream) => streams.push(stream),
            None => {
                channel::kill(&mut child);
                let said = fs::read_to_string(run.join("qemu.err")).unwrap_or_default();
                bail!("QEMU does not start: {}", said.trim());
            }
        }
    }
    let [out, err, mut ctl, results]: [UnixStream; 4] = streams.try_into().ok().context("four channels")?;
    let out = channel::pump(out, spec.output, false);
    let err = channel::pump(err, spec.output, true);
    let unpacked = unpack(results, spec.results.as_deref())?;
    let heard = Arc::clone(&control);
    thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(count @ 1..) = ctl.read(&mut buffer) {
            if let Ok(mut text) = heard.lock() {
                text.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        }
    });
    let limit = if interactive { Duration::MAX } else { spec.timeout };
    let end = channel::wait(&mut child, limit, || channel::parse_exit(&control.lock().ok()?))?;
    unpacked.join().ok().context("the guest's results cannot be read")?.context("the guest's results are damaged")?;
    let log = String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).into_owned();
    let mut stderr = channel::collect(err);
    stderr += &fs::read_to_string(run.join("qemu.err")).unwrap_or_default();
    Ok(Outcome { end, stdout: channel::collect(out), stderr, faults: log::faults(&log, &spec.allow), log })
}

fn command(spec: &RunSpec, run: &RunDir) -> Result<Command> {
    let mut qemu = channel::guest_command("qemu-system-x86_64");
    if spec.icount {
        qemu.args(["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-smp", "1"]);
    } else {
        qemu.args(["-accel", "tcg,thread=multi", "-smp", &spec.smp.to_string()]);
    }
    // With several processors the emulator can leave an address in the flags after cmpxchg16b; an interrupt just then
    // makes of it a single step, and of that a warning in the slab allocator. Without cx16 the kernel does not use it.
    let cpu = if spec.smp > 1 { "max,cx16=off" } else { "max" };
    qemu.args(["-cpu", cpu, "-m", &format!("{}M", spec.mem)]);
    qemu.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-vga", "none"]);
    let console = run.join("console.log");
    qemu.args(["-serial", &format!("file:{}", console.display())]);
    qemu.arg("-kernel").arg(bzimage::bootable(spec.kernel)?);
    qemu.arg("-initrd").arg(initramfs::image(spec.kernel)?);
    let mut cmdline = String::from("console=ttyS0 quiet loglevel=4 panic=-1 oops=panic no_timer_check");
    for word in &spec.cmdline {
        cmdline += " ";
        cmdline += word;
    }
    qemu.args(["-append", &cmdline]);

    disk(&mut qemu, "root", &guest::root_image()?, "snapshot=on,file.locking=off");
    disk(&mut qemu, "payload", &run.join("payload.ext4"), "readonly=on,file.locking=off");
    disk(&mut qemu, "modules", &guest::modules_image(spec.kernel)?, "readonly=on,file.locking=off");
    for (index, data) in spec.disks.iter().enumerate() {
        let id = format!("data{index}");
        let (Disk::Scratch(mib) | Disk::Recorded(mib, _)) = data;
        let image = run.join(&id);
        fs::File::create(&image)?.set_len(mib << 20)?;
        match data {
            Disk::Scratch(_) => disk(&mut qemu, &id, &image, "snapshot=off"),
            Disk::Recorded(_, log) => recorded(&mut qemu, &id, &image, log)?,
        }
    }

    qemu.args(["-device", "virtio-serial-pci"]);
    for (index, name) in ["out", "err", "ctl", "results"].iter().enumerate() {
        let socket = run.join(&format!("{name}.sock"));
        qemu.args(["-chardev", &format!("socket,id={name},path={}", socket.display())]);
        qemu.args(["-device", &format!("virtserialport,nr={},chardev={name},name=bento.{name}", index + 2)]);
    }
    qemu.args(&spec.qemu);
    if spec.command.is_empty() {
        qemu.args(["-chardev", "stdio,id=terminal,signal=off", "-device", "virtconsole,nr=1,chardev=terminal"]);
    }
    Ok(qemu)
}

fn disk(qemu: &mut Command, id: &str, image: &Path, option: &str) {
    let drive = format!("if=none,id={id},format=raw,cache=unsafe,{option},file={}", image.display());
    qemu.args(["-drive", &drive, "-device", &format!("virtio-blk-pci,drive={id}")]);
}

/// A disk whose writes and flushes are recorded.
fn recorded(qemu: &mut Command, id: &str, image: &Path, log: &Path) -> Result<()> {
    fs::File::create(log).with_context(|| format!("{} cannot be created", log.display()))?;
    let file = |path: &Path| format!("driver=file,cache.no-flush=on,filename={}", path.display());
    qemu.args(["-blockdev", &format!("{},node-name={id}-image", file(image))]);
    qemu.args(["-blockdev", &format!("{},node-name={id}-log", file(log))]);
    qemu.args([
        "-blockdev",
        &format!("driver=blklogwrites,node-name={id},file={id}-image,log={id}-log,log-sector-size=512"),
    ]);
    qemu.args(["-device", &format!("virtio-blk-pci,drive={id},write-cache=on")]);
    Ok(())
}

/// A socket that QEMU connects to.
struct Socket(UnixListener);

impl Socket {
    fn bind(run: &RunDir, name: &str) -> Result<Socket> {
        let path = run.join(&format!("{name}.sock"));
        let listener = UnixListener::bind(&path).with_context(|| format!("{} cannot be bound", path.display()))?;
        listener.set_nonblocking(true)?;
        Ok(Socket(listener))
    }

    /// Waits for QEMU's connection; `None` when it does not come.
    fn accept(&self, qemu: &mut Child) -> Option<UnixStream> {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(120) && matches!(qemu.try_wait(), Ok(None)) {
            match self.0.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).ok()?;
                    return Some(stream);
                }
                Err(_) => thread::sleep(Duration::from_millis(2)),
            }
        }
        None
    }
}

/// Unpacks the tar archive that arrives on `from`.
fn unpack(mut from: UnixStream, into: Option<&Path>) -> Result<JoinHandle<io::Result<()>>> {
    let into = into.map(Path::to_owned);
    if let Some(dir) = &into {
        fs::create_dir_all(dir).with_context(|| format!("{} cannot be created", dir.display()))?;
    }
    Ok(thread::spawn(move || {
        let mut archive = Vec::new();
        from.read_to_end(&mut archive)?;
        match into {
            Some(dir) if !archive.is_empty() => channel::untar(&archive, &dir),
            _ => Ok(()),
        }
    }))
}
