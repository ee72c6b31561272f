# SPDX-License-Identifier: GPL-2.0 OR MIT
# git and SQLite on FS whose disk is recorded, as in crash.sh: what they have committed is marked. git is told to make
# everything durable but does not do so for names, so its directories are synced before a mark; SQLite does it all itself,
# with a write-ahead log and with a journal that goes away.
. "$(dirname "$0")/lib.sh"
dir=/mnt/c
mkdir -p $dir
mkfs.$([ $FS = rext4 ] && echo ext4 || echo $FS) -q -F $MKFS "$BENTO_DISK0" ${SIZE}M
check "mount $FS" mount -t $FS "$BENTO_DISK0" $dir
marks="$bin/mark $BENTO_DISK0 $((SIZE << 20)) /tmp/marks"

commit() {
    git add -A && git commit -q -m "$1" && sync .git .git/refs/heads .git/objects .git/objects/* &&
        $marks repository commit "$(git rev-parse HEAD)"
}

for path in repository wal.db journal.db; do echo "try 0 $path any"; done
cd $dir || exit
git init -q -b main repository
cd repository || exit
git config core.fsync all
git config core.fsyncMethod fsync
git config gc.auto 0
# What `git init` writes it promises nothing about.
sync -f .
for n in $(seq "$COMMITS"); do
    mkdir -p "dir$((n % 3))"
    seq "$n" $((n * 400)) > "dir$((n % 3))/file$n"
    echo "$n" >> log
    [ $((n % 4)) = 0 ] && git mv "dir$(((n - 1) % 3))/file$((n - 1))" "moved$n"
    commit "commit $n" || not_ok "git commit $n"
done
check "git gc" git gc -q --prune=now
echo last > last
commit last || not_ok "the last git commit"

# database NAME PRAGMA: transactions of a few rows each; the mark comes after COMMIT.
database() {
    echo "PRAGMA journal_mode = $2; PRAGMA synchronous = extra;"
    echo "CREATE TABLE t (n INTEGER PRIMARY KEY, text);"
    for n in $(seq "$TRANSACTIONS"); do
        echo "BEGIN;"
        for row in 1 2 3; do echo "INSERT INTO t VALUES (NULL, hex(randomblob($((n * row * 150)))));"; done
        echo "UPDATE t SET text = hex(randomblob(900)) WHERE n % 4 = $((n % 4));"
        echo "COMMIT;"
        echo ".system $marks $1 rows $((n * 3))"
    done
}
cd $dir || exit
for mode in wal delete; do
    name=$([ $mode = wal ] && echo wal || echo journal).db
    database $name $mode | sqlite3 -bail $name | grep -v -e '^wal$' -e '^delete$'
    same "rows of $name" $((TRANSACTIONS * 3)) "$(sqlite3 $name 'SELECT count(*) FROM t')"
done
cd /
check "unmount" umount $dir
finish
