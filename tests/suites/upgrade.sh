# SPDX-License-Identifier: GPL-2.0 OR MIT
# Replacing a running file system. PARTS: survive, refuse, mend, modules, tool, storm, faulty, restarts; WHERE is kernel
# or fuse; SWAPS and RESTARTS say how many, REST how many milliseconds lie between two swaps.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/upgrade-lib.sh"
unset XDG_RUNTIME_DIR

# up FS [OPTIONS]: mounts version 1 on $dir. $slot is what `swap` talks to, $new what version 2 is called.
up() {
    local i
    mkdir -p $dir
    if [ $WHERE = fuse ]; then
        /bento/cargo-bento mount ${2:+-o "$2"} /bento/objects/$1.so $dir > /tmp/daemon.log 2>&1 &
        daemon=$!
        for i in $(seq 200); do mountpoint -q $dir && break; sleep 0.05; done
        slot=/run/bento/$daemon.sock
        for i in $(seq 100); do [ -S $slot ] && break; sleep 0.05; done
        new=/bento/objects/$1_v2.so
    else
        echo 1 > /sys/fs/bento/$1/default
        mount -t $1 ${2:+-o "$2"} none $dir
        slot=/sys/fs/bento/$1/$(stat -c %Hd:%Ld $dir)
        new=2
    fi
    mountpoint -q $dir || { not_ok "mount $1: $(tail -n 3 /tmp/daemon.log)"; finish; }
    commands restart_armed restart_after_panic
}

down() {
    check "unmount" umount $dir
    if [ $WHERE = fuse ]; then wait $daemon; same "the daemon ends" 0 $?; fi
}

# faults OPTIONS: what fails from now on; bytesfs. FUSE knows no remount with options.
faults() { if [ $WHERE = fuse ]; then put options "$1"; else mount -o remount,"$1" none $dir; fi; }

# More of them, of a file system that fails on request.
cat >> /tmp/swaps << 'SWAPS'
# The faults are set before there are dirty pages: a remount writes them back.
restart_armed() { restart && faults on=statfs,kind=lock; }

# A panic with a lock of the instance held; the next call meets it, and asks for a restart.
restart_after_panic() {
    local before=$(attr restarts) call
    for call in panics meets; do stat -f $dir > /dev/null 2>&1 && { echo "# no call $call"; return 1; }; done
    until_attr restarts $((before + 1)) && until_attr health ok && faults on=,kind=error
}

# not_upgraded FAULTS PATTERN [TO]: with these faults the upgrade fails, says PATTERN, and version 1 goes on.
not_upgraded() {
    local line
    [ -z "$1" ] || faults $1 || return
    $bin/swap -f $slot 1 ${3:-$new} > /tmp/not_upgraded
    line=$($bin/swap $slot get last_swap)
    [ -z "$1" ] || faults on=,kind=error || return
    cat /tmp/not_upgraded
    if [ "$($bin/swap $slot get version)" != 1 ] || ! echo "$line" | grep -q ' failed '; then
        echo "# not refused: $line"
        return 1
    fi
    grep -qE "$2" /tmp/not_upgraded /dev/stdin <<< "$line" && return
    dmesg | tail -n 8 | grep -qE "$2" && return
    [ -e /tmp/daemon.log ] && tail -n 8 /tmp/daemon.log | grep -qE "$2" && return
    echo "# no '$2' in: $line"
    return 1
}
SWAPS

# swapped: the last lines of the log speak of a swap.
part_survive() {
    local fs
    for fs in memfs bytesfs; do
        echo "# $fs"
        count_before $fs
        up $fs
        without=""
        [ $fs = memfs ] && without="freeze"
        [ $WHERE = fuse ] && without="freeze"
        acts="restart"
        [ $fs = bytesfs ] && acts="restart_armed restart_after_panic"
        program survive $dir "$without" upgrade downgrade upgrade $acts downgrade
        same "$fs is healthy" ok "$(attr health)"
        [ $fs = memfs ] && check "bentoctl state names the fields" sh -c "$ctl state $dir | grep '1 /next_ino/: [0-9]'"
        down
        count_after $fs
    done
}

# slow FAULTS PATTERN…: a statfs that takes seconds, and an upgrade that gives up and says each PATTERN; slow_end: it ends.
slow() {
    faults $1
    stat -f $dir > /dev/null & slow=$!
    sleep 0.5
    $bin/swap -f $slot 1 $new > /tmp/slow
    kill -0 $slow 2> /dev/null || not_ok "the slow call ($1) was over at once"
    shift
    for pattern in "$@"; do
        check "an upgrade does not wait for ever, and says for what" sh -c "cat /tmp/slow; grep -qE '$pattern' /tmp/slow"
    done
    same "version 1 stays" 1 "$(attr version)"
}
slow_end() {
    wait $slow
    same "the slow call succeeds" 0 $?
    faults on=,kind=error
}

# The mount goes away while it is upgraded: by itself, and below traffic that ends later.
mount_away() {
    local i rounds=10
    [ $WHERE = fuse ] && rounds=4
    for i in $(seq $rounds); do
        up bytesfs
        echo $i > $dir/file
        [ $((i % 5)) = 1 ] && load_begin
        $bin/swap -f $slot 4 $new 1 > /dev/null 2>&1 & racer=$!
        if [ $((i % 5)) = 1 ]; then
            umount -l $dir
            sleep 0.1
            load_end "a mount that goes away"
        else
            umount $dir 2> /dev/null || { sleep 0.2; umount $dir || not_ok "unmount beside an upgrade"; }
        fi
        wait $racer
        if [ $WHERE = fuse ]; then wait $daemon; same "the daemon ends" 0 $?; fi
    done
    ok "mounts go away while they are upgraded"
}

# An upgrade that fails: the old version serves on, and no call fails beside it.
part_refuse() {
    count_before bytesfs
    up bytesfs
    command_file refused-by-load "not_upgraded on=load,kind=error,errno=22 'EINVAL|errno 22|nvalid'"
    command_file panic-in-load "not_upgraded on=load,kind=panic 'panic'"
    command_file index-in-load "not_upgraded on=load,kind=index 'panic|out of bounds'"
    command_file abandoned-load "not_upgraded on=load,kind=drop 'panic|abandon|EIO|errno 5'"
    command_file no-memory-in-load "not_upgraded on=load,kind=alloc 'ENOMEM|errno 12|memory'"
    command_file panic-in-save "not_upgraded on=save,kind=panic 'panic'"
    command_file refused-by-save "not_upgraded on=save,kind=error,errno=16 'EBUSY|errno 16|usy'"
    all="refused-by-load panic-in-load index-in-load no-memory-in-load panic-in-save refused-by-save"
    if [ $WHERE = fuse ]; then
        command_file another-name "not_upgraded '' 'name|hellofs' /bento/objects/hellofs.so"
        python3 - /bento/objects/bytesfs_v2.so /tmp/abi.so << 'PYTHON'
import re, sys
data = open(sys.argv[1], "rb").read()
data, heads = re.subn(rb"BNT1.\0\0\0", b"BNT1\x63\0\0\0", data)
assert heads, "the object's head was not found"
open(sys.argv[2], "wb").write(data)
PYTHON
        command_file another-abi "not_upgraded '' 'ABI' /tmp/abi.so"
        command_file no-object "not_upgraded '' 'no such|No such|cannot' /tmp/nothing.so"
        all="$all another-name another-abi no-object"
    else
        command_file not-loaded "! $bin/swap $slot 1 7"
        all="$all not-loaded"
    fi
    program survive $dir "freeze" $all
    same "and at last it can be upgraded" 0 "$(upgrade > /dev/null; echo $?)"
    same "to version 2" 2 "$(attr version)"
    downgrade > /dev/null

    # Two at once: one of them, or one after the other.
    echo one > $dir/file
    load_begin
    for i in 1 2 3 4 5; do
        $bin/swap -f $slot 2 $new 1 > /tmp/race1 & one=$!
        $bin/swap -f $slot 2 $new 1 > /tmp/race2 & two=$!
        wait $one && wait $two || not_ok "two at once: $(cat /tmp/race1 /tmp/race2)"
    done
    check "two upgrades at once leave one version" sh -c "echo '$(attr version)' | grep -qx '[12]'"
    same "which serves" one "$(cat $dir/file)"
    [ "$(attr version)" = 1 ] || $bin/swap $slot 1 1 > /dev/null

    # A handler that takes its time: the wait is bounded, and the handler is named. Not in a kernel where one that
    # computes lets nobody else run (SLOW is empty).
    # The same where others wait inside the gate for a lock that it holds: any other handler, whatever the traffic came to.
    if [ -n "$SLOW" ]; then
        put timeout_ms 300
        slow on=statfs,kind=slow 'failed.*statfs'
        check "meanwhile calls go on" timeout 20 cat $dir/file
        slow_end
        slow on=all,kind=wait 'failed.*statfs' 'failed.*(statfs[^,]*, [a-z]|[a-z)], statfs)'
        slow_end
        put timeout_ms 1000
    fi
    check "an upgrade succeeds now" $bin/swap $slot 1 $new
    check "a client that is interrupted harms nothing" sh -c "timeout -s INT 0.02 $ctl downgrade $dir || true; sleep 1; cat $dir/file"
    load_end "races, slow handlers and an interrupted client"
    down
    mount_away
    count_after bytesfs

    # What a panic leaves behind: one inode, or the instance; healed without unmounting.
    up bytesfs
    for i in 1 2 3; do echo file $i > $dir/$i; done
    # Open, or over FUSE it would leave the cache with its name, and be loaded afresh.
    exec 6< $dir/1 7< $dir/3
    faults on=getattr,kind=poison
    refuse "a panic with an inode's lock held" "nput/output" stat $dir/1
    faults on=,kind=error
    refuse "spoils that inode" "nput/output" cat $dir/1
    same "and no other" "file 2" "$(cat $dir/2)"
    same "until an upgrade loads it again" 0 "$(upgrade > /dev/null; echo $?)"
    same "then it is whole" "file 1" "$(cat $dir/1)"
    downgrade > /dev/null
    faults on=getattr,kind=lock
    refuse "a panic with the instance's lock held" "nput/output" stat $dir/2
    refuse "which is met" "nput/output" stat $dir/2
    until_attr health quarantined 10
    same "quarantines version 1" quarantined "$(attr health)"
    refuse "every call" "nput/output" cat $dir/3
    check "an upgrade heals it" $bin/swap $slot 1 $new
    faults on=,kind=error
    same "healthy" ok "$(attr health)"
    same "with every file" "file 1 file 2" "$(echo $(cat $dir/1 $dir/2))"
    same "and open ones" "file 3" "$(cat <&7)"
    exec 6<&- 7<&-
    down

    # A load that is abandoned: what it had made is leaked on purpose, and its module stays (SAFETY.md C2).
    up bytesfs
    command_file abandoned-load "not_upgraded on=load,kind=drop 'panic|abandon'"
    program survive $dir "freeze" abandoned-load
    down
}

# What a version that is restarted after a panic (2) does then, and when it is no more.
part_mend() {
    local i
    count_before bytesfs
    up bytesfs
    echo kept > $dir/file
    exec 6< $dir/file
    upgrade > /dev/null
    put restart_limit 2
    faults on=statfs,kind=lock
    for i in 1 2 3; do
        refuse "panic $i, with the instance's lock held" "nput/output" stat -f $dir
        refuse "which is met" "nput/output" stat -f $dir
        [ $i = 3 ] && break
        until_attr restarts $i
        same "restart $i within the minute" "ok $i" "$(until_attr health ok; attr health) $(attr restarts)"
        same "has the file" kept "$(cat $dir/file)"
    done
    until_attr health quarantined
    same "a third one is too many" "quarantined 2" "$(attr health) $(attr restarts)"
    if [ $WHERE = fuse ]; then said="cat /tmp/daemon.log"; else said=dmesg; fi
    check "and the log says so" sh -c "$said | grep -qE '(more than 2|too many) restarts within a minute'"
    refuse "every call" "nput/output" cat $dir/file
    check "another version heals it" $bin/swap $slot 1 1
    faults on=,kind=error
    same "healthy" "ok 1" "$(attr health) $(attr version)"
    same "with the file" kept "$(cat $dir/file)"
    same "and who has it open" kept "$(cat <&6)"
    exec 6<&-
    down
    count_after bytesfs

    # An instance that was abandoned has no state: it is made again by mount. Here the device is the instance's memory, so
    # it comes empty; what is open stays open. The file that does has a number that the new instance gives nobody soon.
    up bytesfs
    upgrade > /dev/null
    for i in 1 2 3 4 5 6 7 8; do echo "file $i" > $dir/$i; done
    rm $dir/[1-7]
    # A process of its own: closing a file that the device does not have is an error, at which this one would stumble.
    (failures=0; abandon; exit $failures) 6< $dir 7< $dir/8
    failures=$((failures + $?))
    down
}

# Descriptor 6 is $dir, 7 is file 8 in it.
abandon() {
    local line before=$(attr restarts)
    faults on=statfs,kind=drop
    refuse "an abandoned call" "nput/output" stat -f $dir
    until_attr restarts $((before + 1))
    same "the instance is made again" "ok $((before + 1)) 2" "$(until_attr health ok; attr health) $(attr restarts) $(attr version)"
    faults on=,kind=error
    check "the call that was struck succeeds now" stat -f $dir
    same "from the device, which is empty" "" "$(ls $dir)"
    check "an open directory goes on" ls /proc/self/fd/6/
    if [ $WHERE = kernel ]; then
        read -r line <&7
        same "so does what the cache has of an open file" "file 8" "$line"
    else
        refuse "an open file is not there, as it is not on the device" "Stale" cat <&7
    fi
    check "new files come" sh -c "mkdir $dir/d && echo new > $dir/d/f && mv $dir/d/f $dir/new && rmdir $dir/d"
    same "and are read" new "$(cat $dir/new)"
    $bin/swap $slot 1 restart > /dev/null
    same "also after a restart from the state" new "$(cat $dir/new)"
    rm $dir/new
}

# Upgrades $dir's memfs and closes the gate at once, for two seconds: true when inodes of version 1 are held back by it.
held_sweep() {
    local before now left gate
    read -r before < $slot/swaps
    now=$before
    echo 2 > $slot/upgrade
    # No processes here: the sweep takes milliseconds.
    while [ $now = $before ]; do read -r now < $slot/swaps; done
    echo 2000 > $slot/gate
    # In this order: what is left once the gate is closed stays; but for one inode that is just being moved.
    while read -r gate < $slot/gate && read -r left < $slot/sweep_left && [ $left != 0 ] && [ $gate = open ]; do :; done
    [ $gate = closed ] && [ $left -gt 1 ]
}

# The kernel's modules: several mounts, the default, and when a module may go.
part_modules() {
    [ $WHERE = kernel ] || return
    local ko=/bento/.bento/ko
    count_before memfs
    up memfs
    mkdir -p /mnt/u2
    mount -t memfs none /mnt/u2
    slot2=/sys/fs/bento/memfs/$(stat -c %Hd:%Ld /mnt/u2)
    echo before > $dir/file
    cp -r /etc $dir/etc
    check "both versions are listed" sh -c 'grep -q "^1 memfs_v1" /sys/fs/bento/memfs/versions && grep -q "^2 memfs_v2" /sys/fs/bento/memfs/versions'
    check "upgrade one mount" $bin/swap $slot2 1 2
    same "the other keeps its version" 1 "$(cat $slot/version)"
    until_attr sweep_left 0
    mkdir $dir/many
    # User-mode Linux moves a thousand in a millisecond, and its one processor only changes hands at a tick.
    many=20000
    [ -n "$SMALL" ] && many=5000
    (cd $dir/many && seq $many | xargs touch)
    held=
    for i in $(seq 20); do
        held_sweep && { held=1; break; }
        echo 1 > $slot/upgrade
        until_attr version 1
        until_attr sweep_left 0
    done
    same "inodes of version 1 are left after an upgrade" 1 "$held"
    refuse "so its module stays" "in use" rmmod memfs_v1
    check "they were held back all the time" grep -qE '^closed [1-9]' <<< "$(echo $(cat $slot/gate $slot/sweep_left))"
    same "at the new version" 2 "$(cat $slot/version)"
    rm -r $dir/many
    until_attr sweep_left 0
    same "the sweep ends" 0 "$(cat $slot/sweep_left)"
    # The epoch, which holds the module, goes a moment after the last of its inodes.
    for i in $(seq 100); do [ "$(module_users memfs_v1)" = 0 ] && break; sleep 0.1; done
    same "then nothing of version 1 is in use" 0 "$(module_users memfs_v1)"
    check "and its module goes" rmmod memfs_v1
    same "version 2 serves on" before "$(cat $dir/file)"
    check "all of it" diff -r --no-dereference /etc $dir/etc
    refuse "a module in use stays" "in use" rmmod memfs_v2
    check "a new mount is version 2" sh -c 'mkdir -p /mnt/u3 && mount -t memfs none /mnt/u3 && grep -qx 2 /sys/fs/bento/memfs/$(stat -c %Hd:%Ld /mnt/u3)/version && umount /mnt/u3'
    check "version 1 comes again" insmod $ko/memfs_v1.ko
    echo 1 > /sys/fs/bento/memfs/default
    check "and is the default" sh -c 'mount -t memfs none /mnt/u3 && grep -qx 1 /sys/fs/bento/memfs/$(stat -c %Hd:%Ld /mnt/u3)/version && umount /mnt/u3'
    log_mark
    check "downgrade" $bin/swap $slot 1 1
    logged "the log has a line with the pause" "memfs.*version 2 -> 1 in [0-9]+ us"
    same "the file is there" before "$(cat $dir/file)"

    # Where it came from.
    check "upgrade again" $bin/swap $slot 1 2
    cp $dir/file $dir/copy
    # attr, which reads the list of names first, leaves it out.
    same "provenance: created and written by cp" "create write" "$(getfattr --only-values --absolute-names -n user.provenance $dir/copy | awk '/comm=cp / { print $2 }' | xargs)"
    same "from the file it had read" "from=$(stat -c %i $dir/file)" "$(getfattr --only-values --absolute-names -n user.provenance $dir/copy | awk '$2 == "write" { print $NF }')"
    mv $dir/copy $dir/moved
    check "renamed by mv" sh -c "getfattr --only-values --absolute-names -n user.provenance $dir/moved | grep -q ' rename pid=[0-9]* comm=mv uid=0 name=moved'"
    refuse "nobody sets it" "not permitted" setfattr -n user.provenance -v lies $dir/moved
    if [ -x $ctl ]; then
        check "bentoctl provenance" $ctl provenance $dir/moved
        check "bentoctl status" $ctl status
        check "bentoctl status --json is JSON" sh -c "$ctl status --json | python3 -m json.tool"
        check "bentoctl upgrades all mounts" sh -c "$ctl downgrade memfs && grep -qx 1 $slot/version && grep -qx 1 $slot2/version"
    fi
    umount /mnt/u2
    down
    count_after memfs
}

# bentoctl on one mount, and the tracepoint.
part_tool() {
    local tracing=/sys/kernel/tracing to= generation
    up memfs
    # A daemon is told which object; later it knows it.
    [ $WHERE = fuse ] && to=$new
    echo old > $dir/old
    $ctl versions --json $dir > /tmp/before.json
    check "bentoctl upgrade" $ctl upgrade $dir $to
    same "is version 2" 2 "$(attr version)"
    $ctl versions --json $dir > /tmp/after.json
    refuse "no later version" "no later one is loaded" $ctl upgrade $dir
    cp $dir/old $dir/copy
    check "bentoctl provenance" sh -c "$ctl provenance $dir/copy | grep -q 'create.*cp'"
    check "bentoctl restart" sh -c "$ctl restart $dir | grep -q '2 restarted'"
    generation=$(attr generation)
    $ctl restart --json $dir > /tmp/restart.json
    check "is a new instance" test "$(attr generation)" -gt "$generation"
    # All at once: under emulation each Python takes seconds.
    check "bentoctl --json: versions and restart" python3 -c '
import json
before, after, restart = (json.load(open("/tmp/" + name + ".json")) for name in ("before", "after", "restart"))
runs = lambda versions: [one["version"] for one in versions if one["runs"]]
assert (runs(before), runs(after)) == ([1], [2]), (before, after)
[one] = restart
assert one["swap"]["ok"] and one["swap"]["what"] == "restart", one'
    check "bentoctl downgrade" $ctl downgrade $dir
    same "is version 1" 1 "$(attr version)"
    check "bentoctl upgrade finds the later version" $ctl upgrade $dir
    same "which is 2" 2 "$(attr version)"
    same "the files are there" "old old" "$(echo $(cat $dir/old $dir/copy))"
    if [ -n "$TRACE" ]; then
        mountpoint -q $tracing || mount -t tracefs none $tracing
        check "the tracepoint is there" sh -c "echo 1 > $tracing/events/bento/bento_swap/enable"
        check "three swaps" $bin/swap $slot 3 1 2 restart
        echo 0 > $tracing/events/bento/bento_swap/enable
        sed -n 's/.* bento_swap: /# /p' $tracing/trace
        same "are three events" "downgrade 2 -> 1 err 0, upgrade 1 -> 2 err 0, restart 2 -> 2 err 0," \
            "$(echo $(sed -n 's/.* bento_swap: dev [0-9:]* \(.* err [-0-9]*\) pause_ns [1-9].*/\1,/p' $tracing/trace))"
    fi
    down
}

# storm: upgrades to and fro under fsx, git, and metadata from two tasks.
part_storm() {
    local source=/bento/repository.git
    count_before memfs
    up memfs size=1g
    rm -f /tmp/stop
    if [ -n "$SMALL" ]; then
        # A repository of some hundred files.
        mkdir /tmp/small
        git --git-dir=$source archive HEAD core/src/num core/src/iter | tar -x -C /tmp/small
        (cd /tmp/small && git init -q -b main . && git add -A && git -c user.name=b -c user.email=b@b commit -qm small)
        source=/tmp/small/.git
    fi
    cd /tmp || exit
    fsx_loop & fsx=$!
    (
        turn=0
        until [ -e /tmp/stop ]; do
            turn=$((turn + 1))
            { git clone -q --no-local file://$source $dir/clone && [ -z "$(git -C $dir/clone status --porcelain)" ] &&
                git -C $dir/clone fsck --full --strict && rm -rf $dir/clone; } > /tmp/storm.git.log 2>&1 || { echo bad > /tmp/storm.git; exit; }
            echo "fine $turn" > /tmp/storm.git
        done
    ) & git=$!
    load_begin
    sleep 1
    $bin/swap $slot 1 $new > /dev/null # a daemon knows it by number from now on
    # Between two swaps the load gets some milliseconds, and inodes follow.
    $bin/swap -w ${REST:-30}000 $slot ${SWAPS:-1000} 1 2 > /tmp/storm.swap
    code=$?
    sed 's/^/# /' /tmp/storm.swap
    same "every one of ${SWAPS:-1000} swaps succeeds" 0 $code
    load_end "the swaps"
    fsx_end
    wait $git
    check "git cloned and checked ($(cat /tmp/storm.git))" grep -q fine /tmp/storm.git
    grep -q bad /tmp/storm.git && tail -n 5 /tmp/storm.git.log
    same "healthy" ok "$(attr health)"
    cd /
    down
    count_after memfs
}

# faulty: the same where one load in ten fails, in each way; no call may fail.
part_faulty() {
    local kind each=$((${SWAPS:-1000} / 5))
    count_before bytesfs
    up bytesfs
    load_begin
    fsx_loop & fsx=$!
    $bin/swap $slot 1 $new > /dev/null
    for kind in error panic index alloc drop; do
        faults on=load,kind=$kind,every=10
        $bin/swap -w 5000 -f $slot $each 1 2 > /tmp/storm.swap
        faults on=,kind=error
        sed "s/^/# $kind: /" /tmp/storm.swap
        check "one load in ten fails with $kind" awk -v n=$each '/^swaps/ { split($2, ok, "="); split($3, failed, "="); if (failed[2] * 25 < n || ok[2] * 2 < n) exit 1 }' /tmp/storm.swap
    done
    load_end "failing loads"
    fsx_end
    same "healthy" ok "$(attr health)"
    down
    [ $WHERE = fuse ] && return
    settle none
    # What a load that was abandoned had is leaked on purpose (SAFETY.md C2).
    echo "# $(($(allocated) - before)) bytes leaked by abandoned loads"
    same "no inode is left" 0 "$(slab_objects bento_inode)"
}

# restarts: a lock of the instance is poisoned and met, over and over.
part_restarts() {
    count_before bytesfs
    up bytesfs
    $bin/swap $slot 1 $new > /dev/null
    put restart_limit 0
    mkdir $dir/storm
    faults on=ioctl,kind=lock
    dmesg -n 1 2> /dev/null
    program restarts $dir/storm ${RESTARTS:-1000} 2
    faults on=,kind=error
    check "$(attr restarts) restarts" test "$(attr restarts)" -ge ${RESTARTS:-1000}
    same "healthy" ok "$(attr health)"
    down
    count_after bytesfs
}

for part in $PARTS; do
    echo "# $part"
    part_$part
done
finish
