#!/bin/sh
# Makes boomerang/base:latest, a small Debian, with the label that it is given and with an /etc/hosts of its own, so that containers
# without network need none from the engine: from Docker Hub where that answers, else
# from Debian's own packages. BASE_FROM names another Debian to start from, in a registry of yours.
set -eu
label=$1
folder=$(cd "$(dirname "$0")" && pwd)
suite=trixie
from=${BASE_FROM:-debian:$suite-slim}

if timeout 120 docker pull --quiet "$from"; then
	printf 'FROM %s\nCOPY hosts /etc/hosts\n' "$from" |
		docker build --quiet --label "$label" --label boomerang.hosts=own --tag boomerang/base:latest --file - "$folder"
	exit
fi
[ -z "${BASE_FROM:-}" ] || exit 1

echo "no $from to be had: bootstrapping Debian $suite from its packages" >&2
"$folder/../../.ci/need" mmdebstrap
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
	--customize-hook="upload '$folder/hosts' /etc/hosts" \
	"$suite" "$rootfs"
docker import --change "LABEL $label boomerang.hosts=own" --change 'CMD ["bash"]' "$rootfs" boomerang/base:latest
