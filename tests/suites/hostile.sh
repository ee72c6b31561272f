# SPDX-License-Identifier: GPL-2.0 OR MIT
# hostilefs answers with random and extreme values from every handler. The kernel stays up (the tool reads its log),
# nobody hangs, and the log names handler and value.
. "$(dirname "$0")/lib.sh"
settle none
before=$(allocated)
mkdir -p /mnt/x
mounted=0 refused=0
for seed in $(seq ${SEEDS:-30}); do
    sane=$((seed * 37 % 101))
    if mount -t hostilefs -o seed=$seed,sane=$sane none /mnt/x 2> /dev/null; then
        mounted=$((mounted + 1))
        timeout -s KILL 60 $bin/hostile /mnt/x ${CALLS:-400} > $log 2>&1
        code=$?
        [ $code = 137 ] && not_ok "seed $seed hangs: $(tail -n 1 $log)"
        timeout -s KILL 20 umount /mnt/x 2> $log || { timeout -s KILL 20 umount -l /mnt/x; not_ok "seed $seed: umount: $(cat $log)"; }
    else
        refused=$((refused + 1))
    fi
done
if [ $mounted -gt 3 ]; then ok "$mounted mounts used, $refused refused"; else not_ok "only $mounted mounts came up"; fi
check "the log names a handler and its value" sh -c 'dmesg | grep -qE "bento: hostilefs\(.*\): [a-z_]+ returned"'
dmesg | grep -oE "bento: hostilefs\(.*\): [a-z_]+ returned" | sed 's/.*: //' | sort | uniq -c | sed 's/^/# /'
settle "$before"
same "Rust holds as many bytes as before" "$before" "$(allocated)"
same "no inode is left" 0 "$(slab_objects bento_inode)"
check "unload" rmmod hostilefs_v1
finish
