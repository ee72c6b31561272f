// SPDX-License-Identifier: GPL-2.0 OR MIT
//! crc32c (Castagnoli), without the inversions at either end.

/// Reversed polynomial.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// `TABLES[n]`: what a byte does `n` bytes before the end of a word.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has the instruction.
        return unsafe { hardware(seed, bytes) };
    }
    software(seed, bytes)
}

fn software(seed: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut crc = seed;
    for word in words {
        let word = u64::from_le_bytes(*word) ^ u64::from(crc);
        crc = word.to_le_bytes().iter().enumerate().fold(0, |crc, (n, byte)| crc ^ TABLES[7 - n][usize::from(*byte)]);
    }
    rest.iter().fold(crc, |crc, byte| crc >> 8 ^ TABLES[0][usize::from(crc as u8 ^ byte)])
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "sse4.2")]
fn hardware(seed: u32, bytes: &[u8]) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u64};
    let (words, rest) = bytes.as_chunks::<8>();
    let crc = words.iter().fold(u64::from(seed), |crc, word| _mm_crc32_u64(crc, u64::from_le_bytes(*word)));
    rest.iter().fold(crc as u32, |crc, byte| _mm_crc32_u8(crc, *byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_value() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
        assert_eq!(!software(!0, b"123456789"), 0xe306_9283);
        let bytes: Vec<u8> = (0..1031u32).map(|n| ((n * 7) >> 2) as u8).collect();
        for len in [0, 1, 7, 8, 9, 63, 1031] {
            assert_eq!(crc32c(5, &bytes[..len]), software(5, &bytes[..len]));
        }
    }
}
