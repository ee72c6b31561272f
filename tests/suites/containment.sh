# SPDX-License-Identifier: GPL-2.0 OR MIT
# Each kind of fault in each handler (KINDS; all of them when empty); nothing is lost but what an abandoned instance
# keeps by design.
. "$(dirname "$0")/lib.sh"
mkdir -p /mnt/c
settle none
before=$(allocated)
users=$(module_users bytesfs_v1)
program contain /mnt/c error panic index alloc capacity lock
settle "$before"
same "unwound panics leak nothing" "$before" "$(allocated)"
same "no inode is left" 0 "$(slab_objects bento_inode)"
same "the module has the users it had" "$users" "$(module_users bytesfs_v1)"

# Abandoned instances: leaked on purpose, and their module stays (SAFETY.md C2).
program contain /mnt/c drop recursion
check "mount for a lock that is never let go" fresh bytesfs /mnt/c on=lookup,kind=hold
program waiters /mnt/c
check "unmount" umount /mnt/c
check "code that may still be named is not unloaded" sh -c "[ $(module_users bytesfs_v1) -gt 0 ] && ! rmmod bytesfs_v1"
check "another file system is unharmed" fresh memfs /mnt/m
check "it works" sh -c 'echo fine > /mnt/m/f && grep -q fine /mnt/m/f'
check "unmount" umount /mnt/m
check "and unload" rmmod memfs_v1
finish
