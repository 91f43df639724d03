#!/usr/bin/env bash
# Runs every fuzz target of the tree for the given time, one after the other. With KEEP=1 the smallest inputs that reached something new
# are added to testdata/fuzz beside the target, where every test run tries them again.
set -euo pipefail

# fuzz fails for a failing input alone: the Go tool now and then ends a clean run with "context deadline exceeded" when the
# time is up while a worker is busy.
fuzz() {
  local log
  log=$(mktemp)
  if ! go test -run '^$' -fuzz "^$2\$" -fuzztime "$3" "$1" >"$log" 2>&1; then
    if grep -q 'Failing input written' "$log" || ! grep -q 'context deadline exceeded' "$log"; then
      cat "$log"
      rm -f "$log"
      return 1
    fi
  fi
  grep 'fuzz: elapsed' "$log" | tail -n 1
  rm -f "$log"
}

# keep PACKAGE TARGET
keep() {
  local from into
  from=$(go env GOCACHE)/fuzz/$1/$2
  into=$(go list -f '{{.Dir}}' "$1")/testdata/fuzz/$2
  [ -d "$from" ] || return 0
  mkdir -p "$into"
  find "$from" -type f -size -4k -printf '%s %p\n' | sort -n | head -n 40 | cut -d' ' -f2- | xargs -r -d '\n' cp -n -t "$into"
}

for pkg in $(go list ./...); do
  for target in $(go test -list '^Fuzz' "$pkg" 2>/dev/null | grep '^Fuzz' || true); do
    echo "== $pkg $target"
    fuzz "$pkg" "$target" "$1"
    [ -z "${KEEP:-}" ] || keep "$pkg" "$target"
  done
done
