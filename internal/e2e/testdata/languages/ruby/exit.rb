warn "leaving"
exit 7
