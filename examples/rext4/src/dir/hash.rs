// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Hashes of names, as indexed directories are sorted by. Which of them a directory uses stands in its root; how `char`
//! was signed where the file system was made stands in the superblock.

/// Half of MD4, shortened: the default.
pub const HALF_MD4: u8 = 1;
pub const LEGACY: u8 = 0;
pub const TEA: u8 = 2;

/// No name hashes to this: it says that a directory ends.
const END: u32 = 0xffff_fffe;

/// How a directory hashes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hasher {
    /// [`LEGACY`], [`HALF_MD4`] or [`TEA`].
    pub version: u8,
    /// Bytes of names are taken as 0 to 255, not -128 to 127.
    pub unsigned: bool,
    pub seed: [u32; 4],
}

/// The hash of a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Hash {
    /// What the index is sorted by; even.
    pub major: u32,
    /// Orders names with the same `major` when a directory is listed.
    pub minor: u32,
}

impl Hasher {
    /// `None`: there is no such version.
    pub fn new(version: u8, unsigned: bool, seed: [u32; 4]) -> Option<Hasher> {
        (version <= TEA).then_some(Hasher { version, unsigned, seed })
    }

    pub fn hash(&self, name: &[u8]) -> Hash {
        let (major, minor) = match self.version {
            HALF_MD4 => {
                let mut buf = self.start();
                for n in 0..name.len().div_ceil(32) {
                    half_md4(&mut buf, &self.words::<8>(name, n * 32));
                }
                (buf[1], buf[2])
            }
            TEA => {
                let mut buf = self.start();
                for n in 0..name.len().div_ceil(16) {
                    tea(&mut buf, &self.words::<4>(name, n * 16));
                }
                (buf[0], buf[1])
            }
            // This one has no second half. Only the index is on the disk, so listings may take any.
            LEGACY | 3.. => (self.legacy(name), fnv(name)),
        };
        let major = major & !1;
        Hash { major: if major == END { END - 2 } else { major }, minor }
    }

    fn start(&self) -> [u32; 4] {
        if self.seed == [0; 4] { [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476] } else { self.seed }
    }

    #[inline(always)]
    fn value(&self, byte: u8) -> u32 {
        if self.unsigned { u32::from(byte) } else { byte as i8 as u32 }
    }

    /// The name from `at` on as `N` words; what it does not fill is filled with how much of it there was.
    #[inline(always)]
    fn words<const N: usize>(&self, name: &[u8], at: usize) -> [u32; N] {
        let rest = name.get(at..).unwrap_or_default();
        // A name is at most 255 bytes: the length fits into one.
        let pad = (rest.len() as u32 & 0xff) * 0x0101_0101;
        let mut words = [pad; N];
        let (whole, last) = rest.as_chunks::<4>();
        for (word, bytes) in words.iter_mut().zip(whole) {
            *word = u32::from_be_bytes(*bytes);
            if !self.unsigned && *word & 0x8080_8080 != 0 {
                *word = self.pack(0, bytes);
            }
        }
        if let Some(word) = words.get_mut(whole.len()) {
            *word = self.pack(pad, last);
        }
        words
    }

    fn pack(&self, start: u32, bytes: &[u8]) -> u32 {
        bytes.iter().fold(start, |word, byte| (word << 8).wrapping_add(self.value(*byte)))
    }

    fn legacy(&self, name: &[u8]) -> u32 {
        let (mut last, mut before) = (0x12a3_fe2du32, 0x37ab_e8f9u32);
        for byte in name {
            let mut hash = before.wrapping_add(last ^ self.value(*byte).wrapping_mul(7_152_373));
            if hash & 0x8000_0000 != 0 {
                hash = hash.wrapping_sub(0x7fff_ffff);
            }
            (before, last) = (last, hash);
        }
        last << 1
    }
}

fn fnv(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn tea(buf: &mut [u32; 4], words: &[u32; 4]) {
    let [mut x, mut y, ..] = *buf;
    let [a, b, c, d] = *words;
    let mut sum = 0u32;
    for _ in 0..16 {
        sum = sum.wrapping_add(0x9e37_79b9);
        let mix = |z: u32, k: u32, l: u32| (z << 4).wrapping_add(k) ^ z.wrapping_add(sum) ^ (z >> 5).wrapping_add(l);
        x = x.wrapping_add(mix(y, a, b));
        y = y.wrapping_add(mix(x, c, d));
    }
    buf[0] = buf[0].wrapping_add(x);
    buf[1] = buf[1].wrapping_add(y);
}

/// Three rounds of eight steps each: the words in the order a round takes them, and how far each step rotates.
fn half_md4(buf: &mut [u32; 4], words: &[u32; 8]) {
    const SELECT: fn(u32, u32, u32) -> u32 = |x, y, z| z ^ (x & (y ^ z));
    const MAJORITY: fn(u32, u32, u32) -> u32 = |x, y, z| (x & y).wrapping_add((x ^ y) & z);
    const PARITY: fn(u32, u32, u32) -> u32 = |x, y, z| x ^ y ^ z;

    #[inline(always)]
    fn round(
        state: [u32; 4],
        mix: impl Fn(u32, u32, u32) -> u32,
        words: [u32; 8],
        add: u32,
        turns: [u32; 4],
    ) -> [u32; 4] {
        let [mut a, mut b, mut c, mut d] = state;
        for half in words.as_chunks::<4>().0 {
            a = a.wrapping_add(mix(b, c, d)).wrapping_add(half[0]).wrapping_add(add).rotate_left(turns[0]);
            d = d.wrapping_add(mix(a, b, c)).wrapping_add(half[1]).wrapping_add(add).rotate_left(turns[1]);
            c = c.wrapping_add(mix(d, a, b)).wrapping_add(half[2]).wrapping_add(add).rotate_left(turns[2]);
            b = b.wrapping_add(mix(c, d, a)).wrapping_add(half[3]).wrapping_add(add).rotate_left(turns[3]);
        }
        [a, b, c, d]
    }

    let [w0, w1, w2, w3, w4, w5, w6, w7] = *words;
    let state = round(*buf, SELECT, *words, 0, [3, 7, 11, 19]);
    let state = round(state, MAJORITY, [w1, w3, w5, w7, w0, w2, w4, w6], 0x5a82_7999, [3, 5, 9, 13]);
    let state = round(state, PARITY, [w3, w7, w2, w6, w1, w5, w0, w4], 0x6ed9_eba1, [3, 9, 11, 15]);
    for (sum, new) in buf.iter_mut().zip(state) {
        *sum = sum.wrapping_add(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&[u8]; 5] = [b"a", b"hello", &[b'f'; 100], b"caf\xc3\xa9-\xff\x80x", &[0xe4; 33]];
    const SEED: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x6745_2301, 0xefcd_ab89];

    /// What `debugfs -R "dx_hash -h VERSION [-s SEED] NAME"` of e2fsprogs 1.47.0 says of each name, without a seed and with.
    const KNOWN: [(u8, bool, [[(u32, u32); 2]; 5]); 6] = [
        (
            LEGACY,
            false,
            [
                [(0xe74b53e2, 0), (0xe74b53e2, 0)],
                [(0x32252546, 0), (0x32252546, 0)],
                [(0x422cd00c, 0), (0x422cd00c, 0)],
                [(0xb4cbb512, 0), (0xb4cbb512, 0)],
                [(0xbc242356, 0), (0xbc242356, 0)],
            ],
        ),
        (
            HALF_MD4,
            false,
            [
                [(0xd5fa7d7a, 0xacb48187), (0x35dc0cc4, 0x3f1dacef)],
                [(0x1746da32, 0x420013b5), (0xa26e4a80, 0x97e5b7f7)],
                [(0xeb2753f8, 0xecaf8af8), (0xc1272962, 0x5e51cdb7)],
                [(0x113b23a6, 0xf01aa71a), (0xcc85acf6, 0x0b3dadf1)],
                [(0x73756964, 0x1e1339cc), (0x40156a7a, 0xbc3b4c47)],
            ],
        ),
        (
            TEA,
            false,
            [
                [(0x6d0ea4c0, 0xc18922df), (0x6d0ea4c0, 0xc18922df)],
                [(0x6f5bb1a8, 0x231917c2), (0x6f5bb1a8, 0x231917c2)],
                [(0x05161672, 0x78fbc029), (0x05161672, 0x78fbc029)],
                [(0xe606713c, 0xb1b526d3), (0xe606713c, 0xb1b526d3)],
                [(0x845ae15e, 0x0abb0002), (0x845ae15e, 0x0abb0002)],
            ],
        ),
        (
            LEGACY,
            true,
            [
                [(0xe74b53e2, 0), (0xe74b53e2, 0)],
                [(0x32252546, 0), (0x32252546, 0)],
                [(0x422cd00c, 0), (0x422cd00c, 0)],
                [(0x7aef691a, 0), (0x7aef691a, 0)],
                [(0xed6f534a, 0), (0xed6f534a, 0)],
            ],
        ),
        (
            HALF_MD4,
            true,
            [
                [(0xd5fa7d7a, 0xacb48187), (0x35dc0cc4, 0x3f1dacef)],
                [(0x1746da32, 0x420013b5), (0xa26e4a80, 0x97e5b7f7)],
                [(0xeb2753f8, 0xecaf8af8), (0xc1272962, 0x5e51cdb7)],
                [(0x5c40c400, 0x79d11c29), (0xe2e0fbce, 0xf51824c0)],
                [(0xd9bcfc5c, 0x44526085), (0x51503fea, 0x73ff3410)],
            ],
        ),
        (
            TEA,
            true,
            [
                [(0x6d0ea4c0, 0xc18922df), (0x6d0ea4c0, 0xc18922df)],
                [(0x6f5bb1a8, 0x231917c2), (0x6f5bb1a8, 0x231917c2)],
                [(0x05161672, 0x78fbc029), (0x05161672, 0x78fbc029)],
                [(0x9c705108, 0x4d54b28b), (0x9c705108, 0x4d54b28b)],
                [(0xc02b6cb4, 0xc6a85b9e), (0xc02b6cb4, 0xc6a85b9e)],
            ],
        ),
    ];

    #[test]
    fn as_e2fsprogs_hashes() {
        for (version, unsigned, known) in KNOWN {
            for (name, both) in NAMES.iter().zip(known) {
                for (seed, (major, minor)) in [[0; 4], SEED].into_iter().zip(both) {
                    let hash = Hasher::new(version, unsigned, seed).unwrap().hash(name);
                    let what = format_args!("version {version} unsigned {unsigned} name {name:x?}");
                    assert_eq!(hash.major, major, "{what}");
                    // Ours where they have none.
                    assert!(version == LEGACY || hash.minor == minor, "{what}: {:#x}", hash.minor);
                }
            }
        }
    }

    #[test]
    fn there_are_three_versions() {
        assert!((0..=255).filter(|version| Hasher::new(*version, false, [0; 4]).is_some()).eq(0..=2));
    }
}
