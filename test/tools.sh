#!/usr/bin/env bash
# Installs released client tools, at the versions below, into .tools/clients with the Go toolchain.
#
#   test/tools.sh           the quick set: what CI has
#   test/tools.sh all       everything
#   test/tools.sh helm …    by name
#
# What is there in the right version stays. With a warm build cache each takes seconds; the times are for a cold one on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."

# name      set    folder       module                                  version  commands                                           usually takes
tools='
crane       quick  .            github.com/google/go-containerregistry  v0.22.1  cmd/crane                                          1 minute
regctl      quick  .            github.com/regclient/regclient          v0.11.7  cmd/regctl                                         1 minute
containerd  quick  containerd2  github.com/containerd/containerd/v2     v2.4.2   cmd/containerd,cmd/ctr,cmd/containerd-shim-runc-v2  4 minutes
registry    heavy  .            github.com/distribution/distribution/v3 v3.1.2   cmd/registry                                       6 minutes
helm        heavy  .            helm.sh/helm/v3                         v3.22.0  cmd/helm                                           6 minutes
cosign      heavy  .            github.com/sigstore/cosign/v3           v3.1.3   cmd/cosign                                         12 minutes
'
into=$PWD/.tools/clients

# installed FILE MODULE VERSION: whether FILE was built from that version.
installed() {
  [ -x "$1" ] && go version -m "$1" 2>/dev/null | awk -v m="$2" -v v="$3" '$1 == "mod" && $2 == m && $3 == v { found = 1 } END { exit !found }'
}

# install DIR MODULE VERSION COMMAND TIME
install() {
  local dir=$1 module=$2 version=$3 command=$4 time=$5 began=$SECONDS
  installed "$dir/$(basename "$command")" "$module" "$version" && return
  echo "building $(basename "$command") $version (usually $time, seconds when cached)"
  mkdir -p "$dir"
  GOBIN=$dir go install "$module/$command@$version"
  echo "built $(basename "$command") in $((SECONDS - began)) s"
}

# wanted NAME SET ASKED…: whether the tool was asked for.
wanted() {
  local name=$1 set=$2 asked
  shift 2
  for asked in "$@"; do
    [ "$asked" = "$name" ] || [ "$asked" = "$set" ] || [ "$asked" = all ] && return 0
  done
  return 1
}

[ $# -gt 0 ] || set -- quick
known=0
while read -r name set folder module version commands time; do
  [ -n "$name" ] && wanted "$name" "$set" "$@" || continue
  known=1
  IFS=, read -ra list <<< "$commands"
  for command in "${list[@]}"; do
    install "$into/$folder" "$module" "$version" "$command" "$time"
  done
done <<< "$tools"
[ $known = 1 ] || { echo "usage: test/tools.sh [quick|all|NAME…], names: $(awk 'NF { printf "%s ", $1 }' <<< "$tools")" >&2; exit 2; }
