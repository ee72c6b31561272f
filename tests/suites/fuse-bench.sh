# SPDX-License-Identifier: GPL-2.0 OR MIT
# One of the workloads of `cargo bento bench fuse`, $1, in the folder $2 of a mounted file system, natively. Lines "bench NAME
# NANOSECONDS". BIN: the suites' programs; REPOSITORY, TREE: what is cloned and unpacked; FILES, MESSAGES, MIB: how much.
set -e
here=$(cd "$(dirname "$0")" && pwd)
cd "$2"
export BENCH_WALL=1
case $1 in
    meta | meta2)
        mkdir meta
        "$BIN/bench" "$1" meta "$FILES"
        rmdir meta
        ;;
    git-clone) "$BIN/bench" run git-clone git clone -q --no-hardlinks "$REPOSITORY" clone ;;
    git-status) "$BIN/bench" run git-status git -C clone status --porcelain ;;
    rm-clone) "$BIN/bench" run rm-clone rm -rf clone ;;
    untar)
        mkdir tree
        "$BIN/bench" run untar tar -xf "$TREE" -C tree
        ;;
    grep-cold) "$BIN/bench" run grep-cold sh -c "grep -r 'no such words are in here' tree; :" ;;
    rm-rf) "$BIN/bench" run rm-rf rm -rf tree ;;
    mail)
        mkdir mail
        "$BIN/bench" mail mail "$MESSAGES"
        # libfuse hides for a moment what was removed while it was open.
        rm -rf mail
        ;;
    sqlite)
        mkdir sqlite
        "$BIN/bench" run sqlite sh -c "cd sqlite && sqlite3 load.db < $here/load.sql"
        rm -rf sqlite
        ;;
    data) "$BIN/bench" disk . "$MIB" ;;
esac
