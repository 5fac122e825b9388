# want: sudo: none
# want: su: refused
# want: apt-get: refused
# want: pip: none
# want: chown: refused
command -v sudo || echo "sudo: none"
su -c true </dev/null >/dev/null 2>&1 || echo "su: refused"
apt-get install -y cowsay >/dev/null 2>&1 || echo "apt-get: refused"
command -v pip npm || echo "pip: none"
chown 0:0 main.sh 2>/dev/null || echo "chown: refused"
