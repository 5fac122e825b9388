# want: systemctl: none
# want: crontab: none
# want: at: none
# want: service: none
for name in systemctl crontab at; do
  command -v $name || echo "$name: none"
done
pidof systemd cron || echo "service: none"
