# SPDX-License-Identifier: GPL-2.0 OR MIT
# The workloads of `cargo bento bench disk` on SIDE (rext4, ext4, xfs, rext4-fuse, fuse2fs), ROUNDS times, each side on a disk made in the same way.
# Lines "round N", "bench NAME NANOSECONDS" and "io NAME READS KIB WRITES KIB FLUSHES"; of the group scale, once, on a disk
# of 1 TiB, "memory NAME KIB", and at the end of a run on ext4's format "pieces NAME NUMBER".
set -e
bin=/bento/bin
here=$(dirname "$0")
b=/mnt/b
mkdir -p $b
export BENCH_DISK=${BENTO_DISK0#/dev/}
# wanted GROUP: what FILTER asks for, if anything; its words are separated by commas.
wanted() {
    local word
    [ -n "$FILTER" ] || return 0
    for word in ${FILTER//,/ }; do case $1 in *"$word"*) return 0 ;; esac done
    return 1
}
# The guest's clock leaps while it waits: commits every few seconds would fall upon workloads by chance.
journaled=commit=300
# daemon COMMAND…: mounts on $b until it is unmounted.
daemon() {
    local i
    ulimit -n 1000000
    "$@" $b > /tmp/daemon.log 2>&1 &
    daemon=$!
    for i in $(seq 100); do
        mountpoint -q $b && return
        sleep 0.1
    done
    cat /tmp/daemon.log
    exit 1
}
case $SIDE in
    xfs) mkfs.xfs -q -f "$BENTO_DISK0" ;;
    # Tables in full at once: neither side is to do it in the background meanwhile.
    *) mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$BENTO_DISK0" ;;
esac
case $SIDE in
    rext4 | ext4) mount -t $SIDE -o $journaled "$BENTO_DISK0" $b ;;
    xfs) mount -t xfs "$BENTO_DISK0" $b ;;
    rext4-fuse) daemon /bento/tool/cargo-bento mount -o $journaled /bento/tool/librext4.so "$BENTO_DISK0" ;;
    fuse2fs) daemon fuse2fs -f "$BENTO_DISK0" ;;
esac
# Where its functions are, now that all modules are loaded.
[ -z "$PROFILE" ] || cat /proc/kallsyms > /results/kallsyms
cp -r /bento/repository.git /tmp/repository.git
git -C /tmp/repository.git archive -o /tmp/tree.tar HEAD
cold() {
    sync
    echo 3 > /proc/sys/vm/drop_caches
}
# What the kernel holds for itself, in KiB; after `cold`, what it cannot give back.
kernel_memory() {
    awk '/^(Slab|VmallocUsed|Percpu):/ { sum += $2 } END { print sum }' /proc/meminfo
}
# check DISK: is what is left on it right?
check() {
    case $SIDE in
        xfs) xfs_repair -n "$1" ;;
        *) e2fsck -fn "$1" ;;
    esac > /tmp/check 2>&1 || {
        cat /tmp/check
        exit 1
    }
}
for round in $(seq "$ROUNDS"); do
    echo "round $round"
    if wanted create-stat-rename-unlink-meta; then
        mkdir $b/meta
        $bin/bench meta $b/meta "$FILES"
        rmdir $b/meta
        mkdir $b/meta
        $bin/bench meta2 $b/meta "$FILES"
        rmdir $b/meta
    fi
    if wanted git-clone; then
        $bin/bench run git-clone git clone -q --no-hardlinks /tmp/repository.git $b/clone
        cold
        rm -rf $b/clone
    fi
    if wanted untar-grep-rm; then
        mkdir $b/tree
        $bin/bench run untar tar -xf /tmp/tree.tar -C $b/tree
        cold
        $bin/bench run grep-cold sh -c "grep -r 'no such words are in here' $b/tree; :"
        cold
        $bin/bench run rm-rf rm -rf $b/tree
    fi
    if wanted make; then
        cp -r $here/project $b/project
        $bin/bench run make-j2 make -s -j2 -C $b/project
        rm -rf $b/project
    fi
    if wanted mail; then
        mkdir $b/mail
        $bin/bench mail $b/mail "$MESSAGES"
        rmdir $b/mail
    fi
    if wanted sqlite; then
        mkdir $b/sqlite
        $bin/bench run sqlite sh -c "cd $b/sqlite && sqlite3 load.db < $here/load.sql"
        rm -rf $b/sqlite
    fi
    if wanted write-read-direct; then $bin/bench disk $b "$MIB"; fi
    if wanted scale; then
        big=/mnt/big
        mkdir -p $big
        # Tables would take minutes to write, and nobody is to do it meanwhile.
        case $SIDE in
            rext4 | ext4) mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1 "$BENTO_DISK1" && options=noinit_itable,$journaled ;;
            xfs) mkfs.xfs -q -f "$BENTO_DISK1" && options=defaults ;;
        esac
        cold
        before=$(kernel_memory)
        BENCH_DISK=${BENTO_DISK1#/dev/} $bin/bench run mount-1t mount -t $SIDE -o $options "$BENTO_DISK1" $big
        cold
        echo "memory mount-1t $(($(kernel_memory) - before))"
        mkdir $big/names
        BENCH_DISK=${BENTO_DISK1#/dev/} $bin/bench names $big/names "$NAMES"
        cold
        echo "memory names $(($(kernel_memory) - before))"
        BENCH_DISK=${BENTO_DISK1#/dev/} $bin/bench sparse $big/sparse 4096
        cold
        echo "memory sparse $(($(kernel_memory) - before))"
        umount $big
        check "$BENTO_DISK1"
    fi
done
# How what is written now lies on the disk that all of this has used.
if wanted pieces && [ $SIDE != xfs ]; then
    git clone -q --no-hardlinks /tmp/repository.git $b/clone
    cp /tmp/tree.tar $b/tree.tar
    sync
    find $b/clone $b/tree.tar -type f -exec filefrag {} + > /tmp/pieces
    echo "pieces files $(wc -l < /tmp/pieces)"
    echo "pieces extents $(sed 's/.*: \([0-9]*\) extents* found$/\1/' /tmp/pieces | awk '{ sum += $1 } END { print sum }')"
    rm -r $b/clone $b/tree.tar
fi
cd /
umount $b
# What a daemon has not written yet.
[ -z "$daemon" ] || wait $daemon
if wanted pieces && [ $SIDE != xfs ]; then
    e2freefrag "$BENTO_DISK0" > /tmp/free
    echo "pieces free-extents $(awk -F: '/^Num. free extent/ { print $2 + 0 }' /tmp/free)"
    echo "pieces free-average-KiB $(awk -F: '/^Avg. free extent/ { print $2 + 0 }' /tmp/free)"
fi
# What is left must be right.
check "$BENTO_DISK0"
