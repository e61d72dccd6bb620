#!/bin/sh
# The tests of metrics, alerts and the dashboard use Prometheus' own promtool. Take it out of Debian's package where that is
# possible, without installing a server; where it is not, say so and let the tests that need it be skipped (in CI they fail instead).
command -v promtool >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "taking promtool out of the distribution's package of prometheus"
    folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
    {
        cd "$folder" && apt-get update -qq && apt-get download -qq prometheus && dpkg -x prometheus_*.deb . &&
            install -m 755 usr/bin/promtool /usr/local/bin/promtool
    } >/dev/null 2>&1
fi
command -v promtool >/dev/null || echo "promtool is not installed and could not be: its tests are skipped (Debian's package prometheus has it)"
exit 0
