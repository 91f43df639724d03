#!/usr/bin/env bash
# Installs what the tests drive beside Go: real registries, clients and PostgreSQL, from Debian's packages. Where it may not
# (no root, no apt) it says what is missing; the tests that need it then skip with a message, or fail when CI=true.
set -euo pipefail
cd "$(dirname "$0")/.."
# An identity provider, for the tests of signing in: from npm's registry, with the lock of test/oidc.
if command -v npm >/dev/null; then
  mkdir -p .tools/oidc
  if ! cmp -s test/oidc/package-lock.json .tools/oidc/package-lock.json || [ ! -d .tools/oidc/node_modules ]; then
    cp test/oidc/package.json test/oidc/package-lock.json .tools/oidc/
    npm ci --prefix .tools/oidc --no-audit --no-fund --loglevel=error >/dev/null || { rm -rf .tools/oidc; echo "tests of signing in will be skipped: npm ci has failed" >&2; }
  fi
else
  echo "tests of signing in will be skipped: there is no npm" >&2
fi
need=(skopeo containerd docker.io docker-registry apache2-utils debootstrap nginx-light runc podman buildah)
missing=()
for p in "${need[@]}"; do
  [ "$p" = nginx-light ] && command -v nginx >/dev/null && continue
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok' || missing+=("$p")
done
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "tests will skip what needs: ${missing[*]} (install them with your package manager)" >&2
  exit 0
fi
echo "installing for the tests: ${missing[*]}"
# A test machine must not start the daemons that the packages bring: the tests start their own on loopback.
if [ ! -e /usr/sbin/policy-rc.d ]; then
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
  chmod +x /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
