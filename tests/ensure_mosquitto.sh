#!/bin/sh
# The integration tests use a real Mosquitto. Install it from Debian's packages where that is possible; where it is
# not, say so and let the tests that need it be skipped (in CI they fail instead).
PATH="$PATH:/usr/sbin"
command -v mosquitto >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing mosquitto from the distribution's packages"
    # Its package would start a broker on the default port; the tests start their own.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && trap 'rm -f "$policy"' EXIT
    fi
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mosquitto; } \
        >/dev/null 2>&1
fi
command -v mosquitto >/dev/null || echo "mosquitto is not installed and could not be: its tests are skipped (apt-get install mosquitto)"
exit 0
