#!/bin/busybox sh
# The guest's init, once its root is mounted: sets the system up, loads the modules, runs the command and reports its
# exit code. $1 is the machine: qemu or uml. It runs in busybox, whose applets start without the dynamic loader: under
# emulation every other program costs 30 ms.
machine=$1
here=/bento/.bento
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 PAGER=cat GIT_PAGER=cat

[ "$machine" = uml ] || mount -t tmpfs -o size=64k none /run
mount -t sysfs sys /sys
mount -t debugfs debug /sys/kernel/debug
mount -t securityfs security /sys/kernel/security 2> /dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666 pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
ln -sfn /proc/self/fd /dev/fd
ln -sfn fd/0 /dev/stdin; ln -sfn fd/1 /dev/stdout; ln -sfn fd/2 /dev/stderr
hostname bento
ip link set lo up 2> /dev/null
ulimit -n 1048576
ulimit -c 0
# Booting was quiet; from here on everything the kernel says is wanted.
dmesg -n 8
. $here/env
[ -z "$BENTO_MODULES" ] || mount -t hostfs -r -o "$BENTO_MODULES" none /lib/modules

# Path of the host's channel of that name.
channel() {
    if [ "$machine" = uml ]; then
        case $1 in out) echo /dev/tty0 ;; err) echo /dev/tty1 ;; *) echo "/run/out/$1" ;; esac
        return
    fi
    tries=0
    while [ $((tries += 1)) -lt 3000 ]; do
        for port in /sys/class/virtio-ports/*; do
            [ "$(cat "$port/name" 2> /dev/null)" = "bento.$1" ] && { echo "/dev/${port##*/}"; return; }
        done
        usleep 20000
    done
    echo "bento: no channel $1" > /dev/kmsg
    echo /dev/null
}

poweroff() {
    sync
    echo o > /proc/sysrq-trigger
    sleep 60
}

# Loads one of our modules after the stock modules it needs.
load() {
    local module=$1 need
    for need in $(modinfo -F depends "$module" | tr , ' '); do
        grep -q "^$need " /proc/modules || /sbin/modprobe -q "$need"
    done
    insmod "$@"
}

load_all() {
    local line
    while read -r line; do
        # shellcheck disable=SC2086 # module parameters are words
        load $line || { echo "bento: ${line##*/} does not load; the kernel says:" >&2; dmesg | tail -n 4 >&2; return 125; }
    done < $here/modules
}

if [ -n "$BENTO_INTERACTIVE" ]; then
    [ "$machine" = uml ] && tty=/dev/tty0 || tty=/dev/hvc0
    exec < $tty > $tty 2>&1
    [ -n "$BENTO_STTY" ] && stty $BENTO_STTY
    load_all
    cat $here/welcome
    cd /root
    setsid -c bash -i
    exec > $(channel ctl)
    echo "exit 0"
    poweroff
fi

control=$(channel ctl)
[ "$machine" = qemu ] && exec 7> "$control" || exec 7> "$control.tmp"
out=$(channel out) err=$(channel err)
[ "$machine" = uml ] && { stty raw -echo < "$out"; stty raw -echo < "$err"; }
# Pipes in between, so that the command may open /dev/stdout anew and does not take the channel for a terminal.
mkfifo /run/stdout /run/stderr
cat /run/stdout > "$out" & out_pump=$!
cat /run/stderr > "$err" & err_pump=$!
exec 5> /run/stdout 6> /run/stderr

load_all >&5 2>&6
code=$?
if [ $code = 0 ]; then
    if [ -n "$BENTO_GDB" ]; then
        # gdb needs the sections' addresses; it lets us go on when it has attached.
        for module in /sys/module/*/sections; do
            name=${module%/sections}
            for section in "$module"/.* "$module"/*; do
                [ -f "$section" ] && echo "${name##*/} ${section##*/} $(cat "$section")"
            done
        done > /run/out/sections.tmp
        sync
        mv /run/out/sections.tmp /run/out/sections
        until [ -e /run/out/go ]; do usleep 50000; done
    fi
    (cd /root && exec 7>&- && exec bash $here/command) < /dev/null >&5 2>&6 5>&- 6>&-
    code=$?
fi

if [ -n "$BENTO_KMEMLEAK" ] && [ -e /sys/kernel/debug/kmemleak ]; then
    # An object must be five seconds old, and seen unreferenced twice, before kmemleak believes it.
    sleep 5
    echo scan > /sys/kernel/debug/kmemleak; sleep 1; echo scan > /sys/kernel/debug/kmemleak
    head -n 200 /sys/kernel/debug/kmemleak | while read -r line; do echo "$line" > /dev/kmsg; done
fi

exec 5>&- 6>&-
# Waits until the pumps have copied everything, at most $1 times 20 ms.
drained() {
    local tries=0
    while [ $((tries += 1)) -le "$1" ]; do
        kill -0 $out_pump 2> /dev/null || kill -0 $err_pump 2> /dev/null || return 0
        usleep 20000
    done
    return 1
}

# Processes that the command left in the background would keep the pumps waiting for more.
end_writers() {
    local dir pid fd
    for dir in /proc/[0-9]*; do
        pid=${dir#/proc/}
        case $pid in 1 | $$ | $out_pump | $err_pump) continue ;; esac
        for fd in "$dir"/fd/*; do
            case $(readlink "$fd") in /run/stdout | /run/stderr) kill -KILL "$pid" 2> /dev/null; break ;; esac
        done
    done
}

drained 15 || { end_writers; drained 1500; }
if [ -n "$BENTO_RESULTS" ]; then
    /bin/tar -C /results -cf "$(channel results)" .
fi
sync
echo "exit $code" >&7
exec 7>&-
[ "$machine" = uml ] && { sync; mv "$control.tmp" "$control"; }
poweroff
