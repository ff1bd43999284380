#!/usr/bin/env bash
# Print the path of Chromium, in which the tests open the report's page; as root, Debian's package is installed
# where there is none.
#
#   tools/chromium.sh
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;; esac
for name in chromium chromium-browser google-chrome; do
    if command -v $name; then exit 0; fi
done
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    echo "tools/chromium.sh: no Chromium on PATH: install it (Debian: apt-get install chromium)" >&2
    exit 2
fi
export DEBIAN_FRONTEND=noninteractive
apt_get() { apt-get --quiet --quiet -o DPkg::Lock::Timeout=120 "$@" < /dev/null >&2; }
apt_get update
apt_get install --yes --no-install-recommends chromium fonts-dejavu-core
command -v chromium
