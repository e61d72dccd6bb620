#!/bin/sh
# The dashboard and the page of a report are opened in a real Chromium. Install it from Debian's packages where that is possible;
# where it is not, say so and let the tests that need it be skipped (in CI they fail instead).
command -v chromium >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing chromium from the distribution's packages"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-liberation; } \
        >/dev/null 2>&1
fi
command -v chromium >/dev/null || echo "chromium is not installed and could not be: its tests are skipped (apt-get install chromium)"
exit 0
