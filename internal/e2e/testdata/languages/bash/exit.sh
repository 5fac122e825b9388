echo leaving >&2
exit 7
