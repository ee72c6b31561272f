#!/bin/sh
# SPDX-License-Identifier: GPL-2.0 OR MIT
# Writes pjdfstest's configuration for file system $1, with ($2 = true) or without remounting; the exclusions come on
# standard input.
cat << TOML
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}

[settings]
naptime = 0.025
allow_remount = $2
expected_failures = [
TOML
while read -r fs test reason; do
    case $fs in
        '' | '#'*) ;;
        "$1" | '*') echo "    \"$test\", # $reason" ;;
    esac
done
cat << 'TOML'
]

[dummy_auth]
entries = [["nobody", "nogroup"], ["tests", "tests"]]
TOML
