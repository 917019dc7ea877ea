#!/bin/sh
# Forwards every notification, byte for byte, to an HTTP endpoint of yours. Needs curl.
#
# Install:   copy into the processors folder, chmod +x.
# Variables: FORWARD_URL, for example https://crm.internal/hooks/dialog-insight. Optional: FORWARD_TIMEOUT,
#            seconds for all of it (30; less than `timeout`), and FORWARD_CURLRC, the absolute path
#            of a curl configuration file, for what `ps` must not show: header = "Authorization: Bearer ..."
#            Name those you use in spooler.toml (environment) and set them for the service. Until then all is
#            tried again later.
# Result:    2xx is done. 408, 425, 429, 5xx, a redirect, no answer: try again later. Any other 4xx: give up.
# The endpoint can get a notification more than once, and knows it again by its Idempotency-Key.

set -u
if [ -z "${FORWARD_URL:-}" ]; then
    echo "FORWARD_URL is not set: name it in spooler.toml (environment) and set it for the service" >&2
    exit 75
fi
newline='
'
# --disable stands first: no ~/.curlrc changes what is sent.
answer=$(curl --disable ${FORWARD_CURLRC:+--config "$FORWARD_CURLRC"} --silent --show-error --globoff \
    --proto '=http,https' --connect-timeout 5 --max-time "${FORWARD_TIMEOUT:-30}" \
    --header 'Content-Type: application/json' --header 'Expect:' --header "Idempotency-Key: $SPOOLER_ID" \
    --header "X-Spooler-Webhook: $SPOOLER_WEBHOOK" --header "X-Spooler-Received: $SPOOLER_RECEIVED" \
    --header "X-Spooler-Test: $SPOOLER_TEST" \
    --data-binary @- --write-out '\n%{http_code}' --url "$FORWARD_URL") || exit 75
status=${answer##*"$newline"}
printf 'HTTP %s: %.1000s\n' "$status" "${answer%"$newline"*}"
case $status in
    2??) exit 0 ;;
    408 | 425 | 429) exit 75 ;;
    4??) exit 65 ;;
    *) exit 75 ;;
esac
