#!/bin/sh
# Makes boomerang/base:latest, a small Debian, with the label that it is given: from Docker Hub where that answers, else
# from Debian's own packages. BASE_FROM names another Debian to start from, in a registry of yours.
set -eu
label=$1
suite=trixie
from=${BASE_FROM:-debian:$suite-slim}
cd "$(dirname "$0")"

if timeout 120 docker pull --quiet "$from"; then
	printf 'FROM %s\nCOPY furnish.sh /tmp/\nRUN /tmp/furnish.sh && rm /tmp/furnish.sh\n' "$from" |
		docker build --quiet --label "$label" --tag boomerang/base:latest --file - .
	exit
fi
[ -z "${BASE_FROM:-}" ] || exit 1

echo "no $from to be had: bootstrapping Debian $suite from its packages" >&2
../../.ci/need mmdebstrap
rootfs=$(mktemp)
trap 'rm -f "$rootfs"' EXIT
mmdebstrap --quiet --format=tar --variant=minbase \
	--aptopt='APT::Install-Recommends "false"' \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-include=/usr/share/doc/*/copyright' \
	--dpkgopt='path-exclude=/usr/share/info/*' \
	--dpkgopt='path-exclude=/usr/share/lintian/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--customize-hook='copy-in furnish.sh /tmp' \
	--customize-hook='chroot "$1" sh -c "/tmp/furnish.sh && rm /tmp/furnish.sh"' \
	"$suite" "$rootfs"
docker import --change "LABEL $label" --change 'CMD ["bash"]' "$rootfs" boomerang/base:latest
