#!/bin/sh
# What `make run` starts: the gateway on 127.0.0.1:2525, before the built-in backend, or before BACKEND=host:port for DOMAIN.
# Everything lies below build/demo. The demo asks no DNS but its own: conf/demo/zones.txt.
set -eu
cd "$(dirname "$0")/../.."
top=$PWD
bin=$top/${BUILD:-build}/gatepost
demo=${DEMO:-build/demo}
dir=$top/$demo
port=${PORT:-2525}
sink_port=${SINK_PORT:-2526}
domain=${DOMAIN:-example.com}
policy=$top/conf/policy.conf

mkdir -p "$dir"
user=''
# Where nobody cannot go, as below /root, the commands could not read as nobody what the gateway writes.
[ "$(id -u)" = 0 ] && setpriv --reuid=nobody --clear-groups test -x "$dir" && user='user = "nobody"'

# Our own server, 127.0.0.5, sends to the world: by MX, and signed.
demo_outbound() {
	cat <<-EOF
	relay_networks = { "127.0.0.5" }
	outbound { port = $sink_port  never = none  dane = no }
	dkim_sign "$domain" { keys = { "demo=$dir/demo.pem" } }
	EOF
}

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
	$user
	workers = 1
	policy = "$policy"
	allow_list = "$dir/allowed.txt"
	listener smtp { address = "127.0.0.1:$port" }
	backend server { address = "${BACKEND:-127.0.0.1:$sink_port}" }
	EOF
	[ -n "${BACKEND:-}" ] || { demo_dns; demo_outbound; }
}

# The rules as shipped, with a sealer that is trusted, and the rules of the demonstration before the last one.
write_policy() {
	sed -e '/^accept$/d' -e 's/^list sealers = { }$/list sealers = { lists.example }/' "$top/conf/policy.conf"
	cat "$top/conf/demo/rules.conf"
}

samples() {
	exe=${BUILD:-build}/gatepost
	to="--mail-rcpt bob@$domain"
	cat <<-EOF

	Gatepost listens on 127.0.0.1:$port. Messages to try, in another terminal:

	  cd $top

	a genuine, signed one: delivered to $demo/Maildir
	  curl -sS --interface 127.0.0.25 smtp://127.0.0.1:$port/mail.good.example --mail-from alice@good.example $to -T conf/demo/genuine.eml

	one that came by a mailing list, which has changed it: the signature is broken, and DMARC fails, whose record says reject.
	The list's seal (ARC) says that DMARC passed when it came there; lists.example is in the list sealers of the rules: delivered
	  curl -sS --interface 127.0.0.68 smtp://127.0.0.1:$port/lists.example --mail-from garden-bounces@lists.example $to -T conf/demo/mailing-list.eml
	its facts: arc and arc.dmarc_sealers, dkim and dmarc; without the seal the rule dmarc-failed would have kept it
	  $exe explain -c $demo/gatepost.conf --client 127.0.0.68 --helo lists.example --from garden-bounces@lists.example --to bob@$domain conf/demo/mailing-list.eml

	a forgery: answered 250, kept in the quarantine
	  curl -sS --interface 127.0.0.67 smtp://127.0.0.1:$port/mailer.example --mail-from offers@mailer.example $to -T conf/demo/forgery.eml

	an "invoice", with a program in an archive: kept, too
	  curl -sS --interface 127.0.0.25 smtp://127.0.0.1:$port/mail.good.example --mail-from accounts@good.example $to -T conf/demo/invoice.eml

	one from a listed address: refused at RCPT, before DATA (curl says: RCPT failed: 550)
	  curl -sS --interface 127.0.0.66 smtp://127.0.0.1:$port/listed.example --mail-from spam@listed.example $to -T conf/demo/listed.eml

	one of our own server for the world: signed, and given to the mail server of far.example, here $demo/Maildir again
	  curl -sS --interface 127.0.0.5 smtp://127.0.0.1:$port/server.$domain --mail-from bob@$domain --mail-rcpt dave@far.example -T conf/demo/own.eml

	the same for a domain whose mail server is away: kept in the spool, and tried again
	  curl -sS --interface 127.0.0.5 smtp://127.0.0.1:$port/server.$domain --mail-from bob@$domain --mail-rcpt erin@away.example -T conf/demo/own.eml
	  $exe spool list -c $demo/gatepost.conf

	What has happened, and why:
	  $exe history -c $demo/gatepost.conf
	  $exe history -c $demo/gatepost.conf --from good.example -v

	What is kept; by a word in it (the id is at the beginning of the line):
	  $exe quarantine list -c $demo/gatepost.conf
	  $exe quarantine search -c $demo/gatepost.conf rechnung
	  $exe quarantine show -c $demo/gatepost.conf ID
	  $exe quarantine release -c $demo/gatepost.conf ID

	What the policy as shipped, without the demonstration's rules, would have done with this mail:
	  $exe replay -c $demo/gatepost.conf --policy conf/policy.conf

	Every fact and every rule, without sending anything:
	  $exe explain -c $demo/gatepost.conf --client 127.0.0.67 --helo mailer.example --from offers@mailer.example --to bob@$domain conf/demo/forgery.eml

	The rules are in $demo/policy.conf. Change them, and put them into force with: kill -HUP \$(cat $demo/pid)
	Ctrl-C ends it. Each message is one line below.
	${user:+It runs as nobody, and says that a site has users of their own for keepers and keys: README, Install.}

	EOF
}

if [ -z "${BACKEND:-}" ]; then
	policy=$dir/policy.conf
	write_policy >"$policy"
	[ -e "$dir/demo.pem" ] || "$bin" dkim-key -o "$dir/demo.pem" "$domain" demo >"$dir/demo.record"
fi
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
	"$bin" sink --listen "127.0.0.1:$sink_port" --maildir "$dir/Maildir" --accept "bob@$domain" --accept dave@far.example --hostname server.example &
	sink=$!
	samples
else
	echo "Gatepost listens on 127.0.0.1:$port, before $BACKEND, for mail to $domain. Ctrl-C ends it."
fi
"$bin" run -c "$dir/gatepost.conf" &
gate=$!
echo "$gate" >"$dir/pid"
wait "$gate"
