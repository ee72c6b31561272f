# SPDX-License-Identifier: GPL-2.0 OR MIT
# Sourced by every suite that runs in a guest. One line per check: "ok …" or "not ok …"; the tool counts them, and the
# exit code says whether any failed or the script ended early.
here=$(dirname "$0")
bin=$(dirname "$here")/bin
log=/tmp/suite.log
failures=0
finished=

ok() { echo "ok $*"; }

not_ok() {
    echo "not ok $*"
    failures=$((failures + 1))
}

# check WHAT COMMAND…: the command succeeds.
check() {
    local what=$1
    shift
    if "$@" > $log 2>&1; then ok "$what"; else not_ok "$what: $* gave $?: $(tail -n 5 $log)"; fi
}

# refuse WHAT PATTERN COMMAND…: the command fails and says PATTERN (a grep -E).
refuse() {
    local what=$1 pattern=$2
    shift 2
    if "$@" > $log 2>&1; then
        not_ok "$what: $* succeeded"
    elif grep -qE "$pattern" $log; then
        ok "$what"
    else
        not_ok "$what: $* failed, but not with '$pattern': $(tail -n 5 $log)"
    fi
}

# same WHAT EXPECTED ACTUAL
same() {
    if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1: '$3' instead of '$2'"; fi
}

# A C program of the suites; it prints its own lines.
program() {
    local name=$1
    shift
    "$bin/$name" "$@"
    local code=$?
    case $code in
        0) ;;
        1) failures=$((failures + 1)) ;;
        *) not_ok "$name ended with $code" ;;
    esac
}

# Lines of the kernel's log since `log_mark`.
log_mark() { mark=$(dmesg | wc -l); }
log_since() { dmesg | tail -n "+$((mark + 1))"; }

# logged WHAT PATTERN: the kernel has said PATTERN since log_mark.
logged() {
    if log_since | grep -qE "$2"; then ok "$1"; else not_ok "$1: no '$2' in: $(log_since | tail -n 3)"; fi
}

# fresh FS DIR [OPTIONS]: mounts an empty file system of that type; on a disk, one that mke2fs made with MKFS.
fresh() {
    local fs=$1 dir=$2 options=${3:-}
    mkdir -p "$dir"
    case $fs in
        ext4 | rext4)
            mkfs.ext4 -q -F $MKFS "$BENTO_DISK0" && mount -t $fs ${options:+-o "$options"} "$BENTO_DISK0" "$dir" ;;
        extentfs) mount -t $fs -o "${MKFS:-block=4096}${options:+,$options}" "$BENTO_DISK0" "$dir" ;;
        *) mount -t "$fs" ${options:+-o "$options"} none "$dir" ;;
    esac
}

# leave FS DIR: unmounts it; what it left on a disk is right.
leave() {
    check "unmount" umount "$2"
    case $1 in ext4 | rext4) check "e2fsck finds nothing" e2fsck -fn "$BENTO_DISK0" ;; esac
}

# Bytes that Rust holds, once what waits for RCU has run.
allocated() { cat /sys/fs/bento/allocated; }

settle() {
    echo 3 > /proc/sys/vm/drop_caches
    local i
    for i in 1 2 3 4 5 6 7 8 9 10; do
        sleep 0.2
        [ "$(allocated)" = "$1" ] && break
    done
    # A slab on a CPU counts as in use until it is looked at.
    for i in /sys/kernel/slab/bento*/shrink; do echo 1 > "$i"; done
}

# Objects in use of one of our slab caches.
slab_objects() { awk -v name="$1" '$1 ~ "^" name { sum += $2 } END { print sum + 0 }' /proc/slabinfo; }

module_users() { awk -v name="$1" '$1 == name { print $3 }' /proc/modules; }

finish() {
    finished=1
    [ $failures = 0 ]
    exit
}

trap '[ -n "$finished" ] || echo "not ok the script ended early, at line $LINENO"' EXIT
