# SPDX-License-Identifier: GPL-2.0 OR MIT
# ROUNDS rounds of the benchmarks on FS (memfs, tmpfs, ext4, fuse, hellofs); each line: round phase operations cpu wall.
# PHASES limits them to the groups of phases where that word occurs.
here=$(dirname "$0")
bin=$(dirname "$here")/bin
dir=/mnt/bench
mkdir -p $dir
ulimit -n 200000

metadata="dirs create stat open readdir rename unlink rmdirs"
data="seqwrite4k seqread4k seqwrite128k seqread128k randwrite4k randread4k randwrite128k randread128k"

# Whether the group of that name, which holds those phases, is asked for.
wanted() { case "$*" in *"$PHASES"*) return 0 ;; *) return 1 ;; esac }

up() {
    case $FS in
        ext4) mkfs.ext4 -q -F "$BENTO_DISK0" && mount "$BENTO_DISK0" $dir ;;
        tmpfs) mount -t tmpfs -o size=90% none $dir ;;
        fuse)
            [ -e /dev/fuse ] || modprobe fuse
            /bento/cargo-bento mount /bento/objects/memfs.so $dir > /tmp/daemon.log 2>&1 &
            tries=0
            until mountpoint -q $dir; do
                sleep 0.1
                [ $((tries += 1)) -lt 100 ] || { cat /tmp/daemon.log >&2; return 1; }
            done ;;
        *) mount -t $FS none $dir ;;
    esac
}

round=0
while [ $round -lt ${ROUNDS:-4} ]; do
    up || exit 1
    chosen=
    [ $FS = hellofs ] || {
        wanted metadata $metadata && chosen="$chosen $metadata"
        wanted data $data && chosen="$chosen $data"
    }
    wanted fstat && chosen="$chosen fstat"
    [ -z "$chosen" ] || $bin/workload $dir $chosen | sed "s/^/$round /" || exit 1
    rm -f $dir/data $dir/one
    if [ $FS != hellofs ]; then
        if wanted clone gitstatus; then
            $bin/measure clone git clone -q --no-local file:///bento/repository.git $dir/clone | sed "s/^/$round /"
            $bin/measure gitstatus git -C $dir/clone status --porcelain | sed "s/^/$round /"
            rm -rf $dir/clone
        fi
        if wanted untar remove; then
            $bin/measure untar tar xf /bento/tree.tar -C $dir | sed "s/^/$round /"
            $bin/measure remove rm -rf $dir/tree | sed "s/^/$round /"
        fi
    fi
    umount $dir || exit 1
    round=$((round + 1))
done
