// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Blocks, transactions and extents against the least of a shim: what Miri can run. It checks the pointer work of
//! `fs/device.rs`, `fs/transaction.rs` and `fs/extent.rs` (SAFETY.md C4, T1, T2), and each change against a plain model.
#![cfg(feature = "std")]
#![allow(clippy::undocumented_unsafe_blocks)] // a shim's side of the contract, in a test

mod shim;

use std::mem::zeroed;

use bento::abi::*;
use bento::fs::{Credits, crc32c};
use bento::prelude::*;

use shim::{BLOCK, BLOCKS, Mount, OPS, Random};

/// Miri takes its time.
const MANY: usize = if cfg!(miri) { 60 } else { 3000 };

#[test]
fn a_field_is_read_where_it_is_all_inside() {
    let mut mount = Mount::new();
    let bytes = mount.shim().bytes(3);
    mount
        .run(|_, cx, _| {
            let block = cx.device().read(3)?;
            assert_eq!((block.number(), block.len(), cx.device().block_size()), (3, BLOCK, BLOCK as u32));
            for at in (0..24).chain(BLOCK - 10..BLOCK + 2) {
                let want = |len: usize| bytes.get(at..at + len).ok_or(Errno::EUCLEAN);
                assert_eq!(block.get::<u8>(at), want(1).map(|bytes| bytes[0]));
                assert_eq!(block.get::<u16>(at), want(2).map(|b| u16::from_le_bytes(b.try_into().unwrap())));
                assert_eq!(block.get::<u32>(at), want(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())));
                assert_eq!(block.get::<u64>(at), want(8).map(|b| u64::from_le_bytes(b.try_into().unwrap())));
                assert_eq!(block.get::<[u8; 15]>(at).as_ref().map(|b| &b[..]), want(15).as_ref().map(|b| &b[..]));
            }
            let mut some = [0; 23];
            block.read(7, &mut some)?;
            assert_eq!(some, bytes[7..30]);
            assert!(block.equals(7, &some) && block.equals(BLOCK, &[]) && !block.equals(8, &some));
            for len in 0..23 {
                let mut other = some;
                other[len] ^= 1;
                assert!(block.equals(7, &other[..len]) && !block.equals(7, &other[..len + 1]));
            }
            // Offsets come from the disk.
            for at in [BLOCK - 22, BLOCK + 1, usize::MAX - 3, usize::MAX] {
                assert_eq!(block.read(at, &mut some), Err(Errno::EUCLEAN));
                assert_eq!(block.get::<u64>(at | 1 << 40), Err(Errno::EUCLEAN));
                assert_eq!(block.crc32c(0, at, 23), Err(Errno::EUCLEAN));
                assert!(!block.equals(at, &some));
            }
            assert_eq!(block.crc32c(5, 7, 23), Ok(crc32c(5, &some)));
            assert_eq!(cx.device().read(BLOCKS as u64).err(), Some(Errno::EUCLEAN));
            assert!(!block.is_checked());
            block.set_checked();
            block.set_checked();
            assert!(block.is_checked() && cx.device().read(3)?.is_checked());
            assert!(!cx.device().is_committed(77) && cx.device().is_committed(76));
            assert_eq!(Mount::held(cx), 1);
            Ok(())
        })
        .unwrap();
}

#[test]
fn bits_are_found_and_counted() {
    let mut mount = Mount::new();
    let bytes = mount.shim().bytes(0);
    mount
        .run(|_, cx, _| {
            let block = cx.device().read(0)?;
            let bit = |at: usize| bytes[at / 8] >> (at % 8) & 1 == 1;
            let mut random = Random(9);
            let edges: &[usize] = match cfg!(miri) {
                true => &[0, 1, 63, 64, 65, 130],
                false => &[0, 1, 63, 64, 65, 127, 128, 4032, 4095, 4096, 5000, usize::MAX],
            };
            let pairs = edges.iter().flat_map(|from| edges.iter().map(|to| (*from, *to)));
            let pairs = pairs
                .chain([(4000, usize::MAX)])
                .chain((0..MANY / 60).map(|_| (random.below(4200), random.below(4200))));
            for (from, to) in pairs.collect::<Vec<_>>() {
                let range = from..to.min(4096);
                assert_eq!(block.count_bits(from, to), range.clone().filter(|at| bit(*at)).count(), "{from}..{to}");
                for set in [false, true] {
                    assert_eq!(block.find_bit(set, from, to), range.clone().find(|at| bit(*at) == set));
                }
            }
            Ok(())
        })
        .unwrap();
}

/// Changes a block at random, and `model` likewise.
fn change(random: &mut Random, tx: &Transaction<'_>, block: &Block<'_>, model: &mut [u8]) -> Result<()> {
    let at = random.below(BLOCK);
    let len = random.below(BLOCK - at + 1).min(100);
    let value = random.next();
    match random.below(9) {
        0 if at < BLOCK => {
            model[at] = value as u8;
            tx.put(block, at, value as u8)
        }
        1 if at + 2 <= BLOCK => {
            model[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
            tx.put(block, at, value as u16)
        }
        2 if at + 4 <= BLOCK => {
            model[at..at + 4].copy_from_slice(&(value as u32).to_le_bytes());
            tx.put(block, at, value as u32)
        }
        3 if at + 8 <= BLOCK => {
            model[at..at + 8].copy_from_slice(&value.to_le_bytes());
            tx.put(block, at, value)
        }
        4 => {
            let bytes: Vec<u8> = (0..len).map(|n| (value >> (n % 57)) as u8).collect();
            model[at..at + len].copy_from_slice(&bytes);
            tx.put_bytes(block, at, &bytes)
        }
        5 => {
            model[at..at + len].fill(value as u8);
            tx.fill(block, at, len, value as u8)
        }
        6 => {
            let to = random.below(BLOCK - len + 1);
            model.copy_within(at..at + len, to);
            tx.shift(block, at, to, len)
        }
        _ => {
            let (from, count, set) = (at * 8 + value as usize % 8, value as usize % 70, value >> 63 == 1);
            let count = count.min(BLOCK * 8 - from);
            for bit in from..from + count {
                model[bit / 8] = model[bit / 8] & !(1 << (bit % 8)) | u8::from(set) << (bit % 8);
            }
            tx.put_bits(block, from, count, set)
        }
    }
}

#[test]
fn changes_are_as_in_a_model_and_undone_to_the_byte() {
    let mut mount = Mount::new();
    let mut random = Random(4);
    for round in 0..MANY / 20 {
        let before = mount.shim().device();
        let mut model = before.clone();
        let commit = round % 3 == 0;
        let result = mount.run(|_, cx, _| {
            let blocks = [cx.device().read(1)?, cx.device().read(2)?];
            let tx = cx.begin(2)?;
            for _ in 0..20 {
                let at = random.below(2);
                let model = &mut model[(at + 1) * BLOCK..(at + 2) * BLOCK];
                change(&mut random, &tx, &blocks[at], model)?;
                assert!(blocks[at].equals(0, model));
            }
            match round % 3 {
                0 => tx.commit(),
                1 => Err(Errno::EIO),
                // The shim ends what nobody ended.
                _ => {
                    std::mem::forget((tx, blocks));
                    Ok(())
                }
            }
        });
        assert_eq!(result.is_ok(), round % 3 != 1);
        assert!(mount.shim().device() == if commit { model } else { before }, "round {round}");
        assert!(mount.shim().written.len() <= 2, "access is asked for once for each block");
    }
    assert!(mount.shim().rooms > MANY / 20);
}

#[test]
fn what_is_not_all_inside_is_refused_before_anything_changes() {
    let mut mount = Mount::new();
    let before = mount.shim().device();
    mount
        .run(|_, cx, _| {
            let block = cx.device().read(1)?;
            let tx = cx.begin(1)?;
            let no = Err(Errno::EUCLEAN);
            for at in [BLOCK - 6, BLOCK, BLOCK + 1, usize::MAX - 6, usize::MAX] {
                assert_eq!(tx.put(&block, at, 7_u64), no);
                assert_eq!(tx.put_bytes(&block, at, &[1; 7]), no);
                assert_eq!(tx.fill(&block, at, 7, 1), no);
                assert_eq!((tx.shift(&block, at, 0, 7), tx.shift(&block, 0, at, 7)), (no, no));
                assert_eq!(tx.put_bits(&block, at.saturating_mul(8), 56, true), no);
            }
            assert_eq!(tx.put_bits(&block, 3, usize::MAX, true), no);
            assert_eq!(tx.put_bits(&block, usize::MAX, 1, true), no);
            assert_eq!(tx.fill(&block, 0, usize::MAX, 1), no);
            // Nothing is a change too, and harmless.
            tx.put_bytes(&block, BLOCK, &[])?;
            tx.put_bits(&block, 11, 0, true)?;
            tx.put_bits(&block, BLOCK * 8, 0, true)?;
            tx.shift(&block, 9, 4, 0)?;
            tx.commit()
        })
        .unwrap();
    assert_eq!(mount.shim().device(), before);
}

#[test]
fn a_transaction_ends_once_and_another_may_follow() {
    let mut mount = Mount::new();
    mount
        .run(|fs, cx, _| {
            let block = cx.device().read(1)?;
            let tx = cx.begin(Credits { blocks: 3, revokes: 1 })?;
            assert_eq!(cx.begin(1).err(), Some(Errno::EDEADLK));
            assert_eq!((tx.extend(7), tx.extend(101)), (Ok(()), Err(Errno::ENOSPC)));
            tx.write(&block)?;
            tx.put(&block, 0, 1_u32)?;
            tx.forget(5)?;
            assert_eq!(tx.id(), 77);
            tx.commit()?;
            // Access is of one transaction.
            let tx = cx.begin(1)?;
            tx.write_summed(&block, fs.sum.0.unwrap())?;
            tx.put(&block, 4, 2_u32)?;
            let fresh = tx.fresh(6)?;
            assert!(fresh.is_checked() && fresh.equals(0, &[0; BLOCK]));
            tx.put(&fresh, 100, 3_u8)?;
            tx.commit()?;
            assert_eq!(fresh.get::<u8>(100), Ok(3));
            Ok(())
        })
        .unwrap();
    let shim = mount.shim();
    assert_eq!((&shim.ends[..], &shim.forgotten[..]), (&[true, true][..], &[5][..]));
    assert_eq!(shim.written, [(1, 1), (6, 0)]);
    assert_eq!(shim.bytes(1)[..8], [1, 0, 0, 0, 2, 0, 0, 0]);

    // Refused where it is asked for: the block says nothing of it later.
    let before = mount.shim().device();
    let result = mount.run(|_, cx, _| {
        let (last, fresh) = (cx.device().read(BLOCKS as u64 - 1)?, cx.device());
        let tx = fresh.begin(1)?;
        drop(tx.fresh(2)?);
        assert_eq!(tx.put(&last, 0, 1_u8), Err(Errno::EIO));
        tx.put(&last, 0, 1_u8)?;
        tx.commit()
    });
    assert_eq!(result, Err(Errno::EIO));
    assert_eq!(mount.shim().device(), before);
}

#[test]
fn a_commit_that_is_refused_has_changed_nothing() {
    let mut mount = Mount::new();
    let before = mount.shim().device();
    mount.shim().refuse_commit = true;
    let result = mount.run(|fs, cx, inode| {
        let block = cx.device().read(1)?;
        let tx = cx.begin(1)?;
        let mut value = tx.lock(&fs.locks[0])?;
        *value += 1;
        tx.fill(&block, 0, BLOCK, 0)?;
        tx.update(inode, |attr| attr.nlink = 9)?;
        tx.claim(4)?;
        tx.commit()
    });
    assert_eq!(result, Err(Errno::EIO));
    let shim = mount.shim();
    assert_eq!((shim.device(), shim.free, shim.staged.len(), &shim.ends[..]), (before, 10, 0, &[false][..]));
    assert!(mount.fs().locks[0].try_lock().is_some());
}

#[test]
fn locks_are_held_until_the_transaction_has_ended() {
    let mut mount = Mount::new();
    mount.shim().watched = &raw const mount.fs().locks[6];
    for commit in [true, false] {
        mount
            .run(|fs, cx, _| {
                let tx = cx.begin(1)?;
                for lock in fs.locks.iter().rev() {
                    let mut value = tx.lock(lock)?;
                    *value += 1;
                    assert_eq!(tx.lock(lock).err(), Some(Errno::EDEADLK));
                    assert!(tx.try_lock(lock).is_none());
                }
                assert!(fs.locks.iter().all(|lock| lock.try_lock().is_none()));
                if commit { tx.commit() } else { Ok(()) }
            })
            .unwrap();
        let free = mount.fs().locks.iter().filter(|lock| lock.try_lock().is_some()).count();
        assert_eq!(free, 7);
    }
    assert_eq!(mount.fs().locks.iter().map(|lock| *lock.lock()).collect::<Vec<_>>(), [2; 7]);

    // Two of them at a time are two values.
    mount.shim().watched = std::ptr::null();
    mount
        .run(|fs, cx, _| {
            let tx = cx.begin(1)?;
            let (mut one, mut two) = (tx.lock(&fs.locks[0])?, tx.try_lock(&fs.locks[1]).ok_or(Errno::EBUSY)?);
            std::mem::swap(&mut *one, &mut *two);
            *one += 10;
            let held = fs.locks[2].lock();
            assert!(tx.try_lock(&fs.locks[2]).is_none());
            drop(held);
            *two += *one;
            tx.commit()
        })
        .unwrap();
    assert_eq!((*mount.fs().locks[0].lock(), *mount.fs().locks[1].lock()), (12, 14));
}

#[test]
fn a_panic_undoes_and_poisons() {
    let mut mount = Mount::new();
    let before = mount.shim().device();
    mount.shim().watched = &raw const mount.fs().locks[3];
    let result = mount.run(|fs, cx, _| {
        let block = cx.device().read(4)?;
        let tx = cx.begin(1)?;
        let mut value = tx.lock(&fs.locks[3])?;
        tx.put(&block, 8, *value)?;
        *value = 5;
        panic!("in the middle");
    });
    assert_eq!(result, Err(Errno::EIO));
    assert_eq!(mount.shim().device(), before);
    assert_eq!(mount.shim().ends, [false]);
    mount.shim().watched = std::ptr::null();
    // Who comes next ends as well, and its transaction with it.
    let result = mount.run(|fs, cx, _| {
        let tx = cx.begin(1)?;
        let _fine = tx.lock(&fs.locks[2])?;
        assert!(tx.try_lock(&fs.locks[3]).is_none());
        let _poisoned = tx.lock(&fs.locks[3])?;
        unreachable!("it is poisoned");
    });
    assert_eq!(result, Err(Errno::EIO));
    assert_eq!(mount.shim().ends, [false, false]);
}

#[test]
fn attributes_are_staged_and_space_is_claimed() {
    let mut mount = Mount::new();
    mount
        .run(|_, cx, inode| {
            let tx = cx.begin(1)?;
            let same = tx.update(inode, |attr| attr.uid = 0)?;
            assert_eq!((same.size, same.disk_size), (1000, 512));
            let staged = tx.update(inode, |attr| (attr.size, attr.nlink) = (77, 3))?;
            assert_eq!((staged.size, staged.disk_size), (77, 77));
            tx.claim(3)?;
            tx.release(2);
            tx.commit()
        })
        .unwrap();
    let shim = mount.shim();
    assert_eq!(shim.free, 9);
    assert_eq!(shim.staged.len(), 1, "what changes nothing is not staged");
    let (ino, valid, attr) = &shim.staged[0];
    assert_eq!((*ino, *valid, attr.size, attr.nlink), (1, BENTO_ATTR_SIZE | BENTO_ATTR_NLINK, 77, 3));

    let result = mount.run(|_, cx, _| {
        let tx = cx.begin(1)?;
        tx.claim(5)?;
        tx.release(1);
        tx.claim(5)?;
        tx.commit()
    });
    assert_eq!((result, mount.shim().free), (Err(Errno::ENOSPC), 9));
}

#[test]
fn extents_are_in_order_and_without_gaps() {
    let mount = Mount::new();
    let mut list: [bento_extent; 3] = unsafe { zeroed() };
    let mut args: bento_map_args = unsafe { zeroed() };
    (args.inode, args.offset, args.len, args.extents, args.cap) = (mount.root, 2048, 4096, list.as_mut_ptr(), 3);
    let map = OPS.map_extents.unwrap();
    // One more than there is room for.
    assert_eq!(unsafe { map(mount.call, &raw mut args) }, -i64::from(Errno::ENOSPC.get()));
    assert_eq!(args.count, 0);
    let found: Vec<_> = list.iter().map(|extent| (extent.offset, extent.len, extent.addr, extent.flags)).collect();
    let new = BENTO_EXTENT_UNWRITTEN | BENTO_EXTENT_NEW;
    assert_eq!(found, [(2048, 512, 0, 0), (2560, 1024, 4096, BENTO_EXTENT_MAPPED), (3584, 512, 512, new)]);
    // The end is past all numbers.
    args.len = u64::MAX;
    assert_eq!(unsafe { map(mount.call, &raw mut args) }, -i64::from(Errno::EUCLEAN.get()));
    args.cap = 0;
    assert!(unsafe { map(mount.call, &raw mut args) } < 0);

    (args.cap, args.len, args.flags, args.reserved) = (3, 512, BENTO_ALLOCATE_WRITTEN | BENTO_ALLOCATE_DELAYED, 3);
    args.extents = list.as_mut_ptr();
    assert_eq!(unsafe { OPS.allocate_extents.unwrap()(mount.call, &raw mut args) }, 0);
    assert_eq!((args.count, list[0].flags), (1, BENTO_EXTENT_MAPPED | BENTO_EXTENT_NEW));
    list[0] = bento_extent { offset: 512, len: 1024, addr: 2048, flags: BENTO_EXTENT_MAPPED, pad: 0 };
    args.extents = list.as_mut_ptr();
    assert_eq!(unsafe { OPS.convert_extents.unwrap()(mount.call, &raw mut args) }, 0);
}
