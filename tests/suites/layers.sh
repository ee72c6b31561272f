# SPDX-License-Identifier: GPL-2.0 OR MIT
# Where the modules lie, then CALLS calls of each kind with a statfs before, between and after them: the trace is cut there.
set -e
mkdir -p /mnt/l
mount -t memfs none /mnt/l
grep -E '^(bento|memfs_v1) ' /proc/modules
grep -E '\[(bento|memfs_v1)\]$' /proc/kallsyms
/bento/bin/layers /mnt/l "$CALLS"
umount /mnt/l
