#!/bin/sh
# Gives a Debian the zone names and locales that programs from elsewhere ask for. Runs inside it, as root.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# US/Eastern and the like, which Debian 13 took out of tzdata; an older Debian has no such package and needs none.
# shellcheck disable=SC2046 # no name is no word
apt-get install -qy --no-install-recommends tzdata $(apt-cache pkgnames tzdata-legacy) >/dev/null

# These are compiled in full. Locales that sort alike share their largest part, so all of them take 7 MB. Their sources
# are not kept: the package is unpacked and not installed.
work=$(mktemp -d)
mkdir "$work/package" "$work/others"
chown _apt "$work" "$work/package"
(cd "$work/package" && apt-get download -qq locales && dpkg -x locales_*.deb .)
export I18NPATH="$work/package/usr/share/i18n"
for locale in de_DE en_GB en_US es_ES fr_FR it_IT ja_JP nl_NL pt_BR ru_RU; do
	localedef -i "$locale" -f UTF-8 "$locale.UTF-8"
done

# All other UTF-8 locales that Debian knows are C.UTF-8 by another name: nothing warns and characters are counted, but
# what is printed looks as in C. They take no room, and C.UTF-8 itself is now found in one file instead of 13.
ln -s /usr/lib/locale/C.utf8 "$work/others/"
sed -n 's/^\([^.@ ]*\)\(\.UTF-8\)\{0,1\}\(@[^ ]*\)\{0,1\} UTF-8$/\1.utf8\3/p' "$I18NPATH/SUPPORTED" | while read -r name; do
	locale -a | grep -qxF "$name" || ln -s /usr/lib/locale/C.utf8 "$work/others/$name"
done
localedef --quiet --add-to-archive "$work"/others/*
rm -rf "$work" /var/lib/apt/lists/* /var/log/* /var/cache/*
