# SPDX-License-Identifier: GPL-2.0 OR MIT
# Sourced by the suites that replace file systems: swaps of the mount on $dir, and what works on it meanwhile.
dir=/mnt/u
ctl=/bento/tool/bentoctl

# attr NAME, put NAME VALUE: an attribute of the mount on $dir.
attr() { $bin/swap "$slot" get "$1"; }
put() { $bin/swap "$slot" set "$1" "$2"; }

# load_begin, load_end BESIDE: traffic on $dir in between, of which no call may fail.
load_begin() {
    rm -f /tmp/stop
    mkdir $dir/load
    $bin/load $dir/load 2 /tmp/stop > /tmp/load.log & load=$!
    # The mount may go away at once: it is to have the folder by then.
    while kill -0 $load && [ "$(readlink /proc/$load/cwd)" != $dir/load ]; do sleep 0.02; done
}
load_end() {
    local code
    touch /tmp/stop
    wait $load
    code=$?
    cat /tmp/load.log
    same "no call fails beside $1" 0 $code
}

# fsx_loop: fsx on $dir, over and over until /tmp/stop is there; fsx_end: it read what it had written.
fsx_loop() {
    local seed=0
    rm -f /tmp/storm.fsx
    until [ -e /tmp/stop ]; do
        seed=$((seed + 1))
        $bin/fsx -f $here/fsx.toml -S $seed -N 3000 -P /tmp $dir/fsx-file > /tmp/storm.fsx.log 2>&1 || { echo bad > /tmp/storm.fsx; return; }
        echo "fine $seed" > /tmp/storm.fsx
    done
}
fsx_end() {
    wait $fsx
    check "fsx read what it had written ($(cat /tmp/storm.fsx))" grep -q fine /tmp/storm.fsx
    grep -q bad /tmp/storm.fsx && tail -n 5 /tmp/storm.fsx.log
}

# until_attr NAME VALUE [TRIES]: within ten seconds, or so many tenths of one.
until_attr() {
    local i
    for i in $(seq ${3:-100}); do
        [ "$(attr $1)" = "$2" ] && return
        sleep 0.1
    done
    return 1
}

# One command a swap, for survive: its name is in every line.
cat > /tmp/swaps << 'SWAPS'
upgrade() { $bin/swap $slot 1 $new; }
downgrade() { $bin/swap $slot 1 1; }
restart() { $bin/swap $slot 1 restart; }
SWAPS

# command_file NAME COMMAND: it can be run by that name, also from other programs.
command_file() {
    { printf '#!/bin/bash\nbin=%s slot=%s new=%s dir=%s WHERE=%s\n' "$bin" "$slot" "$new" "$dir" $WHERE
        declare -f attr faults put until_attr
        printf '. /tmp/swaps\n%s\n' "$2"; } > /tmp/do/"$1"
    chmod +x /tmp/do/"$1"
}

# commands MORE…: those, upgrade, downgrade and restart can be run from now on.
commands() {
    mkdir -p /tmp/do
    local act
    for act in upgrade downgrade restart "$@"; do command_file $act $act; done
    PATH=/tmp/do:$PATH
}

# count_before FS, count_after FS: what a mount leaves behind in between.
count_before() { [ $WHERE = fuse ] || { settle none; before=$(allocated); users=$(module_users $1_v1)/$(module_users $1_v2); }; }
count_after() {
    [ $WHERE = fuse ] && return
    settle "$before"
    same "Rust holds as many bytes as before" "$before" "$(allocated)"
    same "no inode is left" 0 "$(slab_objects bento_inode)"
    same "the modules have the users they had" "$users" "$(module_users $1_v1)/$(module_users $1_v2)"
}
