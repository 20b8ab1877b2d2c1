#!/usr/bin/env bash
# Takes status-light.png and status-dark.png anew: starts a real instance with one allowed app, sends it traffic and
# some callers that are denied, and photographs its status page.
#
#   docs/images/screenshot.sh [VESTIBULE]     # the binary; by default `vestibule` on PATH
#   SECONDS_OF_TRAFFIC=30 docs/images/screenshot.sh
#
# Needs chromium, curl and python3, and pngquant if it is there: on Debian `apt-get install chromium curl python3 pngquant`.
set -euo pipefail
images=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
vestibule=$(realpath "$(type -P "${1:-vestibule}")")
browser=$(type -P chromium-headless-shell || type -P chromium || type -P chromium-browser || type -P google-chrome)
traffic=${SECONDS_OF_TRAFFIC:-150}

# Paths on the page are relative to this folder.
work=$(mktemp -d)
started=()
finish() {
    if [ "${#started[@]}" -gt 0 ]; then
        kill "${started[@]}" 2>/dev/null || true
        wait "${started[@]}" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT
cd "$work"

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
tls=$(free_port) app=$(free_port) admin=$(free_port)
page=http://127.0.0.1:$admin/

# Three pairs under one CA: ours, that of the app that may come in, that of one that may not.
issue() { "$vestibule" issuer creds --once "$@" >/dev/null; }
issue --client && mkdir green && mv creds/client.* green/
issue --client && mkdir blue && mv creds/client.* blue/
green=$("$vestibule" identity green/client.crt | awk '$1 == "app" { print $2 }')

mkdir site && echo 'hello from the app' >site/index.html
"$vestibule" run --listen "127.0.0.1:$tls" --app "$app" --admin "$admin" --cert creds/instance.crt --key creds/instance.key \
    --client-ca creds/ca.crt --allow-app "$green" \
    -- python3 -m http.server "$app" --bind 127.0.0.1 --directory site 2>log &
started+=($!)
"$vestibule" wait --admin "$admin"

call() { curl -sS -o /dev/null --cacert creds/ca.crt "$@" "https://127.0.0.1:$tls/" 2>/dev/null || true; }
call_as() { call --cert "$1/client.crt" --key "$1/client.key"; }

# Two connections that last, so that there is something to count now.
for _ in 1 2; do
    python3 - "$tls" <<'PYTHON' &
import socket, ssl, sys, time
context = ssl.create_default_context(cafile="creds/ca.crt")
context.load_cert_chain("green/client.crt", "green/client.key")
with context.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[1]))), server_hostname="127.0.0.1"):
    time.sleep(3600)
PYTHON
    started+=($!)
done

# What happens beside the allowed calls, and after which part of the time, in hundredths.
events=(12:issue 30:blue 55:issue 62:nobody 80:issue)
begin=$SECONDS
while [ $((SECONDS - begin)) -lt "$traffic" ]; do
    for _ in $(seq 1 $((2 + RANDOM % 6))); do call_as green; done
    if [ "${#events[@]}" -gt 0 ] && [ $((100 * (SECONDS - begin) / traffic)) -ge "${events[0]%:*}" ]; then
        case ${events[0]#*:} in
            issue) issue ;;
            blue) call_as blue ;;
            nobody) call ;;
        esac
        events=("${events[@]:1}")
    fi
    sleep 0.6
done
# What is photographed has a denial in it, however short the traffic was.
call_as blue
sleep 0.5

for scheme in light dark; do
    # Blink's own numbers for what a page is told of the reader's colours.
    case $scheme in dark) preferred=0 ;; light) preferred=1 ;; esac
    "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$work/browser" \
        --blink-settings=preferredColorScheme=$preferred --window-size="${WINDOW:-960,1400}" --virtual-time-budget=1000 \
        --screenshot="$work/$scheme.png" "$page" 2>/dev/null
    if type -P pngquant >/dev/null; then pngquant --force --output "$work/$scheme.png" 64 "$work/$scheme.png"; fi
    mv "$work/$scheme.png" "$images/status-$scheme.png"
    echo "docs/images/status-$scheme.png: $(stat -c %s "$images/status-$scheme.png") bytes"
done
