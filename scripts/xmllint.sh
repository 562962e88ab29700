#!/usr/bin/env bash
# Brings xmllint, with which tests validate the ADX files that are exported, from
# Debian's or Ubuntu's package. Nothing is done if it is there. Where it cannot be
# brought that is said and the exit is 0: the test then says that it is left out,
# and the rules that matter are tested without it too.
set -euo pipefail

cannot() {
  echo "*** xmllint is missing and cannot be installed: $1; exported ADX files are not validated by their schema" >&2
  exit 0
}

if command -v xmllint >/dev/null; then exit 0; fi
command -v apt-get >/dev/null || cannot "there is no apt-get on this machine"
as_root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || cannot "this user is not root and there is no sudo"
  sudo -n true 2>/dev/null || cannot "this user is not root and sudo asks for a password"
  as_root=(sudo -n)
fi
echo "installing xmllint for the tests" >&2
install() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends libxml2-utils >&2; }
install || { "${as_root[@]}" apt-get update >&2 && install; } || cannot "apt-get install libxml2-utils failed"
