#!/bin/sh
# As the image's entry point does: /data goes to the user seaweed, who runs the command with the folder given.
export GODEBUG="${GODEBUG:+$GODEBUG,}fips140=on"

if [ "$(id -u)" = 0 ]; then
    if [ "$(stat -c %u:%g /data)" != 1000:1000 ]; then
        chown -R seaweed:seaweed /data || echo "Warning: Failed to change ownership of /data." >&2
    fi
    exec setpriv --reuid seaweed --regid seaweed --init-groups "$0" "$@"
fi

command=$1
case $command in
    mini) dir=-dir=/data ;;
    server) dir="-dir=/data -volume.max=0 -master.volumeSizeLimitMB=1024" ;;
    master) dir="-mdir=/data -volumeSizeLimitMB=1024" ;;
    volume) dir="-dir=/data -max=0" ;;
    filer | s3) dir= ;;
    *) exec /usr/bin/weed "$@" ;;
esac
shift
for arg in "$@"; do
    case "$command $arg" in "mini -dir"* | "mini --dir"*) dir= ;; esac
done
exec /usr/bin/weed -logtostderr=true "$command" $dir "$@"
