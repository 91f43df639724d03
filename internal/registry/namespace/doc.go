// Package namespace leads a request to its registry: (host, ns, name) → a Registry and the name local to it. Package serve
// asks it once per request; registry/assemble builds a Snapshot for each change of configuration and swaps it in.
//
// A look-up reads memory only and takes no lock. It says nothing about what exists: a Target for an unknown group looks like
// any other until its Registry is asked, and the layer above must check the caller's grant on Path before it asks. So a
// caller without a grant gets the same answer whether or not the group, the registry or the repository exists.
//
// Names are OCI names as a whole. A host in a path ("acme/all/ghcr.io/org/app") is an ordinary component; a host with a port
// is not a component ("localhost:5000"), so it cannot stand in a path and is NAME_INVALID: "?ns=" carries such hosts.
package namespace
