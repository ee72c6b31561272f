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
}
