#!/bin/sh
# First program of a UML guest: the payload lies in a folder of the host, named on the kernel's command line.
mount -t proc proc /proc
for word in $(cat /proc/cmdline); do
    case $word in
        bento.payload=*) payload=${word#*=} ;;
        bento.out=*) out=${word#*=} ;;
    esac
done
mount -t devtmpfs dev /dev
mount -t hostfs -o "$payload" -r none /bento
mount -t tmpfs -o size=64k none /run && mkdir /run/out && mount -t hostfs -o "$out" none /run/out
exec /bento/.bento/init uml
