# SPDX-License-Identifier: GPL-2.0 OR MIT
# What `cargo bento demo` shows. Each step says what it does before it does it; the first that fails ends the show.
set -e
PATH=/bento/tool:$PATH
step() { printf '\n== %s\n' "$*"; }
show() { printf '   $ %s\n' "$*"; sh -c "$*" 2>&1 | sed 's/^/   /'; return "${PIPESTATUS[0]}"; }
trap 'code=$?; [ $code = 0 ] || echo "the demonstration stopped here"; exit $code' EXIT

step "A stock kernel, with a file system in safe Rust loaded into it"
show 'uname -srv'
show 'lsmod | grep -E "^(bento|memfs|bytesfs)"'

step "Mount it and use it"
mkdir -p /mnt/mem /mnt/other
echo 1 > /sys/fs/bento/memfs/default
show 'mount -t memfs -o size=1g none /mnt/mem'
show 'echo "written through safe Rust" > /mnt/mem/hello; cat /mnt/mem/hello'
show 'mkdir /mnt/mem/dir; ln -s ../hello /mnt/mem/dir/link; mv /mnt/mem/hello /mnt/mem/dir/; ls -l /mnt/mem/dir'
show 'setfattr -n user.colour -v green /mnt/mem/dir/hello; getfattr -d --absolute-names /mnt/mem/dir/hello | grep colour'

step "Real work: git clones $FILES files into it"
printf '   $ git clone file:///bento/repository.git /mnt/mem/clone &\n'
git clone -q --no-local file:///bento/repository.git /mnt/mem/clone &
clone=$!
until [ -d /mnt/mem/clone/core ]; do kill -0 $clone; sleep 0.1; done

step "Git is half-way. Version 2, which knows where files come from, takes version 1's place"
show 'bentoctl versions memfs'
show 'bentoctl upgrade /mnt/mem 2'
kill -0 $clone && echo '   git is still at work'
show 'dmesg | grep -o "memfs.*version 1 -> 2.*"'
cat /sys/fs/bento/memfs/*:*/pause_ns | awk '{ printf "   the pause: %.3f ms\n", $1 / 1000000 }'
wait $clone
show 'git -C /mnt/mem/clone status --short | wc -l'
show 'git -C /mnt/mem/clone fsck --no-progress && echo every object is intact'

step "What version 1 wrote has no provenance, what came after has"
show 'getfattr -n user.provenance /mnt/mem/dir/hello 2>&1 | grep -o "No such attribute"'
show 'bentoctl provenance /mnt/mem/clone/std/src/lib.rs'
show 'cp /mnt/mem/dir/hello /mnt/mem/copy; mv /mnt/mem/copy /mnt/mem/moved; bentoctl provenance /mnt/mem/moved'
until [ "$(cat /sys/fs/bento/memfs/*:*/sweep_left)" = 0 ] && [ "$(awk '$1 == "memfs_v1" { print $3 }' /proc/modules)" = 0 ]; do sleep 0.2; done
step "Nothing of version 1 is left in use: its code is unloaded below the running mount"
show 'rmmod memfs_v1; lsmod | grep -E "^memfs"; cat /mnt/mem/dir/hello'

step "A mistake is explained"
show 'mount -t memfs -o sise=1g none /mnt/other || dmesg | grep "bento: memfs" | tail -n 1'

step "A file system with a bug: its handler indexes out of bounds, three calls deep, in kernel mode"
show 'mount -t bytesfs none /mnt/other; echo fine > /mnt/other/file'
show 'mount -o remount,on=read,kind=index none /mnt/other; echo 1 > /proc/sys/vm/drop_caches'
show 'cat /mnt/other/file || true'
show 'dmesg | grep panicked | tail -n 1'
show 'mount -o remount,on=,kind=error none /mnt/other; cat /mnt/other/file'
grep -q fine /mnt/other/file

step "The first file system never noticed"
show 'du -sh /mnt/mem/clone; cat /mnt/mem/dir/hello'

step "Unmount, unload: nothing is left"
show 'umount /mnt/mem /mnt/other'
show 'cat /sys/fs/bento/allocated'
show 'rmmod memfs_v2 bytesfs_v1 bento; lsmod | grep -c bento || true'
