# SPDX-License-Identifier: GPL-2.0 OR MIT
# The fsx crate on FS: OPERATIONS random operations split over SEEDS files, every read compared with what it must be.
. "$(dirname "$0")/lib.sh"
dir=${DIR:-/mnt/f}
[ -n "$DIR" ] || check "mount $FS" fresh $FS $dir
each=$((OPERATIONS / $(echo $SEEDS | wc -w)))
cd /tmp || exit
for seed in $SEEDS; do
    if $bin/fsx -f $here/fsx.toml -S $seed -N $each -P /tmp $dir/file-$seed > /tmp/fsx.out 2>&1; then
        ok "fsx on $FS: $each operations from seed $seed"
    else
        not_ok "fsx on $FS, seed $seed: $(tail -n 15 /tmp/fsx.out)"
    fi
done
cd /
[ -n "$DIR" ] || leave $FS $dir
finish
