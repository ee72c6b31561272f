// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Turns `.eh_frame` and `.gcc_except_table` into one blob without relocations, read by the runtime's unwinder:
//! a table sorted by text offset, the call-frame instructions, the landing-pad tables, the author's lines. objtool never
//! sees an FDE, the module loader relocates nothing, and a lookup is a binary search.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail, ensure};

use bento::unwind::lsda;
use bento::unwind::table::{ENTRY_LEN, FILE_LEN, HEADER_LEN, PLACE_LEN, Table};
use iced_x86::FlowControl;

use super::elf::{Prelinked, Target};
use super::flow::Program;
use super::places::Place;

pub use bento::unwind::table::{ANCHOR, MAGIC, VERSION};

/// One function's unwind information.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub start: u64,
    pub len: u64,
    /// The CIE's initial instructions, then the FDE's.
    pub cfi: Vec<u8>,
    pub init_len: usize,
    /// The landing-pad table, verbatim.
    pub lsda: Option<Vec<u8>>,
}

/// Reads every FDE whose function is still in `.text`.
pub fn frames(object: &Prelinked) -> Result<Vec<Frame>> {
    let Some(eh_frame) = object.section(".eh_frame") else { bail!("no .eh_frame: core was built with panic=abort") };
    let empty = BTreeMap::new();
    let relocs = object.data_relocs.get(".eh_frame").unwrap_or(&empty);
    let tables = Lsdas::read(object)?;
    let mut cies = HashMap::new();
    let mut frames = Vec::new();
    let mut at = 0;
    while at + 4 <= eh_frame.data.len() {
        let mut record = Reader::new(&eh_frame.data, at);
        let len = record.u32()? as usize;
        ensure!(len != 0xffff_ffff, ".eh_frame+{at:#x}: 64-bit records are not supported");
        if len == 0 {
            at += 4;
            continue;
        }
        let id_at = record.at;
        let end = id_at + len;
        ensure!(end <= eh_frame.data.len(), ".eh_frame+{at:#x}: record runs past the section");
        let id = record.u32()? as usize;
        if id == 0 {
            let cie = Cie::read(&mut record, end).with_context(|| format!(".eh_frame+{at:#x}"))?;
            cies.insert(at, cie);
        } else {
            let start_field = record.at as u64;
            // Sections that the link collected left their FDEs behind, pointing nowhere.
            if let Some(reloc) = relocs.get(&start_field) {
                let Target::Text(start) = reloc.target else {
                    bail!(".eh_frame+{at:#x}: FDE of code outside .text");
                };
                let cie = id_at.checked_sub(id).and_then(|cie| cies.get(&cie));
                let cie = cie.with_context(|| format!(".eh_frame+{at:#x}: FDE without CIE"))?;
                let frame = fde(&mut record, end, cie, start, relocs, &tables);
                frames.push(frame.with_context(|| format!("unwind table of {}", object.name_at(start)))?);
            }
        }
        at = end;
    }
    frames.sort_by_key(|frame| frame.start);
    for pair in frames.windows(2) {
        ensure!(
            pair[0].start + pair[0].len <= pair[1].start,
            "unwind tables of {} and {} overlap",
            object.name_at(pair[0].start),
            object.name_at(pair[1].start)
        );
    }
    Ok(frames)
}

/// Lays the blob out, as bento::unwind::table describes it.
pub fn blob(object: &Prelinked, frames: &[Frame], places: &[Place]) -> Result<Vec<u8>> {
    let anchor = object
        .symbol(ANCHOR)
        .filter(|symbol| symbol.section == ".text")
        .with_context(|| format!("{ANCHOR} is missing: the runtime was built without feature `freestanding`"))?;
    let mut files: Vec<&str> = places.iter().map(|place| place.file.as_str()).collect();
    files.sort_unstable();
    files.dedup();
    let index_off = HEADER_LEN;
    let places_off = index_off + frames.len() * ENTRY_LEN;
    let files_off = places_off + places.len() * PLACE_LEN;
    let mut tail = Vec::new();
    let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
    let tail_off = files_off + files.len() * FILE_LEN;
    let mut place = |bytes: &[u8], tail: &mut Vec<u8>| {
        *seen.entry(bytes.to_vec()).or_insert_with(|| {
            let at = tail_off + tail.len();
            tail.extend_from_slice(bytes);
            at
        })
    };
    let mut out = Vec::new();
    for word in [MAGIC, VERSION, anchor.offset as u32, frames.len() as u32, index_off as u32, object.text.len() as u32]
        .into_iter()
        .chain([places_off, places.len(), files_off, files.len()].map(|number| number as u32))
    {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for frame in frames {
        let name = || object.name_at(frame.start);
        let cfi = place(&frame.cfi, &mut tail);
        let (lsda, lsda_len) = match &frame.lsda {
            Some(bytes) => (place(bytes, &mut tail), bytes.len()),
            None => (0, 0),
        };
        let cfi_len = u16::try_from(frame.cfi.len())
            .with_context(|| format!("{} needs more than 64 KiB of unwind instructions: split it", name()))?;
        for word in [frame.start as u32, frame.len as u32, cfi as u32] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&cfi_len.to_le_bytes());
        out.extend_from_slice(&(frame.init_len as u16).to_le_bytes());
        out.extend_from_slice(&(lsda as u32).to_le_bytes());
        out.extend_from_slice(&(lsda_len as u32).to_le_bytes());
    }
    for place in places {
        let file = files.binary_search(&place.file.as_str()).unwrap_or_default();
        let file = u16::try_from(file).context("more than 65536 source files")?;
        out.extend_from_slice(&place.back.to_le_bytes());
        out.extend_from_slice(&place.line.to_le_bytes());
        out.extend_from_slice(&file.to_le_bytes());
        out.extend_from_slice(&place.column.to_le_bytes());
    }
    for file in files {
        let at = place(file.as_bytes(), &mut tail);
        for word in [at as u32, file.len() as u32] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }
    out.extend_from_slice(&tail);
    Ok(out)
}

/// What FDEs share.
#[derive(Debug)]
struct Cie {
    init: Vec<u8>,
    pointer: u8,
    lsda: Option<u8>,
}

impl Cie {
    fn read(record: &mut Reader, end: usize) -> Result<Cie> {
        let version = record.u8()?;
        ensure!(version == 1, "CIE version {version} is not supported");
        let augmentation = record.string()?;
        let (code, data) = (record.uleb()?, record.sleb()?);
        let column = record.uleb()?;
        ensure!(
            code == 1 && data == -8 && column == 16,
            "alignment factors {code} and {data}, return column {column}: the unwinder needs 1, -8 and 16"
        );
        ensure!(augmentation.first() == Some(&b'z'), "CIE without augmentation data");
        let len = record.uleb()? as usize;
        let init_at = record.at + len;
        let (mut pointer, mut lsda) = (0, None);
        for letter in &augmentation[1..] {
            match letter {
                b'R' => pointer = record.u8()?,
                b'L' => lsda = Some(record.u8()?),
                // The personality: the runtime has only one.
                b'P' => {
                    let encoding = record.u8()?;
                    record.skip(width(encoding)?);
                }
                other => bail!("CIE augmentation {:?} is not supported", char::from(*other)),
            }
        }
        Ok(Cie { init: strip_nops(record.bytes(init_at, end)?), pointer, lsda })
    }
}

fn fde(
    record: &mut Reader,
    end: usize,
    cie: &Cie,
    start: u64,
    relocs: &BTreeMap<u64, super::elf::Reloc>,
    tables: &Lsdas,
) -> Result<Frame> {
    let size = width(cie.pointer)?;
    record.skip(size);
    let len = record.unsigned(size)?;
    let augmented = record.uleb()? as usize;
    let cfi_at = record.at + augmented;
    let mut lsda = None;
    if let Some(encoding) = cie.lsda {
        let field = record.at as u64;
        ensure!(augmented >= width(encoding)?, "FDE without room for its landing-pad table");
        if let Some(reloc) = relocs.get(&field) {
            let Target::Data(section, offset) = &reloc.target else { bail!("landing-pad table outside its section") };
            ensure!(section == ".gcc_except_table", "landing-pad table in {section}");
            lsda = Some(tables.get(*offset)?);
        }
    }
    let mut cfi = cie.init.clone();
    cfi.extend(strip_nops(record.bytes(cfi_at, end)?));
    Ok(Frame { start, len, cfi, init_len: cie.init.len(), lsda })
}

/// `.gcc_except_table` cut into its tables.
struct Lsdas {
    data: Vec<u8>,
    starts: Vec<u64>,
    relocated: Vec<u64>,
}

impl Lsdas {
    fn read(object: &Prelinked) -> Result<Lsdas> {
        let mut starts: Vec<u64> = object
            .data_relocs
            .get(".eh_frame")
            .into_iter()
            .flatten()
            .filter_map(|(_, reloc)| match &reloc.target {
                Target::Data(section, offset) if section == ".gcc_except_table" => Some(*offset),
                _ => None,
            })
            .collect();
        starts.sort_unstable();
        starts.dedup();
        let data = object.section(".gcc_except_table").map(|section| section.data.clone()).unwrap_or_default();
        let relocated = object.data_relocs.get(".gcc_except_table").into_iter().flatten().map(|(at, _)| *at).collect();
        Ok(Lsdas { data, starts, relocated })
    }

    /// The table at `offset`, up to where its own header says it ends.
    fn get(&self, offset: u64) -> Result<Vec<u8>> {
        let next = self.starts.iter().find(|start| **start > offset).copied().unwrap_or(self.data.len() as u64);
        ensure!(offset < next && next <= self.data.len() as u64, "landing-pad table past the end of its section");
        let table = &self.data[offset as usize..next as usize];
        let mut header = Reader::new(table, 0);
        let start = header.u8()?;
        ensure!(start == DW_EH_PE_OMIT, "landing pads relative to something else than the function ({start:#x})");
        let types = header.u8()?;
        let types_len = if types == DW_EH_PE_OMIT { None } else { Some(header.uleb()? as usize + header.at) };
        let sites = header.u8()?;
        ensure!(sites == DW_EH_PE_ULEB128, "call sites in encoding {sites:#x}: the unwinder reads uleb128 only");
        let sites_len = header.uleb()? as usize;
        let sites_end = header.at + sites_len;
        ensure!(sites_end <= table.len(), "call sites run past the landing-pad table");
        // Rust catches everything or cleans up, so a type entry is null; one with a relocation filters by type.
        if let Some(at) = self.relocated.iter().find(|at| (offset..next).contains(at)) {
            bail!("landing pads filtered by type (.gcc_except_table+{at:#x}): the unwinder knows only catch-all");
        }
        if let Some(end) = types_len {
            ensure!(end <= table.len(), "type table runs past the landing-pad table");
        }
        Ok(table.to_vec())
    }
}

const DW_EH_PE_OMIT: u8 = 0xff;
const DW_EH_PE_ULEB128: u8 = 0x01;

/// Bytes of a pointer in this encoding.
fn width(encoding: u8) -> Result<usize> {
    match encoding & 0x0f {
        0x00 | 0x04 | 0x0c => Ok(8),
        0x02 | 0x0a => Ok(2),
        0x03 | 0x0b => Ok(4),
        _ => bail!("pointer encoding {encoding:#x} is not supported"),
    }
}

/// Padding at the end of a record is no instruction.
fn strip_nops(cfi: &[u8]) -> Vec<u8> {
    // A zero may be the operand of the last instruction, so only what a decoder would read as a nop may go; keeping
    // one too many is harmless.
    let zeros = cfi.iter().rev().take_while(|byte| **byte == 0).count();
    cfi[..cfi.len() - zeros.saturating_sub(4)].to_vec()
}

/// A cursor over little-endian data.
struct Reader<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(data: &'a [u8], at: usize) -> Self {
        Reader { data, at }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let bytes = self.data.get(self.at..self.at + len).context("the record ends early")?;
        self.at += len;
        Ok(bytes)
    }

    fn bytes(&self, from: usize, to: usize) -> Result<&'a [u8]> {
        self.data.get(from..to).context("the record ends early")
    }

    fn skip(&mut self, len: usize) {
        self.at += len;
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32> {
        self.unsigned(4).map(|value| value as u32)
    }

    fn unsigned(&mut self, len: usize) -> Result<u64> {
        Ok(self.take(len)?.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn string(&mut self) -> Result<&'a [u8]> {
        let rest = &self.data[self.at.min(self.data.len())..];
        let len = rest.iter().position(|byte| *byte == 0).context("the record ends early")?;
        self.at += len + 1;
        Ok(&rest[..len])
    }

    fn uleb(&mut self) -> Result<u64> {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = self.u8()?;
            ensure!(shift < 64, "a number does not fit 64 bits");
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
    }

    fn sleb(&mut self) -> Result<i64> {
        let (mut value, mut shift) = (0i64, 0);
        loop {
            let byte = self.u8()?;
            ensure!(shift < 64, "a number does not fit 64 bits");
            value |= i64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return Ok(if shift < 64 && byte & 0x40 != 0 { value | -1 << shift } else { value });
            }
        }
    }
}

/// Reads the finished blob as the kernel will: the runtime's own interpreter goes through every function, at every call
/// that could unwind and at its end, so that what it does not know is met here and not during a panic.
pub fn verify(object: &Prelinked, program: &Program, places: &[Place], blob: &[u8]) -> Result<()> {
    let table = Table::parse(blob).context("the unwinder cannot read the table it was given")?;
    for place in places {
        let found = table.place(place.back).map(|found| (found.file, found.line));
        ensure!(
            found == Some((place.file.as_str(), place.line)),
            "the unwinder takes line {} of {} for {found:?}",
            place.line,
            place.file
        );
    }
    for n in 0..table.len() {
        let entry = table.entry(n).context("the unwind table is cut short")?;
        let name = || object.name_at(u64::from(entry.start));
        let refused = |what: String| anyhow::anyhow!("{}: the unwinder cannot pass {}: {what}", name(), name());
        let mut offsets = vec![entry.start + entry.len];
        if let Some(flow) = program.flows.get(&u64::from(entry.start)) {
            let calls = flow.instructions.iter().filter(|instruction| {
                matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall)
            });
            offsets.extend(calls.map(|call| call.next_ip() as u32 - 1));
        }
        for offset in offsets {
            entry.row(offset).map_err(|error| refused(format!("call frame instructions: {error:?}")))?;
        }
        if entry.lsda.is_empty() {
            continue;
        }
        let mut outside = None;
        let each = lsda::for_each(entry.lsda, |start, len, pad| {
            if start + len > u64::from(entry.len) || pad >= u64::from(entry.len) {
                outside = Some((start, len, pad));
            }
        });
        each.map_err(|error| refused(format!("landing pads: {error:?}")))?;
        if let Some((start, len, pad)) = outside {
            return Err(refused(format!("call site {start:#x}+{len:#x} with landing pad {pad:#x} lies outside it")));
        }
    }
    Ok(())
}
