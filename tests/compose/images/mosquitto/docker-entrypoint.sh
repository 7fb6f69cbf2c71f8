#!/bin/sh
# As the image of Mosquitto 2.1 does: as root, the data folder goes to the broker's user.
set -e
if [ "$(id -u)" = 0 ] && [ -d /mosquitto/data ]; then
    chown -R "${PUID:-1883}:${PGID:-1883}" /mosquitto/data || true
fi
exec "$@"
