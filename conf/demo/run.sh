#!/bin/sh
# What `make run` starts: the gateway on 127.0.0.1:2525, before the built-in backend, or before BACKEND=host:port for DOMAIN.
# Everything lies below build/demo. The demo asks no DNS but its own: conf/demo/zones.txt.
set -eu
cd "$(dirname "$0")/../.."
top=$PWD
bin=$top/${BUILD:-build}/gatepost
dir=$top/build/demo
port=2525
sink_port=2526
domain=${DOMAIN:-example.com}

mkdir -p "$dir"
user=''
[ "$(id -u)" = 0 ] && user=nobody

demo_dns() {
	printf 'dns {\n\tdnssec = no\n\tlocal_zone = { ". static" }\n\tlocal_data = {\n'
	sed -e '/^#/d' -e '/^[[:space:]]*$/d' -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/.*/\t\t"&",/' "$top/conf/demo/zones.txt" | sed '$ s/,$//'
	printf '\t}\n}\n'
	printf 'dnsbl "dnsbl.example" { weight = 5 }\n'
}

write_conf() {
	cat <<-EOF
	hostname = "gate.example"
	domains = { "$domain" }
	state_dir = "$dir/state"
	user = "$user"
	workers = 1
	policy = "$top/conf/policy.conf"
	listener smtp { address = "127.0.0.1:$port" }
	backend server { address = "${BACKEND:-127.0.0.1:$sink_port}" }
	EOF
	[ -n "${BACKEND:-}" ] || demo_dns
}

samples() {
	cat <<-EOF

	Gatepost listens on 127.0.0.1:$port. Three messages to try, in another terminal:

	a genuine, signed one: delivered to build/demo/Maildir
	  curl -sS --interface 127.0.0.25 smtp://127.0.0.1:$port/mail.good.example --mail-from alice@good.example --mail-rcpt bob@$domain -T $top/conf/demo/genuine.eml

	a forgery: answered 250, kept in build/demo/state/quarantine
	  curl -sS --interface 127.0.0.67 smtp://127.0.0.1:$port/mailer.example --mail-from offers@mailer.example --mail-rcpt bob@$domain -T $top/conf/demo/forgery.eml

	one from a listed address: refused at RCPT, before DATA
	  curl -sS --interface 127.0.0.66 smtp://127.0.0.1:$port/listed.example --mail-from spam@listed.example --mail-rcpt bob@$domain -T $top/conf/demo/listed.eml

	why, without sending anything:
	  $bin explain -c $dir/gatepost.conf --client 127.0.0.67 --helo mailer.example --from offers@mailer.example --to bob@$domain $top/conf/demo/forgery.eml

	Ctrl-C ends it. Each message is one line below.

	EOF
}

write_conf >"$dir/gatepost.conf"
sink=
gate=
# Both run beside the shell, which would not hear a signal while it waits for one in front.
stop() {
	for pid in $gate $sink; do
		kill "$pid" 2>/dev/null || true
	done
	wait
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
if [ -z "${BACKEND:-}" ]; then
	"$bin" sink --listen "127.0.0.1:$sink_port" --maildir "$dir/Maildir" --accept "bob@$domain" --hostname server.example &
	sink=$!
	samples
else
	echo "Gatepost listens on 127.0.0.1:$port, before $BACKEND, for mail to $domain. Ctrl-C ends it."
fi
"$bin" run -c "$dir/gatepost.conf" &
gate=$!
wait "$gate"
