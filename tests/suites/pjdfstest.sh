# SPDX-License-Identifier: GPL-2.0 OR MIT
# The pjdfstest crate on FS, in DIR if that is mounted already. pjdfstest.exclusions lists what is expected to fail and
# why. The tests that remount read-only run by themselves: beside the others the mount is busy, on every file system.
. "$(dirname "$0")/lib.sh"
dir=${DIR:-/mnt/p}
[ -n "$DIR" ] || check "mount $FS" fresh $FS $dir
chmod 755 $dir
grep -q ^tests: /etc/passwd || { echo 'tests:x:4321:4321::/:/usr/sbin/nologin' >> /etc/passwd; echo 'tests:x:4321:' >> /etc/group; }

# run REMOUNT PATTERN…
run() {
    local remount=$1 out=/tmp/pjdfstest.out
    shift
    sh $here/pjdfstest-config.sh $FS $remount < $here/pjdfstest.exclusions > /tmp/pjdfstest.toml
    (cd $dir && $bin/pjdfstest -c /tmp/pjdfstest.toml -p $dir -s /dev/shm "$@") > $out 2>&1
    sed -i 's/\x1b\[[0-9;]*m//g' $out
    grep -A 4 FAILED $out | sed 's/^/# /' | head -n 100
    grep -E '^[a-z_:0-9]+ +(skipped|expected failure)' $out | sed 's/^/# /'
    sed -n 's/^\([a-z_:0-9]*\) *ok$/ok pjdfstest \1/p; s/^\([a-z_:0-9]*\) *FAILED$/not ok pjdfstest \1/p' $out
    grep Summary $out | sed "s/^/# $FS, remount $remount: /"
    grep -q 'Summary: 0 failed' $out || not_ok "pjdfstest on $FS: $(grep Summary $out || tail -n 3 $out)"
}

run false
[ -n "$DIR" ] || run true erofs
[ -n "$DIR" ] || leave $FS $dir
finish
