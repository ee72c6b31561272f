# SPDX-License-Identifier: GPL-2.0 OR MIT
# Replacing rext4 below running programs, on a disk that e2fsck and native ext4 judge. Its modules were built with the test
# hook (bento-runtime/src/faults/requested.rs). PARTS: survive, storm, panics, writeback, restarts; SWAPS and RESTARTS say how many, REST how
# many milliseconds lie between two swaps; OPS are the handlers that panic, TURNS says how much their victim does; MKFS are
# options for mke2fs.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/upgrade-lib.sh"
WHERE=kernel
VICTIM=4242

# faults ORDER: which calls are struck from now on, by the version that serves.
faults() { setfattr -n trusted.bento.fault -v "$1" $dir; }

cat >> /tmp/swaps << 'SWAPS'
# A call that is abandoned: the instance is made again from the device.
restart_from_device() {
    local before=$(attr restarts)
    faults op=getxattr,uid=4242,every=1,kind=abandon
    setpriv --reuid 4242 --regid 4242 --clear-groups getfattr -n user.none $dir 2>&1 | grep -q 'nput/output' || return
    until_attr restarts $((before + 1)) && until_attr health ok && faults ''
}
SWAPS

# up [OPTIONS]: mounts version 1 on $dir, empty.
up() {
    echo 1 > /sys/fs/bento/rext4/default
    fresh rext4 $dir "$1" || { not_ok "mount: $(dmesg | tail -n 3)"; finish; }
    slot=/sys/fs/bento/rext4/$(stat -c %Hd:%Ld $dir)
    new=2
    put restart_limit 0
    commands restart_from_device
}

# All there is on $dir, as far as it can be told from outside.
tree() {
    (cd $dir && find . -xdev ! -name lost+found -printf '%p %y %m %U %G %n %l %T@\n' | sort &&
        find . -xdev -type f ! -path './lost+found/*' -print0 | sort -z | xargs -0 -r sha256sum &&
        getfattr -R -h -d -m '^user\.[a-oq-z]' --absolute-names . | sort)
}

# The disk is clean, and native ext4 has on it what there was.
judge() {
    tree > /tmp/tree.before
    leave rext4 $dir
    check "native ext4 mounts it" mount -t ext4 -o ro $BENTO_DISK0 $dir
    tree > /tmp/tree.after
    check "and reads all of it ($(wc -l < /tmp/tree.before) lines)" diff /tmp/tree.before /tmp/tree.after
    if [ -n "$1" ]; then
        same "who made it is on the disk" "$2" "$(getfattr --only-values --absolute-names -n user.provenance $1 | sed 's/^[0-9.]* //; s/pid=[0-9]*/pid=N/')"
    fi
    umount $dir
}

part_survive() {
    count_before rext4
    up
    program survive $dir "" upgrade downgrade upgrade restart downgrade
    same "healthy" ok "$(attr health)"
    $bin/swap $slot 1 2 > /dev/null
    cp /etc/passwd $dir/copy
    check "bentoctl knows who made a file" sh -c "$ctl provenance $dir/copy | grep -q 'create.*cp'"
    refuse "which nobody sets" "not permitted" setfattr -n user.provenance -v lies $dir/copy
    $bin/swap $slot 1 1 > /dev/null
    judge $dir/copy "create pid=N comm=cp uid=0"
    count_after rext4

    # The same with a restart from the device; what was abandoned is leaked on purpose (SAFETY.md C2).
    up
    TRAFFIC_AGAIN=1 program survive $dir "" upgrade restart_from_device downgrade restart_from_device
    same "healthy after restarts from the device" ok "$(attr health)"
    judge
}

# writer NAME: a large file over and over, with fsync, until /tmp/stop is there; it is read again each time.
writer() {
    local turn=0
    dd if=/dev/urandom of=/tmp/$1.random bs=64k count=${WRITE:-96} status=none
    until [ -e /tmp/stop ]; do
        turn=$((turn + 1))
        dd if=/tmp/$1.random of=$dir/$1 bs=64k conv=fsync status=none 2>> /tmp/$1.log || { echo bad write > /tmp/$1.verdict; return; }
        echo 1 > /proc/sys/vm/drop_caches
        cmp -s /tmp/$1.random $dir/$1 || { echo bad bytes > /tmp/$1.verdict; return; }
        rm $dir/$1 || { echo bad rm > /tmp/$1.verdict; return; }
        echo "fine $turn" > /tmp/$1.verdict
    done
}

# cloner: git clone, checked, over and over.
cloner() {
    local turn=0
    cd /tmp
    until [ -e /tmp/stop ]; do
        turn=$((turn + 1))
        { git clone -q --no-local file:///tmp/small/.git $dir/clone && [ -z "$(git -C $dir/clone status --porcelain)" ] &&
            git -C $dir/clone fsck --full --strict && rm -rf $dir/clone; } > /tmp/git.log 2>&1 || { echo bad > /tmp/git.verdict; return; }
        echo "fine $turn" > /tmp/git.verdict
    done
}
verdict() {
    check "$1 ($(cat /tmp/$2.verdict))" grep -q fine /tmp/$2.verdict
    grep -q bad /tmp/$2.verdict && tail -n 5 /tmp/$2.log
}

# Everything at once, and swaps to and fro below it.
part_storm() {
    count_before rext4
    up
    mkdir -p /tmp/small
    git --git-dir=/bento/repository.git archive HEAD core/src/num core/src/iter | tar -x -C /tmp/small
    [ -d /tmp/small/.git ] ||
        (cd /tmp/small && git init -q -b main . && git add -A && git -c user.name=b -c user.email=b@b commit -qm small)
    rm -f /tmp/stop /tmp/*.verdict
    (cd /tmp && fsx_loop) & fsx=$!
    writer large & writing=$!
    cloner & cloning=$!
    load_begin
    sleep 1
    $bin/swap -w ${REST:-30}000 $slot ${SWAPS:-500} 2 1 > /tmp/storm.swap
    code=$?
    sed 's/^/# /' /tmp/storm.swap
    same "every one of ${SWAPS:-500} swaps succeeds" 0 $code
    load_end "the swaps"
    fsx_end
    wait $writing $cloning
    verdict "a large file is written, synced and read" large
    verdict "git cloned and checked" git
    same "healthy" ok "$(attr health)"
    cp -r /tmp/small $dir/kept
    judge
    count_after rext4
}

# Handlers are struck in the middle of what they do. Their victim gets EIO and nothing has happened; nobody else notices.
part_panics() {
    local op
    up
    load_begin
    mkdir -m 777 $dir/victim
    dmesg -n 1 2> /dev/null
    for op in $OPS; do
        for every in ${EVERY:-5 31 101}; do
            faults op=$op,uid=$VICTIM,every=$every,kind=panic
            rm -rf $dir/victim/*
            program victim $dir/victim ${TURNS:-20} $VICTIM | sed "s/^\(ok\|not ok\) /&$op, one place in $every: /"
            faults ''
        done
        $bin/swap $slot 1 $((3 - $(attr version))) > /dev/null
    done
    same "healthy" ok "$(attr health)"
    echo "# $(attr panics) panics, $(attr restarts) restarts"
    load_end "panics"
    check "the victim's files can be removed" rm -r $dir/victim
    judge
}

# What goes on behind everybody's back is struck: pages stay dirty, and go out later.
part_writeback() {
    local op
    up
    dmesg -n 1 2> /dev/null
    dd if=/dev/urandom of=/tmp/pattern bs=64k count=40 status=none
    for op in allocate_extents convert_extents write_inode; do
        for kind in panic error; do
            faults op=$op,every=3,kind=$kind
            for i in 1 2 3 4 5 6; do cp /tmp/pattern $dir/$op-$kind-$i; done
            sync -f $dir 2> /dev/null
            faults ''
            check "sync succeeds after $op had a $kind" sync -f $dir
            echo 3 > /proc/sys/vm/drop_caches
            for i in 1 2 3 4 5 6; do cmp /tmp/pattern $dir/$op-$kind-$i || not_ok "$op, $kind: $i has other bytes"; done
        done
    done
    same "healthy" ok "$(attr health)"
    judge
}

# The instance is abandoned and made again from the device, over and over, below traffic.
part_restarts() {
    local before i
    up
    export TRAFFIC_AGAIN=1
    load_begin
    unset TRAFFIC_AGAIN
    dmesg -n 1 2> /dev/null
    before=$(attr restarts)
    for i in $(seq ${RESTARTS:-100}); do
        restart_from_device || { not_ok "restart $i: $(attr health), $(attr restarts) restarts, $(attr last_swap)"; break; }
        [ $((i % 10)) = 0 ] && $bin/swap $slot 1 $((3 - $(attr version))) > /dev/null
    done
    same "restarts from the device" ${RESTARTS:-100} $(($(attr restarts) - before))
    echo "# $(attr last_swap)"
    load_end "restarts"
    same "healthy" ok "$(attr health)"
    judge
}

for part in $PARTS; do
    echo "# $part"
    part_$part
done
finish
