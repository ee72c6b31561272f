// SPDX-License-Identifier: GPL-2.0 OR MIT
//! crc32c (Castagnoli), without the inversions at either end.

pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_value() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(crc32c(5, b"1234"), b"56789"), crc32c(5, b"123456789"));
        assert_eq!(crc32c(5, b""), 5);
    }

    /// Long pieces go another way than short ones.
    #[test]
    fn a_bit_at_a_time() {
        let bytes: Vec<u8> = (0..25_000u32).map(|n| ((n * 7) >> 2) as u8).collect();
        let slow = |seed: u32, bytes: &[u8]| {
            bytes.iter().fold(seed, |crc, byte| {
                let shift = |crc: u32, _| if crc & 1 != 0 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
                (0..8).fold(crc ^ u32::from(*byte), shift)
            })
        };
        for len in [1, 255, 767, 768, 1024, 4096, 25_000] {
            assert_eq!(crc32c(7, &bytes[..len]), slow(7, &bytes[..len]), "{len}");
        }
    }
}
