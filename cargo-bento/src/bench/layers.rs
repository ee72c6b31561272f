// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The instruction budget of a call, layer by layer: QEMU writes down every instruction that the two modules execute,
//! and each is put down to the function, or the inlined function, it belongs to.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSymbol};

use super::{All, FILES, report};
use crate::build::source::Lines;
use crate::cli::Variant;
use crate::project::Project;
use crate::suites::{Place, guest, tools};
use crate::vm::{self, Output, RunSpec};
use crate::{build, fetch};

pub const CALLS: u64 = 100;
/// Phases of `layers.c`, between its boundaries.
pub const PHASES: [&str; 3] = ["getattr", "create", "unlink"];
const LAYERS: [&str; 6] = ["shim", "gate", "trampoline", "thunk", "contain", "handler"];

/// Where the guest loaded things.
#[derive(Debug, Default, PartialEq)]
struct Map {
    /// `-dfilter` words.
    ranges: Vec<String>,
    /// Functions of bento.ko.
    shim: BTreeMap<u64, String>,
    memfs: (u64, u64),
    anchor: u64,
}

/// Boots twice, and counts.
pub fn measure(place: &Place) -> Result<Counts> {
    let kernel = fetch::kernel("6.12")?;
    let memfs = Project::open(&place.root.join("examples/memfs"))?;
    let built = build::modules(&guest::projects(&place.root, &["memfs"])?, &kernel, &[])?;
    let finished = build::object(&memfs, Variant::X86, &[])?;
    let collected = finished.object.with_file_name("collected.o");
    let mut spec = RunSpec::new(&kernel, &["bash /bento/suites/layers.sh"]).module(built.bento);
    for module in built.file_systems {
        spec = spec.module(module);
    }
    spec = spec.file(place.root.join("tests/suites"), "suites").file(tools::own(place)?, "bin");
    spec.env.push(("CALLS".to_owned(), CALLS.to_string()));
    spec.icount = true;
    spec.cmdline.push("sysctl.kernel.hung_task_timeout_secs=0".to_owned());
    spec.output = Output::Keep;
    spec.timeout = Duration::from_secs(900);

    let map = look(&spec)?;
    let trace = place.out.join("layers.trace");
    spec.qemu = ["-singlestep", "-d", "exec,nochain", "-D"].map(str::to_owned).to_vec();
    spec.qemu.push(trace.display().to_string());
    spec.qemu.extend(["-dfilter".to_owned(), map.ranges.join(",")]);
    if look(&spec)? != map {
        bail!("the modules were loaded elsewhere in the second boot: run it again");
    }
    let layer = Layers::new(map, &collected)?;
    let counts = count(&trace, layer)?;
    std::fs::remove_file(&trace)?;
    Ok(counts)
}

/// Boots, runs the calls and reads where the modules were.
fn look(spec: &RunSpec) -> Result<Map> {
    let outcome = vm::boot(spec)?;
    if outcome.verdict(spec)? != 0 {
        bail!("the calls to be counted failed: {}{}", outcome.stdout, outcome.stderr);
    }
    let mut map = Map::default();
    for line in outcome.stdout.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            // name size users dependents state address
            [name, size, _, _, "Live", address, ..] => {
                let (start, len) = (hex(address)?, size.parse::<u64>()?);
                map.ranges.push(format!("{start:#x}+{len:#x}"));
                if name == "memfs_v1" {
                    map.memfs = (start, len);
                }
            }
            [address, kind, name, module] if "tTwW".contains(kind) => {
                if name == "bento_text_anchor" {
                    map.anchor = hex(address)?;
                }
                if module == "[bento]" {
                    map.shim.insert(hex(address)?, name.to_owned());
                }
            }
            _ => {}
        }
    }
    if map.ranges.len() != 2 || map.anchor == 0 {
        bail!("the guest does not show where its modules are: {}", outcome.stdout);
    }
    Ok(map)
}

fn hex(text: &str) -> Result<u64> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).with_context(|| format!("{text} is no address"))
}

/// Which layer an instruction belongs to.
struct Layers {
    map: Map,
    lines: Lines,
    /// The anchor's offset in the object's text.
    anchor: u64,
    known: BTreeMap<u64, &'static str>,
}

impl Layers {
    fn new(map: Map, collected: &Path) -> Result<Layers> {
        let bytes = std::fs::read(collected).with_context(|| format!("{} is not there", collected.display()))?;
        let file = object::File::parse(bytes.as_slice())?;
        let anchor = file.symbols().find(|symbol| symbol.name() == Ok("bento_text_anchor"));
        let anchor = anchor.context("the object has no text anchor")?.address();
        Ok(Layers { map, lines: Lines::of(collected), anchor, known: BTreeMap::new() })
    }

    fn shim_function(&self, pc: u64) -> &str {
        self.map.shim.range(..=pc).next_back().map_or("", |(_, name)| name)
    }

    fn of(&mut self, pc: u64) -> &'static str {
        if let Some(layer) = self.known.get(&pc) {
            return layer;
        }
        let (start, len) = self.map.memfs;
        let layer = if (start..start + len).contains(&pc) {
            let offset = pc.wrapping_sub(self.map.anchor).wrapping_add(self.anchor);
            let chain = self.lines.inlined(offset);
            let within =
                |path: &str| chain.iter().any(|frame| frame.function.trim_start_matches('<').starts_with(path));
            // From the inside out: what a handler calls is the handler's.
            if within("memfs::") || within("alloc::collections") {
                "handler"
            } else if within("bento::contain") {
                "contain"
            } else if within("bento::thunk") {
                "thunk"
            } else {
                "handler"
            }
        } else {
            match self.shim_function(pc) {
                name if name.starts_with("bento_trampoline") => "trampoline",
                name if name.starts_with("bento_slot") => "gate",
                _ => "shim",
            }
        };
        self.known.insert(pc, layer);
        layer
    }
}

/// Instructions in all calls of a phase, by its index and the layer.
pub type Counts = BTreeMap<(usize, &'static str), u64>;

/// Of one call.
pub fn of(counts: &Counts, phase: usize, layer: &'static str) -> u64 {
    counts.get(&(phase, layer)).copied().unwrap_or(0) / CALLS
}

/// Reads the trace; a call of statfs ends one phase and begins the next.
fn count(trace: &Path, mut layers: Layers) -> Result<Counts> {
    let statfs = layers.map.shim.iter().find(|(_, name)| *name == "bento_statfs").map(|(address, _)| *address);
    let statfs = statfs.context("bento.ko has no bento_statfs")?;
    let mut counts = Counts::new();
    let mut boundaries = 0;
    let mut inside = false;
    for line in BufReader::new(File::open(trace)?).lines() {
        // Trace 0: 0x7f… [00000000/ffffffffc0000000/…] symbol
        let line = line?;
        let Some(pc) = line.split('/').nth(1).and_then(|word| u64::from_str_radix(word, 16).ok()) else { continue };
        if pc == statfs {
            boundaries += 1;
            inside = true;
        }
        // The boundary's own instructions are nobody's.
        if inside {
            inside = layers.shim_function(pc) == "bento_statfs" || pc == statfs;
            if inside {
                continue;
            }
        }
        if (1..=PHASES.len()).contains(&boundaries) {
            *counts.entry((boundaries - 1, layers.of(pc))).or_default() += 1;
        }
    }
    // umount(8) asks once more.
    if boundaries <= PHASES.len() {
        bail!("the trace has {boundaries} boundaries instead of {}", PHASES.len() + 1);
    }
    Ok(counts)
}

/// The table, in Markdown; the whole calls on memfs, tmpfs and ext4 are among `all`.
pub fn render(counts: &Counts, all: &All) -> String {
    let mut text = String::from("| instructions in a call |");
    for layer in LAYERS {
        let _ = write!(text, " {layer} |");
    }
    text += " ours | the kernel's | memfs | tmpfs | ext4 |\n|---|";
    text += &"---|".repeat(LAYERS.len() + 5);
    text += "\n";
    for (phase, name) in PHASES.iter().enumerate() {
        let of = |layer: &&'static str| of(counts, phase, layer);
        let _ = write!(text, "| {name} |");
        for layer in &LAYERS {
            let _ = write!(text, " {} |", of(layer));
        }
        let ours = LAYERS.iter().map(of).sum::<u64>() as f64;
        let whole = |side: &str| report::of(all, &format!("call-{name}"), side).map(|value| value / FILES as f64);
        let shown = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.0}"));
        let _ = writeln!(
            text,
            " {ours:.0} | {} | {} | {} | {} |",
            shown(whole("memfs").map(|whole| whole - ours)),
            shown(whole("memfs")),
            shown(whole("tmpfs")),
            shown(whole("ext4")),
        );
    }
    text += "\nLayer by layer: every instruction that `bento.ko` and memfs execute. The last three columns are the whole system \
             call (`fstat`, `mknod`, `unlink`) with the loop around it, the same for each file system; the kernel's part is \
             what remains of it: entry, path walk, dcache, allocation, and the memory functions that our code calls. An unlink \
             includes the eviction of its inode, which is two more calls into Rust where the author wrote `evict_inode`, one \
             more where not.\n";
    text
}
