// SPDX-License-Identifier: GPL-2.0 OR MIT
//! POSIX ACLs: their extended-attribute form (`linux/posix_acl_xattr.h`: version 2, then tag, permissions and id, all
//! little-endian), what they grant, and how they and the mode follow each other.

use bento::errno::{Errno, Result};

use crate::caller::Caller;

/// `system.posix_acl_access`
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// `system.posix_acl_default`
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const NO_ID: u32 = u32::MAX;

/// `ACL_*` tags; the order is the order of a valid ACL.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u16)]
enum Tag {
    UserObj = 0x01,
    User = 0x02,
    GroupObj = 0x04,
    Group = 0x08,
    Mask = 0x10,
    Other = 0x20,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    tag: Tag,
    perm: u16,
    id: u32,
}

/// A valid ACL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acl(Vec<Entry>);

impl Acl {
    /// From an attribute's value; `None` when it holds no entries, which removes the ACL.
    pub fn parse(value: &[u8]) -> Result<Option<Acl>> {
        let word = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes).map_err(|_| Errno::EINVAL);
        let half = |bytes: &[u8]| bytes.try_into().map(u16::from_le_bytes).map_err(|_| Errno::EINVAL);
        let (version, rest) = value.split_at_checked(4).ok_or(Errno::EINVAL)?;
        if word(version)? != VERSION {
            return Err(Errno::EOPNOTSUPP);
        }
        let (raw, trailing) = rest.as_chunks::<8>();
        if !trailing.is_empty() {
            return Err(Errno::EINVAL);
        }
        let mut entries = Vec::with_capacity(raw.len());
        for entry in raw {
            let tag = match half(&entry[0..2])? {
                0x01 => Tag::UserObj,
                0x02 => Tag::User,
                0x04 => Tag::GroupObj,
                0x08 => Tag::Group,
                0x10 => Tag::Mask,
                0x20 => Tag::Other,
                _ => return Err(Errno::EINVAL),
            };
            let id = if matches!(tag, Tag::User | Tag::Group) { word(&entry[4..8])? } else { NO_ID };
            entries.push(Entry { tag, perm: half(&entry[2..4])?, id });
        }
        match entries.is_empty() {
            true => Ok(None),
            false => Acl(entries).valid().map(Some),
        }
    }

    fn valid(self) -> Result<Acl> {
        let count = |tag| self.0.iter().filter(|entry| entry.tag == tag).count();
        let named = count(Tag::User) + count(Tag::Group) > 0;
        let one_each = [Tag::UserObj, Tag::GroupObj, Tag::Other].iter().all(|tag| count(*tag) == 1);
        let masked = count(Tag::Mask) <= 1 && (!named || count(Tag::Mask) == 1);
        let ordered = self.0.is_sorted_by_key(|entry| entry.tag);
        let sane = self
            .0
            .iter()
            .all(|entry| entry.perm <= 7 && (entry.id != NO_ID || !matches!(entry.tag, Tag::User | Tag::Group)));
        if one_each && masked && ordered && sane { Ok(self) } else { Err(Errno::EINVAL) }
    }

    /// As an attribute's value.
    pub fn to_value(&self) -> Vec<u8> {
        let mut value = VERSION.to_le_bytes().to_vec();
        for entry in &self.0 {
            value.extend((entry.tag as u16).to_le_bytes());
            value.extend(entry.perm.to_le_bytes());
            value.extend(entry.id.to_le_bytes());
        }
        value
    }

    fn perm(&self, tag: Tag) -> Option<u32> {
        self.0.iter().find(|entry| entry.tag == tag).map(|entry| u32::from(entry.perm))
    }

    fn set_perm(&mut self, tag: Tag, perm: u32) {
        if let Some(entry) = self.0.iter_mut().find(|entry| entry.tag == tag) {
            entry.perm = (perm & 7) as u16;
        }
    }

    /// Whose permission bits are the group bits of the mode.
    fn group_class(&self) -> Tag {
        if self.perm(Tag::Mask).is_some() { Tag::Mask } else { Tag::GroupObj }
    }

    /// The permission bits of the mode that belong to this ACL.
    pub fn mode(&self) -> u32 {
        let perm = |tag| self.perm(tag).unwrap_or(0);
        perm(Tag::UserObj) << 6 | perm(self.group_class()) << 3 | perm(Tag::Other)
    }

    /// Does it say no more than the mode does?
    pub fn is_mode(&self) -> bool {
        self.0.len() == 3
    }

    /// `chmod`: the entries that the mode shows.
    pub fn chmod(&mut self, mode: u32) {
        self.set_perm(Tag::UserObj, mode >> 6);
        self.set_perm(self.group_class(), mode >> 3);
        self.set_perm(Tag::Other, mode);
    }

    /// A new file inherits this default ACL: its access ACL, and the bits that are left of the mode asked for.
    pub fn inherit(&self, mode: u32) -> (Acl, u32) {
        let left = mode & self.mode();
        let mut acl = self.clone();
        acl.chmod(left);
        (acl, mode & !0o777 | left)
    }

    /// Does it grant all of `want` to a caller who is not the owner?
    pub fn grants(&self, caller: &Caller, uid: u32, gid: u32, want: u32) -> bool {
        let mask = self.perm(Tag::Mask).unwrap_or(7);
        let mut in_group = false;
        for entry in &self.0 {
            let perm = u32::from(entry.perm);
            match entry.tag {
                Tag::UserObj if caller.uid == uid => return perm & want == want,
                Tag::User if caller.uid == entry.id => return perm & mask & want == want,
                Tag::GroupObj | Tag::Group => {
                    let group = if entry.tag == Tag::GroupObj { gid } else { entry.id };
                    if caller.in_group(group) {
                        if perm & mask & want == want {
                            return true;
                        }
                        in_group = true;
                    }
                }
                Tag::Other => return !in_group && perm & want == want,
                _ => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut value = 2u32.to_le_bytes().to_vec();
        for (tag, perm, id) in entries {
            value.extend(tag.to_le_bytes());
            value.extend(perm.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        value
    }

    #[test]
    fn named_users_are_bounded_by_the_mask() {
        let value = value(&[(1, 7, NO_ID), (2, 6, 9), (4, 5, NO_ID), (0x10, 4, NO_ID), (0x20, 0, NO_ID)]);
        let acl = Acl::parse(&value).unwrap().unwrap();
        assert_eq!(acl.mode(), 0o740);
        assert!(acl.grants(&Caller::user(9, 9), 1, 1, 4));
        assert!(!acl.grants(&Caller::user(9, 9), 1, 1, 2));
        assert!(!acl.grants(&Caller::user(8, 8), 1, 1, 4));
        assert_eq!(acl.to_value(), value);
    }

    #[test]
    fn malformed_values_are_refused() {
        assert_eq!(Acl::parse(b""), Err(Errno::EINVAL));
        assert_eq!(Acl::parse(&[1, 0, 0, 0]), Err(Errno::EOPNOTSUPP));
        assert_eq!(Acl::parse(&value(&[])), Ok(None));
        assert_eq!(
            Acl::parse(&value(&[(1, 7, NO_ID), (2, 6, 9), (4, 5, NO_ID), (0x20, 0, NO_ID)])),
            Err(Errno::EINVAL)
        );
        assert_eq!(Acl::parse(&value(&[(1, 9, NO_ID), (4, 5, NO_ID), (0x20, 0, NO_ID)])), Err(Errno::EINVAL));
    }

    #[test]
    fn inheriting_narrows_both() {
        let acl = Acl::parse(&value(&[(1, 7, NO_ID), (4, 7, NO_ID), (0x20, 5, NO_ID)])).unwrap().unwrap();
        let (acl, mode) = acl.inherit(0o100_666);
        assert_eq!((mode, acl.mode(), acl.is_mode()), (0o100_664, 0o664, true));
    }
}
