#!/usr/bin/env bash
# Brings the programs of PostgreSQL (initdb, postgres) that the tests start a
# throw-away cluster with, from Debian's or Ubuntu's package. Nothing is done if
# they are there, and no server is left running. Exit 1, with the reason, if
# they cannot be brought.
set -euo pipefail

found() {
  if compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then return 0; fi
  command -v initdb >/dev/null && command -v postgres >/dev/null
}
cannot() {
  echo "PostgreSQL is missing and cannot be installed: $1" >&2
  echo "Install it (apt-get install postgresql), or leave its tests out with KIUNGO_TEST_POSTGRES=skip." >&2
  exit 1
}

if found; then exit 0; fi
if [ "${KIUNGO_TEST_POSTGRES:-}" = skip ]; then
  echo "*** PostgreSQL is missing; its tests are left out, as KIUNGO_TEST_POSTGRES=skip says" >&2
  exit 0
fi
command -v apt-get >/dev/null || cannot "there is no apt-get on this machine"
as_root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || cannot "this user is not root and there is no sudo"
  sudo -n true 2>/dev/null || cannot "this user is not root and sudo asks for a password"
  as_root=(sudo -n)
fi

# The package is not to make and start a cluster of its own.
conf=/etc/postgresql-common/createcluster.d/kiungo-tests.conf
if ! "${as_root[@]}" test -e "$conf"; then
  "${as_root[@]}" mkdir -p "$(dirname "$conf")"
  echo 'create_main_cluster = false' | "${as_root[@]}" tee "$conf" >/dev/null
  trap '"${as_root[@]}" rm -f "$conf"' EXIT
fi
echo "installing PostgreSQL for the tests" >&2
install() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql >&2; }
install || { "${as_root[@]}" apt-get update >&2 && install; } || cannot "apt-get install postgresql failed"
found || cannot "the package has no initdb under /usr/lib/postgresql"
