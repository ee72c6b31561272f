# SPDX-License-Identifier: GPL-2.0 OR MIT
# The workloads of `cargo bento bench disk` on SIDE (rext4, ext4, xfs), ROUNDS times, each side on a disk made in the same way.
# Lines "round N", "bench NAME NANOSECONDS" and "io NAME READS KIB WRITES KIB FLUSHES".
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
case $SIDE in
    # Tables in full at once: neither side is to do it in the background meanwhile.
    rext4 | ext4) mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$BENTO_DISK0" ;;
    xfs) mkfs.xfs -q -f "$BENTO_DISK0" ;;
esac
mount -t $SIDE "$BENTO_DISK0" $b
cp -r /bento/repository.git /tmp/repository.git
git -C /tmp/repository.git archive -o /tmp/tree.tar HEAD
cold() {
    sync
    echo 3 > /proc/sys/vm/drop_caches
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
done
cd /
umount $b
# What is left must be right.
case $SIDE in
    rext4 | ext4) e2fsck -fn "$BENTO_DISK0" ;;
    xfs) xfs_repair -n "$BENTO_DISK0" ;;
esac > /tmp/check 2>&1 || { cat /tmp/check; exit 1; }
