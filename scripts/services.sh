#!/usr/bin/env bash
# Installs the programs that some tests talk to, where they are missing. Each is a Debian package of the same name.
set -euo pipefail

missing=()
for program in chromium redis-server nginx haproxy; do
  command -v "$program" > /dev/null || missing+=("$program")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get > /dev/null || [ "$(id -u)" -ne 0 ]; then
  echo "Missing: ${missing[*]}. This script installs them with apt-get as root; here, install them by other means." >&2
  exit 1
fi

export DEBIAN_FRONTEND=noninteractive
# Tests start servers of their own; those of the packages are not to run.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' > "$policy"
  chmod +x "$policy"
fi
install() { apt-get install -y -qq --no-install-recommends "${missing[@]}"; }

# The package lists may be absent or too old to name a file that still exists.
install || { apt-get update -qq && install; }
