// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Numbers that a seed decides.

/// splitmix64: any seed will do.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// In `0..end`; 0 when that is empty.
    pub fn below(&mut self, end: u64) -> u64 {
        self.word().checked_rem(end).unwrap_or(0)
    }

    /// Once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    /// The bytes that `seed` stands for: never all zero, and others in each eight.
    pub fn fill(seed: u64, bytes: &mut [u8]) {
        let mut random = Random::new(seed);
        for piece in bytes.chunks_mut(8) {
            let word = (random.word() | 0x0101_0101_0101_0101).to_le_bytes();
            piece.copy_from_slice(&word[..piece.len()]);
        }
    }
}
