#!/usr/bin/env bash
# The gateway against nginx (proxy_pass with limit_req), before the same upstream, in one run: A B A B.
#
#   bash benches/gateway.sh            needs nginx and wrk; builds the release binary first
#   ROUNDS=3 SECS=10 CONNECTIONS=32    rounds of each, seconds of a round, connections of wrk
#
# Both have one worker, no log, and connections to the upstream that stay open. CPU is what the system accounts to
# the proxy's own processes (/proc/<pid>/stat), so wrk and the upstream on the same machine do not blur it.
set -euo pipefail
cd "$(dirname "$0")/.."
ROUNDS=${ROUNDS:-3} SECS=${SECS:-10} CONNECTIONS=${CONNECTIONS:-32}
UPSTREAM=${UPSTREAM_PORT:-19100} NGINX=${NGINX_PORT:-19101} KLINKY=${KLINKY_PORT:-19102} ADMIN=${ADMIN_PORT:-19103}

command -v nginx >/dev/null && command -v wrk >/dev/null || { echo "nginx and wrk are needed" >&2; exit 1; }
BINARY=${BINARY:-}
if [ -z "$BINARY" ]; then
  cargo build --release --quiet
  BINARY="${CARGO_TARGET_DIR:-target}/release/klinky"
fi
WORK=$(mktemp -d)
PIDS=()
stop() { for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$WORK"; }
trap stop EXIT

# nginx as the upstream: a fixed answer of 100 bytes, the cheapest that a real server gives.
nginx_conf() {
  cat <<CONF
worker_processes 1; daemon off; pid $WORK/$1.pid; error_log $WORK/$1.log crit;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 100000000; keepalive_timeout 75s;
  client_body_temp_path $WORK/body-$1; proxy_temp_path $WORK/proxy-$1; fastcgi_temp_path $WORK/fcgi-$1;
  uwsgi_temp_path $WORK/uwsgi-$1; scgi_temp_path $WORK/scgi-$1;
$2
}
CONF
}
BODY=$(printf 'x%.0s' $(seq 100))
nginx_conf upstream "  server { listen 127.0.0.1:$UPSTREAM; location / { default_type text/plain; return 200 $BODY; } }" >"$WORK/upstream.conf"
nginx_conf proxy "
  limit_req_zone \$http_x_api_key zone=keys:10m rate=1000000r/s;
  upstream api { server 127.0.0.1:$UPSTREAM; keepalive 256; keepalive_requests 100000000; }
  server { listen 127.0.0.1:$NGINX; location / {
    limit_req zone=keys burst=1000000 nodelay; proxy_http_version 1.1; proxy_set_header Connection \"\";
    proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for; proxy_pass http://api; } }" >"$WORK/proxy.conf"
nginx -p "$WORK" -e "$WORK/upstream.log" -c "$WORK/upstream.conf" & PIDS+=($!)
nginx -p "$WORK" -e "$WORK/proxy.log" -c "$WORK/proxy.conf" & PROXY=$!; PIDS+=("$PROXY")
export KLINKY_ADMIN_TOKEN=bench-admin-token-0123456789
"$BINARY" serve --data-dir "$WORK/db" --listen "127.0.0.1:$KLINKY" --admin-listen "127.0.0.1:$ADMIN" --workers 1 --log off \
  --upstream "http://127.0.0.1:$UPSTREAM" --upstream-prefix /v1 & SERVER=$!; PIDS+=("$SERVER")

api() { curl -sf --retry 50 --retry-connrefused --retry-delay 1 "http://127.0.0.1:$ADMIN/admin/v1$1" -H "Authorization: Bearer $KLINKY_ADMIN_TOKEN" -d "$2" "${@:3}"; }
field() { sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/"; }
ACCOUNT=$(api /accounts '{"name": "bench", "plan": "scale", "custom_limit": 4294967295}' | field id)
KEY=$(api "/accounts/$ACCOUNT/keys" '{"name": "bench"}' | field key)

# Clock ticks of a process and its children that still run.
ticks() { for pid in "$1" $(cat "/proc/$1/task/$1/children"); do cut -d' ' -f14,15 "/proc/$pid/stat"; done | awk '{t += $1 + $2} END {print t}'; }
measure() { # name, port, pid of the proxy or nothing
  local before=0 after=0 out
  [ -z "${3:-}" ] || before=$(ticks "$3")
  out=$(wrk -t1 -c"$CONNECTIONS" -d"${SECS}s" --latency -H "X-API-Key: $KEY" "http://127.0.0.1:$2/v1/x")
  [ -z "${3:-}" ] || after=$(ticks "$3")
  if grep -q 'Non-2xx' <<<"$out"; then echo "$out" >&2; exit 1; fi
  awk -v name="$1" -v ticks=$((after - before)) -v hz="$(getconf CLK_TCK)" '
    function us(text) { return text ~ /us$/ ? text + 0 : text ~ /ms$/ ? text * 1000 : text * 1000000 }
    / 50%/ {p50 = us($2)} / 99%/ {p99 = us($2)} /requests in/ {n = $1} /Requests\/sec/ {rate = $2}
    END {printf "%s %.0f %.0f %.0f %.2f\n", name, rate, p50, p99, ticks / hz / n * 1000000}' <<<"$out" | tee -a "$WORK/results"
}
echo "who req/s p50_us p99_us cpu_s_per_million"
for port in $NGINX $KLINKY; do wrk -t1 -c"$CONNECTIONS" -d2s -H "X-API-Key: $KEY" "http://127.0.0.1:$port/v1/x" >/dev/null; done
for _ in $(seq "$ROUNDS"); do
  measure direct "$UPSTREAM"
  measure nginx "$NGINX" "$PROXY"
  measure klinky "$KLINKY" "$SERVER"
done
median() { awk -v who="$1" -v col="$2" '$1 == who {print $col}' "$WORK/results" | sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }
echo
echo "medians of $ROUNDS rounds of $SECS s, $CONNECTIONS connections"
printf '%-8s %10s %14s %14s %22s\n' who req/s 'added p50 us' 'added p99 us' 'CPU s per million'
for who in nginx klinky; do
  printf '%-8s %10s %14s %14s %22s\n' "$who" "$(median $who 2)" $(($(median $who 3) - $(median direct 3))) \
    $(($(median $who 4) - $(median direct 4))) "$(median $who 5)"
done
awk -v k="$(median klinky 5)" -v n="$(median nginx 5)" -v kr="$(median klinky 2)" -v nr="$(median nginx 2)" \
  'BEGIN {printf "klinky / nginx: CPU %.2f, requests per second %.2f\n", k / n, kr / nr}'
