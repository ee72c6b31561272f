# SPDX-License-Identifier: GPL-2.0 OR MIT
# Real programs on FS: git on a large repository, make, and SQLite in WAL mode with its shared-memory file. Both of its
# writers wait for each other, so that which comes first does not matter.
. "$(dirname "$0")/lib.sh"
check "mount $FS" fresh $FS /mnt/w
cd /mnt/w || exit
check "git clone of $(cat /bento/repository.files) files" git clone -q --no-local file:///bento/repository.git clone
same "every file is there" "$(cat /bento/repository.files)" "$(git -C clone ls-files | wc -l)"
check "git status is clean" sh -c '[ -z "$(git -C clone status --porcelain)" ]'
check "git fsck" git -C clone fsck --full --strict
check "git commit" sh -c 'cd clone && echo more >> README.bento && git add README.bento && git commit -qm more'
check "git gc" git -C clone gc -q
check "git checkout of an older state" git -C clone checkout -q HEAD~1
check "git fsck again" git -C clone fsck --full

cp -r $here/project project
check "make -j2" make -j2 -C project
same "the program runs" "sum of squares below 1000: 332833500" "$(project/squares 1000)"
check "make has nothing left to do" make -q -C project
check "make clean" make -C project clean

check "SQLite in WAL mode" sh -c "sqlite3 load.db < $here/load.sql"
check "its -shm file was mapped: a reader beside a writer" sh -c '
    sqlite3 -cmd ".timeout 30000" load.db "BEGIN IMMEDIATE; INSERT INTO t SELECT NULL, hex(randomblob(20)), 1 FROM t LIMIT 500; SELECT count(*) FROM t; COMMIT;" > one &
    sqlite3 -cmd ".timeout 30000" load.db "SELECT count(*) FROM t; INSERT INTO t VALUES (NULL, 1, 1);" > two; wait'
same "integrity" ok "$(sqlite3 load.db 'PRAGMA integrity_check')"
same "every row" 5501 "$(sqlite3 load.db 'SELECT count(*) FROM t')"
cd /
leave $FS /mnt/w
finish
