# SPDX-License-Identifier: GPL-2.0 OR MIT
# The workloads of `cargo bento bench` on SIDE (memfs, tmpfs, memfs-fuse, hellofs, ext4), ROUNDS times. Lines "round N" and
# "bench NAME NANOSECONDS".
set -e
bin=/bento/bin
mkdir -p /mnt/b
# among GROUP WORDS: one of WORDS, which commas separate, occurs in it; or there are none.
among() {
    local word
    [ -n "$2" ] || return 0
    for word in ${2//,/ }; do case $1 in *"$word"*) return 0 ;; esac done
    return 1
}
# wanted GROUP: it is this guest's PART, and what FILTER asks for.
wanted() { among "$1" "$PART" && among "$1" "$FILTER"; }
case $SIDE in
    tmpfs) mount -t tmpfs -o size=1g none /mnt/b ;;
    memfs) mount -t memfs none /mnt/b ;;
    hellofs) mount -t hellofs none /mnt/b ;;
    ext4) mkfs.ext4 -q -F "$BENTO_DISK0" && mount -t ext4 "$BENTO_DISK0" /mnt/b ;;
    memfs-fuse)
        ulimit -n 1000000
        # The daemon stays in the foreground; it is ended by the unmount.
        /bento/tool/cargo-bento mount /bento/tool/libmemfs.so /mnt/b > /tmp/daemon.log 2>&1 &
        for i in $(seq 100); do mountpoint -q /mnt/b && break; sleep 0.1; done
        mountpoint -q /mnt/b || { cat /tmp/daemon.log; exit 1; }
        ;;
esac
if [ "$SIDE" = hellofs ]; then
    for round in $(seq "$ROUNDS"); do
        echo "round $round"
        $bin/bench stat /mnt/b/hello "$CALLS"
    done
    exit
fi
cp -r /bento/repository.git /tmp/repository.git
git -C /tmp/repository.git archive -o /tmp/tree.tar HEAD
for round in $(seq "$ROUNDS"); do
    echo "round $round"
    if wanted create-stat-rename-unlink-meta; then
        mkdir /mnt/b/meta
        $bin/bench meta /mnt/b/meta "$FILES"
        rmdir /mnt/b/meta
    fi
    if wanted fstat; then
        echo x > /mnt/b/file
        $bin/bench stat /mnt/b/file "$CALLS"
        rm /mnt/b/file
    fi
    if wanted calls; then
        mkdir /mnt/b/calls
        $bin/bench calls /mnt/b/calls "$FILES"
        rmdir /mnt/b/calls
    fi
    if wanted write-read-io; then $bin/bench io /mnt/b "$MIB"; fi
    if wanted untar; then
        mkdir /mnt/b/tree
        $bin/bench run untar tar -xf /tmp/tree.tar -C /mnt/b/tree
        $bin/bench run rm-rf rm -rf /mnt/b/tree
    fi
    if wanted git-clone; then
        $bin/bench run git-clone git clone -q --no-hardlinks /tmp/repository.git /mnt/b/clone
        rm -rf /mnt/b/clone
    fi
done
cd /
umount /mnt/b
