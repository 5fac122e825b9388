# Is read by run-c and run-cpp. They say in compile() how the language is compiled, and in sources which endings its files
# have. Compiles a program and becomes it, so that its exit code and its signals are the program's own. Whole lines are
# printed at once, as on a terminal: see lines.c.
#
# The program is the file and the source files beside it. Left out are a file that another one includes, and a file with a
# main function of its own, which is another program.
set -eu
file=$1 objects=/tmp/.objects lines=/usr/local/lib/lines.o
shift

# included prints the names of the files that others include.
included() {
	for f in $sources *.h *.hh *.hpp *.hxx; do
		[ ! -f "$f" ] || sed -n 's|^[[:space:]]*#[[:space:]]*include[[:space:]]*"\(.*/\)\{0,1\}\([^"/]*\)".*|\2|p' "./$f"
	done
}

# beside prints the program's other files, one a line.
beside() {
	for f in $sources; do
		if [ -f "$f" ] && [ "$f" != "$file" ]; then
			included | grep -Fqx -e "$f" || printf '%s\n' "$f"
		fi
	done
}

# object compiles one file.
object() {
	case $1 in
	*.c) gcc -O2 -pipe -c -o "$objects/$1.o" "./$1" ;;
	*) compile -c -o "$objects/$1.o" "./$1" ;;
	esac
}

has_main() { nm --defined-only "$objects/$1.o" | grep -q ' T main$'; }

# together compiles every file by itself.
together() (
	others=$(beside)
	set -f
	IFS='
'
	mkdir -p "$objects"
	object "$file"
	set -- $others
	for f; do
		shift
		object "$f"
		has_main "$file" && has_main "$f" || set -- "$@" "$objects/$f.o"
	done
	compile -o /tmp/main "$objects/$file.o" "$@" "$lines" -lm
	rm -r "$objects"
)

alone=yes
for f in $sources; do
	[ "$f" = "$file" ] || [ ! -f "$f" ] || alone=
done
if [ "$alone" ]; then
	compile -o /tmp/main "$file" "$lines" -lm
else
	together
fi
exec /tmp/main "$@"
