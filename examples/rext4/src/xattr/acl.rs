// SPDX-License-Identifier: GPL-2.0 OR MIT
//! POSIX ACLs: the VFS's form, 8 bytes an entry, and ext4's, in which only entries that name somebody have a number.

use bento::prelude::*;

const VFS_VERSION: u32 = 2;
const DISK_VERSION: u32 = 1;
const HEADER: usize = 4;

/// Nobody: the number of entries that need none.
const UNDEFINED: u32 = u32::MAX;

/// Does an entry with this tag name a user or group? `None`: there is no such tag.
fn names_one(tag: u16) -> Option<bool> {
    match tag {
        0x01 | 0x04 | 0x10 | 0x20 => Some(false),
        0x02 | 0x08 => Some(true),
        _ => None,
    }
}

fn version(bytes: &[u8], version: u32) -> Option<&[u8]> {
    let (head, rest) = bytes.split_first_chunk::<HEADER>()?;
    (u32::from_le_bytes(*head) == version).then_some(rest)
}

/// Tag and permissions.
fn word(bytes: [u8; 4]) -> Option<(u16, [u8; 4])> {
    let (tag, permissions) = (u16::from_le_bytes([bytes[0], bytes[1]]), u16::from_le_bytes([bytes[2], bytes[3]]));
    (permissions <= 7).then_some((tag, bytes))
}

/// From the VFS's form: `EINVAL` when it is none.
pub fn to_disk(value: &[u8]) -> Result<Vec<u8>> {
    let (entries, []) = version(value, VFS_VERSION).ok_or(Errno::EINVAL)?.as_chunks::<8>() else {
        return Err(Errno::EINVAL);
    };
    let mut disk = Vec::new();
    disk.try_reserve_exact(value.len())?;
    disk.extend_from_slice(&DISK_VERSION.to_le_bytes());
    for [a, b, c, d, id @ ..] in entries {
        let (tag, head) = word([*a, *b, *c, *d]).ok_or(Errno::EINVAL)?;
        disk.extend_from_slice(&head);
        if names_one(tag).ok_or(Errno::EINVAL)? {
            if u32::from_le_bytes(*id) == UNDEFINED {
                return Err(Errno::EINVAL);
            }
            disk.extend_from_slice(id);
        }
    }
    Ok(disk)
}

/// From ext4's form, or `None` when it is none.
pub fn from_disk(value: &[u8]) -> Result<Option<Vec<u8>>> {
    let Some(mut rest) = version(value, DISK_VERSION) else { return Ok(None) };
    let mut acl = Vec::new();
    acl.try_reserve_exact(HEADER + rest.len() * 2)?;
    acl.extend_from_slice(&VFS_VERSION.to_le_bytes());
    while let Some((head, behind)) = rest.split_first_chunk::<4>() {
        let Some((tag, head)) = word(*head) else { return Ok(None) };
        acl.extend_from_slice(&head);
        rest = behind;
        let id = match names_one(tag) {
            Some(true) => {
                let Some((id, behind)) = rest.split_first_chunk::<4>() else { return Ok(None) };
                rest = behind;
                *id
            }
            Some(false) => UNDEFINED.to_le_bytes(),
            None => return Ok(None),
        };
        acl.extend_from_slice(&id);
    }
    Ok(rest.is_empty().then_some(acl))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vfs(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut bytes = VFS_VERSION.to_le_bytes().to_vec();
        for (tag, permissions, id) in entries {
            bytes.extend_from_slice(&tag.to_le_bytes());
            bytes.extend_from_slice(&permissions.to_le_bytes());
            bytes.extend_from_slice(&id.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn both_ways() {
        let none = UNDEFINED;
        let acl = vfs(&[(1, 6, none), (2, 7, 1000), (4, 4, none), (8, 5, 70000), (0x10, 7, none), (0x20, 0, none)]);
        let disk = to_disk(&acl).unwrap();
        assert_eq!(disk.len(), 4 + 4 * 4 + 2 * 8);
        assert_eq!(from_disk(&disk).unwrap(), Some(acl));
    }

    #[test]
    fn what_is_none_is_refused() {
        let good = vfs(&[(1, 6, UNDEFINED), (4, 4, UNDEFINED), (0x20, 0, UNDEFINED)]);
        for len in 0..good.len() {
            assert_eq!(to_disk(&good[..len]).is_ok(), len >= 4 && (len - 4) % 8 == 0, "{len} bytes");
        }
        assert!(to_disk(&vfs(&[(3, 6, UNDEFINED)])).is_err());
        assert!(to_disk(&vfs(&[(1, 8, UNDEFINED)])).is_err());
        assert!(to_disk(&vfs(&[(2, 7, UNDEFINED)])).is_err());
        let disk = to_disk(&vfs(&[(1, 6, UNDEFINED), (2, 7, 5)])).unwrap();
        for len in 0..disk.len() {
            assert_eq!(from_disk(&disk[..len]).unwrap().is_some(), len == 4 || len == 8, "{len} bytes");
        }
        assert_eq!(from_disk(&[2, 0, 0, 0]).unwrap(), None);
    }
}
