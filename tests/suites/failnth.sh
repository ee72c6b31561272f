# SPDX-License-Identifier: GPL-2.0 OR MIT
# Each allocation of each call fails once, in a kernel with fault injection; nothing is lost or left behind.
. "$(dirname "$0")/lib.sh"
settle none
before=$(allocated)
debug=/sys/kernel/debug
for kind in failslab fail_page_alloc; do
    echo N > $debug/$kind/ignore-gfp-wait
    echo 0 > $debug/$kind/verbose
done
echo N > $debug/fail_page_alloc/ignore-gfp-highmem
echo 0 > $debug/fail_page_alloc/min-order
mkdir -p /mnt/n
for fs in memfs bytesfs; do program failnth $fs /mnt/n; done
settle "$before"
same "Rust holds as many bytes as before" "$before" "$(allocated)"
same "no inode is left" 0 "$(slab_objects bento_inode)"
for module in memfs_v1 bytesfs_v1 bento; do check "unload $module" rmmod $module; done
finish
