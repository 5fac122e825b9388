#!/bin/sh
# Builds boomerang/NAME:latest from images/NAME, and before that its base image: images/build.sh NAME… The script
# skips an image whose files and base image are unchanged. With FRESH=1 it rebuilds all images, with current packages.
set -eu
cd "$(dirname "$0")"

# under prints the base image of NAME, as its Dockerfile names it; nothing for base.
under() { [ "$1" = base ] || sed -n 's|^ARG BASE=boomerang/\(.*\):latest$|\1|p' "$1/Dockerfile"; }

# inputs prints a checksum of the inputs of an image: its folder and its base image.
inputs() {
	{
		find "$1" -type f -exec cksum {} + | sort
		[ "$1" = base ] || docker image inspect --format '{{.Id}}' "boomerang/$(under "$1"):latest"
	} | cksum | cut -d ' ' -f 1
}

done=
build() {
	case " $done " in *" $1 "*) return 0 ;; esac
	[ "$1" = base ] || build "$(under "$1")"
	set -- "$1" "$(inputs "$1")"
	done="$done $1"
	built=$(docker image inspect --format '{{index .Config.Labels "boomerang.inputs"}}' "boomerang/$1:latest" 2>/dev/null || true)
	if [ "$built" = "$2" ] && [ -z "${FRESH:-}" ]; then
		return 0
	fi
	echo "building boomerang/$1" >&2
	if [ "$1" = base ]; then
		base/build.sh "boomerang.inputs=$2"
	else
		docker build --quiet ${FRESH:+--no-cache} --label "boomerang.inputs=$2" --tag "boomerang/$1:latest" "$1"
	fi
}

for name; do
	if [ ! -e "$name/Dockerfile" ]; then
		echo "images/$name/Dockerfile does not exist" >&2
		exit 1
	fi
	build "$name"
done
