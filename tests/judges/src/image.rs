// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Damages ext4 images where it counts: in their metadata, with the checksums put right afterwards, so that what reads
//! them gets past those. It knows the format from its documentation ("ext4 Data Structures and Algorithms" of the kernel)
//! and shares no code with anything that mounts.

use std::fmt;

use crate::random::Random;

/// Inodes that are looked at, and blocks of one of them.
const INODES: usize = 4096;
const BLOCKS: u64 = 4096;

/// Bytes of one change in [`Image::mutant`].
pub const RECORD: usize = 12;

/// What lies in a part of the image, and what its checksum needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Superblock,
    Descriptor {
        group: u32,
    },
    BlockBitmap {
        group: u32,
    },
    InodeBitmap {
        group: u32,
    },
    Inode {
        number: u32,
    },
    /// Of the tree of an inode.
    Extents {
        inode: u32,
    },
    /// A block of names.
    Names {
        inode: u32,
    },
    /// The root or a node of a hashed directory: where its entries begin.
    Index {
        inode: u32,
        entries: usize,
    },
    Xattrs {
        block: u64,
    },
    Journal,
    /// A block of the log that says what lies behind it, what is revoked, or that a transaction is whole.
    Log,
    /// What is to be replayed: its checksum is in a tag, at this byte of the image, of the block of the log that names it.
    Logged {
        log: usize,
        tag: usize,
    },
}

impl Kind {
    /// Kinds of the same class are chosen among as one: a large image has one superblock.
    fn class(self) -> usize {
        match self {
            Kind::Superblock => 0,
            Kind::Descriptor { .. } => 1,
            Kind::BlockBitmap { .. } => 2,
            Kind::InodeBitmap { .. } => 3,
            Kind::Inode { .. } => 4,
            Kind::Extents { .. } => 5,
            Kind::Names { .. } => 6,
            Kind::Index { .. } => 7,
            Kind::Xattrs { .. } => 8,
            Kind::Journal => 9,
            Kind::Log => 10,
            Kind::Logged { .. } => 11,
        }
    }
}

/// A part of the image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    pub kind: Kind,
    pub at: usize,
    pub len: usize,
}

/// A sound image and where its metadata lie.
pub struct Image {
    bytes: Vec<u8>,
    layout: Layout,
    regions: Vec<Region>,
    /// Indices of regions, by class.
    classes: Vec<Vec<usize>>,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({} bytes, {} regions)", self.bytes.len(), self.regions.len())
    }
}

/// What a mutation writes over the image.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Mutant {
    pub patches: Vec<(usize, Vec<u8>)>,
    /// In words, one line for each change.
    pub what: Vec<String>,
}

impl Mutant {
    pub fn apply(&self, bytes: &mut [u8]) {
        for (at, patch) in &self.patches {
            if let Some(to) = bytes.get_mut(*at..*at + patch.len()) {
                to.copy_from_slice(patch);
            }
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Layout {
    block: usize,
    inode_size: usize,
    descriptor: usize,
    groups: u32,
    first_block: u64,
    inodes_per_group: u32,
    blocks_per_group: u32,
    journal: u32,
    /// `None`: metadata have no checksums of this kind.
    seed: Option<u32>,
    /// What those of the log begin with, where it has any (of version 3).
    log_seed: Option<u32>,
}

/// crc32c without the inversions at either end.
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut n = 0;
        while n < 256 {
            let (mut word, mut bit) = (n as u32, 0);
            while bit < 8 {
                word = if word & 1 == 1 { word >> 1 ^ 0x82f6_3b78 } else { word >> 1 };
                bit += 1;
            }
            table[n] = word;
            n += 1;
        }
        table
    };
    bytes.iter().fold(seed, |sum, byte| TABLE[((sum ^ u32::from(*byte)) & 0xff) as usize] ^ (sum >> 8))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at.saturating_add(2)).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at.saturating_add(4)).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

fn u32_be(bytes: &[u8], at: usize) -> u32 {
    u32_at(bytes, at).swap_bytes()
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(to) = bytes.get_mut(at..at + value.len()) {
        to.copy_from_slice(value);
    }
}

impl Layout {
    fn of(bytes: &[u8]) -> Result<Layout, String> {
        let sb = bytes.get(1024..2048).ok_or("the image is too short for a superblock")?;
        if u16_at(sb, 0x38) != 0xef53 {
            return Err("there is no ext4 superblock at offset 1024".to_owned());
        }
        let (incompat, ro_compat) = (u32_at(sb, 0x60), u32_at(sb, 0x64));
        let wide = incompat & 0x80 != 0;
        let blocks = u64::from(u32_at(sb, 4)) | if wide { u64::from(u32_at(sb, 0x150)) << 32 } else { 0 };
        let first_block = u64::from(u32_at(sb, 0x14));
        let blocks_per_group = u32_at(sb, 0x20).max(1);
        let seed = if incompat & 0x2000 != 0 { u32_at(sb, 0x270) } else { crc32c(!0, &sb[0x68..0x78]) };
        Ok(Layout {
            block: 1024 << u32_at(sb, 0x18).min(6),
            inode_size: usize::from(u16_at(sb, 0x58)).max(128),
            descriptor: if wide { usize::from(u16_at(sb, 0xfe)).max(64) } else { 32 },
            groups: blocks.saturating_sub(first_block).div_ceil(u64::from(blocks_per_group)).min(65536) as u32,
            first_block,
            inodes_per_group: u32_at(sb, 0x28).max(1),
            blocks_per_group,
            journal: u32_at(sb, 0xe0),
            seed: (ro_compat & 0x400 != 0).then_some(seed),
            log_seed: None,
        })
    }

    /// The descriptors lie behind the superblock, whatever `meta_bg` says: `mke2fs` does not set it.
    fn descriptor_at(&self, group: u32) -> usize {
        (self.first_block as usize + 1) * self.block + group as usize * self.descriptor
    }

    /// A block number of a descriptor, in two halves.
    fn pointer(&self, bytes: &[u8], group: u32, low: usize) -> u64 {
        let at = self.descriptor_at(group);
        let high = if self.descriptor >= 64 { u32_at(bytes, at + low + 0x20) } else { 0 };
        u64::from(u32_at(bytes, at + low)) | u64::from(high) << 32
    }

    /// Where a block begins; of a number that is nonsense, somewhere past the end.
    fn byte(&self, block: u64) -> usize {
        (block as usize).saturating_mul(self.block).min(usize::MAX >> 2)
    }

    fn inode_at(&self, bytes: &[u8], number: u32) -> usize {
        let index = number.saturating_sub(1);
        let table = self.pointer(bytes, index / self.inodes_per_group, 8);
        // A damaged descriptor points anywhere, and its inode is then read as zeroes.
        self.byte(table) + (index % self.inodes_per_group) as usize * self.inode_size
    }

    /// What all checksums of an inode begin with.
    fn inode_seed(&self, bytes: &[u8], number: u32) -> Option<u32> {
        let generation = u32_at(bytes, self.inode_at(bytes, number) + 0x64);
        Some(crc32c(crc32c(self.seed?, &number.to_le_bytes()), &generation.to_le_bytes()))
    }

    /// Puts the checksum right.
    fn sum(&self, bytes: &mut [u8], region: Region) {
        if region.at + region.len > bytes.len() {
            return;
        }
        if let Kind::Log | Kind::Logged { .. } = region.kind {
            self.sum_of_log(bytes, region);
        } else if self.seed.is_some() {
            self.sum_of(bytes, region);
        }
    }

    fn sum_of(&self, bytes: &mut [u8], Region { kind, at, len }: Region) -> Option<()> {
        let seed = self.seed?;
        match kind {
            Kind::Superblock => {
                let sum = crc32c(!0, &bytes[at..at + 0x3fc]);
                put(bytes, at + 0x3fc, &sum.to_le_bytes());
            }
            Kind::Descriptor { group } => {
                put(bytes, at + 0x1e, &[0; 2]);
                let sum = crc32c(crc32c(seed, &group.to_le_bytes()), &bytes[at..at + len]);
                put(bytes, at + 0x1e, &(sum as u16).to_le_bytes());
            }
            Kind::BlockBitmap { group } | Kind::InodeBitmap { group } => {
                let inodes = matches!(kind, Kind::InodeBitmap { .. });
                let bits = if inodes { self.inodes_per_group } else { self.blocks_per_group };
                let sum = crc32c(seed, bytes.get(at..at + bits as usize / 8)?);
                let (to, field) = (self.descriptor_at(group), if inodes { 0x1a } else { 0x18 });
                put(bytes, to + field, &(sum as u16).to_le_bytes());
                if self.descriptor >= 64 {
                    put(bytes, to + field + 0x20, &((sum >> 16) as u16).to_le_bytes());
                }
                let kind = Kind::Descriptor { group };
                self.sum_of(bytes, Region { kind, at: to, len: self.descriptor })?;
            }
            Kind::Inode { number } => {
                let seed = self.inode_seed(bytes, number)?;
                let wide = len > 128 && u16_at(bytes, at + 0x80) >= 4;
                put(bytes, at + 0x7c, &[0; 2]);
                if wide {
                    put(bytes, at + 0x82, &[0; 2]);
                }
                let sum = crc32c(seed, &bytes[at..at + len]);
                put(bytes, at + 0x7c, &(sum as u16).to_le_bytes());
                if wide {
                    put(bytes, at + 0x82, &((sum >> 16) as u16).to_le_bytes());
                }
            }
            Kind::Extents { inode } => {
                let tail = 12 + 12 * usize::from(u16_at(bytes, at + 4));
                let sum = crc32c(self.inode_seed(bytes, inode)?, bytes[at..at + len].get(..tail)?);
                put(&mut bytes[at..at + len], tail, &sum.to_le_bytes());
            }
            Kind::Names { inode } => {
                let tail = at + len - 12;
                if bytes[tail..tail + 8] == [0, 0, 0, 0, 12, 0, 0, 0xde] {
                    let sum = crc32c(self.inode_seed(bytes, inode)?, &bytes[at..tail]);
                    put(bytes, tail + 8, &sum.to_le_bytes());
                }
            }
            Kind::Index { inode, entries } => {
                let (limit, count) = (u16_at(bytes, at + entries), u16_at(bytes, at + entries + 2));
                let block = &bytes[at..at + len];
                let tail = entries + 8 * usize::from(limit);
                let sum = crc32c(self.inode_seed(bytes, inode)?, block.get(..entries + 8 * usize::from(count))?);
                let sum = crc32c(crc32c(sum, block.get(tail..tail + 4)?), &[0; 4]);
                put(&mut bytes[at..at + len], tail + 4, &sum.to_le_bytes());
            }
            Kind::Xattrs { block } => {
                put(bytes, at + 0x10, &[0; 4]);
                let sum = crc32c(crc32c(seed, &block.to_le_bytes()), &bytes[at..at + len]);
                put(bytes, at + 0x10, &sum.to_le_bytes());
            }
            Kind::Journal => {
                // Checksums of version 2 and 3: features at 0x28, big-endian.
                if bytes[at + 0x2b] & 0x18 != 0 {
                    put(bytes, at + 0xfc, &[0; 4]);
                    let sum = crc32c(!0, &bytes[at..at + 1024]);
                    put(bytes, at + 0xfc, &sum.to_be_bytes());
                }
            }
            Kind::Log | Kind::Logged { .. } => {}
        }
        Some(())
    }

    /// The same of what lies in the log, which has checksums of its own, big-endian.
    fn sum_of_log(&self, bytes: &mut [u8], Region { kind, at, len }: Region) -> Option<()> {
        let seed = self.log_seed?;
        match kind {
            Kind::Logged { log, tag } => {
                let sum = crc32c(crc32c(seed, bytes.get(log + 8..log + 12)?), &bytes[at..at + len]);
                put(bytes, tag + 12, &sum.to_be_bytes());
                self.sum_of_log(bytes, Region { kind: Kind::Log, at: log, len: self.block })
            }
            _ => {
                let field = if u32_be(bytes, at + 4) == 2 { 16 } else { len - 4 };
                put(bytes, at + field, &[0; 4]);
                let sum = crc32c(seed, &bytes[at..at + len]);
                put(bytes, at + field, &sum.to_be_bytes());
                Some(())
            }
        }
    }
}

/// A run of a file's blocks: in the file, on the device, how many.
type Run = (u64, u64, u64);

impl Image {
    /// # Errors
    /// What is missing to make it an ext4 image.
    pub fn new(bytes: Vec<u8>) -> Result<Image, String> {
        let layout = Layout::of(&bytes)?;
        let mut image = Image { bytes, layout, regions: Vec::new(), classes: vec![Vec::new(); 12] };
        image.add(Kind::Superblock, 1024, 1024);
        for group in 0..layout.groups {
            image.group(group);
        }
        if layout.journal != 0 {
            let (runs, _) = image.runs(layout.journal);
            if let Some((_, first, _)) = runs.first() {
                image.add(Kind::Journal, layout.byte(*first), 1024);
                image.log(&runs);
            }
        }
        Ok(image)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn block_size(&self) -> usize {
        self.layout.block
    }

    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    fn add(&mut self, kind: Kind, at: usize, len: usize) {
        if at.checked_add(len).is_some_and(|end| end <= self.bytes.len()) && at >= 1024 {
            self.classes[kind.class()].push(self.regions.len());
            self.regions.push(Region { kind, at, len });
        }
    }

    fn group(&mut self, group: u32) {
        let layout = self.layout;
        let at = layout.descriptor_at(group);
        self.add(Kind::Descriptor { group }, at, layout.descriptor);
        let flags = u16_at(&self.bytes, at + 0x12);
        let bitmap = layout.byte(layout.pointer(&self.bytes, group, 4));
        if flags & 2 == 0 {
            let at = layout.byte(layout.pointer(&self.bytes, group, 0));
            self.add(Kind::BlockBitmap { group }, at, layout.block);
        }
        if flags & 1 != 0 {
            return;
        }
        self.add(Kind::InodeBitmap { group }, bitmap, layout.block);
        for index in 0..layout.inodes_per_group {
            let used = self.bytes.get(bitmap + index as usize / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1);
            if used && self.classes[4].len() < INODES {
                self.inode(group * layout.inodes_per_group + index + 1);
            }
        }
    }

    /// What a journal holds that was not emptied, as far as it goes on.
    fn log(&mut self, runs: &[Run]) {
        let block = self.layout.block;
        let place = |logical: u64| {
            let run = runs.iter().find(|(first, _, count)| (*first..first + count).contains(&logical))?;
            Some(self.layout.byte(run.1 + (logical - run.0)))
        };
        let Some(journal) = place(0) else { return };
        let (incompat, mut at) = (u32_be(&self.bytes, journal + 0x28), u64::from(u32_be(&self.bytes, journal + 0x1c)));
        let Some(uuid) = self.bytes.get(journal + 0x30..journal + 0x40) else { return };
        let log_seed = (incompat & 0x10 != 0).then(|| crc32c(!0, uuid));
        let mut found = Vec::new();
        while at != 0
            && let Some(log) = place(at)
            && u32_be(&self.bytes, log) == 0xc03b_3998
        {
            found.push((Kind::Log, log));
            at += 1;
            let mut tag = log + 12;
            while u32_be(&self.bytes, log + 4) == 1 && incompat & 0x10 != 0 && tag + 16 <= log + block {
                let flags = u32_be(&self.bytes, tag + 4);
                found.extend(place(at).map(|data| (Kind::Logged { log, tag }, data)));
                at += 1;
                tag += if flags & 2 == 0 { 32 } else { 16 };
                if flags & 8 != 0 {
                    break;
                }
            }
        }
        self.layout.log_seed = log_seed;
        for (kind, at) in found {
            self.add(kind, at, block);
        }
    }

    fn inode(&mut self, number: u32) {
        let (layout, at) = (self.layout, self.layout.inode_at(&self.bytes, number));
        self.add(Kind::Inode { number }, at, layout.inode_size);
        let xattrs = u64::from(u32_at(&self.bytes, at + 0x68)) | u64::from(u16_at(&self.bytes, at + 0x76)) << 32;
        if xattrs != 0 {
            self.add(Kind::Xattrs { block: xattrs }, layout.byte(xattrs), layout.block);
        }
        let (runs, nodes) = self.runs(number);
        for node in nodes {
            self.add(Kind::Extents { inode: number }, layout.byte(node), layout.block);
        }
        if u16_at(&self.bytes, at) & 0xf000 != 0x4000 {
            return;
        }
        let hashed = u32_at(&self.bytes, at + 0x20) & 0x1000 != 0;
        for (logical, physical) in runs
            .into_iter()
            .flat_map(|(logical, physical, count)| (0..count.min(BLOCKS)).map(move |n| (logical + n, physical + n)))
        {
            let at = layout.byte(physical);
            // A node looks like one name over the whole block; the root has "." and ".." first.
            let node = u32_at(&self.bytes, at) == 0 && usize::from(u16_at(&self.bytes, at + 4)) == layout.block;
            let kind = match (hashed, logical) {
                (true, 0) => Kind::Index { inode: number, entries: 0x20 },
                (true, _) if node => Kind::Index { inode: number, entries: 8 },
                _ => Kind::Names { inode: number },
            };
            self.add(kind, at, layout.block);
        }
    }

    /// Where the blocks of an inode with extents are, and the blocks of its tree.
    fn runs(&self, number: u32) -> (Vec<Run>, Vec<u64>) {
        let at = self.layout.inode_at(&self.bytes, number);
        let (mut runs, mut nodes) = (Vec::new(), Vec::new());
        if u32_at(&self.bytes, at + 0x20) & 0x8_0000 == 0 {
            return (runs, nodes);
        }
        let mut todo = vec![(at + 0x28, 60)];
        while let Some((at, len)) = todo.pop() {
            let Some(node) = self.bytes.get(at..at.saturating_add(len)) else { continue };
            if u16_at(node, 0) != 0xf30a || nodes.len() > 10_000 {
                continue;
            }
            let depth = u16_at(node, 6);
            for entry in (1..=usize::from(u16_at(node, 2))).filter_map(|n| node.get(n * 12..n * 12 + 12)) {
                if depth == 0 {
                    let start = u64::from(u32_at(entry, 8)) | u64::from(u16_at(entry, 6)) << 32;
                    let count = match u16_at(entry, 4) {
                        count @ 0..=0x8000 => count,
                        count => count - 0x8000,
                    };
                    runs.push((u32_at(entry, 0).into(), start, count.into()));
                } else {
                    let child = u64::from(u32_at(entry, 4)) | u64::from(u16_at(entry, 8)) << 32;
                    nodes.push(child);
                    todo.push((self.layout.byte(child), self.layout.block));
                }
            }
        }
        runs.sort_unstable();
        (runs, nodes)
    }

    /// `count` changes that `seed` decides.
    pub fn random_mutant(&self, seed: u64, count: usize) -> Mutant {
        let mut random = Random::new(seed);
        let records: Vec<u8> = (0..count * RECORD).map(|_| random.word() as u8).collect();
        self.mutant(&records)
    }

    /// One change for each [`RECORD`] bytes: a fuzzer's way to say which. A mutant keeps the right checksums, but for one
    /// change in 64.
    pub fn mutant(&self, records: &[u8]) -> Mutant {
        let (mut bytes, mut touched, mut what) = (Patched::new(&self.bytes), Vec::new(), Vec::new());
        let classes: Vec<_> = self.classes.iter().filter(|class| !class.is_empty()).collect();
        for record in records.as_chunks::<RECORD>().0 {
            let word = |at: usize| usize::from(u16::from_le_bytes([record[at], record[at + 1]]));
            let class = classes[usize::from(record[0]) % classes.len()];
            let region = self.regions[class[word(1) % class.len()]];
            let (Region { kind, at, len }, value) = (
                region,
                u64::from_le_bytes([
                    record[4], record[5], record[6], record[7], record[8], record[9], record[10], record[11],
                ]),
            );
            // Most fields lie at the start of what they describe.
            let within = if record[10] & 1 == 0 { len } else { len.min(160) };
            let offset = word(8) % within;
            let (offset, patch) = self.change(&mut bytes, region, offset, record[3], value);
            what.push(format!("{kind:?} at {at}: offset {offset:#x} becomes {}", hex(&patch)));
            bytes.put(at + offset, &patch);
            if record[11] % 64 != 63 {
                touched.push(region);
            }
        }
        Mutant { patches: self.summed_again(bytes.whole(), touched), what }
    }

    /// Puts the sums right of what was touched: what is different then.
    fn summed_again(&self, mut all: Vec<u8>, mut touched: Vec<Region>) -> Vec<(usize, Vec<u8>)> {
        // Inodes first: other sums begin with their generation. A bitmap's sum is in the descriptor, which comes after.
        touched.sort_by_key(|region| match region.kind {
            Kind::Inode { .. } => 0,
            Kind::Descriptor { .. } => 2,
            _ => 1,
        });
        for region in touched {
            self.layout.sum(&mut all, region);
        }
        difference(&self.bytes, &all)
    }

    /// The image with `patch` written `at` bytes into a region, and the right sum.
    pub fn with(&self, region: Region, at: usize, patch: &[u8]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        put(&mut bytes, region.at + at, patch);
        let patches = self.summed_again(bytes, vec![region]);
        let mut bytes = self.bytes.clone();
        Mutant { patches, what: Vec::new() }.apply(&mut bytes);
        bytes
    }

    /// What to write where in the region.
    fn change(&self, bytes: &mut Patched<'_>, region: Region, offset: usize, how: u8, value: u64) -> (usize, Vec<u8>) {
        let Region { at, len, .. } = region;
        let aligned = |size: usize| (offset / size * size).min(len - size);
        const EDGES: [u64; 12] =
            [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, u64::MAX];
        let edge = EDGES[(value % 12) as usize];
        let blocks = self.bytes.len() as u64 / self.layout.block as u64;
        match how % 10 {
            0 => (offset, vec![bytes.get(at + offset) ^ 1 << (value % 8)]),
            1 => (offset, vec![value as u8]),
            2 => (aligned(2), (edge as u16).to_le_bytes().to_vec()),
            3 => (aligned(4), (edge as u32).to_le_bytes().to_vec()),
            4 => (aligned(2), (value as u16).to_le_bytes().to_vec()),
            5 => (aligned(4), (value as u32).to_le_bytes().to_vec()),
            // A number near what is there.
            6 => {
                let old = u32_at(&[0, 1, 2, 3].map(|n| bytes.get(at + aligned(4) + n)), 0);
                (aligned(4), old.wrapping_add(value as u32 % 9).wrapping_sub(4).to_le_bytes().to_vec())
            }
            // A block: of the device, of metadata, or just past the end.
            7 => {
                let metadata = self.regions[(value >> 8) as usize % self.regions.len()].at / self.layout.block;
                let block = [value % blocks.max(1), metadata as u64, blocks][(value >> 40) as usize % 3];
                (aligned(4), (block as u32).to_le_bytes().to_vec())
            }
            8 => {
                let count = (value as usize % 64 + 1).min(len - offset);
                (offset, vec![if value & 256 == 0 { 0 } else { 0xff }; count])
            }
            // From elsewhere in the same region.
            _ => {
                let count = (value as usize % 64 + 1).min(len - offset);
                let from = (value >> 16) as usize % (len - count + 1);
                (offset, (0..count).map(|n| bytes.get(at + from + n)).collect())
            }
        }
    }

    /// The image with all checksums computed again: of a sound one, the same.
    pub fn summed(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for region in &self.regions {
            self.layout.sum(&mut bytes, *region);
        }
        bytes
    }
}

fn hex(bytes: &[u8]) -> String {
    let shown: Vec<_> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let more = if bytes.len() > 8 { format!(" … ({} bytes)", bytes.len()) } else { String::new() };
    format!("{}{more}", shown.join(" "))
}

/// An image with some bytes changed.
struct Patched<'a> {
    under: &'a [u8],
    over: std::collections::BTreeMap<usize, u8>,
}

impl<'a> Patched<'a> {
    fn new(under: &'a [u8]) -> Self {
        Patched { under, over: Default::default() }
    }

    fn get(&self, at: usize) -> u8 {
        self.over.get(&at).or(self.under.get(at)).copied().unwrap_or(0)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.over.extend((at..).zip(bytes.iter().copied()));
    }

    fn whole(&self) -> Vec<u8> {
        let mut all = self.under.to_vec();
        self.over.iter().for_each(|(at, byte)| put(&mut all, *at, &[*byte]));
        all
    }
}

/// Runs of bytes that differ; near ones are one run.
fn difference(old: &[u8], new: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut patches: Vec<(usize, Vec<u8>)> = Vec::new();
    for (page, (one, two)) in old.chunks(4096).zip(new.chunks(4096)).enumerate() {
        if one == two {
            continue;
        }
        for at in (0..one.len()).filter(|at| one[*at] != two[*at]) {
            let at = page * 4096 + at;
            match patches.last_mut() {
                Some((start, bytes)) if at - (*start + bytes.len()) < 16 => {
                    bytes.extend(&new[*start + bytes.len()..=at]);
                }
                _ => patches.push((at, vec![new[at]])),
            }
        }
    }
    patches
}
