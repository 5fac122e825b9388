#!/bin/sh
# Builds boomerang/NAME:latest from images/NAME, for each NAME that it is given, and before them boomerang/base.
# An image that was built from the same files on the same base is left as it is; with FRESH=1 all are built anew, and
# so get today's packages.
set -eu
cd "$(dirname "$0")"

# inputs prints a number that stands for all that an image is made of: its folder and the image under it.
inputs() {
	{
		find "$1" -type f -exec cksum {} + | sort
		[ "$1" = base ] || docker image inspect --format '{{.Id}}' boomerang/base:latest
	} | cksum | cut -d ' ' -f 1
}

for name in base "$@"; do
	inputs=$(inputs "$name")
	built=$(docker image inspect --format '{{index .Config.Labels "boomerang.inputs"}}' "boomerang/$name:latest" 2>/dev/null || true)
	if [ "$built" = "$inputs" ] && [ -z "${FRESH:-}" ]; then
		continue
	fi
	echo "building boomerang/$name" >&2
	if [ "$name" = base ]; then
		base/build.sh "boomerang.inputs=$inputs"
	else
		docker build --quiet ${FRESH:+--no-cache} --label "boomerang.inputs=$inputs" --tag "boomerang/$name:latest" "$name"
	fi
done
